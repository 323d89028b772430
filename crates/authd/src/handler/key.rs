//! `key.*`, `daemon.lock` and `daemon.unlock`.

use std::{sync::Arc, time::Duration};

use authd_core::{id::ClientId, secret::Secret};
use authd_oauth::Ambient as _;
use authd_proto::{
    ErrorCode, WireError, WireSecret,
    event::EventKind,
    key::{
        DaemonLock, DaemonLockReply, DaemonUnlock, DaemonUnlockReply, KeyMove, KeyPlace, KeyRotate,
        KeyStatusReply,
    },
};
use authd_store::{
    KeyProtection,
    key::{self, ChangeError, Kept, KeyState},
};
use tokio::{sync::oneshot, time::timeout};

use super::{blocking, wait};
use crate::{
    daemon::{Shared, Standing},
    driver::{Message, Rest},
    failpoint,
    guesses::Turn,
    journal::Origin,
    keys::Phase,
    open,
};

/// How long a client waits for the store to be opened or closed by somebody else. A key store that hangs
/// is given up well before.
const PATIENCE: Duration = Duration::from_secs(60);

/// `daemon.lock`.
pub(crate) async fn lock(
    daemon: Shared,
    ask: DaemonLock,
    origin: Origin,
) -> Result<DaemonLockReply, WireError> {
    let wiped = daemon.lock(origin);
    let wiped = matches!(timeout(wait(ask.wait_secs), wiped).await, Ok(Ok(())));
    let in_flight = daemon
        .figures
        .exchanges
        .load(std::sync::atomic::Ordering::Relaxed);
    Ok(DaemonLockReply {
        wiped,
        exchanges_in_flight: in_flight as u64,
    })
}

/// `daemon.unlock`: the way of a start, with what a person has to give for it.
pub(crate) async fn unlock(
    daemon: Shared,
    ask: DaemonUnlock,
    process: ClientId,
    origin: Origin,
) -> Result<DaemonUnlockReply, WireError> {
    if at_rest(&daemon).await? == Phase::Open {
        // Neither looked at nor tried: whoever guesses learns nothing and costs nothing.
        return Ok(unlocked(&daemon, false));
    }
    let kept = kept(&daemon).await?;
    if kept.is_some_and(|kept| kept.protection == KeyProtection::Passphrase) {
        let passphrase = given(ask.passphrase).ok_or_else(passphrase_required)?;
        let turn = turn(&daemon, process).await?;
        if at_rest(&daemon).await? == Phase::Open {
            return Ok(unlocked(&daemon, false));
        }
        let (turn, state) = obtain(&daemon, turn, Some(passphrase)).await?;
        let key = match state {
            KeyState::Ready(key) => key,
            KeyState::WrongPassphrase => return Err(wrong_passphrase(&daemon, &turn)),
            KeyState::PassphraseNeeded => return Err(passphrase_required()),
            KeyState::Locked { reason } | KeyState::Unavailable { reason } => {
                return Err(WireError::new(ErrorCode::Locked, reason));
            }
            KeyState::Hanging => {
                let why = "the key store does not answer";
                return Err(WireError::new(ErrorCode::Locked, why));
            }
        };
        turn.was_right();
        if daemon
            .keys
            .advance(&[Phase::Shut, Phase::Locked], Phase::Opening)
        {
            open::begin_with_key(&daemon, key);
        }
    } else if daemon
        .keys
        .advance(&[Phase::Shut, Phase::Locked], Phase::Opening)
    {
        open::begin(&daemon);
    }
    at_rest(&daemon).await?;
    daemon.check_open()?;
    tell(&daemon, "unlocked", None, origin);
    Ok(unlocked(&daemon, true))
}

fn unlocked(daemon: &Shared, was_locked: bool) -> DaemonUnlockReply {
    DaemonUnlockReply {
        was_locked,
        accounts: daemon.published.load().len() as u64,
    }
}

/// `key.status`.
pub(crate) async fn status(daemon: Shared) -> Result<KeyStatusReply, WireError> {
    let kept = kept(&daemon).await?;
    Ok(describe(&daemon, kept))
}

