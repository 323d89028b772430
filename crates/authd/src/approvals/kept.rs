//! Tiers and standing approvals, as they are kept: `approvals.json` in the state directory.
//!
//! One file, replaced as a whole. What cannot be read is not taken for "nobody is to be asked": then every
//! account asks each time, until a person has looked.

use std::{collections::BTreeMap, io, path::Path};

use authd_core::{
    id::Account,
    policy::{Approval, CallerName, Extent, Tier},
    time::{Now, Wall},
};
use authd_store::disk::{self, RealDisk};
use serde::{Deserialize, Serialize};

/// The file's name.
pub(super) const FILE: &str = "approvals.json";
/// What this version writes.
const FORMAT: u32 = 1;
/// Standing approvals at most.
pub(super) const MOST_GRANTS: usize = 512;
/// Accounts with a tier of their own at most.
pub(super) const MOST_TIERS: usize = 4096;

/// All that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    format: u32,
    /// Of accounts whose tier is not [`Tier::Allow`].
    pub(crate) tiers: BTreeMap<Account, Tier>,
    pub(crate) grants: Vec<Grant>,
    next_id: u64,
}

/// A standing approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub(crate) id: u64,
    pub(crate) account: Account,
    pub(crate) caller: CallerName,
    /// Unix seconds.
    pub(crate) created_at: u64,
    /// Unix seconds; `None` where only revoking ends it.
    pub(crate) expires_at: Option<u64>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// There are as many as there may be.
    #[error("there are {MOST_GRANTS} standing approvals and {MOST_TIERS} tiers at most")]
    TooMany,
    /// What is on the disk is not to be written over.
    #[error("{FILE} in the state directory cannot be read: {0}")]
    Unread(String),
    /// The disk does not take it.
    #[error("{FILE} cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            format: FORMAT,
            tiers: BTreeMap::new(),
            grants: Vec::new(),
            next_id: 1,
        }
    }
}

impl Kept {
    /// Reads the file of this state directory; one that is not there says nothing.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    pub(super) fn load(state_dir: &Path) -> Result<Self, String> {
        let path = state_dir.join(FILE);
        let bytes = match disk::read_whole(&RealDisk, &path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Self::default()),
            Err(error) => return Err(error.to_string()),
        };
        let kept: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if kept.format == FORMAT {
            Ok(kept)
        } else {
            Err(format!("it has format {}", kept.format))
        }
    }

    /// Writes it, durably and whole. Blocks.
    pub(super) fn save(&self, state_dir: &Path) -> Result<(), NotKept> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::from)?;
        disk::replace(&RealDisk, &state_dir.join(FILE), &bytes)?;
        Ok(())
    }

    /// Sets a tier.
    pub(super) fn set_tier(&mut self, account: Account, tier: Tier) -> Result<(), NotKept> {
        if tier == Tier::Allow {
            self.tiers.remove(&account);
        } else if self.tiers.len() < MOST_TIERS || self.tiers.contains_key(&account) {
            self.tiers.insert(account, tier);
        } else {
            return Err(NotKept::TooMany);
        }
        Ok(())
    }

    /// Adds a standing approval, in the place of an earlier one of the same caller; what has expired goes.
    pub(super) fn add(
        &mut self,
        account: Account,
        caller: CallerName,
        now: u64,
        expires_at: Option<u64>,
    ) -> Result<Grant, NotKept> {
        self.grants.retain(|grant| {
            grant.expires_at.is_none_or(|end| end > now)
                && (grant.account != account || grant.caller != caller)
        });
        if self.grants.len() >= MOST_GRANTS {
            return Err(NotKept::TooMany);
        }
        let grant = Grant {
            id: self.next_id,
            account,
            caller,
            created_at: now,
            expires_at,
        };
        self.next_id += 1;
        self.grants.push(grant.clone());
        Ok(grant)
    }

    /// Ends one of the account's standing approvals, or all; how many there were.
    pub(super) fn revoke(&mut self, account: &Account, id: Option<u64>) -> u64 {
        let before = self.grants.len();
        self.grants
            .retain(|grant| grant.account != *account || id.is_some_and(|id| grant.id != id));
        (before - self.grants.len()) as u64
    }

    /// Those of an account that are not over.
    pub(super) fn of(&self, account: &Account, now: Now) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter(move |grant| grant.account == *account && !grant.approval().extent.is_over(now))
    }
}

impl Grant {
    /// The same for the policy.
    pub(super) fn approval(&self) -> Approval {
        let wall = |secs: u64| Wall(i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX));
        Approval {
            caller: self.caller.clone(),
            extent: Extent::Standing {
                until: self.expires_at.map(wall),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Account {
        Account::new(name).unwrap()
    }

    fn git() -> CallerName {
        "exe:/usr/bin/git".parse().unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::load(dir.path()), Ok(Kept::default()));
        let mut kept = Kept::default();
        kept.set_tier(account("work"), Tier::AskEach).unwrap();
        kept.add(account("work"), git(), 100, Some(200)).unwrap();
        kept.save(dir.path()).unwrap();
        assert_eq!(Kept::load(dir.path()), Ok(kept.clone()));
        kept.set_tier(account("work"), Tier::Allow).unwrap();
        assert_eq!(kept.revoke(&account("work"), Some(7)), 0);
        assert_eq!(kept.revoke(&account("work"), Some(1)), 1);
        kept.save(dir.path()).unwrap();
        let empty = Kept {
            next_id: 2,
            ..Kept::default()
        };
        assert_eq!(Kept::load(dir.path()), Ok(empty));
    }

    #[test]
    fn what_does_not_read_is_an_error_and_never_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let write = |text: &str| {
            disk::replace(&RealDisk, &path, text.as_bytes()).unwrap();
            Kept::load(dir.path())
        };
        assert!(write("").is_err());
        assert!(write("{\"format\":1,\"tiers\":{\"work\":\"ask").is_err());
        let newer = "{\"format\":2,\"tiers\":{},\"grants\":[],\"next_id\":1}";
        assert_eq!(write(newer), Err("it has format 2".to_owned()));
        let session = "{\"format\":1,\"tiers\":{},\"next_id\":2,\"grants\":[{\"id\":1,\"account\":\
                       \"work\",\"caller\":\"session:1.2\",\"created_at\":1,\"expires_at\":null}]}";
        assert!(write(session).is_err(), "no such name lasts");
    }

    #[test]
    fn one_caller_has_one_standing_approval_and_there_is_an_end_to_them() {
        let mut kept = Kept::default();
        kept.add(account("work"), git(), 100, Some(200)).unwrap();
        let again = kept.add(account("work"), git(), 100, None).unwrap();
        assert_eq!(kept.grants, [again]);
        for number in 1..MOST_GRANTS {
            let caller = CallerName::Unit(format!("u{number}.service").into());
            kept.add(account("work"), caller, 100, Some(200)).unwrap();
        }
        assert!(kept.add(account("home"), git(), 199, None).is_err());
        kept.add(account("home"), git(), 200, None).unwrap();
        assert_eq!(kept.grants.len(), 2, "what has expired made room");
    }
}
