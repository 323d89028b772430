//! A lease: one issued access token, without its secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    grant::Grant,
    id::{Fingerprint, Generation},
    scope::ScopeSet,
    time::{BootId, Now, Stamp, Wall},
};

/// Which token of an account: one slot for each pair of resource and scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseKey {
    /// RFC 8707 resource indicator; `None` is the login's own.
    pub resource: Option<String>,
    /// Scopes asked for; empty is all that the login was granted.
    pub scopes: ScopeSet,
}

impl LeaseKey {
    /// The login's own: all its scopes, its own resource.
    #[must_use]
    pub fn of_login(grant: &Grant) -> Self {
        Self {
            resource: grant.resource.clone(),
            scopes: ScopeSet::default(),
        }
    }
}

/// How far `expires_at` can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The provider stated it.
    Exact,
    /// The provider did not state it; taken from its profile, or one hour.
    Assumed,
    /// Not known, and there is no refresh token: serve it until it is rejected.
    Unknown,
}

/// One issued access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The generation of the grant that issued it.
    pub generation: Generation,
    /// Names the token.
    pub fingerprint: Fingerprint,
    /// `token_type` as the provider wrote it; compared without regard to case (RFC 6749 §5.1).
    pub token_type: String,
    /// The scopes it has.
    pub scopes: ScopeSet,
    /// When the request that brought it was *sent*: its life is counted from then.
    pub issued: Stamp,
    /// Its whole life; `None` exactly when `expiry` is [`Expiry::Unknown`].
    pub lifetime: Option<Duration>,
    /// How far `lifetime` can be believed.
    pub expiry: Expiry,
    /// How long before the end its renewal is due. Drawn once, when it was issued: a lead drawn
    /// anew at every check would be biased early.
    pub lead: Duration,
    /// An API refused it, by a client's report.
    pub rejected: bool,
}

/// Where a lease stands in its life. `Expired` is computed from the clock and never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// More than its lead is left.
    Fresh,
    /// Its renewal is due.
    Due,
    /// Less than the floor is left.
    Late,
    /// Nothing is left.
    Expired,
}

impl Lease {
    /// What is left of its life; `None` when that is not known ([`Expiry::Unknown`]).
    ///
    /// A stamp whose age cannot be told (another boot, and the wall clock behind it) leaves
    /// nothing: one exchange too many is cheaper than an expired token handed out.
    #[must_use]
    pub fn remaining(&self, now: Now, boot_id: BootId) -> Option<Duration> {
        let lifetime = self.lifetime?;
        let age = self.issued.age(now, boot_id);
        Some(age.map_or(Duration::ZERO, |age| lifetime.saturating_sub(age)))
    }

    /// The floor N: what a served token must at least have left, min(60 s, L/4).
    #[must_use]
    pub fn floor(&self) -> Duration {
        self.lifetime.map_or(Duration::ZERO, floor_of)
    }

    /// Where it stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Now, boot_id: BootId) -> Standing {
        match self.remaining(now, boot_id) {
            None => Standing::Fresh,
            Some(left) if left.is_zero() => Standing::Expired,
            Some(left) if left < self.floor() => Standing::Late,
            Some(left) if left <= self.lead => Standing::Due,
            Some(_) => Standing::Fresh,
        }
    }

    /// `expires_at` on the wall clock, as the wire states it.
    #[must_use]
    pub fn expires_at(&self) -> Option<Wall> {
        self.lifetime
            .map(|lifetime| self.issued.at.wall.after(lifetime))
    }
}

/// The floor N for a lifetime: min(60 s, L/4).
#[must_use]
pub fn floor_of(lifetime: Duration) -> Duration {
    Duration::from_secs(60).min(lifetime / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Boot, Wall};

    fn lease(lifetime: Option<u64>) -> Lease {
        Lease {
            generation: Generation(1),
            fingerprint: Fingerprint::default(),
            token_type: "Bearer".to_owned(),
            scopes: ScopeSet::default(),
            issued: Stamp {
                boot_id: BootId(1),
                at: at(0),
            },
            lifetime: lifetime.map(Duration::from_secs),
            expiry: if lifetime.is_some() {
                Expiry::Exact
            } else {
                Expiry::Unknown
            },
            lead: Duration::from_secs(1200),
            rejected: false,
        }
    }

    fn at(secs: u64) -> Now {
        Now {
            boot: Boot(1000 * secs),
            wall: Wall::from_unix_secs(1_700_000_000 + secs as i64),
        }
    }

    #[test]
    fn a_lease_goes_through_its_life() {
        let lease = lease(Some(3600));
        for (secs, standing) in [
            (0, Standing::Fresh),
            (2399, Standing::Fresh),
            (2400, Standing::Due),
            (3540, Standing::Due),
            (3541, Standing::Late),
            (3599, Standing::Late),
            (3600, Standing::Expired),
            (u64::MAX / 2000, Standing::Expired),
        ] {
            assert_eq!(
                lease.standing(at(secs), BootId(1)),
                standing,
                "after {secs} s"
            );
        }
    }

    #[test]
    fn it_ends_a_life_after_its_request_was_sent() {
        let end = Wall::from_unix_secs(1_700_003_600);
        assert_eq!(lease(Some(3600)).expires_at(), Some(end));
    }

    #[test]
    fn the_floor_scales_with_short_lives() {
        assert_eq!(lease(Some(20)).floor(), Duration::from_secs(5));
        assert_eq!(lease(Some(3600)).floor(), Duration::from_secs(60));
        assert_eq!(lease(None).floor(), Duration::ZERO);
    }

    #[test]
    fn an_unknown_life_never_expires() {
        assert_eq!(
            lease(None).standing(at(1_000_000_000), BootId(1)),
            Standing::Fresh
        );
        assert_eq!(lease(None).expires_at(), None);
    }

    #[test]
    fn a_stamp_of_unknown_age_leaves_nothing() {
        let earlier = Now {
            boot: Boot(0),
            wall: Wall(0),
        };
        assert_eq!(
            lease(Some(3600)).standing(earlier, BootId(2)),
            Standing::Expired
        );
    }
}
