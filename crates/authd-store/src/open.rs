//! Opening: from a directory in any state to a worker and what it holds.
//!
//! The order is the point. Nothing is changed before format and key have been found right; nothing
//! damaged is removed before a copy of it is kept; no spill file is dropped before database and
//! mirror have its answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use authd_core::id::Account;

use crate::{
    about::About,
    anchor::{Anchor, Marks, Places},
    database::{Change, Database, Failure},
    disk::{self, Disk, Held as Lock},
    error::OpenError,
    layout::Layout,
    load::{HEADER_MIRROR, Merge, Merged, Place},
    locked::LockedKey,
    migrate::Format,
    mirror::{Aside, Mirrors},
    record::Header,
    reseal::fingerprint_key,
    seal::{DataKey, Name, Sealer},
    spill::Spill,
    store::{Loaded, Options, SetAside, disk_error},
    worker::{
        Held, Unsaved, Worker, header_change, intent_key, record_change, revocation_change,
        seal_header,
    },
};

/// An open store: the worker and the lock that keeps others out.
pub(crate) struct Open {
    pub(crate) worker: Worker,
    pub(crate) lock: Box<dyn Lock>,
}

pub(crate) fn open(
    options: &Options,
    key: &DataKey,
    format: Format,
) -> Result<(Open, Loaded), OpenError> {
    let (disk, dir) = (Arc::clone(&options.disk), options.dir.as_path());
    disk.make_dir(dir).map_err(disk_error(dir))?;
    let lock = disk
        .lock(&dir.join("lock"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse(dir.to_owned()),
            _ => disk_error(dir)(error),
        })?;
    let about = About::read(&*disk, dir).map_err(disk_error(dir))?;
    admit(about.as_ref(), key, format)?;
    let sealer = Sealer::new(key, format);

    let layout = Layout::new(dir, about.as_ref().map_or(0, |about| about.number));
    let clean_mark = layout.clean;
    let was_clean = disk
        .list(dir)
        .map_err(disk_error(dir))?
        .contains(&clean_mark);
    let mut database = Database::new(Arc::clone(&disk), layout.database);
    let existed = database.exists().map_err(disk_error(dir))?;
    if was_clean {
        disk::remove(&*disk, &clean_mark).map_err(disk_error(&clean_mark))?;
    }
    let mirrors = Mirrors::open(Arc::clone(&disk), layout.mirrors).map_err(disk_error(dir))?;
    let (spill, slots) = Spill::open(Arc::clone(&disk), layout.spill).map_err(disk_error(dir))?;
    let aside = Aside::new(Arc::clone(&disk), dir.join("aside"));

    let mut set_aside = Vec::new();
    let rows = read_rows(&mut database, existed, was_clean, &sealer, &mut set_aside)?;
    let lost = rows.is_none();
    let mut merge = rows.unwrap_or_else(|| Merge::new(&sealer, true));
    mirrors
        .for_each(|name, path, bytes| merge.mirror(name, path, bytes))
        .map_err(disk_error(dir))?;
    for slot in slots {
        merge.slot(slot);
    }
    let mut merged = merge
        .finish()
        .map_err(|error| OpenError::System(error.to_string()))?;
    if merged.header_refused && merged.accounts.is_empty() {
        return Err(OpenError::WrongKey);
    }

    let is_new = merged.header.is_none() && merged.accounts.is_empty();
    let header = header_of(&mut merged, about.as_ref(), options, is_new, &sealer)?;
    describe(&*disk, dir, about, &header, key, format)?;
    keep_damaged(&aside, &mut merged, &mut set_aside);

    let places = places(options, header.instance);
    let (anchor, marks) =
        Anchor::open(places).map_err(|error| OpenError::System(error.to_string()))?;

    let loaded_facts = Facts {
        rebuilt_from_mirrors: lost && !is_new,
        unclean: existed && !was_clean,
        set_aside,
        fingerprint_key: match &header.fingerprint_key {
            Some(kept) => kept.0.clone(),
            None => fingerprint_key(key),
        },
    };
    let mut worker = Worker {
        disk,
        clean_mark,
        sealer,
        database,
        mirrors,
        spill,
        anchor,
        machine: options.machine,
        header,
        held: BTreeMap::new(),
        intents: BTreeMap::new(),
        revocations: BTreeMap::new(),
        backlog: Vec::new(),
        unsaved: BTreeMap::new(),
        logins: BTreeSet::new(),
        owed_mirrors: BTreeMap::new(),
        giving_back: BTreeMap::new(),
        spent_slots: Vec::new(),
        next_ordinal: next_ordinal(&merged, &marks),
    };
    let loaded = take_up(&mut worker, merged, lost, &marks, loaded_facts, dir)?;
    Ok((Open { worker, lock }, loaded))
}

/// Where the anchor of the store `instance` is.
pub(crate) fn places(options: &Options, instance: u128) -> Places {
    Places {
        disk: Arc::clone(&options.disk),
        entry: format!("anchor-{instance:032x}"),
        key_store: options.anchor_key_store.clone(),
        file: options.anchor_file.clone(),
    }
}