/// `key.move`. The store stays open: it has no need of the place.
pub(crate) async fn move_to(
    daemon: Shared,
    ask: KeyMove,
    process: ClientId,
    origin: Origin,
) -> Result<KeyStatusReply, WireError> {
    let to = protection(ask.to).ok_or_else(|| {
        WireError::new(
            ErrorCode::BadRequest,
            "the key moves to 'keyring', 'passphrase', 'credential' or 'file'",
        )
    })?;
    daemon.check_open()?;
    let before = kept(&daemon).await?.ok_or_else(no_store)?.protection;
    let passphrase = given(ask.passphrase);
    if before == KeyProtection::Passphrase && passphrase.is_none() {
        return Err(passphrase_required());
    }
    let new_passphrase = given(ask.new_passphrase);
    // Also where none is guessed: what makes guessing slow runs once at a time.
    let turn = turn(&daemon, process).await?;
    let to_move = Arc::clone(&daemon);
    let (turn, moved) = blocking(move || {
        let means = to_move.keys.means(&to_move.place, &to_move.clock);
        let _turn = to_move.keys.turn();
        let (passphrase, new) = (passphrase.as_ref(), new_passphrase.as_ref());
        let moved = key::move_to(&means, to, passphrase, new, &|step| {
            failpoint::reach(failpoint::of_key(step));
        });
        (turn, moved)
    })
    .await?;
    let kept = moved.map_err(|error| refused(&daemon, &turn, error))?;
    turn.was_right();
    let anchor = daemon.keys.anchor_key_store(kept.protection);
    daemon.mailbox.send(Message::KeepAnchorIn(anchor));
    let standing = Standing::clone(&daemon.standing.load());
    if standing.open {
        let described = open::describe(&daemon, kept.protection, None);
        daemon.standing.store(Arc::new(Standing {
            key_protection: described.key_protection,
            ..standing
        }));
    }
    let message = format!(
        "the store's key moved from {} to {}",
        before.as_str(),
        kept.protection.as_str()
    );
    tell(&daemon, "key_moved", Some(message), origin);
    Ok(describe(&daemon, Some(kept)))
}

/// `key.rotate`. The store is closed for it, and opened again.
pub(crate) async fn rotate(
    daemon: Shared,
    ask: KeyRotate,
    process: ClientId,
    origin: Origin,
) -> Result<KeyStatusReply, WireError> {
    daemon.check_open()?;
    if daemon.logins.are_under_way() {
        let message = "a login is under way, and would be lost";
        return Err(WireError::new(ErrorCode::Busy, message).with_hint("finish or cancel it first"));
    }
    let kept_now = kept(&daemon).await?.ok_or_else(no_store)?;
    let passphrase = given(ask.passphrase);
    if kept_now.protection == KeyProtection::Passphrase && passphrase.is_none() {
        return Err(passphrase_required());
    }
    let turn = turn(&daemon, process).await?;
    // Before anything is closed: a wrong one disturbs nobody.
    let (turn, state) = obtain(&daemon, turn, passphrase.clone()).await?;
    match state {
        KeyState::Ready(_) => turn.was_right(),
        KeyState::WrongPassphrase => return Err(wrong_passphrase(&daemon, &turn)),
        KeyState::PassphraseNeeded => return Err(passphrase_required()),
        KeyState::Locked { reason } | KeyState::Unavailable { reason } => {
            let error = ChangeError::Unavailable(reason);
            return Err(refused(&daemon, &turn, error));
        }
        KeyState::Hanging => {
            let error = ChangeError::Unavailable("the key store does not answer".to_owned());
            return Err(refused(&daemon, &turn, error));
        }
    }
    let (done, told) = oneshot::channel();
    daemon.mailbox.send(Message::Rest(Rest::Rotate {
        passphrase,
        turn,
        done,
    }));
    let Ok(rotated) = told.await else {
        daemon.check_open()?;
        let message = "the store is being closed or opened already";
        return Err(WireError::new(ErrorCode::Busy, message));
    };
    at_rest(&daemon).await?;
    let kept = rotated.map_err(|error| failed(&error))?;
    tell(&daemon, "key_rotated", None, origin);
    Ok(describe(&daemon, Some(kept)))
}

/// Waits until the store is neither being opened nor being closed; how it stands then.
async fn at_rest(daemon: &Shared) -> Result<Phase, WireError> {
    let mut phase = daemon.keys.phase.subscribe();
    let at_rest = phase.wait_for(|phase| !matches!(phase, Phase::Opening | Phase::Resting));
    match timeout(PATIENCE, at_rest).await {
        Ok(Ok(phase)) => Ok(*phase),
        Ok(Err(_)) | Err(_) => Err(WireError::new(
            ErrorCode::Timeout,
            "the store is still being opened or closed",
        )),
    }
}

async fn turn(daemon: &Shared, process: ClientId) -> Result<Turn, WireError> {
    let now = daemon.now().boot;
    let entered = daemon.keys.guesses.enter(process, now).await;
    entered.map_err(|pause| {
        let message = "this process tries a passphrase already, or gave a wrong one just now";
        WireError::new(ErrorCode::Throttled, message).with_retry_after_secs(whole_secs(pause))
    })
}

/// The key, if this passphrase opens it. The turn comes back with it.
async fn obtain(
    daemon: &Shared,
    turn: Turn,
    passphrase: Option<Secret>,
) -> Result<(Turn, KeyState), WireError> {
    let to_obtain = Arc::clone(daemon);
    let (turn, state) = blocking(move || {
        let state = open::obtain(&to_obtain, passphrase.as_ref());
        (turn, state)
    })
    .await?;
    let state = state.map_err(|error| store_failed(&error))?;
    Ok((turn, state))
}

