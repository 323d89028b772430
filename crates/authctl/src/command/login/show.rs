//! What a login shows: to people on standard error, to programs one JSON object a line.

use authd_proto::request::Flow;
use authd_proto::response::{Dpop, Expiry, LoginDone, LoginStartReply};
use serde::Serialize;

use super::place::Reason;
use super::qr;
use super::which::host;
use crate::exit::Failure;
use crate::output::{self, GOOD, STRONG, WARN, clean, note, span, styled, tell};

/// What `login --json` prints. These shapes are a contract.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum LoginEvent<'a> {
    /// The person has to open `url`.
    Authorize {
        url: &'a str,
        account: &'a str,
        flow: Flow,
        #[serde(skip_serializing_if = "Option::is_none")]
        redirect_uri: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_code: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        verification_uri: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        verification_uri_complete: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url_expires_in_secs: Option<u64>,
        expires_in_secs: u64,
    },
    /// The account is logged in.
    Done {
        account: &'a str,
        issuer: &'a str,
        subject: Option<&'a str>,
        subject_name: Option<&'a str>,
        scopes: &'a [String],
        refused_scopes: &'a [String],
        expires_at: Option<u64>,
        expiry: Expiry,
        ttl_secs: Option<u64>,
        next_renewal_at: Option<u64>,
        generation: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        dpop: Option<Dpop>,
    },
    /// It is not.
    Error {
        code: &'a str,
        message: &'a str,
        hint: Option<&'a str>,
    },
}

/// Where the person has to go: for a device with the code in the address, if the provider offers that.
fn page(started: &LoginStartReply) -> &str {
    started
        .authorization_url
        .as_deref()
        .or(started.verification_uri_complete.as_deref())
        .or(started.verification_uri.as_deref())
        .unwrap_or_default()
}

pub(super) fn authorize(started: &LoginStartReply) -> Result<(), Failure> {
    output::json_line(&LoginEvent::Authorize {
        url: page(started),
        account: &started.account,
        flow: started.flow,
        redirect_uri: started.redirect_uri.as_deref(),
        user_code: started.user_code.as_deref(),
        verification_uri: started.verification_uri.as_deref(),
        verification_uri_complete: started.verification_uri_complete.as_deref(),
        url_expires_in_secs: started.authorization_url_expires_in_secs,
        expires_in_secs: started.expires_in_secs,
    })
}

pub(in crate::command) fn failed(failure: &Failure) -> Result<(), Failure> {
    output::json_line(&LoginEvent::Error {
        code: failure.code(),
        message: &failure.message(),
        hint: failure.hint().as_deref(),
    })
}

/// `patience` is in seconds.
pub(super) fn opened(started: &LoginStartReply, patience: u64) {
    tell(format_args!(
        "Your browser opens the login page of '{}'. If it does not, open:",
        clean(&started.account)
    ));
    address(page(started));
    open_within(started);
    tell(format_args!(
        "Waiting for you there, for {} at most; Ctrl-C gives up.",
        span(patience)
    ));
}

pub(super) fn not_opened() {
    note("no browser could be opened: open the page yourself, or use --device");
}

pub(super) fn open_this(started: &LoginStartReply) {
    tell(format_args!(
        "To log in to '{}', open:",
        clean(&started.account)
    ));
    address(page(started));
    open_within(started);
}

/// A request that was pushed (RFC 9126) is not kept for long.
fn open_within(started: &LoginStartReply) {
    if let Some(secs) = started.authorization_url_expires_in_secs {
        tell(format_args!(
            "Open it within {}: after that the page says that the request is not known or has\n\
             expired, and you have to begin again.",
            span(secs)
        ));
    }
}

pub(super) fn paste_here() {
    tell(
        "If that browser is on another machine, its last page will not load: then copy\n\
         its address, or the code that the page shows, and paste it here.\n\
         Ctrl-C gives up.",
    );
}

/// Why the login goes the way that nobody asked for, and how to ask for another.
pub(super) fn because(reason: Reason, started: &LoginStartReply) {
    let why = reason.words();
    match started.flow {
        Flow::Browser => note(format_args!(
            "{why}, and the provider takes no code for devices from this client: \
             open the page yourself (--browser opens it here)"
        )),
        _ => note(format_args!(
            "{why}: log in with a code, on any device (--browser and --no-browser do without)"
        )),
    }
}

