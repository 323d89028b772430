//! The places where a data key can stand, one like the other: written, read back, removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use authd_core::{secret::Secret, time::Wall};
use zeroize::Zeroizing;

use super::{
    KeyStore, KeyStoreTrouble,
    wrap::{self, Cost, Under, Unwrappable},
};
use crate::{
    about::{KeyProtection, Place},
    disk::{self, Disk},
    seal::DataKey,
};

/// The name under which a service manager hands over what the key is sealed under.
pub const CREDENTIAL: &str = "authd-key";
/// More than this is no credential.
const LARGEST_CREDENTIAL: u64 = 64 << 10;

/// What there is to keep a key with.
#[derive(Clone, Debug)]
pub struct Means {
    /// Where the files live.
    pub disk: Arc<dyn Disk>,
    /// The state directory.
    pub dir: PathBuf,
    /// The operating system's key store.
    pub key_store: KeyStore,
    /// The folder in which the service manager hands over credentials, where it does.
    pub credentials: Option<PathBuf>,
    /// What a try of a new passphrase costs.
    pub cost: Cost,
    /// The calendar.
    pub now: Wall,
}

impl Means {
    /// With the machine's own disk and key store, and no credentials.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, now: Wall) -> Self {
        Self {
            disk: Arc::new(disk::RealDisk),
            dir: dir.into(),
            key_store: KeyStore::default(),
            credentials: None,
            cost: Cost::DEFAULT,
            now,
        }
    }

    /// What the service manager hands over.
    fn credential(&self) -> Result<Zeroizing<Vec<u8>>, PlaceTrouble> {
        let absent = |why: String| PlaceTrouble::NoCredential(why);
        let Some(folder) = &self.credentials else {
            return Err(absent(
                "the service manager hands none over (CREDENTIALS_DIRECTORY is not set)".to_owned(),
            ));
        };
        let path = folder.join(CREDENTIAL);
        let read = || -> io::Result<Vec<u8>> {
            if fs::metadata(&path)?.len() > LARGEST_CREDENTIAL {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is too large",
                ));
            }
            fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(error) => Err(absent(format!("{}: {error}", path.display()))),
        }
    }
}

/// Why a key cannot be read from a place, or written to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceTrouble {
    #[error(transparent)]
    KeyStore(#[from] KeyStoreTrouble),
    #[error("a passphrase is needed")]
    PassphraseNeeded,
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    #[error("there is no credential `{CREDENTIAL}`: {0}")]
    NoCredential(String),
    /// There is none, or none that is sound.
    #[error("{0}")]
    Unsound(String),
    #[error("{}: {error}", path.display())]
    Disk { path: PathBuf, error: io::Error },
    #[error("the operating system refuses: {0}")]
    System(String),
}

impl Place {
    /// The name of the key within the key store.
    pub(crate) fn entry(self, instance: u128) -> String {
        match self.number {
            0 => format!("data-key-{instance:032x}"),
            number => format!("data-key-{instance:032x}-{number}"),
        }
    }

    /// The file of the key; `None` where no file has it.
    pub(crate) fn path(self, dir: &Path) -> Option<PathBuf> {
        let suffix = match self.protection {
            KeyProtection::KeyStore => return None,
            KeyProtection::File => "",
            KeyProtection::Passphrase => ".passphrase",
            KeyProtection::Credential => ".credential",
        };
        Some(dir.join(match self.number {
            0 => format!("key{suffix}"),
            number => format!("key-{number}{suffix}"),
        }))
    }

