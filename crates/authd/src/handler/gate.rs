//! Whether a request may have something of an account, and the lines of the audit log about it.
//!
//! An account at the tier `allow` passes without a look at who asks. At the others the caller is looked at,
//! and once more just before what it asked for leaves: by then it may have ended.

use std::{sync::Arc, time::Duration};

use authd_core::{
    id::Account,
    lease::LeaseKey,
    policy::{self, Purpose, Tier},
    scope::ScopeSet,
};
use authd_proto::{
    ErrorCode, WireError,
    approval::Asks,
    audit::{AuditLine, Because, Decision},
};
use tokio::time::Instant;

use super::{refusal, wire_tier};
use crate::{
    access::Access,
    approvals::{Admission, Asked, NotAsked, Standing, Subject, Wish, ask},
    audit::{Key, Tally},
    caller::Caller,
    daemon::Shared,
    journal::Origin,
};

/// Who asks, and in which request.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) tally: Arc<Tally>,
    pub(crate) access: Access,
    pub(crate) origin: Origin,
}

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) account: &'a Account,
    pub(crate) key: &'a LeaseKey,
    pub(crate) purpose: Purpose,
}

/// That a request may have what it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) tier: Tier,
    pub(crate) because: Because,
}

impl Pass {
    /// That of an account which asks nobody.
    pub(crate) const OF_TIER: Self = Self {
        tier: Tier::Allow,
        because: Because::Tier,
    };

    /// Whether it was given without a look at who asks.
    pub(crate) fn is_unasked(self) -> bool {
        matches!(self.because, Because::Tier | Because::Socket)
    }
}

/// That of a request which nobody is asked about. Whoever made a restricted socket has said with it what it
/// gives, and to whom: there the tier asks no more.
pub(crate) fn unasked(daemon: &Shared, access: &Access, account: &Account) -> Option<Pass> {
    let tier = daemon.approvals.tier(account);
    match access {
        Access::Restricted(_) => Some(Pass {
            tier,
            because: Because::Socket,
        }),
        Access::Owner => (tier == Tier::Allow).then_some(Pass::OF_TIER),
    }
}

/// What the audit log says of a request that came in elsewhere than at the owner's socket.
pub(crate) fn through(access: &Access) -> Option<String> {
    access
        .socket()
        .map(|name| format!("through the restricted socket {name}"))
}

