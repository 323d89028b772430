//! One cell of the matrix: a script, a fault, the operation that it strikes; and what a start makes
//! of the disk afterwards.

use std::{io::ErrorKind, path::PathBuf};

use authd_core::{
    id::{AttemptId, Generation},
    secret::Secret,
};
use authd_store::{
    CommitOutcome, KeyProtection, Loaded, OpenError, Record, Store,
    fault::{Fault, Keep, Memory, Op, Part},
    key,
};

use crate::{
    common::{DIR, Machine, close, commit, intend, intent, summary},
    model::{Damage, Found, Model},
    script::{Opener, Script, ask, run},
};

/// The columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    /// The machine stops before the operation; after the last one too.
    Stop,
    /// It stops within a write.
    Torn,
    /// It stops before the operation, and the database cannot be read afterwards.
    Damaged,
    /// One operation finds no space.
    Full,
    /// From it on there is none.
    StaysFull,
    /// One operation fails.
    Error,
    /// From it on all fail.
    StaysBroken,
    /// A sync fails, and what it was to sync is gone.
    SyncLost,
}

impl Column {
    pub(crate) const ALL: [Self; 8] = [
        Self::Stop,
        Self::Torn,
        Self::Damaged,
        Self::Full,
        Self::StaysFull,
        Self::Error,
        Self::StaysBroken,
        Self::SyncLost,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Torn => "torn",
            Self::Damaged => "stop+damage",
            Self::Full => "ENOSPC",
            Self::StaysFull => "ENOSPC on",
            Self::Error => "EIO",
            Self::StaysBroken => "EIO on",
            Self::SyncLost => "sync lost",
        }
    }

    /// The faults of this column at an operation of this kind (`None`: after the last one).
    fn faults(self, op: Option<Op>, memory: &Memory, breadth: &Breadth) -> Vec<Fault> {
        let space = vec![Op::Open, Op::Write, Op::SetLen, Op::Allocate];
        match (self, op) {
            (Self::Stop | Self::Damaged, _) => vec![Fault::Stop],
            (_, None) => vec![],
            (Self::Torn, Some(Op::Write)) => [Part::Prefix, Part::Suffix]
                .into_iter()
                .chain((0..breadth.seeds).map(Part::Sectors))
                .map(Fault::Tear)
                .collect(),
            (Self::Full, Some(op)) if space.contains(&op) => {
                vec![Fault::Once(ErrorKind::StorageFull)]
            }
            (Self::StaysFull, Some(op)) if space.contains(&op) => {
                vec![Fault::Lasting(space, ErrorKind::StorageFull)]
            }
            (Self::Error, _) => vec![Fault::Once(ErrorKind::Other)],
            (Self::StaysBroken, _) => vec![Fault::Lasting(vec![], ErrorKind::Other)],
            (Self::SyncLost, Some(Op::Sync)) => vec![Fault::LoseSync(memory.clone())],
            (Self::Torn | Self::Full | Self::StaysFull | Self::SyncLost, _) => vec![],
        }
    }

    /// What of the unsynced may be left on the disk.
    fn keeps(self, breadth: &Breadth) -> Vec<Keep> {
        let some = (0..breadth.seeds).map(Keep::Some);
        match self {
            // What is not written cannot be torn: the random part is in the fault.
            Self::Torn => [Keep::Everything].into_iter().chain(some.take(1)).collect(),
            Self::Damaged => vec![Keep::Nothing, Keep::Everything],
            _ => [Keep::Nothing, Keep::Everything]
                .into_iter()
                .chain(some)
                .collect(),
        }
    }

    fn goes_on(self) -> bool {
        !matches!(self, Self::Stop | Self::Torn | Self::Damaged)
    }
}

/// How much of what is random is tried.
#[derive(Clone, Copy)]
pub(crate) struct Breadth {
    pub(crate) seeds: u64,
}

/// What the checks of some cells found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) promised: u64,
    pub(crate) newer: u64,
    pub(crate) ambiguous: u64,
}

impl Tally {
    pub(crate) fn checks(self) -> u64 {
        self.promised + self.newer + self.ambiguous
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.promised += other.promised;
        self.newer += other.newer;
        self.ambiguous += other.ambiguous;
    }

    fn count(&mut self, found: Found) {
        match found {
            Found::Promised => self.promised += 1,
            Found::Newer => self.newer += 1,
            Found::Ambiguous => self.ambiguous += 1,
        }
    }
}

/// A script with its operations counted.
pub(crate) struct Row {
    pub(crate) script: Script,
    prepared: Machine,
    model: Model,
    pub(crate) operations: Vec<(Op, PathBuf)>,
}

