//! How `status` looks: a line about the daemon, a table, a sentence about each thing that is not well.

use std::fmt::Write as _;

use anstyle::Style;
use authd_proto::response::{
    AccountInfo, DaemonStatusReply, Dpop, Expiry, LastError, OwedRevocation, State,
};
use comfy_table::{ContentArrangement, Table, presets};

use super::Report;
use crate::command::logout::kinds;
use crate::output::{BAD, GOOD, STRONG, WARN, clean, span, styled};
use crate::release;
use crate::trouble::{self, Severity};

/// The whole report. `now` is in Unix seconds; nothing but a name longer than that is wider than `columns`.
pub(super) fn overview(report: &Report, now: u64, columns: u16) -> String {
    let mut text = String::new();
    if let Some(daemon) = &report.daemon {
        text.push_str(&daemon_lines(daemon));
    }
    if let Some(daemon) = &report.daemon {
        text.push_str(&owed(&daemon.revocations));
        text.push_str(&waiting(daemon.approvals_waiting));
    }
    text.push('\n');
    if report.accounts.is_empty() && report.is_shut() {
        return text;
    }
    if report.accounts.is_empty() {
        text.push_str("\nno account yet: run 'authctl login NAME --issuer URL --client-id ID'");
        return text;
    }
    for (number, line) in table(&report.accounts, now, columns).lines().enumerate() {
        text.push('\n');
        if number == 0 {
            text.push_str(&styled(STRONG, line.trim_end()));
        } else {
            text.push_str(line.trim_end());
        }
    }
    let accounts = report.accounts.iter();
    let troubles: Vec<String> = accounts
        .flat_map(|account| troubles(account, now))
        .collect();
    if !troubles.is_empty() {
        text.push('\n');
    }
    for trouble in troubles {
        text.push('\n');
        text.push_str(&trouble);
    }
    text
}

fn daemon_lines(daemon: &DaemonStatusReply) -> String {
    let mut text = format!(
        "{} {}, pid {}, up {}",
        styled(GOOD, "authd"),
        clean(&daemon.version),
        daemon.pid,
        span(daemon.uptime_secs)
    );
    if let Some(mend) = release::mend(&daemon.version) {
        let what = styled(WARN, format_args!("this is authctl {}", release::OWN));
        let _ = write!(text, "\n{what}, of another release\n  -> {mend}");
    }
    let detail = clean(&daemon.key_protection.detail);
    let kind = clean(&daemon.key_protection.kind);
    if daemon.key_protection.kind == "file" {
        let weak = styled(WARN, "file (weak)");
        let _ = write!(
            text,
            "\nkey protection: {weak}: programs you run can read it; see 'authctl doctor'"
        );
    } else {
        let _ = write!(text, "\nkey protection: {kind}");
        if !detail.is_empty() {
            let _ = write!(text, " ({detail})");
        }
    }
    let missing: Vec<_> = daemon
        .protections
        .iter()
        .filter(|protection| !protection.in_force)
        .map(|protection| clean(&protection.name).replace('_', " "))
        .collect();
    if !missing.is_empty() {
        let _ = write!(
            text,
            "\n{}: {}; see 'authctl doctor'",
            styled(WARN, "not in force"),
            missing.join(", ")
        );
    }
    // A store that is well can still have something to tell: that it was rebuilt, say.
    if daemon.store.state != "ok" || daemon.store.detail.is_some() {
        let state = styled(BAD, clean(&daemon.store.state));
        let why = daemon
            .store
            .detail
            .as_deref()
            .map_or_else(String::new, |detail| format!(": {}", clean(detail)));
        let fix = daemon.store.hint.as_deref().map(clean);
        let fix = fix.unwrap_or("see 'authctl doctor'".into());
        let _ = write!(text, "\nstore: {state}{why}; {fix}");
    }
    text
}

/// What the person is asked at this moment.
fn waiting(approvals: u64) -> String {
    match approvals {
        0 => String::new(),
        1 => format!(
            "\n{}: a program wants your word: run 'authctl approve'",
            styled(WARN, "approval")
        ),
        many => format!(
            "\n{}: {many} programs want your word: run 'authctl approve'",
            styled(WARN, "approval")
        ),
    }
}

