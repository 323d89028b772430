//! What the shell is to do. The order in which effects come out is the order in which to begin them.

use std::{sync::Arc, time::Duration};

use crate::{
    answer::GrantType,
    flag::{LoginReason, Rejecting, StaleStore},
    grant::Grant,
    id::{Account, AttemptId, Fingerprint, Generation, GrantId, Host, LoginId, Ticket},
    lease::LeaseKey,
    metadata::Change,
    renewal::{Cause, Verdict},
    scope::ScopeSet,
    time::Boot,
};

use super::event::{Check, Finding, LoginFailure};

/// Something to be done outside the engine.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Prove the store writable, reserve room for the answer, and write the intent durably; then
    /// [`Intended`](super::Event::Intended).
    Intend {
        /// What is intended.
        exchange: Exchange,
    },
    /// Send the request, detached from whoever asked; then [`Answered`](super::Event::Answered).
    Exchange(Exchange),
    /// Write the answer's secrets with this grant durably and clear the intent; then
    /// [`Committed`](super::Event::Committed).
    Commit {
        /// The attempt whose answer it is.
        attempt: AttemptId,
        /// The grant as it is from then on.
        grant: Arc<Grant>,
    },
    /// Write a refresh token that is taken over with this grant durably, before it is ever sent; then
    /// [`Committed`](super::Event::Committed).
    TakeOver {
        /// Names the write.
        attempt: AttemptId,
        /// The login that brings the refresh token.
        login: LoginId,
        /// The grant: its first generation, without a lease.
        grant: Arc<Grant>,
    },
    /// The attempt ended and spent nothing, or its outcome is recorded in the grant: clear its intent.
    Annul {
        /// The account.
        account: Account,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Keep the grant as it now is: same generation, same secrets, other flags. Nothing waits for it.
    Keep {
        /// The grant.
        grant: Arc<Grant>,
    },
    /// The latest commit is not in the database yet: try again; then
    /// [`Saved`](super::Event::Saved).
    Save {
        /// The grant.
        grant: Arc<Grant>,
    },
    /// Show readers the account as it now is. With `attempt`, its committed answer's secrets
    /// replace those before.
    Publish {
        /// The attempt whose secrets are to be shown from now on.
        attempt: Option<AttemptId>,
        /// What to show.
        view: View,
    },
    /// Show readers that the account is gone.
    Withdraw {
        /// The account.
        account: Account,
    },
    /// Answer a client.
    Reply {
        /// Which.
        ticket: Ticket,
        /// With what.
        result: Result<Served, Refusal>,
    },
    /// Tell the person, once, by whatever way there is.
    Notify {
        /// The account.
        account: Account,
        /// What to tell.
        notice: Notice,
    },
    /// The code that was typed in is none of this login's: the person may give another, and the redirect
    /// may still come.
    CodeRefused {
        /// Which.
        login: LoginId,
    },
    /// A login ended.
    LoginEnded {
        /// Which.
        login: LoginId,
        /// The grant it made.
        result: Result<Arc<Grant>, LoginFailure>,
    },
    /// Take the account's grant that was told to leave off the disk; with `revoke`, first keep its
    /// tokens as owed revocations. A login that has taken its place since stays.
    Erase {
        /// The account.
        account: Account,
        /// Whether the provider is to be told.
        revoke: bool,
    },
    /// Try to revoke; then [`RevocationTried`](super::Event::RevocationTried).
    Revoke {
        /// Its number in the store.
        id: u64,
    },
    /// Ask the provider whether a token is alive, detached and at leisure; then
    /// [`Validated`](super::Event::Validated).
    Validate(Check),
    /// Fetch the metadata of the account's issuer again; then
    /// [`Rediscovered`](super::Event::Rediscovered).
    Rediscover {
        /// The account.
        account: Account,
    },
    /// Write down what the engine decided about an account.
    Record(Record),
    /// Write down what it noticed about the machine or a host.
    Note(Note),
}

/// One exchange at a token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Names it, here and on disk.
    pub attempt: AttemptId,
    /// Whose.
    pub account: Account,
    /// Of which grant.
    pub grant: GrantId,
    /// The generation whose refresh token is sent; for a login the one before its first.
    pub generation: Generation,
    /// Which grant type.
    pub grant_type: GrantType,
    /// For which lease.
    pub key: LeaseKey,
    /// The login that it belongs to, for codes and device codes.
    pub login: Option<LoginId>,
}

/// An account as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The grant.
    pub grant: Arc<Grant>,
    /// The lease being renewed.
    pub refreshing: Option<Box<LeaseKey>>,
    /// When the next exchange is planned, on the boot clock; `None` when none is.
    pub next_renewal: Option<Boot>,
}

