//! What the store is made to do: every operation it has, each in a script that runs from the
//! opening to the closing.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, mpsc},
    time::Duration,
};

use authd_core::{
    id::{AttemptId, Generation, GrantId},
    lease::LeaseKey,
    secret::Secret,
    time::Wall,
};
use authd_store::{
    DataKey, Intent, KeyProtection, Loaded, OpenError, Options, Record, Store, StoreError,
    fault::{Faults, Keep, Rule, open_in_next_format},
    key::{self, CREDENTIAL, ChangeError, Cost, KeyState, Means, NewKey},
};

use crate::{
    common::{DIR, Machine, account, intent, key, record, revocation},
    is_full,
    model::{Heard, Model},
};

/// Two passphrases.
const FIRST: &str = "the first passphrase";
const SECOND: &str = "the second passphrase";

/// The machine that a copied store came to.
const OTHER_MACHINE: [u8; 32] = [4; 32];

/// One thing to do.
#[derive(Clone)]
pub(crate) enum Step {
    Intend(Intent),
    /// Only if the intent of this attempt is on disk: else nothing has left.
    Commit(Box<Record>, u64),
    Annul(u64),
    Save(Box<Record>),
    Adopt(Box<Record>),
    Owe(u64),
    Settle(u64),
    Erase(&'static str, u64),
    Flush,
    Close,
    /// From here on there is no space but what was reserved.
    Fill,
    /// And here it is again.
    Free,
    /// The key moves; to a passphrase, under this one.
    Move(KeyProtection, &'static str),
    /// The key is replaced: the store is closed for it, and opened again.
    Rotate,
}

/// How the store is opened.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Opener {
    Plain,
    /// With the key file made on the way, as the daemon's first start does.
    WithKeyFile,
    OnAnotherMachine,
    InTheNextFormat,
    WithAnAnchor,
    /// With the key from wherever it is kept, and an anchor beside it.
    ByItsKey,
}

/// A script.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// What was done before, without faults.
    before: Vec<Step>,
    /// What is done while faults strike.
    pub(crate) steps: Vec<Step>,
    pub(crate) opener: Opener,
    /// Where the key is in the end, and how many there were before.
    pub(crate) key_in_the_end: Option<(KeyProtection, u32)>,
}

impl Script {
    /// The machine before it begins, and what is known of it.
    pub(crate) fn prepared(&self) -> (Machine, Model) {
        let machine = Machine::new();
        let mut model = Model::default();
        if self.before.is_empty() {
            return (machine, model);
        }
        let opener = match self.opener {
            same @ (Opener::WithAnAnchor | Opener::ByItsKey) => same,
            _ => Opener::Plain,
        };
        // Not dropped before it is copied: that would be a stop of another kind.
        let store = run(&machine, opener, &self.before, &mut model);
        let machine = machine.crashed(Keep::Everything);
        if self.opener == Opener::OnAnotherMachine {
            model.moved();
        }
        drop(store.expect("nothing fails before"));
        (machine, model)
    }
}

impl Opener {
    pub(crate) fn open(self, machine: &Machine) -> Result<(Store, Loaded), OpenError> {
        let options = machine.options();
        match self {
            Self::Plain => Store::open(options, key()),
            Self::WithKeyFile => Store::open(options, made_key(machine)?),
            Self::OnAnotherMachine => {
                let options = Options {
                    machine: OTHER_MACHINE,
                    ..options
                };
                Store::open(options, key())
            }
            Self::InTheNextFormat => open_in_next_format(options, key()),
            Self::WithAnAnchor => {
                let options = Options {
                    anchor_file: Some("/elsewhere/anchor".into()),
                    ..options
                };
                Store::open(options, key())
            }
            Self::ByItsKey => by_its_key(machine),
        }
    }
}

fn by_its_key(machine: &Machine) -> Result<(Store, Loaded), OpenError> {
    let state = with_passphrase(|passphrase| {
        match key::obtain(&means(machine), NewKey::InFile, Some(passphrase)) {
            Ok(KeyState::WrongPassphrase) => None,
            state => Some(state),
        }
    });
    match state.transpose()? {
        Some(KeyState::Ready(key)) => {
            let options = anchored(machine, key.protection);
            Store::open(options, key.data_key)
        }
        Some(KeyState::Unavailable { reason }) => Err(OpenError::System(reason)),
        _ => Err(OpenError::System("there is no key".to_owned())),
    }
}

fn anchored(machine: &Machine, protection: KeyProtection) -> Options {
    let in_key_store = protection == KeyProtection::KeyStore;
    Options {
        anchor_file: Some("/elsewhere/anchor".into()),
        anchor_key_store: in_key_store.then(|| machine.drawer.key_store()),
        ..machine.options()
    }
}