/// What accounts that are gone still owe to their providers.
fn owed(revocations: &[OwedRevocation]) -> String {
    let lines = revocations.iter().map(|owed| {
        format!(
            "\n{}: of '{}', which is logged out: {}; authd keeps trying",
            styled(WARN, "not revoked yet"),
            clean(&owed.account),
            kinds(&owed.tokens)
        )
    });
    lines.collect()
}

fn table(accounts: &[AccountInfo], now: u64, columns: u16) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(columns)
        .set_header([
            "ACCOUNT",
            "STATE",
            "EXPIRES IN",
            "NEXT RENEWAL",
            "LAST ERROR",
        ]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for account in accounts {
        table.add_row([
            clean(&account.account).into_owned(),
            state(account.state).to_owned(),
            expires(account.expiry, account.ttl_secs),
            next(account.next_renewal_at, now),
            last_error(account.last_error.as_ref(), now),
        ]);
    }
    table.to_string()
}

fn state(state: State) -> &'static str {
    match state {
        State::Fresh => "fresh",
        State::Due => "due",
        State::Refreshing => "refreshing",
        State::Late => "late",
        State::Expired => "expired",
        State::NeedsLogin => "needs login",
        State::Locked => "locked",
        State::Unknown => "unknown",
    }
}

fn expires(expiry: Expiry, ttl_secs: Option<u64>) -> String {
    match (expiry, ttl_secs) {
        (_, Some(0)) => "expired".to_owned(),
        (Expiry::Exact, Some(secs)) => span(secs),
        (_, Some(secs)) => format!("~{}", span(secs)),
        (Expiry::Unknown, None) => "not known".to_owned(),
        (_, None) => "-".to_owned(),
    }
}

fn next(at: Option<u64>, now: u64) -> String {
    match at.map(|at| at.saturating_sub(now)) {
        Some(0) => "now".to_owned(),
        Some(secs) => format!("in {}", span(secs)),
        None => "-".to_owned(),
    }
}

fn last_error(error: Option<&LastError>, now: u64) -> String {
    error.map_or_else(
        || "-".to_owned(),
        |error| format!("{}, {} ago", error.code, span(now.saturating_sub(error.at))),
    )
}

/// A sentence about each thing that is not well, with what mends it.
fn troubles(account: &AccountInfo, now: u64) -> Vec<String> {
    let name = styled(STRONG, clean(&account.account));
    let troubles = trouble::of(account, now).into_iter();
    let lines = troubles.map(|trouble| {
        let style = match trouble.severity {
            Severity::Know => Style::new(),
            Severity::Watch => WARN,
            Severity::Act => BAD,
        };
        let what = styled(style, clean(&trouble.what));
        format!("{name}: {what}\n  -> {}", clean(&trouble.mend))
    });
    lines.collect()
}

/// More about one account.
pub(super) fn details(account: &AccountInfo, now: u64) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "{name:<11}{}", clean(value));
    };
    let who = match (&account.subject_name, &account.subject) {
        (Some(name), Some(subject)) => format!("{name} ({subject})"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "not known".to_owned(),
    };
    row("signed in", &who);
    row("issuer", &account.issuer);
    row("client", &account.client_id);
    row("scopes", &account.scopes.join(" "));
    if let Some(resource) = &account.resource {
        row("resource", resource);
    }
    match account.dpop {
        Some(Dpop::Bound) => row("bound", "to a key that stays in the daemon (DPoP)"),
        Some(Dpop::Bearer) => row("bound", "no: the provider issues plain bearer tokens"),
        Some(Dpop::Unknown) | None => {}
    }
    row(
        "renewed",
        &format!(
            "{} times since the login {} ago",
            account.renewals,
            span(now.saturating_sub(account.created_at))
        ),
    );
    if let Some(error) = &account.last_error {
        row("error", &format!("{}: {}", error.code, error.message));
    }
    for lease in &account.leases {
        let what = lease
            .resource
            .clone()
            .unwrap_or_else(|| lease.scopes.join(" "));
        let left = expires(lease.expiry, lease.ttl_secs);
        row("token", &format!("{what}: {}, {left}", state(lease.state)));
    }
    text
}
