//! What can happen. Every event comes with the time at which it did.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    answer::Answer,
    flag::StaleStore,
    grant::{Endpoints, Grant, Provider, RenewedBy, Subject},
    id::{Account, AttemptId, ClientId, Fingerprint, GrantId, LoginId, Ticket},
    lease::LeaseKey,
    scope::ScopeSet,
    time::Stamp,
};

/// Something that happened outside the engine.
#[derive(Clone, Debug)]
pub enum Event {
    /// Nothing but time: the moment that `poll_timeout` named has come.
    Tick,
    /// The store gave a grant at start.
    Loaded {
        /// As it was kept.
        grant: Box<Grant>,
        /// An intent without an outcome stood beside it, written at this moment.
        interrupted: Option<Stamp>,
        /// The store is not to be trusted with exchanges.
        stale: Option<StaleStore>,
    },
    /// A client asks for a token that the published snapshot could not serve.
    Demand(Demand),
    /// A client reports that an API refused a token.
    Reject {
        /// Which token, and who says so.
        report: Report,
        /// What the client gets in answer: the same as for a demand.
        demand: Demand,
    },
    /// The provider was asked whether a token is alive.
    Validated {
        /// What was asked.
        check: Check,
        /// What it said.
        finding: Finding,
    },
    /// A person asks for a renewal now, due or not.
    Renew(Demand),
    /// A client that waited is gone. Cancels nothing but the wait.
    Gone {
        /// The wait.
        ticket: Ticket,
    },
    /// A lease was served from the snapshot. Sent at most once a minute for each.
    Used {
        /// The account.
        account: Account,
        /// The lease.
        key: LeaseKey,
    },
    /// The store has the intent, durably, with room for the answer; or it cannot.
    Intended {
        /// The attempt.
        attempt: AttemptId,
        /// `Err` says in a sentence why the store cannot be written.
        result: Result<(), String>,
    },
    /// The exchange is over.
    Answered {
        /// The attempt.
        attempt: AttemptId,
        /// What came back.
        answer: Box<Answer>,
    },
    /// The store has the answer, durably; or has it only elsewhere.
    Committed {
        /// The attempt.
        attempt: AttemptId,
        /// Where the answer is.
        outcome: CommitOutcome,
    },
    /// The metadata of an account's issuer was fetched again.
    Rediscovered {
        /// The account.
        account: Account,
        /// What it names; `None` when it could not be fetched, or was not fit to be believed.
        endpoints: Option<Endpoints>,
    },
    /// A write that had failed was tried again.
    Saved {
        /// The account.
        account: Account,
        /// `Err` says in a sentence why it failed again.
        result: Result<(), String>,
    },
    /// The user trusts a store that came from elsewhere: exchanges may start.
    Adopt {
        /// The account.
        account: Account,
    },
    /// The user leaves: the account is to be forgotten, after any exchange in flight.
    Leave {
        /// The account.
        account: Account,
        /// Whether its tokens are to be revoked at the provider first.
        revoke: bool,
    },
    /// A login began.
    LoginBegun(Box<LoginBegun>),
    /// The authorization code of a login came, by the redirect or pasted.
    CodeReceived {
        /// The login.
        login: LoginId,
    },
    /// The user, or a failure outside the token endpoint, ended a login.
    LoginCancelled {
        /// The login.
        login: LoginId,
        /// Why.
        reason: LoginFailure,
    },
    /// A revocation is owed to a provider and kept on disk.
    RevocationOwed {
        /// Its number in the store.
        id: u64,
    },
    /// An attempt to revoke is over.
    RevocationTried {
        /// Its number in the store.
        id: u64,
        /// Whether it is settled: done, or never to be done.
        settled: bool,
    },
    /// The machine is about to sleep: nothing new starts.
    Suspending,
    /// The machine woke.
    Resumed,
    /// The network came up.
    NetworkUp,
    /// The daemon stops: nothing new starts, what is in flight ends.
    ShuttingDown,
}

/// A client that wants a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Names the answer.
    pub ticket: Ticket,
    /// Whose token.
    pub account: Account,
    /// Which token.
    pub key: LeaseKey,
    /// How much of its life must be left.
    pub min_ttl: Option<Duration>,
    /// How long the client waits.
    pub wait: Duration,
}

/// What a client says of a token that an API answered with 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The token.
    pub fingerprint: Fingerprint,
    /// Who says so.
    pub client: ClientId,
    /// Whether the engine may draw conclusions from it beyond one renewal. A report that came through
    /// a restricted socket teaches nothing.
    pub teaches: bool,
}