    /// Removes what a change that was cut off left beside the file: it never counted. Tried again each time.
    pub(crate) fn clear_unfinished(self, means: &Means) {
        let Some(path) = self.path(&means.dir) else {
            return;
        };
        let unfinished = disk::beside(&path, disk::TEMPORARY);
        if let Err(error) = means.disk.remove(&unfinished)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what is left of a change of the key cannot be removed yet");
        }
    }

    /// Reads the key that stands here; `None` when there is none.
    pub(crate) fn read(
        self,
        means: &Means,
        instance: u128,
        passphrase: Option<&Secret>,
    ) -> Result<Option<DataKey>, PlaceTrouble> {
        let Some(path) = self.path(&means.dir) else {
            let found = means.key_store.read(&self.entry(instance))?;
            return found.map(|bytes| plain(&bytes)).transpose();
        };
        let bytes = disk::read_whole(&*means.disk, &path)
            .map_err(|error| PlaceTrouble::Disk {
                path: path.clone(),
                error,
            })?
            .map(Zeroizing::new);
        let Some(bytes) = bytes else { return Ok(None) };
        if self.protection == KeyProtection::File {
            return plain(&bytes).map(Some);
        }
        // Asked for late: whoever asks in vain is told what is amiss with the file first.
        let credential;
        let under = if self.protection == KeyProtection::Credential {
            credential = means.credential()?;
            Under::Credential(&credential)
        } else {
            Under::Passphrase(
                passphrase.ok_or(PlaceTrouble::PassphraseNeeded)?,
                means.cost,
            )
        };
        match wrap::unwrap(under, instance, &bytes) {
            Ok(key) => Ok(Some(key)),
            Err(Unwrappable::Refused) if self.protection == KeyProtection::Passphrase => {
                Err(PlaceTrouble::WrongPassphrase)
            }
            Err(Unwrappable::Refused) => Err(PlaceTrouble::Unsound(format!(
                "{} is not sealed under the credential `{CREDENTIAL}` that the service manager \
                 hands over; restore either",
                path.display()
            ))),
            Err(error @ Unwrappable::Malformed) => Err(PlaceTrouble::Unsound(format!(
                "{}: {error}",
                path.display()
            ))),
            Err(error @ Unwrappable::System) => Err(PlaceTrouble::System(error.to_string())),
        }
    }

    /// Writes a key here, and reads it back: a place that forgets is found out before it matters.
    pub(crate) fn keep(
        self,
        means: &Means,
        instance: u128,
        key: &DataKey,
        passphrase: Option<&Secret>,
    ) -> Result<(), PlaceTrouble> {
        self.write(means, instance, key, passphrase)?;
        self.read_back(means, instance, key, passphrase)
    }

    /// Whether what was written here is there.
    pub(crate) fn read_back(
        self,
        means: &Means,
        instance: u128,
        key: &DataKey,
        passphrase: Option<&Secret>,
    ) -> Result<(), PlaceTrouble> {
        match self.read(means, instance, passphrase)? {
            Some(found) if found.expose() == key.expose() => Ok(()),
            _ => Err(match self.protection {
                KeyProtection::KeyStore => {
                    KeyStoreTrouble::Failed("it did not keep what was given to it".to_owned())
                        .into()
                }
                _ => PlaceTrouble::Unsound("the file does not read as it was written".to_owned()),
            }),
        }
    }

    /// Writes a key here.
    pub(crate) fn write(
        self,
        means: &Means,
        instance: u128,
        key: &DataKey,
        passphrase: Option<&Secret>,
    ) -> Result<(), PlaceTrouble> {
        let Some(path) = self.path(&means.dir) else {
            means.key_store.write(&self.entry(instance), key.expose())?;
            return Ok(());
        };
        let sealed = |under| {
            wrap::wrap(under, instance, key).map_err(|error| match error {
                Unwrappable::System => PlaceTrouble::System(error.to_string()),
                _ => PlaceTrouble::NoCredential("it is too short to protect anything".to_owned()),
            })
        };
        let bytes = Zeroizing::new(match self.protection {
            KeyProtection::Passphrase => {
                let passphrase = passphrase.ok_or(PlaceTrouble::PassphraseNeeded)?;
                sealed(Under::Passphrase(passphrase, means.cost))?
            }
            KeyProtection::Credential => sealed(Under::Credential(&means.credential()?))?,
            KeyProtection::File | KeyProtection::KeyStore => key.expose().to_vec(),
        });
        disk::replace(&*means.disk, &path, &bytes)
            .map_err(|error| PlaceTrouble::Disk { path, error })
    }

    /// Removes what stands here, durably; nothing is fine.
    pub(crate) fn remove(self, means: &Means, instance: u128) -> Result<(), PlaceTrouble> {
        let Some(path) = self.path(&means.dir) else {
            return Ok(means.key_store.remove(&self.entry(instance))?);
        };
        let remove = |path: PathBuf| {
            disk::remove(&*means.disk, &path).map_err(|error| PlaceTrouble::Disk { path, error })
        };
        // One that was never finished is a copy too.
        remove(disk::beside(&path, disk::TEMPORARY))?;
        remove(path)
    }
}

fn plain(bytes: &[u8]) -> Result<DataKey, PlaceTrouble> {
    DataKey::from_bytes(bytes).ok_or_else(|| {
        PlaceTrouble::Unsound("what is kept as the data key is no key; restore it".to_owned())
    })
}
