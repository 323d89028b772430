//! What the tests of the store share: accounts, intents, and a disk in memory with faults.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use authd_core::{
    answer::GrantType,
    grant::{ClientAuth, Grant, Provider},
    id::{Account, AttemptId, Fingerprint, Generation, GrantId},
    lease::{Expiry, Lease, LeaseKey},
    map::SmallMap,
    scope::ScopeSet,
    secret::Secret,
    time::{Stamp, Wall},
};
use authd_store::{
    CommitOutcome, DataKey, Intent, Loaded, OpenError, Options, PendingRevocation, Record, Secrets,
    Store, StoreError, TokenTypeHint,
    fault::{Drawer, Faults, Faulty, Keep, Memory},
};

pub(crate) const DIR: &str = "/state";
pub(crate) const MACHINE: [u8; 32] = [3; 32];

pub(crate) fn key() -> DataKey {
    DataKey::from_bytes(&[7; 32]).unwrap()
}

pub(crate) fn account(name: &str) -> Account {
    Account::new(name).unwrap()
}

/// The refresh token of one generation of one login: unmistakable in any file.
pub(crate) fn refresh_token(name: &str, grant: u64, generation: u64) -> String {
    format!("CANARY-rt-{name}-{grant}-{generation}")
}

pub(crate) fn record(name: &str, grant: u64, generation: u64) -> Record {
    let key = LeaseKey::default();
    let lease = Lease {
        generation: Generation(generation),
        fingerprint: Fingerprint([generation as u8; 16]),
        token_type: "Bearer".to_owned(),
        scopes: ScopeSet::parse("openid"),
        issued: Stamp::default(),
        lifetime: Some(Duration::from_secs(3600)),
        expiry: Expiry::Exact,
        lead: Duration::from_secs(1200),
        rejected: false,
        dead: false,
    };
    Record {
        grant: Grant {
            account: account(name),
            id: GrantId(grant),
            generation: Generation(generation),
            provider: Provider::default().into(),
            subject: None,
            scopes: ScopeSet::parse("openid"),
            resource: None,
            resources: ["https://api.example".to_owned()].into(),
            renewed_by: authd_core::grant::RenewedBy::RefreshToken,
            renewable: true,
            leases: SmallMap::from([(key.clone(), lease)]),
            learned: Default::default(),
            flags: Default::default(),
            renewals: generation - 1,
            created_at: Wall(0),
            last_error: None,
            metadata_seen: None,
        },
        secrets: Secrets {
            refresh_token: Some(Secret::new(refresh_token(name, grant, generation))),
            previous_refresh_token: None,
            client_secret: Some(Secret::new("CANARY-client-secret")),
            dpop_key: Some(Secret::new(format!("CANARY-dpop-key-{name}-{grant}"))),
            access_tokens: SmallMap::from([(
                key,
                Secret::new(format!("CANARY-at-{name}-{grant}-{generation}")),
            )]),
        },
    }
}

pub(crate) fn intent(name: &str, grant: u64, generation: u64, attempt: u64) -> Intent {
    Intent {
        account: account(name),
        grant: GrantId(grant),
        generation: Generation(generation),
        attempt: AttemptId(attempt),
        refresh_token_hash: Fingerprint([generation as u8; 16]),
        grant_type: GrantType::RefreshToken,
        lease: LeaseKey::default(),
        at: Stamp::default(),
    }
}

/// A revocation that is owed for the account `work`.
pub(crate) fn revocation(id: u64) -> PendingRevocation {
    PendingRevocation {
        id,
        account: account("work"),
        endpoint: "https://idp.example.com/revoke".to_owned(),
        client_id: "client".to_owned(),
        client_auth: ClientAuth::Post,
        client_secret: Some(Secret::new("CANARY-revocation-secret")),
        provider: Some(Default::default()),
        token: Secret::new("CANARY-revoked"),
        hint: TokenTypeHint::RefreshToken,
    }
}

/// Waits for an operation's answer. Every one has one; a minute is for ever here.
pub(crate) fn wait<T: Send + 'static>(
    operation: impl FnOnce(Box<dyn FnOnce(Result<T, StoreError>) + Send>),
) -> Result<T, StoreError> {
    let (sender, answer) = mpsc::channel();
    operation(Box::new(move |result| sender.send(result).unwrap()));
    answer
        .recv_timeout(Duration::from_secs(60))
        .expect("an answer within a minute")
}

pub(crate) fn intend(store: &Store, intent: Intent) -> Result<(), StoreError> {
    wait(|done| store.intend(intent, done))
}

pub(crate) fn commit(
    store: &Store,
    record: Record,
    attempt: u64,
) -> Result<CommitOutcome, StoreError> {
    wait(|done| store.commit(record, AttemptId(attempt), done))
}

pub(crate) fn close(store: Store) -> Result<(), StoreError> {
    wait(|done| store.close(done))
}

/// Logs in: intent and commit of generation 1.
pub(crate) fn login(store: &Store, name: &str, grant: u64) {
    let attempt = 1_000_000 + grant;
    intend(store, intent(name, grant, 0, attempt)).unwrap();
    assert_eq!(
        commit(store, record(name, grant, 1), attempt),
        Ok(CommitOutcome::Durable)
    );
}

/// Renews: intent of `from`, commit of the next.
pub(crate) fn renew(store: &Store, name: &str, grant: u64, from: u64) -> CommitOutcome {
    let attempt = 2_000_000 + 1000 * grant + from;
    intend(store, intent(name, grant, from, attempt)).unwrap();
    commit(store, record(name, grant, from + 1), attempt).unwrap()
}

/// A disk in memory with its faults, and a key store.
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) faults: Faults,
    pub(crate) drawer: Drawer,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::on(Memory::default())
    }

    pub(crate) fn on(memory: Memory) -> Self {
        let faults = Faults::default();
        Self {
            memory,
            drawer: Drawer::new(faults.clone()),
            faults,
        }
    }

    /// The machine as the next start finds it, if it stopped now.
    pub(crate) fn crashed(&self, keep: Keep) -> Self {
        let faults = Faults::default();
        Self {
            memory: self.memory.crash(keep),
            drawer: self.drawer.after_crash(faults.clone()),
            faults,
        }
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(DIR, MACHINE, Wall(0));
        options.disk = Arc::new(Faulty::new(self.memory.clone(), self.faults.clone()));
        options
    }

    pub(crate) fn open(&self) -> Result<(Store, Loaded), OpenError> {
        Store::open(self.options(), key())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }

    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        let matches = |path: &PathBuf| path.to_string_lossy().contains(part);
        self.memory.paths().into_iter().filter(matches).collect()
    }
}

/// Account, generation and refresh token of everything loaded, sorted.
pub(crate) fn summary(loaded: &Loaded) -> Vec<(String, u64, String)> {
    let mut all: Vec<_> = loaded
        .records
        .iter()
        .map(|record| {
            let token = record
                .secrets
                .refresh_token
                .as_ref()
                .unwrap()
                .expose()
                .to_owned();
            (
                record.grant.account.to_string(),
                record.grant.generation.0,
                token,
            )
        })
        .collect();
    all.sort();
    all
}

/// One line of [`summary`].
pub(crate) fn line(name: &str, grant: u64, generation: u64) -> (String, u64, String) {
    (
        name.to_owned(),
        generation,
        refresh_token(name, grant, generation),
    )
}
