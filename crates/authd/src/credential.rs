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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use authd_store::key::{KeyStore, KeyStoreTrouble};
use serde::Deserialize;
use zeroize::Zeroizing;

use self::{command::CommandTrouble, file::FileTrouble};
pub(crate) use self::{
    configured::{Configured, Source},
    proxy::ProxySecret,
};
use crate::{daemon::Daemon, process::launcher::Launcher};

/// A command that failed is not run again before this has passed, however often a client asks: it may
/// put a question on the person's screen.
const BETWEEN_FAILURES: Duration = Duration::from_secs(30);

/// Why there is no credential. The user must act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialTrouble {
    /// The file that says where it is.
    #[error(transparent)]
    Configured(#[from] configured::ConfiguredTrouble),
    /// The account proves itself in a way that the file has nothing for: the file was changed.
    #[error("the client {0:?} has another kind of credential by now than the login was made with")]
    OtherKind(String),
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
    /// The one there was is refused, or a person has just said where it is. What was fetched for somebody
    /// else since this moment is new enough.
    Since(Boot),
}

impl Wanted {
    /// One that is fetched from now on.
    pub(crate) fn anew(ambient: &impl Ambient) -> Self {
        Self::Since(ambient.now().boot)
    }
}

/// What commands printed, so that they do not run at every exchange; in memory alone. And whose turn it
/// is: what may put a question on the person's screen is asked once, however many want to know.
#[derive(Default)]
pub(crate) struct Credentials {
    launcher: Launcher,
    printed: Mutex<BTreeMap<String, Printed>>,
    turns: Mutex<BTreeMap<String, Arc<Turn>>>,
    /// One, for it knows whether its last question still hangs.
    key_store: Mutex<Option<KeyStore>>,
}

/// The right to fetch the credential of one client.
type Turn = tokio::sync::Mutex<()>;

struct Printed {
    argv: Vec<String>,
    at: Boot,
    outcome: Result<Secret, String>,
}

impl Credentials {
    /// Those whose commands are started by `launcher`.
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            ..Self::default()
        }
    }

    /// Forgets everything that commands printed.
    pub(crate) fn forget(&self) {
        lock(&self.printed).clear();
    }

    /// What the command prints. Blocks while it runs; whoever calls has the turn.
    fn printed(
        &self,
        client: &str,
        argv: &[String],
        wanted: Wanted,
        now: impl Fn() -> Boot,
    ) -> Result<Secret, CredentialTrouble> {
        if let Some(held) = self.held(client, argv, wanted, now()) {
            return held;
        }
        let outcome = command::run(&self.launcher, argv).map_err(Into::into);
        self.keep(client, argv, &outcome, now());
        outcome
    }

    fn held(
        &self,
        client: &str,
        argv: &[String],
        wanted: Wanted,
        now: Boot,
    ) -> Option<Result<Secret, CredentialTrouble>> {
        let printed = lock(&self.printed);
        let printed = printed.get(client).filter(|printed| printed.argv == argv)?;
        let new_enough = match wanted {
            Wanted::Held => printed.outcome.is_ok() || now.since(printed.at) < BETWEEN_FAILURES,
            Wanted::Since(asked) => printed.at > asked,
        };
        new_enough.then(|| match &printed.outcome {
            Ok(secret) => Ok(secret.clone()),
            Err(why) => Err(CredentialTrouble::Lately(why.clone())),
        })
    }

    fn keep(
        &self,
        client: &str,
        argv: &[String],
        outcome: &Result<Secret, CredentialTrouble>,
        now: Boot,
    ) {
        let printed = Printed {
            argv: argv.to_owned(),
            at: now,
            outcome: outcome.as_ref().cloned().map_err(ToString::to_string),
        };
        lock(&self.printed).insert(client.to_owned(), printed);
    }

    /// The turn of one client. Names of which nobody has a turn are forgotten, for anybody can make
    /// them up.
    fn turn(&self, client: &str) -> Arc<Turn> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(client.to_owned()).or_default())
    }

    /// What the operating system's key store has under these attributes. Blocks.
    fn in_key_store(
        &self,
        timeout: Duration,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Secret, CredentialTrouble> {
        let found = self.ask_key_store(timeout, attributes)?;
        let found = found.ok_or_else(|| {
            let pairs = attributes
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            CredentialTrouble::NoEntry(pairs.collect::<Vec<_>>().join(" "))
        })?;
        let text = std::str::from_utf8(&found).map_err(|_| CredentialTrouble::NoText)?;
        Ok(Secret::new(text))
    }

    fn ask_key_store(
        &self,
        timeout: Duration,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreTrouble> {
        let mut key_store = lock(&self.key_store);
        key_store.take_if(|key_store| key_store.timeout() != timeout);
        key_store
            .get_or_insert_with(|| KeyStore::new(timeout))
            .find(attributes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            let turn = daemon.credentials.turn(&name).lock_owned().await;
            tokio::task::spawn_blocking(move || {
                // Given back when the fetching ends, whether or not anybody still waits for it.
                let _turn = turn;
                let configured = Configured::load(&daemon.place.config_path, &name)?;
                configured.check(&provider)?;
                if !configured.fits(provider.client_auth) {
                    return Err(CredentialTrouble::OtherKind(name));
                }
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
                .printed(name, argv, wanted, || daemon.now().boot)
                .map(Credential::Secret),
            Source::File(path) => Ok(Credential::Secret(file::first_line(path)?)),
            Source::KeyStore(attributes) => {
                let timeout = Duration::from_secs(daemon.config.load().key.timeout_secs);
                let found = daemon.credentials.in_key_store(timeout, attributes);
                found.map(Credential::Secret)
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
    /// Reads one; `None` when it is something else. Of that nothing is copied: it may be a key.
    fn read(text: &Secret) -> Option<Self> {
        #[derive(Deserialize)]
        struct File {
            private_key: String,
            private_key_id: Option<String>,
        }
        let file: File = serde_json::from_str(text.expose()).ok()?;
        Some(Self {
            private_key: Secret::from(file.private_key),
            key_id: file.private_key_id,
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

impl ByTheirClock<'_> {
    /// What our own clock showed at this moment of theirs: what is kept is dated by that one.
    pub(crate) fn by_ours(&self, now: Now) -> Now {
        moved(now, self.theirs, self.ours)
    }
}

/// `now` by a clock that shows `to` where this one shows `from`.
fn moved(now: Now, from: Wall, to: Wall) -> Now {
    let Now { boot, wall } = now;
    let wall = match to >= from {
        true => wall.after(to.since(from)),
        false => Wall(wall.0.saturating_sub(from.0.saturating_sub(to.0))),
    };
    Now { boot, wall }
}

impl Ambient for ByTheirClock<'_> {
    fn now(&self) -> Now {
        moved(self.daemon.now(), self.ours, self.theirs)
    }

    fn random(&self) -> Option<u128> {
        self.daemon.random()
    }
}

#[cfg(test)]
mod tests;
