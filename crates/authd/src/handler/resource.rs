//! Which account a client means that names none: the one that has the resource, or the only one.

use std::sync::Arc;

use authd_oauth::ResourceIndicator;
use authd_proto::{ErrorCode, WireError};

use crate::published::{Accounts, Snapshot};

/// The longest resource that is repeated to whoever asked for it, in characters.
const LONGEST_SHOWN: usize = 200;

/// The account that is meant. Where several have the resource, those that have it best: named at the login,
/// and not merely alike.
pub(super) fn account<'a>(
    accounts: &'a Accounts,
    resource: Option<&str>,
) -> Result<&'a Arc<Snapshot>, WireError> {
    let mut matching = match resource {
        Some(resource) => having(accounts, resource),
        None => accounts.values().collect(),
    };
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => Err(none(resource)),
        _ => Err(several(&matching, resource)),
    }
}

fn having<'a>(accounts: &'a Accounts, resource: &str) -> Vec<&'a Arc<Snapshot>> {
    let asked = ResourceIndicator::new(resource);
    let fits: Vec<_> = accounts
        .values()
        .filter_map(|snapshot| Some((snapshot.known_as(&asked)?.0, snapshot)))
        .collect();
    let best = fits.iter().map(|(fit, _)| *fit).min();
    fits.into_iter()
        .filter(|(fit, _)| Some(*fit) == best)
        .map(|(_, snapshot)| snapshot)
        .collect()
}

fn none(resource: Option<&str>) -> WireError {
    let (message, hint) = match resource.map(shown) {
        Some(resource) => (
            format!("no account has the resource {resource}"),
            format!("run 'authctl login --resource {}'", quotable(&resource)),
        ),
        None => (
            "there is no account yet".to_owned(),
            "run 'authctl login'".to_owned(),
        ),
    };
    WireError::new(ErrorCode::UnknownAccount, message).with_hint(hint)
}

fn several(matching: &[&Arc<Snapshot>], resource: Option<&str>) -> WireError {
    let mut names: Vec<_> = matching
        .iter()
        .map(|snapshot| snapshot.view.grant.account.to_string())
        .collect();
    names.sort();
    let list = names.join(", ");
    let message = match resource.map(shown) {
        Some(resource) => format!("several accounts have the resource {resource}: {list}"),
        None => format!("there are several accounts: {list}"),
    };
    WireError::new(ErrorCode::AmbiguousAccount, message)
        .with_hint("name one")
        .with_candidates(names)
}

fn shown(resource: &str) -> String {
    let visible = resource.chars().filter(|c| !c.is_control());
    visible.take(LONGEST_SHOWN).collect()
}

