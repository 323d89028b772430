//! Real mistakes, each of which a test can switch on to see that it is caught, and by which invariant.
//!
//! Without the feature `planted` the question is a constant "no", and nothing of them is compiled. With
//! it they are inert until a thread switches one on for itself.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])* $name),*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it does, in a sentence.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*).trim_ascii()),*
                }
            }
        }
    };
}

bugs! {
    /// An answer is published before it is on disk.
    PublishBeforeCommit,
    /// The shell says that a commit is on disk before it was synced.
    CommitNotSynced,
    /// One intent leads to two requests.
    DoubleFlight,
    /// A new answer is written under the generation before it.
    StaleGenerationOverwrites,
    /// The renew point is drawn anew whenever the account is looked at.
    JitterRedrawn,
    /// `Retry-After` is not read.
    RetryAfterIgnored,
    /// No least distance lies between two exchanges.
    HotLoopOnShortTokens,
    /// The clock that decisions rest on stands still while the machine sleeps.
    ClockStopsInSuspend,
    /// An HTML page with status 403 or 400 is taken for `invalid_grant`.
    HtmlIsInvalidGrant,
    /// `invalid_grant` is believed at once.
    InvalidGrantNotConfirmed,
    /// An answer without a refresh token leaves none.
    MissingRefreshTokenErases,
    /// Other scopes take the grant's place without a word.
    ScopeChangeAccepted,
    /// Another subject's token takes the place of the owner's.
    SubjectChangeAccepted,
    /// Every report of a refused token is acted on.
    ReportStorm,
    /// What opens the breaker keeps it open for good.
    BreakerNeverCloses,
    /// What one account is throttled by holds every account.
    ThrottleLeaks,
    /// A client that goes away takes the exchange with it that it asked for.
    GoneCancelsExchange,
    /// A stop does not wait for what is in flight.
    StopDropsExchange,
    /// A store that came from elsewhere is trusted.
    RestoredStoreExchanges,
    /// A refusal that came too early drops the access token.
    EarlyRefusalDropsToken,
    /// Each report halves what is believed of a life, without end.
    LearnedLifetimeRunsToZero,
    /// Every client is told to come back later.
    AlwaysRefuses,
    /// Who must log in cannot.
    LoginImpossibleWhenBroken,
    /// A verdict is written down without the attempt that it is about.
    RecordWithoutAttempt,
    /// Whoever must log in loses the refresh token.
    NeedsLoginDropsRefreshToken,
    /// Whoever must log in gets nothing, even while a token lives.
    NeedsLoginStopsServing,
    /// A failure of one account holds all others for an hour.
    OneFailureDelaysOthers,
    /// A calendar that is set far off ends the process.
    WallJumpPanics,
    /// After a wake nothing leaves for ten minutes.
    WakeWaits,
    /// A lost answer counts as a failure in passing.
    LostAnswerForgotten,
    /// A lost answer is settled at once, whatever that may revoke.
    SettlesAtOnce,
    /// An interrupted exchange is not looked for at the start.
    InterruptedForgotten,
    /// A client gets whatever is left.
    FloorIgnored,
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches `bug` on in this thread, and what was on before it off.
    pub fn plant(bug: Option<Bug>) {
        ACTIVE.set(bug);
    }

    /// Whether this thread has the mistake.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use switch::{is, plant};

/// Whether this thread has the mistake: never, in a build without them.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}
