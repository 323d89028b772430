//! Who may have a token without a question: tiers, and the approvals that a person gives.
//!
//! Pure: who asks, what was approved and what time it is are arguments. What it is worth is said in
//! SECURITY.md: programs of one user can imitate each other, so this is attribution and friction.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::time::{Boot, Now, Wall};

/// An approval until lock ends when it was not used for so long, ...
pub const IDLE: Duration = Duration::from_secs(600);
/// ... and at the latest so long after it was given.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// A yes to one request is good for so long, where the one who asked has stopped waiting.
pub const ONE_ANSWER: Duration = Duration::from_secs(300);
/// A no stands for so long: whoever asks again at once is not worth another question.
pub const REFUSAL: Duration = Duration::from_secs(60);

/// How freely the tokens of an account are handed out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// To every program of the user's; it is written down.
    #[default]
    Allow,
    /// To whom the person said yes, until lock, 10 minutes without a request, or 12 hours.
    AskOnce,
    /// Each time after a yes of the person.
    AskEach,
}

/// What a caller is known by. A caller has several, the best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CallerName {
    /// An application of Flatpak's, by its id.
    Flatpak(Arc<str>),
    /// A snap, by its name.
    Snap(Arc<str>),
    /// A service or scope of systemd's. A label: programs of the user's can choose it.
    Unit(Arc<str>),
    /// A program that only root can replace, by its path; never an interpreter.
    Executable(Arc<str>),
    /// A terminal session, by its leader.
    Session(Arc<str>),
    /// One process and no other.
    Process(Arc<str>),
    /// Nobody knows who, on one connection. Two of them are never the same.
    Unidentified(u64),
}

/// Why a text is no [`CallerName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a caller is flatpak:ID, snap:NAME, unit:NAME or exe:/PATH")]
pub struct BadCallerName;

/// Longest name of a caller, in bytes.
const LONGEST_NAME: usize = 1024;

impl CallerName {
    /// Whether the name means the same tomorrow, and after a restart. Only such a name can be given a
    /// standing approval.
    #[must_use]
    pub fn lasts(&self) -> bool {
        matches!(
            self,
            Self::Flatpak(_) | Self::Snap(_) | Self::Unit(_) | Self::Executable(_)
        )
    }

    /// Whether it is a sandboxed application.
    #[must_use]
    pub fn is_sandboxed(&self) -> bool {
        matches!(self, Self::Flatpak(_) | Self::Snap(_))
    }

    /// Whether nobody knows who it is.
    #[must_use]
    pub fn is_unidentified(&self) -> bool {
        matches!(self, Self::Unidentified(_))
    }

    /// Whether questions of both count as those of one client: all whom nobody knows are one.
    #[must_use]
    pub fn is_one_client_with(&self, other: &Self) -> bool {
        self == other || (self.is_unidentified() && other.is_unidentified())
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Flatpak(id) => ("flatpak", id),
            Self::Snap(name) => ("snap", name),
            Self::Unit(name) => ("unit", name),
            Self::Executable(path) => ("exe", path),
            Self::Session(leader) => ("session", leader),
            Self::Process(process) => ("process", process),
            Self::Unidentified(_) => ("unidentified", ""),
        }
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (kind, "") => f.write_str(kind),
            (kind, name) => write!(f, "{kind}:{name}"),
        }
    }
}

impl From<CallerName> for String {
    fn from(name: CallerName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for CallerName {
    type Error = BadCallerName;

    fn try_from(text: String) -> Result<Self, BadCallerName> {
        text.parse()
    }
}

impl FromStr for CallerName {
    type Err = BadCallerName;

    /// Reads a name that [lasts](Self::lasts); the others are given by the daemon alone.
    fn from_str(text: &str) -> Result<Self, BadCallerName> {
        let (kind, name) = text.split_once(':').ok_or(BadCallerName)?;
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
            return Err(BadCallerName);
        }
        match kind {
            "flatpak" => Ok(Self::Flatpak(name.into())),
            "snap" => Ok(Self::Snap(name.into())),
            "unit" => Ok(Self::Unit(name.into())),
            "exe" if name.starts_with('/') => Ok(Self::Executable(name.into())),
            _ => Err(BadCallerName),
        }
    }
}

/// A word of the person's on one account and one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Whom it is for.
    pub caller: CallerName,
    /// How far it goes.
    pub extent: Extent,
}

