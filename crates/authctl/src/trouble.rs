//! What is not well with an account, in a sentence, with what mends it: for `status` and `doctor`.

use authd_proto::limits::CLOCK_TOLERANCE_SECS;
use authd_proto::response::{AccountInfo, Dpop, Flag, FlagName, LeaseInfo, State};

use crate::output::span;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nobody: it is as it should be, and worth knowing.
    Know,
    /// authd does.
    Watch,
    /// The person.
    Act,
}

/// One thing. Texts are not cleaned yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What it is, in one stable word.
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    /// A sentence.
    pub(crate) what: String,
    /// What mends it.
    pub(crate) mend: String,
}

/// Everything that is not well with the account. `now` is in Unix seconds.
pub(crate) fn of(account: &AccountInfo, now: u64) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = account
        .flags
        .iter()
        .map(|flag| of_flag(flag, account, now))
        .collect();
    let has_flag = |name| account.flags.iter().any(|flag| flag.flag == name);
    if account.state == State::NeedsLogin && !has_flag(FlagName::NeedsLogin) {
        let flag = Flag {
            flag: FlagName::NeedsLogin,
            reason: String::new(),
            since_at: None,
        };
        troubles.push(of_flag(&flag, account, now));
    }
    troubles.extend(account.leases.iter().filter_map(learned));
    troubles.extend(clock(account));
    if account.dpop == Some(Dpop::Bearer) {
        troubles.push(Trouble {
            code: "not_bound",
            severity: Severity::Know,
            what: "its tokens are bound to no key, although one was shown to the provider"
                .to_owned(),
            mend: "nothing to do; whoever gets hold of one can use it until it expires".to_owned(),
        });
    }
    troubles
}

/// The code of a trouble with the clock.
pub(crate) const CLOCK: &str = "clock_skew";

/// A clock that is not the provider's.
fn clock(account: &AccountInfo) -> Option<Trouble> {
    let ahead = account.clock_ahead_secs?;
    let off = ahead.unsigned_abs();
    if off <= CLOCK_TOLERANCE_SECS {
        return None;
    }
    let which = if ahead > 0 { "ahead of" } else { "behind" };
    Some(Trouble {
        code: CLOCK,
        severity: Severity::Watch,
        what: format!(
            "this machine's clock is {} {which} the provider's",
            span(off)
        ),
        mend: "set the clock: timedatectl set-ntp true".to_owned(),
    })
}

/// A flag in one stable word.
fn code(flag: FlagName) -> &'static str {
    match flag {
        FlagName::Offline => "offline",
        FlagName::Throttled => "throttled",
        FlagName::Ambiguous => "ambiguous",
        FlagName::Suspect => "suspect",
        FlagName::NeedsLogin => "needs_login",
        FlagName::ProviderRejects => "provider_rejects",
        FlagName::StoreDegraded => "store_degraded",
        FlagName::Misconfigured => "misconfigured",
        FlagName::StaleStore => "stale_store",
        FlagName::ScopeChanged => "scope_changed",
        FlagName::Locked => "locked",
        FlagName::MetadataChanged => "metadata_changed",
        FlagName::Unknown => "unknown_flag",
    }
}

/// Tokens that end earlier than the provider says.
fn learned(lease: &LeaseInfo) -> Option<Trouble> {
    let (learned, stated) = (lease.learned_lifetime_secs?, lease.stated_lifetime_secs?);
    let whose = match &lease.resource {
        Some(resource) => format!("its tokens for {resource}"),
        None => "its tokens".to_owned(),
    };
    Some(Trouble {
        code: "learned_lifetime",
        severity: Severity::Know,
        what: format!(
            "{whose} end earlier than the provider says: after {} instead of {}, learned from \
             rejections",
            span(learned),
            span(stated)
        ),
        mend: "authd renews them earlier; nothing to do".to_owned(),
    })
}

fn of_flag(flag: &Flag, account: &AccountInfo, now: u64) -> Trouble {
    use Severity::{Act, Watch};
    let name = &account.account;
    let again = account.next_renewal_at.map_or_else(
        || "authd goes on by itself".to_owned(),
        |at| match at.saturating_sub(now) {
            0 => "authd is trying again now".to_owned(),
            secs => format!("authd tries again in {}", span(secs)),
        },
    );
    // For a daemon that says no more than the flag's name.
    let (severity, otherwise, mend) = match flag.flag {
        FlagName::Offline => (
            Watch,
            "the provider cannot be reached",
            format!("{again}; 'authctl renew {name}' tries at once"),
        ),
        FlagName::Throttled => (
            Watch,
            "the provider asked for a pause",
            format!("{again}; nothing to do"),
        ),
        FlagName::Ambiguous => (
            Watch,
            "the provider's answer was lost",
            format!(
                "authd finds out when that is safe; should tokens stop, run 'authctl login {name}'"
            ),
        ),
        FlagName::Suspect => (
            Watch,
            "the provider refused the login once",
            match account.next_renewal_at.map(|at| at.saturating_sub(now)) {
                Some(secs) if secs > 0 => format!(
                    "authd asks once more in {}, before it believes that",
                    span(secs)
                ),
                _ => "authd asks once more before it believes that".to_owned(),
            },
        ),
        FlagName::NeedsLogin => (
            Act,
            "the login has ended",
            format!("run 'authctl login {name}'"),
        ),
        FlagName::ProviderRejects => (
            Act,
            "servers reject even new tokens",
            format!("check what you may access there, then run 'authctl login {name}'"),
        ),
        FlagName::StoreDegraded => (
            Act,
            "the newest tokens are not on disk",
            "make room or mend the disk; 'authctl doctor' says where".to_owned(),
        ),
        FlagName::Misconfigured => (
            Act,
            "the provider refuses this client or what it asks for",
            format!(
                "mend that there, then run 'authctl renew {name}'; or log in anew: 'authctl login {name}'"
            ),
        ),
        FlagName::StaleStore => (
            Act,
            "the store was restored or copied",
            format!(
                "if no other copy is in use, run 'authctl adopt {name}'; else 'authctl login {name}'"
            ),
        ),
        FlagName::ScopeChanged => (
            Watch,
            "the latest token has other scopes than the login",
            format!("if that is too little, run 'authctl login {name}'"),
        ),
        FlagName::MetadataChanged => (
            Watch,
            "the provider is not what it was at login",
            format!("if renewals fail, run 'authctl login {name}'"),
        ),
        FlagName::Locked => (
            Act,
            "the store is locked",
            "unlock the key store of your session; 'authctl doctor' says which".to_owned(),
        ),
        FlagName::Unknown => (
            Watch,
            "something this authctl does not know",
            "install the same version of authd and authctl".to_owned(),
        ),
    };
    let what = match flag.reason.as_str() {
        "" => otherwise.to_owned(),
        reason => reason.to_owned(),
    };
    Trouble {
        code: code(flag.flag),
        severity,
        what,
        mend,
    }
}