/// Which token a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Whose.
    pub account: Account,
    /// Which lease.
    pub key: LeaseKey,
    /// Which token, exactly.
    pub fingerprint: Fingerprint,
    /// What is left of it; `None` when not known.
    pub ttl: Option<Duration>,
    /// It has less left than the floor, because the provider cannot be reached.
    pub low: bool,
    /// It was renewed for this client's question.
    pub renewed: bool,
}

/// Why a client gets no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such account.
    UnknownAccount,
    /// Only the user can mend it.
    LoginRequired(LoginReason),
    /// Not now; it goes on by itself. `retry_after` where the next attempt is known.
    Unavailable {
        /// What holds it up.
        why: Unavailable,
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// No token of this account lives so long.
    MaxTtlExceeded {
        /// The most that can be asked for.
        max_ttl: Duration,
    },
    /// The login was not granted these scopes.
    NotGranted(ScopeSet),
    /// The login did not name this resource.
    NotNamed(String),
    /// The resource is longer than [`LONGEST_RESOURCE`](crate::policy::LONGEST_RESOURCE).
    ResourceTooLong,
    /// The login has [`MOST_LEASES`](crate::policy::MOST_LEASES) living tokens; this would be one
    /// more.
    TooManyLeases,
    /// The API refuses even new tokens.
    ProviderRejects,
    /// The client or the request is misconfigured, with the provider's words.
    Misconfigured(String),
    /// The store is another machine's, or an older copy.
    StaleStore(StaleStore),
}

/// What holds a renewal up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The provider cannot be reached or fails.
    Provider,
    /// The provider asked for patience.
    Throttled,
    /// The store cannot be written, so that nothing may be exchanged.
    Store,
    /// A lost answer must be settled first.
    Ambiguous,
    /// The refresh token was refused and this is being confirmed.
    Suspect,
    /// The client's own deadline ran out.
    Deadline,
    /// Too many reports of refused tokens.
    TooManyReports,
    /// The daemon stops.
    ShuttingDown,
}

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Only a login helps.
    LoginNeeded(LoginReason),
    /// An answer was lost, and the retry could end the login.
    AnswerLost,
    /// The API refuses even new tokens.
    ProviderRejects,
    /// A refresh brought other scopes.
    ScopeChanged,
    /// The store cannot be written.
    StoreDegraded(String),
}

/// A decision, for the log and `events`. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub account: Account,
    /// Of which grant.
    pub grant: GrantId,
    /// In which generation.
    pub generation: Generation,
    /// In which attempt.
    pub attempt: Option<AttemptId>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// What was decided.
    pub what: Decided,
    /// What the provider said, for a person; control characters removed.
    pub words: Option<String>,
    /// What comes next, as things stand; `None` when only an event can bring something about.
    pub next: Option<Next>,
}

/// The exchange that is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// In how long, on the boot clock.
    pub within: Duration,
    /// Why.
    pub cause: Cause,
}

/// What the engine noticed that is no single account's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The machine is about to sleep; nothing new leaves.
    Suspending,
    /// It woke, or did not sleep after all.
    Resumed,
    /// The network is back: each host is asked by one account first.
    NetworkUp,
    /// The wall clock moved against the boot clock by so many milliseconds.
    ClockJumped(i64),
    /// The host fails for several accounts: it is asked by one at a time from now on.
    HostDown(Host),
    /// It answers again.
    HostUp(Host),
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// To treat an exchange as lost that the last process had begun and not ended.
    Interrupted,
    /// To renew, and why.
    Renewal(Cause),
    /// What the answer means.
    Judged(Verdict),
    /// To take the answer as the new generation.
    Committed,
    /// To take the answer although the database could not be written.
    CommittedElsewhere,
    /// To drop an answer that came for a grant or generation that is no more.
    Discarded,
    /// To give up until the user acts.
    LoginNeeded(LoginReason),
    /// To believe a report, and renew.
    ReportBelieved,
    /// Not to renew for a report.
    ReportSetAside,
    /// That renewing does not help against these reports.
    RenewingDoesNotHelp(Rejecting),
    /// That tokens of this kind live shorter, or longer again, than was believed.
    LifetimeLearned {
        /// What is believed from now on.
        lifetime: Duration,
        /// What the provider states.
        stated: Duration,
    },
    /// That the provider does not renew so early: later from now on.
    LeadLearned(Duration),
    /// That a token is as the provider says.
    Validated(Finding),
    /// To trust a store that came from elsewhere.
    Adopted,
    /// To go to another path of the same host; or, to another host, not without the person.
    EndpointMoved {
        /// The token endpoint's host so far.
        from: Host,
        /// Where the metadata says it is.
        to: Host,
    },
    /// That the provider's metadata is not what it was at login, in all this.
    MetadataChanged(Vec<Change>),
    /// That it is again what it was at login.
    MetadataRestored,
}