/// Refuses what must not be touched.
fn admit(about: Option<&About>, key: &DataKey, format: Format) -> Result<(), OpenError> {
    let Some(about) = about else { return Ok(()) };
    let known = u32::from(format.version);
    if about.format > known {
        return Err(OpenError::NewerFormat {
            found: about.format,
            known,
        });
    }
    match about.key_check {
        Some(check) if check != key.check() => Err(OpenError::WrongKey),
        _ => Ok(()),
    }
}

/// The database's rows; `None` when there is no database, or no sound one any more.
fn read_rows<'a>(
    database: &mut Database,
    existed: bool,
    was_clean: bool,
    sealer: &'a Sealer,
    set_aside: &mut Vec<SetAside>,
) -> Result<Option<Merge<'a>>, OpenError> {
    if !existed {
        return Ok(None);
    }
    let mut merge = Merge::new(sealer, false);
    let read = database
        .open(!was_clean)
        .and_then(|()| database.for_each(|key, bytes| merge.row(key, bytes)));
    match read {
        Ok(()) => Ok(Some(merge)),
        Err(Failure::Disk(trouble)) => Err(OpenError::Disk {
            path: database.path().to_owned(),
            trouble,
        }),
        Err(failure) => {
            let what = format!("the database ({})", failure.trouble());
            let kept_at = database
                .set_aside()
                .map_err(disk_error(database.path()))?
                .unwrap_or_default();
            set_aside.push(SetAside { what, kept_at });
            Ok(None)
        }
    }
}

/// The header as found, or a new one. One that is lost counts as another machine's for the accounts
/// whose records do not say whose they are.
fn header_of(
    merged: &mut Merged,
    about: Option<&About>,
    options: &Options,
    is_new: bool,
    sealer: &Sealer,
) -> Result<Header, OpenError> {
    if let Some(header) = &merged.header {
        return Ok(header.clone());
    }
    let instance = match about {
        Some(about) => about.instance,
        None => {
            About::new(sealer.current_version())
                .map_err(|error| OpenError::System(error.to_string()))?
                .instance
        }
    };
    let machine = if is_new { options.machine } else { [0; 32] };
    let header = Header {
        machine,
        instance,
        created: options.now,
        fingerprint_key: None,
    };
    let sealed =
        seal_header(sealer, &header).map_err(|error| OpenError::System(error.to_string()))?;
    merged.changes.push(header_change(Arc::clone(&sealed)));
    merged
        .mirror_writes
        .push((HEADER_MIRROR.to_owned(), sealed));
    Ok(header)
}

/// Writes the plain file, before anything is sealed in a format that it does not name.
fn describe(
    disk: &dyn Disk,
    dir: &Path,
    about: Option<About>,
    header: &Header,
    key: &DataKey,
    format: Format,
) -> Result<(), OpenError> {
    let wanted = About {
        format: format.version.into(),
        instance: header.instance,
        key_check: Some(key.check()),
        ..match &about {
            Some(about) => about.clone(),
            None => {
                About::new(format.version).map_err(|error| OpenError::System(error.to_string()))?
            }
        }
    };
    if about.as_ref() == Some(&wanted) {
        return Ok(());
    }
    wanted.write(disk, dir).map_err(disk_error(dir))
}

/// Copies what is damaged into the drawer, and takes it from its place only then.
fn keep_damaged(aside: &Aside, merged: &mut Merged, set_aside: &mut Vec<SetAside>) {
    for damaged in std::mem::take(&mut merged.damaged) {
        let kept = match &damaged.place {
            Place::Row(_) => aside.keep("row", &damaged.bytes),
            Place::Slot => aside.keep("spill", &damaged.bytes),
            Place::File(path) => aside.take(path, &damaged.bytes),
        };
        match (kept, damaged.place) {
            (Ok(kept_at), place) => {
                set_aside.push(SetAside {
                    what: damaged.what,
                    kept_at,
                });
                // A whole copy from a mirror may be about to replace the row.
                if let Place::Row(key) = place
                    && !merged.changes.iter().any(|change| change.key == key)
                {
                    merged.changes.push(Change { key, value: None });
                }
            }
            (Err(error), _) => {
                tracing::warn!(what = damaged.what, %error, "something damaged stays in its place");
            }
        }
    }
}

fn next_ordinal(merged: &Merged, marks: &Marks) -> u64 {
    let of_records = merged.accounts.values().map(|newest| newest.stored.ordinal);
    let newest = of_records.chain(marks.values().copied()).max();
    newest.unwrap_or(0).saturating_add(1)
}

struct Facts {
    rebuilt_from_mirrors: bool,
    unclean: bool,
    set_aside: Vec<SetAside>,
    fingerprint_key: LockedKey,
}