impl Row {
    pub(crate) fn new(script: Script) -> Self {
        let (prepared, model) = script.prepared();
        let machine = prepared.crashed(Keep::Everything);
        machine.faults.record();
        let mut after = model.clone();
        run(&machine, script.opener, &script.steps, &mut after).expect("nothing fails yet");
        if let Some(end) = script.key_in_the_end {
            let kept = key::kept(&machine.memory, DIR.as_ref()).expect("no fault");
            let kept = kept.map(|kept| (kept.protection, kept.number));
            assert_eq!(kept, Some(end), "{}, no fault", script.name);
        }
        let whole = Damage {
            power: true,
            database: false,
            errors: false,
        };
        let place = format!("{}, no fault", script.name);
        let found = settle(&machine, Keep::Nothing, &script, &after, whole, &place);
        let aims_at_ambiguity = script.name == "migrate" || script.name.starts_with("rotate,");
        assert!(
            found == Found::Promised || aims_at_ambiguity,
            "{place}: {found:?}"
        );
        Self {
            prepared,
            model,
            operations: machine.faults.trace(),
            script,
        }
    }

    /// The machine as it is before the script begins.
    fn machine(&self) -> Machine {
        self.prepared.crashed(Keep::Everything)
    }

    /// All cells of one column at one operation (the number of them: after the last).
    pub(crate) fn strike(&self, column: Column, at: usize, breadth: &Breadth) -> Tally {
        let mut tally = Tally::default();
        let op = self.operations.get(at).map(|(op, _)| *op);
        let probe = Memory::default();
        for number in 0..column.faults(op, &probe, breadth).len() {
            let machine = self.machine();
            let fault = column
                .faults(op, &machine.memory, breadth)
                .swap_remove(number);
            let place = self.place(column, at, &format!("fault {number}"));
            machine.faults.strike_after(at as u64, fault);
            let mut model = self.model.clone();
            let steps = &self.script.steps;
            drop(run(&machine, self.script.opener, steps, &mut model));
            for keep in column.keeps(breadth) {
                let damage = Damage {
                    power: keep != Keep::Everything,
                    database: column == Column::Damaged,
                    errors: column.goes_on(),
                };
                let place = format!("{place}, {keep:?}");
                tally.count(settle(&machine, keep, &self.script, &model, damage, &place));
            }
            if column.goes_on() {
                let machine = self.machine();
                let fault = column
                    .faults(op, &machine.memory, breadth)
                    .swap_remove(number);
                machine.faults.strike_after(at as u64, fault);
                tally.count(self.mended(&machine, &place));
            }
        }
        tally
    }

    /// The machine stops at one operation, and its recovery at another, or runs through.
    pub(crate) fn strike_twice(
        &self,
        at: usize,
        keep: Keep,
        wanted: impl Fn(u64) -> bool,
    ) -> Tally {
        let mut tally = Tally::default();
        let machine = self.machine();
        machine.faults.strike_after(at as u64, Fault::Stop);
        let mut model = self.model.clone();
        drop(run(
            &machine,
            self.script.opener,
            &self.script.steps,
            &mut model,
        ));
        let opener = self.script.opener;
        for second in (0..).filter(|second| wanted(*second)) {
            let again = machine.crashed(keep);
            again.faults.crash_after(second);
            if let Ok((store, _)) = opener.open(&again) {
                drop(ask(&again.faults, |done| store.close(done)));
            }
            let place = self.place(Column::Stop, at, &format!("then {second}, {keep:?}"));
            let damage = Damage {
                power: keep != Keep::Everything,
                database: false,
                errors: false,
            };
            tally.count(settle(&again, keep, &self.script, &model, damage, &place));
            if !again.faults.crashed() {
                return tally;
            }
        }
        tally
    }

    /// Strikes, and then the disk is as it should be again and the daemon goes on: nothing is lost
    /// at all.
    fn mended(&self, machine: &Machine, place: &str) -> Found {
        let steps = self
            .script
            .steps
            .split_last()
            .map_or(&[][..], |(_close, steps)| steps);
        let mut model = self.model.clone();
        let mut store = run(machine, self.script.opener, steps, &mut model);
        machine.faults.heal();
        if store.is_err() {
            // It did not open, and is tried again.
            store = run(machine, self.script.opener, steps, &mut model);
        }
        let place = format!("{place}, mended");
        let store = store.unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some(store) = store {
            model.flushed(&ask(&machine.faults, |done| store.flush(done)));
            model.closed(&ask(&machine.faults, |done| store.close(done)));
        }
        let damage = Damage {
            power: true,
            database: false,
            errors: true,
        };
        settle(machine, Keep::Nothing, &self.script, &model, damage, &place)
    }

    fn place(&self, column: Column, at: usize, more: &str) -> String {
        let what = self.operations.get(at);
        let what = what.map_or("the end".to_owned(), |(op, path)| {
            format!("{op:?} {}", path.display())
        });
        let (script, fault) = (self.script.name, column.name());
        format!("AUTHD_CELL='{script}/{fault}/{at}': at {what}, {more}")
    }
}

