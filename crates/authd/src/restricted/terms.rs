//! What a restricted socket was made for. This is what is kept on disk.

use std::time::Duration;

use authd_core::{
    grant::Grant,
    id::Account,
    scope::ScopeSet,
    time::{BootId, Now, Stamp},
};
use authd_ipc::Peer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What it gives, to whom, and for how long. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// What `socket.revoke` calls it; the name of its directory.
    pub(crate) name: String,
    /// Whose token.
    pub(crate) account: Account,
    /// Who was behind that name then.
    pub(crate) login: Login,
    /// The most scopes of a token; empty only where the login has none.
    pub(crate) scopes: ScopeSet,
    /// The resources that a token may be for, the first where none is asked for; empty where the login
    /// has none.
    pub(crate) resources: Vec<String>,
    /// The effective uids that are let in.
    pub(crate) uids: Vec<u32>,
    /// Whom it is for, in the person's words.
    pub(crate) label: Option<String>,
    /// When it was opened.
    pub(crate) created: Stamp,
    /// How long it is there, in seconds.
    pub(crate) ttl_secs: u64,
}

/// By what a login is known again: a hash, so that the file tells nobody who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Login {
    /// The provider and the person.
    Subject(String),
    /// The provider and the client, where the provider did not say who signed in.
    Client(String),
}

impl Login {
    /// That of this grant.
    pub(crate) fn of(grant: &Grant) -> Self {
        match &grant.subject {
            Some(subject) => Self::Subject(hash(&grant.provider.name(), &subject.sub)),
            None => Self::Client(hash(&grant.provider.name(), &grant.provider.client_id)),
        }
    }

    /// Whether the grant is of the same person, as far as was known. A client id may be another with
    /// each login, where clients register themselves: it counts only where nobody knows better.
    pub(crate) fn is_behind(&self, grant: &Grant) -> bool {
        match self {
            Self::Subject(_) => *self == Self::of(grant),
            Self::Client(client) => {
                *client == hash(&grant.provider.name(), &grant.provider.client_id)
            }
        }
    }
}

fn hash(provider: &str, who: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"authd restricted\0");
    for part in [provider, who] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Terms {
    /// What is left of its time; `None` when that is over, or when the clock was set back so that nobody
    /// can tell.
    pub(crate) fn left(&self, now: Now, boot_id: BootId) -> Option<Duration> {
        let age = self.created.age(now, boot_id)?;
        let left = Duration::from_secs(self.ttl_secs).checked_sub(age)?;
        (!left.is_zero()).then_some(left)
    }

    /// For whom and for how long, as the person is asked.
    pub(crate) fn summary(&self) -> String {
        let uids: Vec<String> = self.uids.iter().map(u32::to_string).collect();
        let span = humantime::format_duration(Duration::from_secs(self.ttl_secs));
        let mut text = format!("for uid {}, for {span}", uids.join(", "));
        if let Some(label) = &self.label {
            text.push_str(&format!(", labelled \"{label}\""));
        }
        if self.resources.len() > 1 {
            text.push_str(&format!(", for {}", self.resources.join(", ")));
        }
        text
    }

    /// Whether the peer is one of those that it is for.
    pub(crate) fn admits(&self, peer: Peer) -> bool {
        peer.uid.is_some_and(|uid| self.uids.contains(&uid))
    }
}

#[cfg(test)]
mod tests {
    use authd_core::time::{Boot, Wall};

    use super::*;

    fn now(boot: u64, wall: i64) -> Now {
        Now {
            boot: Boot(boot),
            wall: Wall(wall),
        }
    }

    fn terms() -> Terms {
        Terms {
            name: "work-000000".to_owned(),
            account: Account::new("work").unwrap(),
            login: Login::Client(String::new()),
            scopes: ScopeSet::default(),
            resources: vec![],
            uids: vec![1000],
            label: None,
            created: Stamp {
                boot_id: BootId(u128::MAX),
                at: now(5_000, 1_000_000),
            },
            ttl_secs: 60,
        }
    }

    #[test]
    fn its_time_runs_on_the_clock_that_is_further() {
        let terms = terms();
        let left = |boot, wall, id| terms.left(now(boot, wall), BootId(id));
        assert_eq!(left(5_000, 1_000_000, u128::MAX).unwrap().as_secs(), 60);
        assert_eq!(left(64_999, 0, u128::MAX).unwrap().as_millis(), 1);
        assert_eq!(left(65_000, 0, u128::MAX), None);
        assert_eq!(
            left(5_001, 1_060_000, u128::MAX),
            None,
            "the calendar says it"
        );
        // After another start of the machine the calendar alone is left.
        assert_eq!(left(1, 1_030_000, 7).unwrap().as_secs(), 30);
        assert_eq!(left(1, 1_060_000, 7), None);
        assert_eq!(left(1, 999_999, 7), None, "set back: nobody knows");
    }

    #[test]
    fn the_person_hears_for_whom_and_how_long() {
        let mut terms = terms();
        assert_eq!(terms.summary(), "for uid 1000, for 1m");
        terms.uids.push(1001);
        terms.label = Some("build".to_owned());
        terms.resources = vec!["https://a".to_owned(), "https://b".to_owned()];
        assert_eq!(
            terms.summary(),
            "for uid 1000, 1001, for 1m, labelled \"build\", for https://a, https://b"
        );
    }

    #[test]
    fn on_disk_it_reads_back() {
        let text = serde_json::to_string(&terms()).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), terms());
    }

    #[test]
    fn those_alone_that_are_named_are_let_in() {
        let peer = |uid| Peer { uid, pid: None };
        assert!(terms().admits(peer(Some(1000))));
        for uid in [None, Some(0), Some(1001), Some(65_534)] {
            assert!(!terms().admits(peer(uid)), "{uid:?}");
        }
    }
}