/// What there is to keep a key with.
pub(crate) fn means(machine: &Machine) -> Means {
    static CREDENTIALS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(CREDENTIAL), [5; 32]).expect("a credential");
        folder
    });
    Means {
        disk: machine.options().disk,
        key_store: machine.drawer.key_store(),
        credentials: Some(CREDENTIALS.path().to_owned()),
        cost: Cost::new(8, 1, 1).expect("argon2 has it"),
        ..Means::new(DIR, Wall(0))
    }
}

/// A person knows the passphrase before and the one after, and tries both.
fn with_passphrase<T>(mut attempt: impl FnMut(&Secret) -> Option<T>) -> Option<T> {
    [FIRST, SECOND]
        .into_iter()
        .find_map(|passphrase| attempt(&Secret::new(passphrase)))
}

fn made_key(machine: &Machine) -> Result<DataKey, OpenError> {
    match key::obtain(&means(machine), NewKey::InFile, None)? {
        KeyState::Ready(key) => Ok(key.data_key),
        _ => Err(OpenError::System("there is no key".to_owned())),
    }
}

/// Runs `steps` to their end, or to where the machine stops, and notes what was answered. Returns
/// the store where it is open still.
///
/// # Errors
/// When the store does not open.
pub(crate) fn run(
    machine: &Machine,
    opener: Opener,
    steps: &[Step],
    model: &mut Model,
) -> Result<Option<Store>, OpenError> {
    let (store, _) = opener.open(machine)?;
    let mut session = Session {
        store: Some(store),
        machine,
        foreign: opener == Opener::OnAnotherMachine,
        intended: BTreeSet::new(),
    };
    for step in steps {
        session.perform(step, model);
    }
    // Nothing, but the answer says that what followed the operation before is done as well.
    drop(session.ask(|store, done| store.annul(AttemptId(u64::MAX), done)));
    Ok(session.store)
}

struct Session<'a> {
    store: Option<Store>,
    machine: &'a Machine,
    foreign: bool,
    intended: BTreeSet<u64>,
}

impl Session<'_> {
    fn perform(&mut self, step: &Step, model: &mut Model) {
        match step {
            Step::Intend(intent) => {
                let heard = self.ask(|store, done| store.intend(intent.clone(), done));
                model.intended(intent, &heard);
                if let Some(Ok(())) = heard {
                    self.intended.insert(intent.attempt.0);
                }
            }
            Step::Commit(record, attempt) if self.intended.contains(attempt) => {
                let heard = self.ask(|store, done| {
                    store.commit(Record::clone(record), AttemptId(*attempt), done);
                });
                model.committed(record, *attempt, &heard);
            }
            Step::Commit(..) => {}
            Step::Annul(attempt) => {
                let heard = self.ask(|store, done| store.annul(AttemptId(*attempt), done));
                model.annulled(*attempt, &heard);
            }
            Step::Save(record) => {
                let heard = self.ask(|store, done| store.save(Record::clone(record), done));
                model.saved(record, self.foreign, &heard);
            }
            Step::Adopt(record) => {
                let heard = self.ask(|store, done| store.adopt(Record::clone(record), done));
                model.saved(record, false, &heard);
            }
            Step::Owe(id) => {
                let heard = self.ask(|store, done| store.owe_revocation(revocation(*id), done));
                model.owed(*id, &heard);
            }
            Step::Settle(id) => {
                let heard = self.ask(|store, done| store.settle_revocation(*id, done));
                model.settled(*id, &heard);
            }
            Step::Erase(name, grant) => {
                let (account, grant) = (account(name), GrantId(*grant));
                let heard = self.ask(|store, done| store.erase(account.clone(), grant, done));
                model.erased(&account, grant, &heard);
            }
            Step::Flush => {
                let heard = self.ask(|store, done| store.flush(done));
                model.flushed(&heard);
            }
            Step::Close => {
                if let Some(store) = self.store.take() {
                    let heard = ask(&self.machine.faults, |done| store.close(done));
                    model.closed(&heard);
                }
            }
            Step::Fill => {
                self.machine.faults.add(Rule::disk_full().on("authd.redb"));
                self.machine.faults.add(Rule::disk_full().on("mirrors"));
            }
            Step::Free => self.machine.faults.heal(),
            Step::Move(to, new) => {
                let means = means(self.machine);
                let new = Secret::new(*new);
                let _ = with_passphrase(|passphrase| {
                    let moved = key::move_to(&means, *to, Some(passphrase), Some(&new), &|_| {});
                    (!matches!(moved, Err(ChangeError::WrongPassphrase))).then_some(moved)
                });
                if let (Some(store), Ok(Some(kept))) =
                    (&self.store, key::kept(&*means.disk, DIR.as_ref()))
                {
                    let in_key_store = kept.protection == KeyProtection::KeyStore;
                    store.keep_anchor_in(in_key_store.then_some(means.key_store), drop);
                }
            }
            Step::Rotate => {
                self.perform(&Step::Close, model);
                let means = means(self.machine);
                let Ok(Some(kept)) = key::kept(&*means.disk, DIR.as_ref()) else {
                    return;
                };
                let options = anchored(self.machine, kept.protection);
                let _ = with_passphrase(|passphrase| {
                    let rotated = key::rotate(&means, &options, Some(passphrase), &|_| {});
                    (!matches!(rotated, Err(ChangeError::WrongPassphrase))).then_some(rotated)
                });
                self.store = by_its_key(self.machine).ok().map(|(store, _)| store);
            }
        }
    }

    fn ask<T: Send + 'static>(&self, operation: impl FnOnce(&Store, Done<T>)) -> Heard<T> {
        let store = self.store.as_ref()?;
        ask(&self.machine.faults, |done| operation(store, done))
    }
}