/// Starts on what is left of the disk, compares, goes on working, and finds the same once more.
fn settle(
    machine: &Machine,
    keep: Keep,
    script: &Script,
    model: &Model,
    damage: Damage,
    place: &str,
) -> Found {
    let after = machine.crashed(keep);
    for path in after.files(".redb") {
        if damage.database
            && path
                .extension()
                .is_some_and(|extension| extension == "redb")
        {
            after.memory.put(&path, vec![0; 9000]);
        }
    }
    if script.opener == Opener::InTheNextFormat {
        an_older_program_touches_nothing_newer(&after, model, damage, place);
    }
    let opened = script.opener.open(&after);
    let (store, loaded) = opened.unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = model.check(&loaded, damage, place);
    if script.opener == Opener::ByItsKey {
        the_key_is_in_one_place(&after, place);
    }
    let mut expected = summary(&loaded);
    if let Some(record) = loaded.records.first() {
        let at = expected
            .iter()
            .position(|(name, ..)| *name == *record.grant.account.as_str());
        expected[at.expect("it is in its own summary")] = go_on(&store, record, place);
    }
    close(store).unwrap_or_else(|error| panic!("{place}: {error}"));
    let opened = script.opener.open(&after);
    let (store, again) = opened.unwrap_or_else(|error| panic!("{place}, again: {error}"));
    assert_eq!(summary(&again), expected, "{place}, again");
    assert_eq!(again.instance_id, loaded.instance_id, "{place}");
    assert!(
        again.set_aside.is_empty() && !again.unclean,
        "{place}, again"
    );
    drop(store);
    found
}

/// Nothing is left of other keys and places, nor of what was sealed under them.
fn the_key_is_in_one_place(after: &Machine, place: &str) {
    let kept = key::kept(&after.memory, DIR.as_ref()).expect("no fault");
    let kept = kept.unwrap_or_else(|| panic!("{place}: nobody knows where the key is"));
    assert_eq!(kept.left_in, [], "{place}");
    let suffix = match kept.number {
        0 => String::new(),
        number => format!("-{number}"),
    };
    let name = |path: &PathBuf| {
        path.strip_prefix(DIR)
            .expect("in there")
            .display()
            .to_string()
    };
    let mut files: Vec<_> = after.files(DIR).iter().map(name).collect();
    files.retain(|name| !name.starts_with("aside") && !name.contains(".corrupt-"));
    let is_key = |name: &String| name.starts_with("key");
    let keys: Vec<_> = files.iter().filter(|name| is_key(name)).cloned().collect();
    let expected: Vec<_> = kept.path.iter().map(name).collect();
    assert_eq!(keys, expected, "{place}");
    for name in files
        .iter()
        .filter(|name| !is_key(name) && !name.starts_with("about"))
    {
        let of_key = ["authd", "mirrors", "spill", "clean"]
            .into_iter()
            .any(|what| {
                let rest = name
                    .strip_prefix(what)
                    .and_then(|rest| rest.strip_prefix(&suffix));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
            });
        assert!(
            of_key,
            "{place}: {name} is left, and the key is number {}",
            kept.number
        );
    }
    let mut entries = after.drawer.names();
    entries.retain(|name| name.starts_with("data-key"));
    let expected = usize::from(kept.protection == KeyProtection::KeyStore);
    assert_eq!(entries.len(), expected, "{place}: {entries:?}");
    let numbered = kept.number > 0;
    let is_it = |entry: &String| numbered == entry.ends_with(&suffix) || !numbered;
    assert!(entries.iter().all(is_it), "{place}: {entries:?}");
}

/// A renewal from whatever was found; the line of the summary that it makes.
fn go_on(store: &Store, record: &Record, place: &str) -> (String, u64, String) {
    const ATTEMPT: u64 = 5_000_000;
    let mut next = record.clone();
    let grant = &mut next.grant;
    let from = grant.generation.0;
    grant.generation = Generation(from + 1);
    let name = grant.account.to_string();
    let token = format!("CANARY-rt-after-{from}");
    next.secrets.refresh_token = Some(Secret::new(token.clone()));
    let asked = intend(store, intent(&name, record.grant.id.0, from, ATTEMPT));
    assert_eq!(asked, Ok(()), "{place}: it does not go on");
    let committed = commit(store, next, AttemptId(ATTEMPT).0);
    assert_eq!(
        committed,
        Ok(CommitOutcome::Durable),
        "{place}: it does not go on"
    );
    (name, from + 1, token)
}

/// A program of the older format either sees that the store is not its own any more, or finds all.
fn an_older_program_touches_nothing_newer(
    after: &Machine,
    model: &Model,
    damage: Damage,
    place: &str,
) {
    let older = after.crashed(Keep::Everything);
    match Opener::Plain.open(&older) {
        Ok((_store, loaded)) => check_older(model, &loaded, damage, place),
        Err(OpenError::NewerFormat { .. }) => {}
        Err(other) => panic!("{place}: the older program says {other}"),
    }
}

fn check_older(model: &Model, loaded: &Loaded, damage: Damage, place: &str) {
    model.check(loaded, damage, &format!("{place}, by the older program"));
}