/// Brings the files up to what was merged, and hands it out.
fn take_up(
    worker: &mut Worker,
    merged: Merged,
    lost: bool,
    marks: &Marks,
    facts: Facts,
    dir: &Path,
) -> Result<Loaded, OpenError> {
    let all_rows = lost.then(|| all_rows(&merged, worker)).transpose()?;
    let mut records = Vec::with_capacity(merged.accounts.len());
    let (mut stale, mut foreign) = (Vec::new(), Vec::new());
    let mut names = BTreeMap::new();
    let mut all_held = Vec::with_capacity(merged.accounts.len());
    for (name, newest) in merged.accounts {
        let grant = &newest.stored.record.grant;
        if marks
            .get(&name.short())
            .is_some_and(|mark| newest.stored.ordinal < *mark)
        {
            stale.push(grant.account.clone());
        }
        let machine = newest.stored.machine.unwrap_or(worker.header.machine);
        let is_foreign = machine != worker.machine;
        if is_foreign {
            foreign.push(grant.account.clone());
        }
        if let Some(sealed) = &newest.sealed {
            names.insert(grant.account.clone(), (name, Arc::clone(sealed)));
        }
        let held = Held {
            grant: grant.id,
            generation: grant.generation,
            ordinal: newest.stored.ordinal,
            attempt: newest.stored.attempt,
            foreign: is_foreign.then(|| Box::new(machine)),
            size: newest.size,
        };
        all_held.push((name, held));
        records.push(newest.stored.record);
    }
    // All at once: a tree that grows in this order stays half empty.
    worker.held = all_held.into_iter().collect();
    let intents = merged
        .intents
        .values()
        .map(|standing| standing.intent.clone())
        .collect();
    worker.intents = merged.intents;
    let mut revocations = Vec::new();
    for (id, (owed, sealed)) in merged.revocations {
        revocations.push(owed);
        worker.revocations.insert(id, sealed);
    }
    worker.owed_mirrors.extend(merged.mirror_writes);
    for (attempt, path) in merged.kept_slots {
        worker
            .spill
            .adopt_intent(attempt, &path)
            .map_err(disk_error(&path))?;
    }
    worker.backlog = merged.changes;

    let taken_from_spill: Vec<Account> = merged
        .from_spill
        .iter()
        .map(|(account, ..)| account.clone())
        .collect();
    let written = match all_rows {
        // Not later: without a database no exchange may leave, and everything is still whole.
        Some(rows) => {
            let rebuilt = worker.database.rebuild(&rows);
            rebuilt
                .map(|()| worker.backlog.clear())
                .map_err(|failure| OpenError::Disk {
                    path: worker.database.path().to_owned(),
                    trouble: failure.trouble(),
                })?;
            true
        }
        None => worker
            .apply(&[])
            .inspect_err(|trouble| {
                tracing::warn!(%trouble, "what was found is not yet all in the database");
            })
            .is_ok(),
    };
    worker.spent_slots = merged.spent_slots;
    if !written {
        worker
            .spent_slots
            .retain(|path| !merged.from_spill.iter().any(|(.., kept)| kept == path));
        hold_spilled(worker, merged.from_spill, &names, dir)?;
    }
    Ok(Loaded {
        records,
        intents,
        revocations,
        set_aside: facts.set_aside,
        rebuilt_from_mirrors: facts.rebuilt_from_mirrors,
        taken_from_spill,
        foreign,
        stale,
        unclean: facts.unclean,
        instance_id: worker.header.instance,
        fingerprint_key: facts.fingerprint_key,
    })
}

/// Spilled answers that the database still does not take stay in their files.
fn hold_spilled(
    worker: &mut Worker,
    spilled: Vec<(Account, authd_core::id::AttemptId, std::path::PathBuf)>,
    names: &BTreeMap<Account, (Name, Arc<[u8]>)>,
    dir: &Path,
) -> Result<(), OpenError> {
    for (account, attempt, path) in spilled {
        let Some((name, sealed)) = names.get(&account) else {
            continue;
        };
        worker
            .spill
            .adopt_answer(attempt, &path)
            .map_err(disk_error(dir))?;
        let ordinal = worker.held.get(name).map_or(0, |held| held.ordinal);
        let unsaved = Unsaved {
            account,
            name: *name,
            ordinal,
            sealed: Arc::clone(sealed),
            in_spill: true,
            settles: Vec::new(),
        };
        worker.unsaved.insert(attempt, unsaved);
    }
    Ok(())
}

fn all_rows(merged: &Merged, worker: &Worker) -> Result<Vec<Change>, OpenError> {
    let header = seal_header(&worker.sealer, &worker.header)
        .map_err(|error| OpenError::System(error.to_string()))?;
    let mut rows = vec![header_change(header)];
    // Of a database that is lost none has a row: each was sealed anew.
    let records = merged.accounts.iter();
    rows.extend(
        records.map(|(name, newest)| record_change(*name, newest.sealed.as_ref().map(Arc::clone))),
    );
    rows.extend(merged.intents.iter().map(|(attempt, standing)| Change {
        key: intent_key(*attempt),
        value: Some(Arc::clone(&standing.sealed)),
    }));
    rows.extend(
        merged
            .revocations
            .iter()
            .map(|(id, (_, sealed))| revocation_change(*id, Some(Arc::clone(sealed)))),
    );
    Ok(rows)
}