/// A question to the provider whether a token is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whose.
    pub account: Account,
    /// Of which grant.
    pub grant: GrantId,
    /// Which lease.
    pub key: LeaseKey,
    /// Which token.
    pub fingerprint: Fingerprint,
    /// Where to ask.
    pub means: Means,
}

/// Where the provider is asked whether a token is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// Token introspection (RFC 7662).
    Introspection,
    /// The userinfo endpoint (OpenID Connect Core §5.3), which refuses a token that is dead.
    Userinfo,
}

/// What the provider said of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is alive.
    Active {
        /// For how long from the question on (`exp` against the server's own `Date`), where it says.
        expires_in: Option<Duration>,
    },
    /// It is dead: `"active": false`, or a 401 at userinfo.
    Inactive,
    /// Nothing that would tell.
    Unknown,
}

/// Where the answer of an exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// In the database, synced.
    Durable,
    /// In the synced spill file; the database could not be written, for this reason.
    Spilled(String),
    /// In memory alone, for this reason.
    MemoryOnly(String),
    /// The store already holds a newer generation: this answer is stale.
    Superseded,
}

/// A login at its start.
#[derive(Clone, Debug)]
pub struct LoginBegun {
    /// Names it.
    pub login: LoginId,
    /// The account to make or to repair.
    pub account: Account,
    /// The grant that it makes.
    pub grant: GrantId,
    /// Where.
    pub provider: Provider,
    /// The scopes asked for.
    pub scopes: ScopeSet,
    /// The resource that the login's own token is for (RFC 8707).
    pub resource: Option<String>,
    /// Further resources named (RFC 8707 §2).
    pub resources: BTreeSet<String>,
    /// Whether somebody else than before may sign in.
    pub replace_subject: bool,
    /// How.
    pub method: LoginMethod,
    /// How long the person has.
    pub patience: Duration,
}

/// How a login goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// Authorization code with PKCE.
    Code,
    /// Device authorization (RFC 8628), polled at this interval.
    Device {
        /// As the provider asked.
        interval: Duration,
    },
    /// Without a person: by what the tokens are renewed with too.
    Direct(RenewedBy),
}

/// Why a login ended without a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// The person or a client cancelled it.
    #[error("the login was cancelled")]
    Cancelled,
    /// The time for it ran out.
    #[error("nobody finished the login in time")]
    TimedOut,
    /// The person said no at the provider.
    #[error("access was denied at the provider")]
    Denied,
    /// The provider refused, with its code and words.
    #[error("the provider refused: {code}{}", describe(.description))]
    Refused {
        /// The OAuth error code.
        code: String,
        /// The provider's words.
        description: Option<String>,
    },
    /// What proves the client could not be had; nothing was sent.
    #[error("the client cannot prove itself: {0}")]
    Unproven(String),
    /// The provider could not be reached, or not understood.
    #[error("the provider gave no usable answer: {0}")]
    Unreachable(String),
    /// Somebody else signed in than the account's owner, or nobody says who.
    #[error("it is not certain that the account's owner signed in")]
    SubjectMismatch {
        /// The account's subject.
        expected: Box<Subject>,
        /// Who signed in now; `None` when the provider did not say, or could not be asked.
        found: Option<Box<Subject>>,
    },
    /// Somebody signed in at another provider than the account's: a subject means nothing there
    /// (OpenID Connect Core §2, `sub` is unique within its issuer).
    #[error("this account belongs to {expected}, not to {found}")]
    IssuerMismatch {
        /// The account's issuer, or the host of its token endpoint.
        expected: String,
        /// The login's.
        found: String,
    },
    /// Another client logged in than the account's, and nobody is known whom both would be about.
    #[error("this account was logged in to as the client {expected}, not as {found}")]
    ClientMismatch {
        /// The account's client id.
        expected: String,
        /// The login's.
        found: String,
    },
    /// The grant could not be written.
    #[error("the login could not be stored: {0}")]
    Store(String),
    /// The daemon stops.
    #[error("the daemon is stopping")]
    ShuttingDown,
    /// A newer login to the same account took its place.
    #[error("a newer login to this account took its place")]
    Replaced,
}

fn describe(description: &Option<String>) -> String {
    description
        .as_ref()
        .map_or_else(String::new, |text| format!(" ({text})"))
}