/// How far a person's word goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Yes, to one request. Once it was used it still covers proofs for the token that was handed out.
    OneAnswer {
        /// When it was given.
        given: Boot,
        /// When it last served, where it did.
        used: Option<Boot>,
    },
    /// Yes, until lock or until it is not used any more.
    UntilLock {
        /// When it was given.
        given: Boot,
        /// When it last served.
        used: Boot,
    },
    /// Yes, until it is revoked or its time has come.
    Standing {
        /// When it ends; `None` where only revoking ends it.
        until: Option<Wall>,
    },
    /// No.
    Refused {
        /// When that was said.
        at: Boot,
    },
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An access token.
    Token,
    /// A proof of possession for a request with a token that was handed out.
    Proof,
}

/// The answer of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it out.
    Allow(Because),
    /// Not before the person was asked.
    AskFirst,
    /// No: the person just said so.
    Deny,
}

/// Why something is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The tier asks nobody.
    OfTier,
    /// Of this approval, by its place.
    OfApproval(usize),
}

impl Extent {
    /// Whether it counts any longer, for anything.
    #[must_use]
    pub fn is_over(self, now: Now) -> bool {
        let kept = |given: Boot, used: Boot| {
            now.boot.since(used) < IDLE && now.boot.since(given) < LONGEST
        };
        match self {
            Self::OneAnswer { given, used: None } => now.boot.since(given) >= ONE_ANSWER,
            Self::OneAnswer {
                given,
                used: Some(used),
            }
            | Self::UntilLock { given, used } => !kept(given, used),
            Self::Standing { until } => until.is_some_and(|until| now.wall >= until),
            Self::Refused { at } => now.boot.since(at) >= REFUSAL,
        }
    }

    /// Whether it is a yes that covers `purpose` at this tier.
    fn covers(self, tier: Tier, purpose: Purpose) -> bool {
        match self {
            Self::OneAnswer { used: None, .. } | Self::Standing { .. } => true,
            Self::OneAnswer { used: Some(_), .. } => purpose == Purpose::Proof,
            Self::UntilLock { .. } => tier == Tier::AskOnce,
            Self::Refused { .. } => false,
        }
    }

    /// The same after it served.
    #[must_use]
    pub fn after_use(self, now: Now) -> Self {
        match self {
            Self::OneAnswer { given, .. } => Self::OneAnswer {
                given,
                used: Some(now.boot),
            },
            Self::UntilLock { given, .. } => Self::UntilLock {
                given,
                used: now.boot,
            },
            Self::Standing { .. } | Self::Refused { .. } => self,
        }
    }
}

/// Whether a caller that is known by `names` gets something of an account with this tier, where the
/// person has given `approvals` for that account. A yes goes before a no: whoever has both was asked
/// again. What lasts is used before what is used up.
#[must_use]
pub fn admit(
    tier: Tier,
    purpose: Purpose,
    names: &[CallerName],
    approvals: &[Approval],
    now: Now,
) -> Verdict {
    if tier == Tier::Allow {
        return Verdict::Allow(Because::OfTier);
    }
    let living = || {
        approvals.iter().enumerate().filter(|(_, approval)| {
            names.contains(&approval.caller) && !approval.extent.is_over(now)
        })
    };
    let yes = living()
        .filter(|(_, approval)| approval.extent.covers(tier, purpose))
        .min_by_key(|(_, approval)| matches!(approval.extent, Extent::OneAnswer { .. }));
    if let Some((place, _)) = yes {
        return Verdict::Allow(Because::OfApproval(place));
    }
    let refused = |approval: &Approval| matches!(approval.extent, Extent::Refused { .. });
    if living().any(|(_, approval)| refused(approval)) {
        Verdict::Deny
    } else {
        Verdict::AskFirst
    }
}

#[cfg(test)]
mod tests;
