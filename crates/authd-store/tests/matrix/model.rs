//! What must be found after a fault, from what the store had answered before it: the oracle.

use std::collections::BTreeMap;

use authd_core::id::{Account, GrantId};
use authd_store::{CommitOutcome, Flushed, Intent, Loaded, Record, SetAside, StoreError};

/// What an operation was answered; `None` when the machine had stopped before: nobody heard it.
pub(crate) type Heard<T> = Option<Result<T, StoreError>>;

/// One account as it may be found.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) record: Record,
    pub(crate) foreign: bool,
}

#[derive(Clone, Default)]
struct Holding {
    /// What was promised; `None`: that there is no such account.
    certain: Option<State>,
    /// What was begun and not promised.
    maybe: Vec<Option<State>>,
    /// What was said to be in memory alone.
    in_memory: Option<State>,
    /// What stood before the last commit.
    before: Option<State>,
}

/// What is known of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is on disk, and its outcome is not: it must be found.
    Must,
    /// It may be found: at worst it makes a false alarm.
    May,
    /// A commit has settled it.
    Over,
}

/// All that is known.
#[derive(Clone, Default)]
pub(crate) struct Model {
    accounts: BTreeMap<Account, Holding>,
    /// Intents.
    intents: BTreeMap<u64, (Intent, Standing)>,
    /// Owed revocations, each with whether it must be found.
    owed: BTreeMap<u64, bool>,
}

/// What happened to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The power failed; else the process alone was killed.
    pub(crate) power: bool,
    /// And nothing in the database's file can be read.
    pub(crate) database: bool,
    /// A disk that failed before: something torn may have been set aside.
    pub(crate) errors: bool,
}

/// What a start found, of all accounts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    /// Exactly what was promised.
    Promised,
    /// For an account something newer that nobody had been told of yet.
    Newer,
    /// An intent without an outcome.
    Ambiguous,
}

impl Model {
    pub(crate) fn intended(&mut self, intent: &Intent, heard: &Heard<()>) {
        let standing = match heard {
            Some(Ok(())) => Standing::Must,
            _ => Standing::May,
        };
        self.intents
            .insert(intent.attempt.0, (intent.clone(), standing));
    }

    pub(crate) fn committed(
        &mut self,
        record: &Record,
        attempt: u64,
        heard: &Heard<CommitOutcome>,
    ) {
        let holding = self
            .accounts
            .entry(record.grant.account.clone())
            .or_default();
        let state = State {
            record: record.clone(),
            foreign: false,
        };
        match heard {
            Some(Ok(CommitOutcome::Durable | CommitOutcome::Spilled { .. })) => {
                if !is_same(holding.certain.as_ref(), Some(&state)) {
                    holding.before = holding.certain.replace(state);
                }
                holding.maybe.clear();
                holding.in_memory = None;
                self.settle_intents(record, attempt);
            }
            Some(Ok(CommitOutcome::MemoryOnly { .. })) => {
                let is_login = record.grant.generation.0 == 1;
                holding.maybe.push(Some(state.clone()));
                if !is_login {
                    holding.in_memory = Some(state);
                } else if let Some((_, standing)) = self.intents.get_mut(&attempt) {
                    // A login that does not count: its intent is taken back.
                    *standing = Standing::May;
                }
            }
            Some(Err(_)) => {}
            None => holding.maybe.push(Some(state)),
        }
    }

    fn settle_intents(&mut self, record: &Record, attempt: u64) {
        for (number, (intent, standing)) in &mut self.intents {
            if *number == attempt || is_over(intent, Some(record)) {
                *standing = Standing::Over;
            }
        }
    }

    pub(crate) fn annulled(&mut self, attempt: u64, heard: &Heard<()>) {
        let standing = self.intents.get(&attempt).map(|(_, standing)| *standing);
        match heard {
            // One that was refused may be on the disk all the same, and the store does not know.
            Some(Ok(())) if standing != Some(Standing::May) => {
                self.intents.remove(&attempt);
            }
            _ => {
                if let Some((_, standing)) = self.intents.get_mut(&attempt) {
                    *standing = Standing::May;
                }
            }
        }
    }

