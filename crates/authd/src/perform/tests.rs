//! Two logins of one account on their way to a disk that fails.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use authd_core::{
    broker::{CommitOutcome, Effect, Event, View},
    flag::Raised,
    grant::Grant,
    id::{Account, AttemptId, Generation, GrantId},
    secret::Secret,
    time::Wall,
};
use authd_oauth::{DpopServers, Tokens};
use authd_store::{
    DataKey, Loaded, Options, Secrets, Store,
    fault::{Faults, Faulty, Memory, Rule},
};
use tokio::sync::{Notify, mpsc::UnboundedReceiver, watch};

use super::Performer;
use crate::{
    approvals::Approvals,
    audit::Audit,
    authorize::Logins,
    caller::Callers,
    clock::{Alarms, Clock, DrivenClock},
    clocks::Clocks,
    config::Config,
    credential::Credentials,
    daemon::{Daemon, Figures, Place, Standing},
    driver::{Mailbox, Message},
    fingerprint::Fingerprinter,
    journal::{Journal, Window},
    keys::Keys,
    network::Network,
    process::{Confinement, launcher::Launcher},
    published::Published,
};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: (u64, AttemptId) = (1, AttemptId(11));
const SECOND: (u64, AttemptId) = (2, AttemptId(22));

/// The performer as the driver has it, with a real store on a disk in memory.
struct Bench {
    performer: Performer,
    mail: UnboundedReceiver<Message>,
    memory: Memory,
    faults: Faults,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = Clock::Driven(DrivenClock::at(since_epoch, Alarms::ThroughSuspend));
        let (mailbox, mail) = Mailbox::new();
        let config = Config::default();
        let daemon = Daemon {
            published: Published::new(clock.boot_id()),
            mailbox,
            network: Network::start(&config, &clock, &Launcher::default()).unwrap(),
            fingerprints: Fingerprinter::default(),
            journal: Journal::open(dir.path().join("events"), clock.clone()),
            audit: Audit::open(dir.path().join("audit")),
            approvals: Approvals::open(dir.path().to_owned()),
            callers: Callers::default(),
            credentials: Credentials::default(),
            launcher: Launcher::default(),
            confinement: Confinement::default(),
            logins: Logins::default(),
            clocks: Clocks::default(),
            dpop: DpopServers::default(),
            sockets: crate::restricted::Sockets::new().0,
            keys: Keys::new(Duration::from_secs(5), None),
            standing: ArcSwap::from_pointee(Standing::opening()),
            figures: Figures::new(&clock),
            place: Place {
                socket: dir.path().join("socket"),
                state_dir: dir.path().to_owned(),
                config_path: dir.path().join("config.toml"),
                anchor_path: dir.path().join("anchor"),
                anchor_trouble: None,
            },
            opened: Notify::new(),
            stopping: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            config: ArcSwap::from_pointee(config),
            clock,
        };
        let (memory, faults) = (Memory::default(), Faults::default());
        let mut performer = Performer::new(Arc::new(daemon));
        performer.store = Some(open(&memory, &faults).0);
        Self {
            performer,
            mail,
            memory,
            faults,
            _dir: dir,
        }
    }

    /// The provider answered a login, and the engine has it written.
    fn commit(&mut self, login: (u64, AttemptId)) {
        self.commit_proved(login, false);
    }

    /// The same of one that has a key, and was or was not proved to hold it.
    fn commit_proved(&mut self, (grant, attempt): (u64, AttemptId), proved: bool) {
        let tokens = Tokens {
            access_token: Secret::new(format!("CANARY-at-{grant}")),
            refresh_token: Some(Secret::new(refresh_token(grant))),
            id_token: None,
        };
        let begins_with = Secrets {
            dpop_key: Some(Secret::new(format!("CANARY-key-{grant}"))),
            ..Secrets::default()
        };
        self.performer.logging_in.insert(attempt, begins_with);
        self.performer.keep_answer(attempt, Some(tokens), proved);
        let grant = login(grant);
        self.performer.perform(Effect::Commit { attempt, grant });
    }

    /// Whether the engine heard that the login is written; what it does then is done.
    fn committed(&mut self, (grant, expected): (u64, AttemptId)) -> CommitOutcome {
        let Event::Committed { attempt, outcome } = self.event() else {
            panic!("something else comes first");
        };
        assert_eq!(attempt, expected);
        let counts = matches!(outcome, CommitOutcome::Durable | CommitOutcome::Spilled(_));
        if counts {
            let view = View {
                grant: login(grant),
                refreshing: None,
                next_renewal: None,
            };
            let attempt = Some(attempt);
            self.performer.perform(Effect::Publish { attempt, view });
        }
        self.performer.conclude(attempt);
        outcome
    }

    /// The write that is due once more.
    fn save(&mut self, (grant, _): (u64, AttemptId)) {
        let grant = login(grant);
        self.performer.perform(Effect::Save { grant });
    }

    fn saved(&mut self) -> Result<(), String> {
        match self.event() {
            Event::Saved { result, .. } => result,
            _ => panic!("something else comes first"),
        }
    }

    fn event(&mut self) -> Event {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let message = runtime.block_on(async {
            let message = tokio::time::timeout(PATIENCE, self.mail.recv());
            message.await.unwrap().unwrap()
        });
        match message {
            Message::Event(event) => *event,
            _ => panic!("no event"),
        }
    }

    /// What the next start finds: grants and their refresh tokens.
    fn restarted(mut self) -> Vec<(GrantId, String)> {
        self.performer.close_store();
        let (_store, loaded) = open(&self.memory, &Faults::default());
        let found = loaded.records.into_iter().map(|record| {
            let refresh_token = record.secrets.refresh_token.unwrap();
            (record.grant.id, refresh_token.expose().to_owned())
        });
        found.collect()
    }
}