/// The page that was to be opened may be none any more.
pub(super) fn page_is_over() {
    note(
        "the time to open that page is over: if you have not opened it yet, press Ctrl-C and log in again",
    );
}

pub(super) fn pasted_the_way_in() {
    note(
        "that is the address to open: open it in a browser, sign in there, and paste the address where it \
         ends",
    );
}

pub(super) fn pasted_in_vain(failure: &Failure) {
    let hint = failure.hint().map(|hint| format!(": {hint}"));
    note(format_args!(
        "that does not finish the login: {}{}",
        clean(&failure.message()),
        clean(&hint.unwrap_or_default()),
    ));
}

/// On a line of its own and in full, so that it can be copied.
fn address(url: &str) {
    tell(format_args!("\n  {}\n", styled(STRONG, clean(url))));
}

/// `patience` is in seconds.
pub(super) fn device(started: &LoginStartReply, patience: u64) {
    let uri = started.verification_uri.as_deref().unwrap_or_default();
    let code = started.user_code.as_deref().unwrap_or_default();
    tell(format_args!(
        "To log in to '{}', open this page on any device:",
        clean(&started.account)
    ));
    address(uri);
    tell(format_args!(
        "and enter this code:\n\n  {}\n",
        styled(STRONG, clean(code))
    ));
    if let Some(picture) = qr::picture(page(started)) {
        tell(format_args!(
            "or read this with a telephone:\n\n{picture}\n"
        ));
    }
    let host = host(uri).unwrap_or_else(|| uri.to_owned());
    tell(format_args!(
        "{}: enter this code at {} only, and tell it to nobody.\n\
         Whoever sends you a code to enter wants to get into your account.",
        styled(WARN, "Beware"),
        styled(STRONG, clean(&host))
    ));
    tell(format_args!(
        "Waiting for you there, for {} at most; Ctrl-C gives up.",
        span(patience)
    ));
}

/// Says who signed in and what came of it.
pub(super) fn done(done: &LoginDone, json: bool) -> Result<(), Failure> {
    ended(done, "Logged in to", json)
}

/// Says whose login was taken over.
pub(in crate::command) fn taken_over(done: &LoginDone, json: bool) -> Result<(), Failure> {
    ended(done, "Took over", json)
}

fn ended(done: &LoginDone, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        return output::json_line(&LoginEvent::Done {
            account: &done.account,
            issuer: &done.issuer,
            subject: done.subject.as_deref(),
            subject_name: done.subject_name.as_deref(),
            scopes: &done.scopes,
            refused_scopes: &done.refused_scopes,
            expires_at: done.expires_at,
            expiry: done.expiry,
            ttl_secs: done.ttl_secs,
            next_renewal_at: done.next_renewal_at,
            generation: done.generation,
            dpop: done.dpop,
        });
    }
    output::line(summary(done, what, output::now()))
}

fn summary(done: &LoginDone, what: &str, now: u64) -> String {
    let who = match (&done.subject_name, &done.subject) {
        (Some(name), Some(subject)) if name != subject => format!(" as {name} ({subject})"),
        (Some(one), _) | (None, Some(one)) => format!(" as {one}"),
        (None, None) => String::new(),
    };
    let mut text = format!(
        "{} '{}'{}",
        styled(GOOD, what),
        clean(&done.account),
        clean(&who)
    );
    let mut row = |name: &str, value: &str| {
        text.push_str(&format!("\n  {name:<14}{}", clean(value)));
    };
    row("issuer", &done.issuer);
    if !done.scopes.is_empty() {
        row("granted", &done.scopes.join(" "));
    }
    if !done.refused_scopes.is_empty() {
        row("not granted", &done.refused_scopes.join(" "));
    }
    match done.dpop {
        Some(Dpop::Bound) => row("bound", "to a key that stays in the daemon (DPoP)"),
        Some(Dpop::Bearer) => row("bound", "no: the provider issues plain bearer tokens"),
        Some(Dpop::Unknown) | None => {}
    }
    let life = match (done.expiry, done.ttl_secs) {
        (Expiry::Exact, Some(secs)) => format!("in {}", span(secs)),
        (_, Some(secs)) => format!("in {} (assumed; the provider does not say)", span(secs)),
        (_, None) => "the provider does not say".to_owned(),
    };
    row("expires", &life);
    let next = done.next_renewal_at.map_or_else(
        || "none planned".to_owned(),
        |at| format!("in {}, by itself", span(at.saturating_sub(now))),
    );
    row("next renewal", &next);
    text
}
