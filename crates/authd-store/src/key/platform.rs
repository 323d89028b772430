//! Each platform's key store, through keyring-core. Blocking; called on a thread of its own only.
//!
//! A connection is made for each question and dropped after it, so that an idle daemon holds none
//! and a key store that was restarted is found again.

use std::{collections::BTreeMap, sync::Arc};

use keyring_core::{Entry, Error, api::CredentialStoreApi};
use zeroize::Zeroizing;

use super::key_store::{Keeper, KeyStoreTrouble};

/// The platform's own.
pub(super) struct Platform;

impl Keeper for Platform {
    fn read(
        &self,
        service: &str,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        match entry(service, name)?.get_secret() {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(trouble(&error)),
        }
    }

    fn write(&self, service: &str, name: &str, bytes: &[u8]) -> Result<(), KeyStoreTrouble> {
        entry(service, name)?
            .set_secret(bytes)
            .map_err(|error| trouble(&error))
    }

    fn remove(&self, service: &str, name: &str) -> Result<(), KeyStoreTrouble> {
        match entry(service, name)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(trouble(&error)),
        }
    }

    /// The Credential Manager has entries by one name, and finds none by anything else.
    #[cfg(windows)]
    fn find(
        &self,
        _: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        Err(KeyStoreTrouble::Failed(
            "on Windows no entry is found by its attributes; have a file or a command in their place"
                .to_owned(),
        ))
    }

    #[cfg(not(windows))]
    fn find(
        &self,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| (name.as_str(), value.as_str()));
        let found = open()?
            .search(&attributes.collect())
            .map_err(|error| trouble(&error))?;
        match found.as_slice() {
            [] => Ok(None),
            [entry] => entry
                .get_secret()
                .map(|bytes| Some(Zeroizing::new(bytes)))
                .map_err(|error| trouble(&error)),
            _ => Err(KeyStoreTrouble::Failed(
                "several entries have these attributes; name more of them".to_owned(),
            )),
        }
    }
}

fn entry(service: &str, name: &str) -> Result<Entry, KeyStoreTrouble> {
    open()?
        .build(service, name, None)
        .map_err(|error| trouble(&error))
}

/// Says what went wrong without quoting what the store gave: some variants hold the secret.
fn trouble(error: &Error) -> KeyStoreTrouble {
    match error {
        Error::NoStorageAccess(inner) => KeyStoreTrouble::Locked(inner.to_string()),
        Error::PlatformFailure(inner) => KeyStoreTrouble::Failed(inner.to_string()),
        Error::NoDefaultStore => KeyStoreTrouble::Absent("none is set up".to_owned()),
        Error::Ambiguous(_) => {
            KeyStoreTrouble::Failed("it has several entries of our name".to_owned())
        }
        Error::BadEncoding(_) | Error::BadDataFormat(..) => {
            KeyStoreTrouble::Failed("its entry is malformed".to_owned())
        }
        _ => KeyStoreTrouble::Failed("it refuses".to_owned()),
    }
}

/// Secret Service over D-Bus. "Locked" is asked for first: any other way to find out opens a dialog
/// and waits for a person who may not be there.
#[cfg(all(unix, not(target_os = "macos")))]
fn open() -> Result<Arc<dyn CredentialStoreApi>, KeyStoreTrouble> {
    use secret_service::{EncryptionType, Error as Service, blocking::SecretService};

    let absent = |error: &Service| KeyStoreTrouble::Absent(error.to_string());
    {
        let service = SecretService::connect(EncryptionType::Dh).map_err(|error| absent(&error))?;
        let collection = service
            .get_default_collection()
            .map_err(|error| absent(&error))?;
        let locked = collection
            .is_locked()
            .map_err(|error| KeyStoreTrouble::Failed(error.to_string()))?;
        if locked {
            return Err(KeyStoreTrouble::Locked(
                "unlock the default keyring, for instance by logging in to the desktop".to_owned(),
            ));
        }
    }
    let store = zbus_secret_service_keyring_store::Store::new().map_err(|error| trouble(&error))?;
    Ok(store)
}

#[cfg(target_os = "macos")]
fn open() -> Result<Arc<dyn CredentialStoreApi>, KeyStoreTrouble> {
    let store =
        apple_native_keyring_store::keychain::Store::new().map_err(|error| trouble(&error))?;
    Ok(store)
}

#[cfg(windows)]
fn open() -> Result<Arc<dyn CredentialStoreApi>, KeyStoreTrouble> {
    let store = windows_native_keyring_store::Store::new().map_err(|error| trouble(&error))?;
    Ok(store)
}