    pub(crate) fn saved(&mut self, record: &Record, foreign: bool, heard: &Heard<()>) {
        let holding = self
            .accounts
            .entry(record.grant.account.clone())
            .or_default();
        let state = State {
            record: record.clone(),
            foreign,
        };
        match heard {
            Some(Ok(())) => {
                holding.certain = Some(state);
                holding.maybe.clear();
            }
            _ => holding.maybe.push(Some(state)),
        }
    }

    pub(crate) fn erased(&mut self, account: &Account, grant: GrantId, heard: &Heard<()>) {
        let holding = self.accounts.entry(account.clone()).or_default();
        let is_of_grant = |intent: &Intent| intent.account == *account && intent.grant == grant;
        match heard {
            Some(Ok(())) => {
                *holding = Holding::default();
                self.intents.retain(|_, (intent, _)| !is_of_grant(intent));
            }
            _ => {
                holding.maybe.push(None);
                let of_grant = self
                    .intents
                    .values_mut()
                    .filter(|(intent, _)| is_of_grant(intent));
                of_grant.for_each(|(_, standing)| *standing = Standing::May);
            }
        }
    }

    pub(crate) fn owed(&mut self, id: u64, heard: &Heard<()>) {
        self.owed.insert(id, matches!(heard, Some(Ok(()))));
    }

    pub(crate) fn settled(&mut self, id: u64, heard: &Heard<()>) {
        match heard {
            Some(Ok(())) => {
                self.owed.remove(&id);
            }
            _ => {
                self.owed.insert(id, false);
            }
        }
    }

    pub(crate) fn flushed(&mut self, heard: &Heard<Flushed>) {
        if let Some(Ok(flushed)) = heard {
            self.all_written_but(&flushed.memory_only);
        }
    }

    pub(crate) fn closed(&mut self, heard: &Heard<()>) {
        match heard {
            Some(Err(StoreError::Unsaved(lost))) => self.all_written_but(lost),
            Some(Err(StoreError::Closed)) | None => {}
            Some(_) => self.all_written_but(&[]),
        }
        // What is in memory now is in no store's memory any more.
        self.accounts
            .values_mut()
            .for_each(|holding| holding.in_memory = None);
    }

    fn all_written_but(&mut self, lost: &[Account]) {
        for (account, holding) in &mut self.accounts {
            if let Some(state) = holding.in_memory.take_if(|_| !lost.contains(account)) {
                holding.before = holding.certain.replace(state);
                holding.maybe.clear();
            }
        }
    }

    /// The machine's id is another from now on.
    pub(crate) fn moved(&mut self) {
        for holding in self.accounts.values_mut() {
            if let Some(state) = &mut holding.certain {
                state.foreign = true;
            }
        }
    }

    /// Compares with what a start found.
    ///
    /// # Panics
    /// When something was lost, or guessed.
    pub(crate) fn check(&self, loaded: &Loaded, damage: Damage, place: &str) -> Found {
        let mut verdict = Found::Promised;
        for record in &loaded.records {
            let account = &record.grant.account;
            assert!(
                self.accounts.contains_key(account),
                "{place}: {account} came back"
            );
        }
        for (account, holding) in &self.accounts {
            let found = loaded
                .records
                .iter()
                .find(|record| record.grant.account == *account);
            let found = found.map(|record| State {
                record: record.clone(),
                foreign: loaded.foreign.contains(account),
            });
            verdict = verdict.max(Self::check_account(
                holding,
                found.as_ref(),
                loaded,
                damage,
                place,
            ));
        }
        for intent in &loaded.intents {
            let known = self.intents.contains_key(&intent.attempt.0);
            // A slot that waits for its next use still has the intent of a login that is long over;
            // of no use to anybody, it makes at most a false alarm.
            let leftover = damage.database && intent.generation.0 == 0;
            assert!(known || leftover, "{place}: {intent:?} came back");
        }
        for (intent, standing) in self.intents.values() {
            let stands = loaded.intents.contains(intent);
            let held = loaded
                .records
                .iter()
                .find(|record| record.grant.account == intent.account);
            let is_over = is_over(intent, held);
            let must = *standing == Standing::Must && !is_over;
            // Where the commit itself was lost, the intent must not be: see `check_account`.
            let may = damage.database || *standing != Standing::Over;
            assert!(
                !stands || may && !is_over,
                "{place}: {intent:?} stands, but it is over"
            );
            assert!(stands || !must, "{place}: {intent:?} is gone: a guess");
            if stands {
                verdict = verdict.max(Found::Ambiguous);
            }
        }
        self.check_owed(loaded, place);
        if !damage.errors && !damage.database {
            // One that was being spilled when the power failed had not been promised yet.
            let torn_spill = |kept: &SetAside| damage.power && kept.what == "a spilled answer";
            assert!(
                loaded.set_aside.iter().all(torn_spill),
                "{place}: {:?}",
                loaded.set_aside
            );
            assert!(!loaded.rebuilt_from_mirrors, "{place}");
        }
        if !damage.database {
            assert!(
                loaded.stale.is_empty(),
                "{place}: {:?} took for stale",
                loaded.stale
            );
        }
        verdict
    }