/// Lets a request pass, after a question to the person where the account's tier has it so. Waits for the
/// answer until `deadline`, and where nobody can be asked not at all.
///
/// # Errors
/// [`ErrorCode::ApprovalRequired`], [`ErrorCode::Denied`], [`ErrorCode::Locked`]; and, before anybody is asked,
/// those of a request for what the login does not cover.
pub(crate) async fn admit(
    daemon: &Shared,
    asker: &Asker,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Pass, WireError> {
    if let Some(pass) = unasked(daemon, &asker.access, request.account) {
        return Ok(pass);
    }
    check_covered(daemon, request)?;
    let caller = asker.tally.caller();
    caller.look().await;
    let tier = daemon.approvals.tier(request.account);
    let wish = Wish {
        account: request.account.clone(),
        subject: Subject::HandOut(request.purpose),
        caller: Arc::clone(caller),
        claimed: asker.origin.client.clone(),
        scopes: scopes(&request.key.scopes),
        resource: request.key.resource.clone(),
    };
    loop {
        let now = daemon.clock.now();
        match daemon.approvals.admit(request.purpose, &wish, now) {
            Admission::Granted(because) => {
                return Ok(Pass { tier, because });
            }
            Admission::Denied => {
                return Err(WireError::new(
                    ErrorCode::Denied,
                    "you said no to this program a moment ago",
                )
                .with_account(request.account.as_str()));
            }
            Admission::Asked(asked) => {
                // Answered or not, what holds now is looked up again.
                settled(daemon, request.account, asked, deadline).await?;
            }
            Admission::NotAsked(why) => return Err(not_asked(request.account, why)),
        }
    }
}

/// What the login does not cover is refused before anybody is asked: the person would be asked for nothing, and
/// shown, in a client's own words, what may be a secret that it put into the wrong place.
fn check_covered(daemon: &Shared, request: &Request<'_>) -> Result<(), WireError> {
    let accounts = daemon.published.load();
    let snapshot = accounts.get(request.account);
    let refusal = snapshot.and_then(|snapshot| {
        let decision = policy::decide(request.key, &snapshot.view.grant);
        decision.refusal()
    });
    refusal.map_or(Ok(()), |refusal| {
        Err(refusal::token(request.account, refusal))
    })
}

/// Lets a request pass once more, which has waited for something else since: the tier may be another, an approval
/// may be gone. Whoever was said yes to for this very request is not asked about again.
///
/// # Errors
/// Those of [`admit`].
pub(crate) async fn admit_again(
    daemon: &Shared,
    asker: &Asker,
    request: &Request<'_>,
    deadline: Instant,
    pass: Pass,
) -> Result<Pass, WireError> {
    match pass.because {
        Because::Answer | Because::Socket => Ok(pass),
        _ => admit(daemon, asker, request, deadline).await,
    }
}

/// Looks once more whether a caller that was let through by who it is has not ended meanwhile, nor become
/// another program. To be called just before what it asked for is sent.
///
/// # Errors
/// [`ErrorCode::Denied`].
pub(crate) async fn recheck(caller: &Arc<Caller>, pass: Pass) -> Result<(), WireError> {
    // Of one that had ended, or that nobody knows, there is nothing more to know.
    let is_nobody = || caller.pid().is_none() || caller.facts().ended;
    if pass.is_unasked() || is_nobody() || caller.is_still_itself().await {
        return Ok(());
    }
    Err(WireError::new(
        ErrorCode::Denied,
        "the process that was approved has ended, or runs another program now",
    ))
}

/// Waits until a question is settled; new ones are put to the person.
///
/// # Errors
/// [`ErrorCode::ApprovalRequired`] when it is not answered, [`ErrorCode::Locked`] when lock withdraws it.
pub(super) async fn settled(
    daemon: &Shared,
    account: &Account,
    mut asked: Asked,
    deadline: Instant,
) -> Result<bool, WireError> {
    if asked.is_new {
        ask::put(daemon, &asked);
    }
    let waits = |standing: &Standing| *standing == Standing::Open;
    let settled = asked.standing.wait_for(|standing| !waits(standing));
    let standing = match tokio::time::timeout_at(deadline, settled).await {
        Ok(Ok(standing)) => *standing,
        // The question went with the daemon, or nobody answered in time.
        Ok(Err(_)) | Err(_) => Standing::Open,
    };
    match standing {
        Standing::Answered(yes) => Ok(yes),
        Standing::Cancelled => Err(WireError::new(
            ErrorCode::Locked,
            "authd was locked while the question waited",
        )
        .with_hint("run 'authctl unlock'")
        .with_account(account.as_str())),
        Standing::Gone => Err(super::unknown_account(account.as_str())),
        Standing::Open | Standing::NobodyToAsk | Standing::Expired => {
            Err(required(account, asked.id))
        }
    }
}

fn required(account: &Account, id: u64) -> WireError {
    WireError::new(
        ErrorCode::ApprovalRequired,
        format!("'{account}' asks you before it gives this away"),
    )
    .with_hint(format!(
        "run 'authctl approve {id}', or allow a program for longer with 'authctl grant add {account} …'"
    ))
    .with_account(account.as_str())
}

pub(super) fn not_asked(account: &Account, why: NotAsked) -> WireError {
    let error = |message: &str| {
        WireError::new(ErrorCode::ApprovalRequired, message).with_account(account.as_str())
    };
    match why {
        NotAsked::Another(id) => error("you are asked about this program already")
            .with_hint(format!("answer that first: run 'authctl approve {id}'")),
        NotAsked::TooOften { after } => {
            error("you were asked about this program three times within a minute")
                .with_retry_after_secs(after.as_secs() + 1)
                .with_hint(format!(
                    "run 'authctl grant add {account} …' to allow it for longer"
                ))
        }
        NotAsked::TooMany => error("too many questions wait for you")
            .with_hint("run 'authctl approve' to answer them"),
    }
}

/// The line of the audit log on something that was handed out.
pub(crate) fn handed_out(pass: Pass, request: &Request<'_>, origin: Origin, at: u64) -> AuditLine {
    AuditLine {
        tier: Some(wire_tier(pass.tier)),
        because: Some(pass.because),
        ..line(Decision::HandedOut, request, origin, at)
    }
}

/// Writes down that a request was refused, where that was a decision on who may have what.
pub(crate) fn refused(daemon: &Shared, asker: &Asker, request: &Request<'_>, code: ErrorCode) {
    use ErrorCode::{ApprovalRequired, Denied, InsufficientScope, Locked};
    if !matches!(code, ApprovalRequired | Denied | InsufficientScope | Locked) {
        return;
    }
    let now = daemon.clock.now();
    let key = Key::Refused(request.account.clone(), code);
    asker.tally.count(&daemon.audit, &key, now, || {
        let key = known(daemon, request);
        let request = Request {
            key: &key,
            ..*request
        };
        AuditLine {
            tier: Some(wire_tier(daemon.approvals.tier(request.account))),
            code: Some(code),
            message: through(&asker.access),
            ..line(
                Decision::Refused,
                &request,
                asker.origin.clone(),
                daemon.clock.unix_now(),
            )
        }
    });
}

/// Writes down that a restricted socket refused a request before it was looked at what there is: for the wrong
/// method or account, for more than it gives. Of what was asked for nothing is written: it is a client's own words.
pub(crate) fn refused_unseen(daemon: &Shared, asker: &Asker, asks: Option<Asks>, code: ErrorCode) {
    let Some(account) = asker.access.restricted_to() else {
        return;
    };
    if !matches!(code, ErrorCode::Denied | ErrorCode::Locked) {
        return;
    }
    let key = Key::Refused(account.clone(), code);
    asker
        .tally
        .count(&daemon.audit, &key, daemon.clock.now(), || {
            let origin = asker.origin.clone();
            AuditLine {
                asks,
                account: Some(account.to_string()),
                claimed: origin.client,
                code: Some(code),
                message: through(&asker.access),
                trace_id: origin.trace_id,
                ..AuditLine::new(daemon.clock.unix_now(), Decision::Refused)
            }
        });
}

/// What was asked for, as far as the login knows it: the rest is a client's own words, and may be a secret
/// that it put into the wrong place.
fn known(daemon: &Shared, request: &Request<'_>) -> LeaseKey {
    let accounts = daemon.published.load();
    let grant = accounts
        .get(request.account)
        .map(|snapshot| &snapshot.view.grant);
    let Some(grant) = grant else {
        return LeaseKey::default();
    };
    let asked = &request.key.scopes;
    let is_named = |resource: &&String| {
        grant.resource.as_ref() == Some(*resource) || grant.resources.contains(*resource)
    };
    LeaseKey {
        resource: request.key.resource.as_ref().filter(is_named).cloned(),
        scopes: asked.without(&asked.without(&grant.scopes)),
    }
}

fn line(decision: Decision, request: &Request<'_>, origin: Origin, at: u64) -> AuditLine {
    AuditLine {
        asks: Some(match request.purpose {
            Purpose::Token => Asks::Token,
            Purpose::Proof => Asks::Proof,
        }),
        account: Some(request.account.to_string()),
        claimed: origin.client,
        scopes: scopes(&request.key.scopes),
        resource: request.key.resource.clone(),
        trace_id: origin.trace_id,
        ..AuditLine::new(at, decision)
    }
}

/// The scopes, as the wire has them.
pub(super) fn scopes(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(str::to_owned).collect()
}

/// The moment at which a wait that begins now ends.
pub(crate) fn deadline(wait: Duration) -> Instant {
    Instant::now() + wait
}
