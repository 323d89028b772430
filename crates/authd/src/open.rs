//! Opens the store: obtains its key and reads what it holds, on a thread of its own, because both
//! can block.

use std::{path::Path, thread, time::Duration};

use authd_store::{
    DataKey, KeyProtection, Loaded, OpenError, Options, Store,
    disk::RealDisk,
    key::{self, Key, KeyState, KeyStore},
    locked::LockedKey,
};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Clock,
    config::{self, Protection},
    daemon::{Place, Standing},
    driver::{Mailbox, Message},
};

/// What came of it.
pub(crate) enum Opening {
    /// Here it is.
    Open {
        store: Store,
        loaded: Box<Loaded>,
        protection: KeyProtection,
        fingerprint_key: LockedKey,
        note: Option<String>,
    },
    /// Not now: locked, hanging or unreadable. It is tried again.
    Shut(Standing),
}

/// Opens it in the background; the driver hears of it. `pause` comes before, for a further try.
pub(crate) fn begin(
    place: &Place,
    config: &config::Key,
    clock: &Clock,
    mailbox: &Mailbox,
    pause: Duration,
) {
    let (place, config, to_driver) = (place.clone(), config.clone(), mailbox.clone());
    let clock = clock.clone();
    let opener = thread::Builder::new()
        .name("open".to_owned())
        .spawn(move || {
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            let opening = open(&place, &config, &clock).unwrap_or_else(|error| {
                tracing::error!(%error, "the store cannot be opened");
                let detail = format!("the store cannot be opened: {error}");
                Opening::Shut(Standing::shut("failed", &detail))
            });
            to_driver.send(Message::Opened(Box::new(opening)));
        });
    if let Err(error) = opener {
        let detail = format!("no thread to open the store: {error}");
        mailbox.send(Message::Opened(Box::new(Opening::Shut(Standing::shut(
            "failed", &detail,
        )))));
    }
}

fn open(place: &Place, config: &config::Key, clock: &Clock) -> Result<Opening, OpenError> {
    let key_store = KeyStore::new(Duration::from_secs(config.timeout_secs));
    let wanted = (config.protection == Protection::Auto).then_some(&key_store);
    let locked = |reason: &str| Ok(Opening::Shut(Standing::shut("locked", reason)));
    match key::obtain(&RealDisk, &place.state_dir, wanted)? {
        KeyState::Ready(Key {
            data_key,
            protection,
            fell_back,
        }) => {
            let note = fell_back.map(|trouble| trouble.to_string());
            unseal(place, data_key, protection, key_store, note, clock)
        }
        // Sealed and intact, only its key cannot be had: for those who ask, that is locked too.
        KeyState::Locked { reason } | KeyState::Unavailable { reason } => locked(&reason),
        KeyState::Hanging => locked("the key store does not answer"),
    }
}

fn unseal(
    place: &Place,
    key: DataKey,
    protection: KeyProtection,
    key_store: KeyStore,
    note: Option<String>,
    clock: &Clock,
) -> Result<Opening, OpenError> {
    let mut options = Options::new(&place.state_dir, machine(), clock.now().wall);
    options.anchor_file = Some(place.anchor_path.clone());
    options.anchor_key_store = (protection == KeyProtection::KeyStore).then_some(key_store);
    let fingerprint_key = key.derive("fingerprint");
    let (store, loaded) = Store::open(options, key)?;
    Ok(Opening::Open {
        store,
        loaded: Box::new(loaded),
        protection,
        fingerprint_key,
        note,
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
pub(crate) fn describe(protection: KeyProtection, note: Option<String>, place: &Place) -> Standing {
    let detail = match (protection, note) {
        (KeyProtection::KeyStore, _) => "the operating system's key store".to_owned(),
        (KeyProtection::File, note) => {
            let path = key::key_path(&place.state_dir);
            let why = note.map_or_else(String::new, |note| format!(" ({note})"));
            format!(
                "{} is readable by every process of yours{why}",
                path.display()
            )
        }
    };
    Standing {
        store: authd_proto::response::StoreStatus {
            state: "ok".to_owned(),
            detail: None,
        },
        key_protection: authd_proto::response::KeyProtection {
            kind: protection.as_str().to_owned(),
            detail,
        },
        open: true,
    }
}