type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// What was answered, if the machine still ran when it was.
pub(crate) fn ask<T: Send + 'static>(faults: &Faults, operation: impl FnOnce(Done<T>)) -> Heard<T> {
    let (sender, answer) = mpsc::channel();
    let faults = faults.clone();
    operation(Box::new(move |result| {
        let heard = (!faults.crashed()).then_some(result);
        sender.send(heard).expect("somebody waits");
    }));
    answer
        .recv_timeout(Duration::from_secs(60))
        .expect("an answer within a minute")
}

fn login(name: &str, grant: u64) -> [Step; 2] {
    exchange(intent(name, grant, 0, 1000 + grant), record(name, grant, 1))
}

fn refresh(name: &str, grant: u64, from: u64) -> [Step; 2] {
    let attempt = 100 * grant + from;
    exchange(
        intent(name, grant, from, attempt),
        record(name, grant, from + 1),
    )
}

fn exchange(intent: Intent, record: Record) -> [Step; 2] {
    let attempt = intent.attempt.0;
    [
        Step::Intend(intent),
        Step::Commit(Box::new(record), attempt),
    ]
}

/// A refresh for another resource: its token comes beside the one that was there.
fn refresh_for(resource: &str, from: &Record) -> ([Step; 2], Record) {
    let mut next = from.clone();
    let grant = &mut next.grant;
    let lease_key = LeaseKey {
        resource: Some(resource.to_owned()),
        ..LeaseKey::default()
    };
    let mut lease = grant
        .leases
        .values()
        .next()
        .cloned()
        .expect("a first lease");
    grant.generation = Generation(grant.generation.0 + 1);
    lease.generation = grant.generation;
    grant.leases.insert(lease_key.clone(), lease);
    let generation = grant.generation.0;
    let token = format!("CANARY-at-{resource}-{generation}");
    next.secrets
        .access_tokens
        .insert(lease_key.clone(), Secret::new(token));
    let token = format!("CANARY-rt-work-1-{generation}");
    next.secrets.previous_refresh_token = next.secrets.refresh_token.replace(Secret::new(token));
    let mut intent = intent("work", 1, generation - 1, 100 + generation);
    intent.lease = lease_key;
    (exchange(intent, next.clone()), next)
}

fn with_renewals(mut record: Record, renewals: u64) -> Box<Record> {
    record.grant.renewals = renewals;
    record.grant.created_at = Wall(1);
    Box::new(record)
}

/// Work and home, logged in.
fn two() -> Vec<Step> {
    [login("work", 1), login("home", 2)].concat()
}

/// A commit for which there is no space but what was reserved.
fn spilled() -> Vec<Step> {
    let mut steps = vec![Step::Intend(intent("work", 1, 1, 9)), Step::Fill];
    steps.extend((0..2).map(|_| Step::Commit(Box::new(record("work", 1, 2)), 9)));
    steps
}