/// What can stand in a command line as it is; else a word for it.
fn quotable(resource: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/%+,@".contains(c);
    if !resource.is_empty() && resource.chars().all(is_plain) {
        resource
    } else {
        "URL"
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use authd_core::{
        broker::View,
        grant::Grant,
        id::{Account, Fingerprint, Generation},
        lease::{Expiry, Lease, LeaseKey},
        scope::ScopeSet,
        time::{BootId, Now, Stamp},
    };
    use authd_store::Secrets;

    use super::*;

    const MCP: &str = "https://mcp.example/mcp";

    fn grant(name: &str, resources: &[&str]) -> Grant {
        let json = serde_json::json!({
            "account": name,
            "id": 1,
            "generation": 1,
            "provider": authd_core::grant::Provider::default(),
            "subject": null,
            "scopes": [],
            "resource": resources.first(),
            "resources": resources.iter().collect::<BTreeSet<_>>(),
            "renewable": true,
            "leases": {},
            "flags": {},
            "renewals": 0,
            "created_at": 0,
            "last_error": null,
        });
        serde_json::from_value(json).unwrap()
    }

    fn accounts(grants: impl IntoIterator<Item = Grant>) -> Accounts {
        let entry = |grant: Grant| {
            let account = Account::new(grant.account.as_str()).unwrap();
            let view = View {
                grant: Arc::new(grant),
                refreshing: None,
                next_renewal: None,
            };
            let snapshot = Snapshot::new(view, &Secrets::default(), None);
            (account, Arc::new(snapshot))
        };
        grants.into_iter().map(entry).collect()
    }

    fn name(found: Result<&Arc<Snapshot>, WireError>) -> String {
        found.unwrap().view.grant.account.to_string()
    }

    fn error(found: Result<&Arc<Snapshot>, WireError>) -> WireError {
        match found {
            Ok(snapshot) => panic!("{} fits", snapshot.view.grant.account),
            Err(error) => error,
        }
    }

    #[test]
    fn the_account_that_has_the_resource_is_meant_however_it_is_spelled() {
        let three = accounts([
            grant("work", &["https://other.example/", MCP]),
            grant("home", &["https://api.example"]),
            grant("plain", &[]),
        ]);
        for asked in [
            MCP,
            "HTTPS://MCP.Example:443/mcp",
            "https://mcp.example/mcp/",
        ] {
            let found = account(&three, Some(asked)).unwrap();
            let key = found.key(LeaseKey {
                resource: Some(asked.to_owned()),
                ..LeaseKey::default()
            });
            // The provider knows it by the login's spelling.
            assert_eq!(key.resource.as_deref(), Some(MCP), "{asked}");
        }
        let asked = Some("https://api.example/");
        assert_eq!(name(account(&three, asked)), "home");
    }

    #[test]
    fn what_a_server_calls_its_host_is_found_by_its_address() {
        let two = accounts([
            grant("host", &["https://mcp.example"]),
            grant("further", &["https://api.example", "https://mcp.example"]),
        ]);
        let found = account(&two, Some(MCP)).unwrap();
        assert_eq!(found.view.grant.account.as_str(), "host");
        let key = found.key(LeaseKey {
            resource: Some(MCP.to_owned()),
            ..LeaseKey::default()
        });
        assert_eq!(key.resource.as_deref(), Some("https://mcp.example"));
        let three = accounts([
            grant("host", &["https://mcp.example"]),
            grant("path", &[MCP]),
        ]);
        assert_eq!(name(account(&three, Some(MCP))), "path");
    }

    #[test]
    fn one_that_is_the_same_comes_before_one_with_another_slash() {
        let both = accounts([
            grant("bare", &[MCP]),
            grant("slash", &["https://mcp.example/mcp/"]),
        ]);
        assert_eq!(name(account(&both, Some(MCP))), "bare");
        let slash = Some("https://mcp.example/mcp/");
        assert_eq!(name(account(&both, slash)), "slash");
        // One account that names both has them apart.
        let one = accounts([grant("work", &[MCP, "https://mcp.example/mcp/"])]);
        for asked in [MCP, "https://mcp.example/mcp/"] {
            let key = account(&one, Some(asked)).unwrap().key(LeaseKey {
                resource: Some(asked.to_owned()),
                ..LeaseKey::default()
            });
            assert_eq!(key.resource.as_deref(), Some(asked));
        }
    }

    #[test]
    fn what_a_login_named_comes_before_what_was_merely_asked_for() {
        let mut asker = grant("asker", &[]);
        let key = LeaseKey {
            resource: Some(MCP.to_owned()),
            ..LeaseKey::default()
        };
        let stamp = Stamp {
            boot_id: BootId(1),
            at: Now::default(),
        };
        let lease = Lease {
            generation: Generation(1),
            fingerprint: Fingerprint([1; 16]),
            token_type: "Bearer".to_owned(),
            scopes: ScopeSet::default(),
            issued: stamp,
            lifetime: None,
            expiry: Expiry::Unknown,
            lead: Duration::ZERO,
            rejected: false,
            dead: false,
        };
        asker.leases.insert(key, lease);
        let alone = accounts([asker.clone()]);
        assert_eq!(name(account(&alone, Some(MCP))), "asker");
        let both = accounts([asker, grant("named", &[MCP])]);
        assert_eq!(name(account(&both, Some(MCP))), "named");
    }

    #[test]
    fn none_is_told_with_the_login_that_would_have_it() {
        let one = accounts([grant("work", &["https://api.example"])]);
        let none = error(account(&one, Some(MCP)));
        assert_eq!(none.code, ErrorCode::UnknownAccount);
        assert_eq!(
            none.message,
            "no account has the resource https://mcp.example/mcp"
        );
        assert_eq!(
            none.hint.as_deref(),
            Some("run 'authctl login --resource https://mcp.example/mcp'")
        );
        // What a shell would make something of is not put into a command.
        let hostile = error(account(&one, Some("https://x/';rm -rf ~\u{1b}[2J")));
        assert_eq!(
            hostile.hint.as_deref(),
            Some("run 'authctl login --resource URL'")
        );
        assert!(!hostile.message.contains('\u{1b}'));
        let nobody = Accounts::new();
        let empty = error(account(&nobody, None));
        assert_eq!(empty.hint.as_deref(), Some("run 'authctl login'"));
    }

    #[test]
    fn more_than_one_is_told_by_name() {
        let three = accounts([
            grant("work", &[MCP]),
            grant("home", &["https://MCP.example/mcp"]),
            grant("else", &["https://api.example"]),
        ]);
        let several = error(account(&three, Some(MCP)));
        assert_eq!(several.code, ErrorCode::AmbiguousAccount);
        assert_eq!(several.candidates, ["home", "work"]);
        assert!(several.message.ends_with(": home, work"));
        let all = error(account(&three, None));
        assert_eq!(all.candidates, ["else", "home", "work"]);
        let only = accounts([grant("work", &[MCP])]);
        assert_eq!(name(account(&only, None)), "work");
    }
}