    fn check_account(
        holding: &Holding,
        found: Option<&State>,
        loaded: &Loaded,
        damage: Damage,
        place: &str,
    ) -> Found {
        if is_same(holding.certain.as_ref(), found) {
            return Found::Promised;
        }
        if holding
            .maybe
            .iter()
            .any(|maybe| is_same(maybe.as_ref(), found))
        {
            return Found::Newer;
        }
        let shown = |state: Option<&State>| {
            state.map(|state| {
                let grant = &state.record.grant;
                (
                    grant.account.clone(),
                    grant.id,
                    grant.generation,
                    state.foreign,
                )
            })
        };
        let generation = |state: Option<&State>| {
            state.map(|state| (state.record.grant.id, state.record.grant.generation))
        };
        if damage.database {
            // The mirror may lag behind in what is no token: flags, whose login it is.
            if generation(found) == generation(holding.certain.as_ref()) {
                return Found::Newer;
            }
            // And without power behind in a generation, if that is known not to be known.
            let is_before = damage.power && is_same(holding.before.as_ref(), found);
            let asked = found.is_none_or(|found| {
                let grant = &found.record.grant;
                let is_it = |intent: &Intent| intent.account == grant.account;
                loaded.intents.iter().any(is_it)
            });
            if is_before && asked {
                return Found::Ambiguous;
            }
        }
        panic!(
            "{place}: found {:?}, promised {:?}",
            shown(found),
            shown(holding.certain.as_ref())
        );
    }

    fn check_owed(&self, loaded: &Loaded, place: &str) {
        for owed in &loaded.revocations {
            assert!(
                self.owed.contains_key(&owed.id),
                "{place}: {} is owed again",
                owed.id
            );
        }
        for (id, must) in &self.owed {
            let stands = loaded.revocations.iter().any(|owed| owed.id == *id);
            assert!(stands || !must, "{place}: revocation {id} is owed no more");
        }
    }
}

/// Whether what is held of its account shows that an intent needs no further thought.
fn is_over(intent: &Intent, held: Option<&Record>) -> bool {
    match held.map(|record| &record.grant) {
        Some(grant) if grant.account != intent.account => false,
        Some(grant) if grant.id == intent.grant => grant.generation > intent.generation,
        _ => intent.generation.0 > 0,
    }
}

fn is_same(one: Option<&State>, other: Option<&State>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let (a, b) = (&one.record, &other.record);
            let token = |record: &Record| {
                let token = record.secrets.refresh_token.as_ref();
                token.map(|token| token.expose().to_owned())
            };
            let access_tokens = |record: &Record| {
                let all = record.secrets.access_tokens.iter();
                all.map(|(key, token)| (key.clone(), token.expose().to_owned()))
                    .collect::<BTreeMap<_, _>>()
            };
            one.foreign == other.foreign
                && a.grant == b.grant
                && token(a) == token(b)
                && access_tokens(a) == access_tokens(b)
        }
        _ => false,
    }
}