/// All of them.
pub(crate) fn scripts() -> Vec<Script> {
    use Step::{Adopt, Annul, Close, Erase, Flush, Free, Intend, Owe, Save, Settle};
    let script = |name, before: Vec<Step>, steps: Vec<Step>| Script {
        name,
        before,
        steps: [steps, vec![Close]].concat(),
        opener: Opener::Plain,
        key_in_the_end: None,
    };
    let stopped = |steps: Vec<Step>| [steps, vec![Close]].concat();
    let under_way = || Intend(intent("work", 1, 1, 9));
    let owing = || [two(), vec![Owe(1), Owe(2)]].concat();
    let (first, after_first) = refresh_for("https://one.example", &record("work", 1, 1));
    let (second, _) = refresh_for("https://two.example", &after_first);
    let saved = |renewals| Save(with_renewals(record("work", 1, 1), renewals));
    let adopted = Adopt(Box::new(record("work", 1, 1)));
    let forget = || vec![Erase("work", 1)];
    let mut scripts = vec![
        Script {
            opener: Opener::WithKeyFile,
            ..script("first start", vec![], login("work", 1).to_vec())
        },
        script("login", stopped(two()), login("club", 3).to_vec()),
        script("re-login", stopped(two()), login("work", 9).to_vec()),
        script(
            "refresh",
            stopped(two()),
            [refresh("work", 1, 1), refresh("work", 1, 2)].concat(),
        ),
        Script {
            opener: Opener::WithAnAnchor,
            ..script(
                "refresh, anchored",
                stopped(two()),
                refresh("work", 1, 1).to_vec(),
            )
        },
        script(
            "refresh, resources",
            stopped(two()),
            [first, second].concat(),
        ),
        script(
            "annul",
            stopped(two()),
            [vec![under_way(), Annul(9)], refresh("work", 1, 1).to_vec()].concat(),
        ),
        script("save", stopped(two()), vec![saved(700), saved(701)]),
        script(
            "logout",
            stopped([two(), refresh("work", 1, 1).to_vec()].concat()),
            [vec![Owe(1), Owe(2)], forget()].concat(),
        ),
        script("settle", stopped(owing()), vec![Settle(1), Settle(2)]),
        script(
            "forget",
            stopped(two()),
            [vec![under_way()], forget()].concat(),
        ),
        script(
            "renew and forget",
            stopped(two()),
            [refresh("work", 1, 1).to_vec(), forget()].concat(),
        ),
        Script {
            opener: Opener::OnAnotherMachine,
            ..script("adopt", stopped(two()), vec![adopted])
        },
        Script {
            opener: Opener::InTheNextFormat,
            ..script(
                "migrate",
                stopped([owing(), vec![under_way()]].concat()),
                vec![],
            )
        },
        script(
            "spill",
            stopped(two()),
            [spilled(), vec![Free, Flush]].concat(),
        ),
        script("spill, take-up", [two(), spilled()].concat(), vec![Flush]),
        script(
            "spill and forget",
            stopped(two()),
            [spilled(), vec![Free], forget()].concat(),
        ),
    ];
    let of_keys = scripts_of_keys().into_iter();
    scripts
        .extend(of_keys.filter(|script| is_full() || IN_THE_ORDINARY_TIER.contains(&script.name)));
    scripts
}

/// Of the key's scripts those that go through every place and every way once.
const IN_THE_ORDINARY_TIER: [&str; 5] = [
    "keyring to passphrase",
    "passphrase to file",
    "file to keyring",
    "rotate, keyring",
    "rotate, passphrase",
];

/// The key moves between all places, and is replaced in each; before, in the midst of it and after it the
/// store is at work.
fn scripts_of_keys() -> Vec<Script> {
    use KeyProtection::{Credential, File, KeyStore, Passphrase};
    use Step::{Close, Intend, Move, Owe, Rotate};
    let script = |name, from: KeyProtection, steps: Vec<Step>, end| {
        let mut before = [two(), refresh("work", 1, 1).to_vec(), vec![Owe(1)]].concat();
        if from != File {
            before.push(Move(from, FIRST));
        }
        before.push(Close);
        Script {
            name,
            before,
            steps: [steps, vec![Close]].concat(),
            opener: Opener::ByItsKey,
            key_in_the_end: Some(end),
        }
    };
    let moving = |name, from, to| {
        let steps = [vec![Move(to, FIRST)], refresh("work", 1, 2).to_vec()].concat();
        script(name, from, steps, (to, 0))
    };
    let under_way = || Intend(intent("home", 2, 1, 9));
    let rotating = |name, place| {
        let steps = [vec![under_way(), Rotate], refresh("work", 1, 2).to_vec()].concat();
        script(name, place, steps, (place, 1))
    };
    vec![
        moving("keyring to passphrase", KeyStore, Passphrase),
        moving("keyring to file", KeyStore, File),
        moving("passphrase to keyring", Passphrase, KeyStore),
        moving("passphrase to file", Passphrase, File),
        moving("file to keyring", File, KeyStore),
        moving("file to passphrase", File, Passphrase),
        moving("file to credential", File, Credential),
        moving("credential to keyring", Credential, KeyStore),
        script(
            "new passphrase",
            Passphrase,
            vec![Move(Passphrase, SECOND)],
            (Passphrase, 0),
        ),
        script(
            "there and back",
            File,
            vec![Move(Passphrase, FIRST), Move(KeyStore, ""), Move(File, "")],
            (File, 0),
        ),
        rotating("rotate, file", File),
        rotating("rotate, keyring", KeyStore),
        rotating("rotate, passphrase", Passphrase),
        rotating("rotate, credential", Credential),
        script(
            "rotate and move",
            File,
            vec![Rotate, Move(KeyStore, ""), Rotate],
            (KeyStore, 2),
        ),
    ]
}