async fn kept(daemon: &Shared) -> Result<Option<Kept>, WireError> {
    let daemon = Arc::clone(daemon);
    let kept = blocking(move || {
        let means = daemon.keys.means(&daemon.place, &daemon.clock);
        key::kept(&*means.disk, &means.dir)
    });
    kept.await?.map_err(|error| store_failed(&error))
}

fn describe(daemon: &Shared, kept: Option<Kept>) -> KeyStatusReply {
    let locked = !daemon.standing.load().open;
    let Some(kept) = kept else {
        return KeyStatusReply {
            place: None,
            since_at: None,
            rotations: 0,
            detail: "there is no store yet".to_owned(),
            worth: "nothing is kept".to_owned(),
            locked,
            left_in: Vec::new(),
        };
    };
    let since = kept.since.map(|since| since.unix_secs());
    KeyStatusReply {
        place: Some(place(kept.protection)),
        since_at: since.and_then(|since| u64::try_from(since).ok()),
        rotations: kept.number.into(),
        detail: kept.path.map_or_else(
            || "the operating system's key store".to_owned(),
            |path| path.display().to_string(),
        ),
        worth: worth(kept.protection).to_owned(),
        locked,
        left_in: kept.left_in.into_iter().map(place).collect(),
    }
}

/// What a place is worth, in words that promise nothing more.
fn worth(protection: KeyProtection) -> &'static str {
    match protection {
        KeyProtection::KeyStore => {
            "as much as the password of your session: a stolen disk or a backup is worthless without \
             it; your own programs can ask an unlocked key store for the key"
        }
        KeyProtection::Passphrase => {
            "as much as the passphrase: a stolen disk or a backup is worthless without it; somebody \
             must give it after every start"
        }
        KeyProtection::Credential => {
            "as much as what the service manager keeps the credential with (a TPM, the machine's own \
             key): a backup is worthless elsewhere"
        }
        KeyProtection::File => {
            "next to nothing: whoever reads the disk, a backup or your files has the key with the \
             logins, unless the disk is encrypted as a whole"
        }
    }
}

fn place(protection: KeyProtection) -> KeyPlace {
    match protection {
        KeyProtection::KeyStore => KeyPlace::Keyring,
        KeyProtection::Passphrase => KeyPlace::Passphrase,
        KeyProtection::Credential => KeyPlace::Credential,
        KeyProtection::File => KeyPlace::File,
    }
}

fn protection(place: KeyPlace) -> Option<KeyProtection> {
    KeyProtection::parse(place.as_str())
}

fn tell(daemon: &Shared, outcome: &'static str, message: Option<String>, origin: Origin) {
    tracing::info!(outcome, message, client = origin.client, "the store's key");
    daemon.journal.add(EventKind::Daemon, |event| {
        event.outcome = Some(outcome.to_owned());
        event.message = message;
        event.trace_id = origin.trace_id;
        event.client = origin.client;
    });
}

fn given(passphrase: Option<WireSecret>) -> Option<Secret> {
    passphrase.map(|passphrase| Secret::new(passphrase.expose()))
}

fn no_store() -> WireError {
    failed(&ChangeError::NoStore)
}

fn passphrase_required() -> WireError {
    let message = "a passphrase protects the store's key, and none was given";
    WireError::new(ErrorCode::PassphraseRequired, message)
}

fn wrong_passphrase(daemon: &Shared, turn: &Turn) -> WireError {
    let pause = turn.was_wrong(daemon.now().boot);
    WireError::new(ErrorCode::WrongPassphrase, "the passphrase is wrong")
        .with_retry_after_secs(whole_secs(pause))
}

/// What has not been done, to one who had the turn.
fn refused(daemon: &Shared, turn: &Turn, error: ChangeError) -> WireError {
    match error {
        ChangeError::WrongPassphrase => wrong_passphrase(daemon, turn),
        error => failed(&error),
    }
}

fn failed(error: &ChangeError) -> WireError {
    let code = match error {
        ChangeError::PassphraseNeeded => return passphrase_required(),
        ChangeError::WrongPassphrase => ErrorCode::WrongPassphrase,
        ChangeError::NewPassphraseNeeded | ChangeError::TooShort => ErrorCode::BadRequest,
        ChangeError::NoStore
        | ChangeError::Unavailable(_)
        | ChangeError::AlreadyThere
        | ChangeError::NewPlace(_) => ErrorCode::KeyFailed,
        ChangeError::Store(_) | ChangeError::Unfinished(_) => ErrorCode::StoreFailed,
    };
    WireError::new(code, error.to_string())
}

fn store_failed(error: &dyn std::error::Error) -> WireError {
    WireError::new(ErrorCode::StoreFailed, error.to_string())
}

fn whole_secs(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0)
}
