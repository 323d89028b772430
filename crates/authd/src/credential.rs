//! What proves a client at its provider, fetched when a request needs it and not before.
//!
//! Either it is sealed in the store, or a file of the configuration says where it is: in a file, in
//! the operating system's key store, or with a command of the user's. Those files alone say so:
//! nothing on the socket names a command or a path, or where a secret from there may be sent.

mod command;
mod configured;
pub(crate) mod file;
mod proxy;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authd_core::{
    grant::{ClientAuth, CredentialPlace, Provider},
    secret::Secret,
    time::{Boot, Now, Wall},
};
use authd_oauth::{
    Ambient, BadCertificate, BadSigner, ClientCertificate, Credential, Signer, SignerOptions,
};
use authd_store::key::KeyStoreTrouble;
use serde_json::Value;

use self::{command::CommandTrouble, file::FileTrouble};
pub(crate) use self::{
    configured::{Configured, Source},
    proxy::ProxySecret,
};
use crate::daemon::Daemon;

/// A command that failed is not run again before this has passed, however often a client asks: it may
/// put a question on the person's screen.
const BETWEEN_FAILURES: Duration = Duration::from_secs(30);

/// Why there is no credential. The user must act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialTrouble {
    /// The file that says where it is.
    #[error(transparent)]
    Configured(#[from] configured::ConfiguredTrouble),
    /// A file that holds it.
    #[error(transparent)]
    File(#[from] FileTrouble),
    /// A command that prints it.
    #[error(transparent)]
    Command(#[from] CommandTrouble),
    /// The operating system's key store.
    #[error("{0}")]
    KeyStore(#[from] KeyStoreTrouble),
    /// The key store answers, and has none.
    #[error("the key store has no entry with the attributes {0}")]
    NoEntry(String),
    /// The key store has it, and it is no text.
    #[error("the key store's entry is no text")]
    NoText,
    /// A private key cannot sign.
    #[error("{}: {why}", place(.path))]
    Key {
        path: Option<PathBuf>,
        why: BadSigner,
    },
    /// A certificate cannot be used.
    #[error("{}: {why}", .path.display())]
    Certificate { path: PathBuf, why: BadCertificate },
    /// The thread that fetched it went away.
    #[error("fetching it broke off; see the daemon's log")]
    BrokeOff,
    /// It failed a moment ago.
    #[error("{0}")]
    Lately(String),
}

fn place(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => path.display().to_string(),
        None => "the private key in the store".to_owned(),
    }
}

/// How fresh a credential has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What a command printed before will do.
    Held,
    /// The one there was is refused, or a person has just said where it is.
    Anew,
}

/// What commands printed, so that they do not run at every exchange. In memory alone.
#[derive(Default)]
pub(crate) struct Credentials {
    printed: Mutex<BTreeMap<String, Printed>>,
}

struct Printed {
    argv: Vec<String>,
    outcome: Result<Secret, Failed>,
}

struct Failed {
    at: Boot,
    why: String,
}

impl Credentials {
    /// What the command prints. Blocks while it runs.
    fn printed(
        &self,
        client: &str,
        argv: &[String],
        now: Boot,
        wanted: Wanted,
    ) -> Result<Secret, CredentialTrouble> {
        let held = self.held(client, argv, now);
        if let Some(held) = held.filter(|_| wanted == Wanted::Held) {
            return held;
        }
        let outcome = command::run(argv).map_err(Into::into);
        self.keep(client, argv, &outcome, now);
        outcome
    }

    fn held(
        &self,
        client: &str,
        argv: &[String],
        now: Boot,
    ) -> Option<Result<Secret, CredentialTrouble>> {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = printed.get(client).filter(|printed| printed.argv == argv)?;
        match &printed.outcome {
            Ok(secret) => Some(Ok(secret.clone())),
            Err(failed) if now.since(failed.at) < BETWEEN_FAILURES => {
                Some(Err(CredentialTrouble::Lately(failed.why.clone())))
            }
            Err(_) => None,
        }
    }

    fn keep(
        &self,
        client: &str,
        argv: &[String],
        outcome: &Result<Secret, CredentialTrouble>,
        now: Boot,
    ) {
        let outcome = match outcome {
            Ok(secret) => Ok(secret.clone()),
            Err(trouble) => Err(Failed {
                at: now,
                why: trouble.to_string(),
            }),
        };
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let argv = argv.to_owned();
        printed.insert(client.to_owned(), Printed { argv, outcome });
    }
}

/// The credential of our client at `provider`; `stored` is what the store keeps for it.
///
/// Whatever blocks runs on a thread of its own.
pub(crate) async fn obtain(
    daemon: &Arc<Daemon>,
    provider: &Provider,
    stored: Option<Secret>,
    wanted: Wanted,
) -> Result<Credential, CredentialTrouble> {
    match &provider.credential {
        CredentialPlace::Store => match (provider.client_auth, stored) {
            (_, None) => Ok(Credential::None),
            (ClientAuth::Basic | ClientAuth::Post, stored) => Ok(stored.into()),
            // A private key, for assertions of either use.
            (_, Some(key)) => signer(&key, SignerOptions::default())
                .map(|signer| Credential::Key(Arc::new(signer)))
                .map_err(|why| CredentialTrouble::Key { path: None, why }),
        },
        CredentialPlace::Configured(name) => {
            let (daemon, name, provider) = (Arc::clone(daemon), name.clone(), provider.clone());
            tokio::task::spawn_blocking(move || {
                let configured = Configured::load(&daemon.place.config_path, &name)?;
                configured.check(&provider)?;
                configured.fetch(&daemon, &name, wanted)
            })
            .await
            .unwrap_or(Err(CredentialTrouble::BrokeOff))
        }
    }
}

impl Configured {
    fn fetch(
        &self,
        daemon: &Daemon,
        name: &str,
        wanted: Wanted,
    ) -> Result<Credential, CredentialTrouble> {
        match &self.source {
            Source::None => Ok(Credential::None),
            Source::Command(argv) => daemon
                .credentials
                .printed(name, argv, daemon.now().boot, wanted)
                .map(Credential::Secret),
            Source::File(path) => Ok(Credential::Secret(file::first_line(path)?)),
            Source::KeyStore(attributes) => {
                let timeout = Duration::from_secs(daemon.config.load().key.timeout_secs);
                in_key_store(attributes, timeout).map(Credential::Secret)
            }
            Source::Key { path, options } => {
                let text = file::read(path, file::Readers::Owner)?;
                let signer = signer(&text, options.clone()).map_err(|why| {
                    let path = Some(path.clone());
                    CredentialTrouble::Key { path, why }
                })?;
                Ok(Credential::Key(Arc::new(signer)))
            }
            Source::Certificate { chain, key } => {
                let read = file::read(chain, file::Readers::Anybody)?;
                let secret = file::read(key, file::Readers::Owner)?;
                let now = daemon.now().wall;
                let certificate = ClientCertificate::from_pem(read.expose(), &secret, now)
                    .map_err(|why| {
                        let path = match why {
                            BadCertificate::NoKey | BadCertificate::KeyType => key.clone(),
                            _ => chain.clone(),
                        };
                        CredentialTrouble::Certificate { path, why }
                    })?;
                Ok(Credential::Certificate(Arc::new(certificate)))
            }
        }
    }
}

/// What the operating system's key store has under these attributes. Blocks.
fn in_key_store(
    attributes: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Secret, CredentialTrouble> {
    let found = authd_store::key::KeyStore::new(timeout).find(attributes)?;
    let found = found.ok_or_else(|| {
        let pairs = attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        CredentialTrouble::NoEntry(pairs.collect::<Vec<_>>().join(" "))
    })?;
    let text = std::str::from_utf8(&found).map_err(|_| CredentialTrouble::NoText)?;
    Ok(Secret::new(text))
}

/// A private key in PEM, as a JWK, or in the file that Google gives for a service account.
fn signer(text: &Secret, options: SignerOptions) -> Result<Signer, BadSigner> {
    match ServiceAccount::read(text) {
        Some(account) => {
            let key_id = options.key_id.or(account.key_id);
            Signer::new(&account.private_key, SignerOptions { key_id, ..options })
        }
        None => Signer::new(text, options),
    }
}

/// What a service account's key file says (Google's format).
struct ServiceAccount {
    private_key: Secret,
    key_id: Option<String>,
}

impl ServiceAccount {
    /// Reads one; `None` when it is something else.
    fn read(text: &Secret) -> Option<Self> {
        let Value::Object(mut members) = serde_json::from_str(text.expose()).ok()? else {
            return None;
        };
        let mut take = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let private_key = take("private_key").map(Secret::from)?;
        Some(Self {
            private_key,
            key_id: take("private_key_id"),
        })
    }
}

/// Whether a second credential would tell the provider anything that the first did not.
pub(crate) fn differ(one: &Credential, other: &Credential) -> bool {
    match (one, other) {
        (Credential::Secret(one), Credential::Secret(other)) => !one.matches(other.expose()),
        (Credential::Key(one), Credential::Key(other)) => one.public_jwk() != other.public_jwk(),
        (Credential::Certificate(one), Credential::Certificate(other)) => {
            one.chain() != other.chain()
        }
        (Credential::None, Credential::None) => false,
        _ => true,
    }
}

/// The surroundings with the clock set by the provider's: an assertion is judged by that one.
pub(crate) struct ByTheirClock<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) ours: Wall,
    pub(crate) theirs: Wall,
}

impl Ambient for ByTheirClock<'_> {
    fn now(&self) -> Now {
        let Now { boot, wall } = self.daemon.now();
        let wall = match self.theirs >= self.ours {
            true => wall.after(self.theirs.since(self.ours)),
            false => Wall(wall.0 - (self.ours.0 - self.theirs.0)),
        };
        Now { boot, wall }
    }

    fn random(&self) -> Option<u128> {
        self.daemon.random()
    }
}

#[cfg(test)]
mod tests;
