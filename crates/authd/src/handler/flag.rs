//! The engine's flags in the wire's words: each reason a sentence that a person understands.

use std::time::Duration;

use authd_core::{
    flag::{Ambiguity, Flags, Raised, Rejecting},
    metadata::Change,
    time::Boot,
};
use authd_proto::response::{Flag, FlagName};

use super::{account::unix, refusal};

/// The flags that are up, each with its reason in a sentence.
pub(crate) fn flags(flags: &Flags, now: Boot) -> Vec<Flag> {
    fn flag<R>(
        flag: FlagName,
        raised: Option<&Raised<R>>,
        why: impl Fn(&R) -> String,
    ) -> Option<Flag> {
        raised.map(|raised| Flag {
            flag,
            reason: why(&raised.reason),
            since_at: Some(unix(raised.since)),
        })
    }
    let all = [
        flag(FlagName::Offline, flags.offline.as_ref(), |class| {
            offline(class).to_owned()
        }),
        flag(FlagName::Throttled, flags.throttled.as_ref(), |until| {
            throttled(until.since(now))
        }),
        flag(FlagName::Ambiguous, flags.ambiguous.as_ref(), |ambiguity| {
            ambiguous(*ambiguity).to_owned()
        }),
        flag(FlagName::Suspect, flags.suspect.as_ref(), |code| {
            format!("the provider refused the login once ({code})")
        }),
        flag(FlagName::NeedsLogin, flags.needs_login.as_ref(), |reason| {
            refusal::login_reason(reason).to_owned()
        }),
        flag(
            FlagName::ProviderRejects,
            flags.provider_rejects.as_ref(),
            |who| rejects(*who).to_owned(),
        ),
        flag(
            FlagName::StoreDegraded,
            flags.store_degraded.as_ref(),
            |why| format!("the newest tokens are not in the database: {why}"),
        ),
        flag(
            FlagName::Misconfigured,
            flags.misconfigured.as_ref(),
            Clone::clone,
        ),
        flag(FlagName::StaleStore, flags.stale_store.as_ref(), |stale| {
            refusal::stale_store(*stale).to_owned()
        }),
        flag(
            FlagName::ScopeChanged,
            flags.scope_changed.as_ref(),
            |scopes| format!("the latest token has other scopes than the login: {scopes}"),
        ),
        flag(
            FlagName::MetadataChanged,
            flags.metadata_changed.as_ref(),
            |changes| metadata_changed(changes),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// What is not as it was at login, in a sentence.
pub(crate) fn metadata_changed(changes: &[Change]) -> String {
    let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
    format!(
        "the provider is not what it was at login: {}",
        changes.join("; ")
    )
}

fn offline(class: &str) -> &'static str {
    match class {
        "dns" => "the provider's name cannot be resolved",
        "connect" => "the provider cannot be connected to",
        "proxy" => "the proxy gives no connection to the provider",
        "proxy_login" => "the proxy wants another name and password",
        "tls" => "no TLS with the provider; something else may be answering in its place",
        "certificate_untrusted" => {
            "nobody whom this machine trusts vouches for the provider's certificate"
        }
        "certificate_foreign" => {
            "something else answers in the provider's place, with another host's certificate: a portal?"
        }
        "certificate_outdated" => {
            "by this machine's clock the provider's certificate is not valid now"
        }
        "timeout" => "the provider does not answer in time",
        "connection_broken" => "the connection to the provider broke",
        "response_too_large" => "the provider's answer is too large to be one",
        "html_page" => "a web page answers in the provider's place: a portal, or a proxy",
        "portal" => "this network wants you to sign in to it first",
        "redirect" => "something redirects what is for the provider: a portal, or a proxy",
        _ => "the provider answers that it has a problem of its own",
    }
}

fn throttled(left: Duration) -> String {
    match left.as_secs() {
        0 => "the provider asked for a pause, which is over".to_owned(),
        secs => {
            let left = humantime::format_duration(Duration::from_secs(secs));
            format!("the provider asked for a pause, for another {left}")
        }
    }
}

fn ambiguous(ambiguity: Ambiguity) -> &'static str {
    match ambiguity {
        Ambiguity::Interrupted => {
            "the daemon ended in the middle of a renewal, and its answer is lost"
        }
        Ambiguity::AnswerLost => "the provider's answer to a renewal was lost",
        Ambiguity::Gateway => "a gateway answered a renewal in the provider's place",
    }
}

fn rejects(who: Rejecting) -> &'static str {
    match who {
        Rejecting::OneClient => "one client reports even new tokens as refused",
        Rejecting::SeveralClients => "several clients report even new tokens as refused",
    }
}

#[cfg(test)]
mod tests {
    use authd_core::{
        flag::{LoginReason, StaleStore},
        scope::ScopeSet,
        time::Wall,
    };

    use super::*;

    fn up<R>(reason: R) -> Option<Raised<R>> {
        let since = Wall::from_unix_secs(1_800_000_000);
        Some(Raised { reason, since })
    }

    #[test]
    fn each_flag_has_a_sentence_of_its_own() {
        let raised = Flags {
            offline: up("dns"),
            throttled: up(Boot(1000).after(Duration::from_secs(120))),
            ambiguous: up(Ambiguity::AnswerLost),
            suspect: up("invalid_grant".to_owned()),
            needs_login: up(LoginReason::Revoked),
            provider_rejects: up(Rejecting::OneClient),
            store_degraded: up("no space left on device".to_owned()),
            misconfigured: up("the provider answered 401 invalid_client: unknown".to_owned()),
            stale_store: up(StaleStore::OtherMachine),
            scope_changed: up(["api"].into_iter().collect::<ScopeSet>()),
            metadata_changed: up(vec![
                Change::GrantType("refresh_token".to_owned()),
                Change::CodeChallenge,
            ]),
        };
        let told = flags(&raised, Boot(1000));
        let expected = [
            "the provider's name cannot be resolved",
            "the provider asked for a pause, for another 2m",
            "the provider's answer to a renewal was lost",
            "the provider refused the login once (invalid_grant)",
            "the login has ended: the provider refused it twice",
            "one client reports even new tokens as refused",
            "the newest tokens are not in the database: no space left on device",
            "the provider answered 401 invalid_client: unknown",
            "the store was copied from another machine",
            "the latest token has other scopes than the login: api",
            "the provider is not what it was at login: the grant type refresh_token is not offered \
             any more; the code challenge method S256 is not offered any more",
        ];
        let reasons: Vec<_> = told.iter().map(|flag| flag.reason.as_str()).collect();
        assert_eq!(reasons, expected);
        let known: std::collections::HashSet<_> = [
            "dns",
            "connect",
            "proxy",
            "proxy_login",
            "tls",
            "certificate_untrusted",
            "certificate_foreign",
            "certificate_outdated",
            "timeout",
            "connection_broken",
            "response_too_large",
            "html_page",
            "portal",
            "redirect",
            "provider_error",
        ]
        .map(offline)
        .into();
        assert_eq!(known.len(), 15, "no two classes read alike");
    }
}