fn open(memory: &Memory, faults: &Faults) -> (Store, Loaded) {
    let mut options = Options::new("/state", [3; 32], Wall(0));
    options.disk = Arc::new(Faulty::new(memory.clone(), faults.clone()));
    Store::open(options, DataKey::from_bytes(&[7; 32]).unwrap()).unwrap()
}

fn refresh_token(grant: u64) -> String {
    format!("CANARY-rt-{grant}")
}

/// The first generation of a login.
fn login(grant: u64) -> Arc<Grant> {
    Arc::new(Grant {
        account: Account::new("work").unwrap(),
        id: GrantId(grant),
        generation: Generation(1),
        provider: Default::default(),
        subject: None,
        scopes: Default::default(),
        resource: None,
        resources: Default::default(),
        renewed_by: authd_core::grant::RenewedBy::RefreshToken,
        renewable: true,
        leases: Default::default(),
        learned: Default::default(),
        flags: Default::default(),
        renewals: 0,
        created_at: Wall(0),
        last_error: None,
        metadata_seen: None,
    })
}

#[test]
fn inv_11_a_late_write_of_a_login_leaves_the_one_that_replaced_it() {
    let mut bench = Bench::new();
    bench.faults.add(Rule::disk_full().on("authd.redb"));
    bench.commit(FIRST);
    let outcome = bench.committed(FIRST);
    assert!(matches!(outcome, CommitOutcome::Spilled(_)), "{outcome:?}");

    // The person logs in again. Before the engine hears that this is written, the first one's write
    // is due once more.
    bench.faults.heal();
    bench.commit(SECOND);
    bench.save(FIRST);
    assert_eq!(bench.committed(SECOND), CommitOutcome::Durable);
    assert!(bench.saved().is_err(), "it is replaced");
    assert_eq!(bench.restarted(), [(GrantId(2), refresh_token(2))]);
}

#[tokio::test]
async fn of_what_was_loaded_only_that_is_told_which_is_not_fine() {
    let mut bench = Bench::new();
    let mut doubted = Grant::clone(&login(2));
    doubted.account = Account::new("doubted").unwrap();
    doubted.flags.suspect = Some(Raised {
        reason: "invalid_grant".to_owned(),
        since: Wall(0),
    });
    for grant in [login(1), doubted.into()] {
        bench.performer.perform(Effect::Publish {
            attempt: None,
            view: View {
                grant,
                refreshing: None,
                next_renewal: None,
            },
        });
    }
    bench.performer.tell_opened();
    let window = Window {
        after: 0,
        before: u64::MAX,
        newest: false,
        limit: 100,
    };
    let events = bench.performer.daemon.journal.read(window, |_| true);
    let told = events.await.unwrap().into_iter();
    let told = told.map(|event| event.account.or(event.outcome).unwrap());
    assert_eq!(told.collect::<Vec<_>>(), ["doubted", "store_opened"]);
    assert_eq!(bench.performer.daemon.published.load().len(), 2);
}

#[test]
fn a_login_that_failed_for_the_disk_leaves_the_one_before_it_to_be_written() {
    let mut bench = Bench::new();
    bench.faults.add(Rule::disk_full().on("authd.redb"));
    bench.commit(FIRST);
    let outcome = bench.committed(FIRST);
    assert!(matches!(outcome, CommitOutcome::Spilled(_)), "{outcome:?}");

    bench.faults.add(Rule::read_only());
    bench.commit(SECOND);
    let outcome = bench.committed(SECOND);
    assert!(
        matches!(outcome, CommitOutcome::MemoryOnly(_)),
        "{outcome:?}"
    );
    bench.faults.heal();
    bench.save(FIRST);
    assert_eq!(bench.saved(), Ok(()));
    assert_eq!(bench.restarted(), [(GrantId(1), refresh_token(1))]);
}

#[test]
fn a_login_has_its_key_from_its_first_record_on_and_only_if_it_was_proved() {
    for (proved, expected) in [(true, Some("CANARY-key-1")), (false, None)] {
        let mut bench = Bench::new();
        bench.commit_proved(FIRST, proved);
        assert_eq!(bench.committed(FIRST), CommitOutcome::Durable);
        bench.performer.close_store();
        let (_store, loaded) = open(&bench.memory, &bench.faults);
        let secrets = &loaded.records[0].secrets;
        assert!(secrets.refresh_token.is_some());
        let key = secrets.dpop_key.as_ref().map(Secret::expose);
        assert_eq!(key, expected);
    }
}
