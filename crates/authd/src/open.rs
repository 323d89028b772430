//! Opens the store: obtains its key and reads what it holds, on a thread of its own, because both
//! can block.

use std::{path::Path, sync::Arc, thread, time::Duration};

use authd_core::secret::Secret;
use authd_store::{
    KeyProtection, Loaded, OpenError, Options, Store,
    key::{self, ChangeError, Kept, Key, KeyState, NewKey},
};
use sha2::{Digest as _, Sha256};

use crate::{
    config::Protection,
    daemon::{Daemon, Shared, Standing},
    driver::Message,
    failpoint,
    keys::Phase,
};

/// What came of it.
pub(crate) enum Opening {
    /// Here it is.
    Open {
        store: Store,
        loaded: Box<Loaded>,
        protection: KeyProtection,
        note: Option<String>,
    },
    /// Not now: locked, hanging or unreadable. It is tried again.
    Shut(Standing),
    /// Not before a person unlocks it.
    Locked(Standing),
}

/// Opens it in the background; the driver hears of it. The phase says `Opening` already.
pub(crate) fn begin(daemon: &Shared) {
    begin_with(daemon, |daemon| open(daemon, None));
}

/// Tries again after `pause`, unless something else has happened by then.
pub(crate) fn begin_again(daemon: &Shared, pause: Duration) {
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        if daemon.keys.advance(&[Phase::Shut], Phase::Opening) {
            begin(&daemon);
        }
    });
}

/// Opens it with a key that is at hand. The phase says `Opening` already.
pub(crate) fn begin_with_key(daemon: &Shared, key: Key) {
    begin_with(daemon, move |daemon| unseal(daemon, key));
}

/// Replaces the key of the closed store, and opens it again whatever came of that. `done` is told.
pub(crate) fn begin_with_new_key(
    daemon: &Shared,
    passphrase: Option<Secret>,
    done: impl FnOnce(Result<Kept, ChangeError>) + Send + 'static,
) {
    begin_with(daemon, move |daemon| {
        done(rotate(daemon, passphrase.as_ref()));
        open(daemon, passphrase.as_ref())
    });
}

fn begin_with(
    daemon: &Shared,
    work: impl FnOnce(&Daemon) -> Result<Opening, OpenError> + Send + 'static,
) {
    let to_work = Arc::clone(daemon);
    let opener = thread::Builder::new()
        .name("open".to_owned())
        .spawn(move || {
            let opening = work(&to_work).unwrap_or_else(|error| {
                tracing::error!(%error, "the store cannot be opened");
                let detail = format!("the store cannot be opened: {error}");
                Opening::Shut(Standing::shut("failed", &detail))
            });
            to_work.mailbox.send(Message::Opened(Box::new(opening)));
        });
    if let Err(error) = opener {
        let detail = format!("no thread to open the store: {error}");
        let opening = Opening::Shut(Standing::shut("failed", &detail));
        daemon.mailbox.send(Message::Opened(Box::new(opening)));
    }
}

/// The key, as it is kept. Blocks.
pub(crate) fn obtain(daemon: &Daemon, passphrase: Option<&Secret>) -> Result<KeyState, OpenError> {
    let means = daemon.keys.means(&daemon.place, &daemon.clock);
    let new = match daemon.config.load().key.protection {
        Protection::Auto => NewKey::InKeyStore,
        Protection::File => NewKey::InFile,
    };
    let _turn = daemon.keys.turn();
    key::obtain(&means, new, passphrase)
}

fn open(daemon: &Daemon, passphrase: Option<&Secret>) -> Result<Opening, OpenError> {
    let locked = |reason: &str| Ok(Opening::Shut(Standing::shut("locked", reason)));
    match obtain(daemon, passphrase)? {
        KeyState::Ready(key) => unseal(daemon, key),
        // Sealed and intact, only its key cannot be had: for those who ask, that is locked too.
        KeyState::Locked { reason } | KeyState::Unavailable { reason } => locked(&reason),
        KeyState::Hanging => locked("the key store does not answer"),
        KeyState::PassphraseNeeded | KeyState::WrongPassphrase => {
            Ok(Opening::Locked(Standing::awaiting_passphrase()))
        }
    }
}

fn unseal(daemon: &Daemon, key: Key) -> Result<Opening, OpenError> {
    let Key {
        data_key,
        protection,
        fell_back,
    } = key;
    let (store, loaded) = Store::open(options(daemon, protection), data_key)?;
    Ok(Opening::Open {
        store,
        loaded: Box::new(loaded),
        protection,
        note: fell_back.map(|trouble| trouble.to_string()),
    })
}

fn options(daemon: &Daemon, protection: KeyProtection) -> Options {
    let place = &daemon.place;
    let mut options = Options::new(&place.state_dir, machine(), daemon.clock.now().wall);
    options.anchor_file = Some(place.anchor_path.clone());
    options.anchor_key_store = daemon.keys.anchor_key_store(protection);
    options
}

fn rotate(daemon: &Daemon, passphrase: Option<&Secret>) -> Result<Kept, ChangeError> {
    let means = daemon.keys.means(&daemon.place, &daemon.clock);
    let _turn = daemon.keys.turn();
    let kept = key::kept(&*means.disk, &means.dir).ok().flatten();
    let kept = kept.ok_or(ChangeError::NoStore)?;
    let options = options(daemon, kept.protection);
    key::rotate(&means, &options, passphrase, &|step| {
        failpoint::reach(failpoint::of_key(step));
    })
}

/// A hash of the machine's id: tells a copied store from the original and reveals nothing.
fn machine() -> [u8; 32] {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok())
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(b"authd machine\0");
    hash.update(id.trim().as_bytes());
    hash.finalize().into()
}

/// The state of the store in words, once it is open.
pub(crate) fn describe(
    daemon: &Daemon,
    protection: KeyProtection,
    note: Option<String>,
) -> Standing {
    let path = kept_at(daemon);
    let detail = match (protection, note) {
        (KeyProtection::KeyStore, _) => "the operating system's key store".to_owned(),
        (KeyProtection::Passphrase, _) => format!("{path}, sealed under a passphrase"),
        (KeyProtection::Credential, _) => {
            format!("{path}, sealed under a credential of the service manager")
        }
        (KeyProtection::File, note) => {
            let why = note.map_or_else(String::new, |note| format!(" ({note})"));
            format!("{path} is readable by every process of yours{why}")
        }
    };
    Standing {
        store: authd_proto::response::StoreStatus {
            state: "ok".to_owned(),
            detail: None,
            hint: None,
        },
        key_protection: authd_proto::response::KeyProtection {
            kind: protection.as_str().to_owned(),
            detail,
        },
        open: true,
        hint: Standing::ASK_DOCTOR,
    }
}

fn kept_at(daemon: &Daemon) -> String {
    let means = daemon.keys.means(&daemon.place, &daemon.clock);
    let kept = key::kept(&*means.disk, &means.dir).ok().flatten();
    let path = kept.and_then(|kept| kept.path);
    let path = path.unwrap_or_else(|| key::key_path(&daemon.place.state_dir));
    path.display().to_string()
}
