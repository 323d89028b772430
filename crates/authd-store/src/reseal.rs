//! Everything in a store, sealed anew under another key, in files of its own beside the old ones.

use std::sync::Arc;

use crate::{
    about::About,
    anchor::Marks,
    database::{Change, Database, Failure},
    disk,
    error::{DiskTrouble, OpenError},
    layout::Layout,
    load::{HEADER_MIRROR, Merge, Merged, revocation_mirror, seal_intent},
    locked::LockedKey,
    migrate::Format,
    mirror::Mirrors,
    open::places,
    record::FingerprintKey,
    seal::{DataKey, Kind, SealError, Sealer},
    spill::Spill,
    store::{Options, disk_error},
    worker::{header_change, intent_key, record_change, revocation_change, seal_header},
};

/// What tokens are fingerprinted with, as long as no header says otherwise.
pub(crate) fn fingerprint_key(key: &DataKey) -> LockedKey {
    key.derive("fingerprint")
}

/// A key and its number, ready for work.
pub(crate) struct Under {
    sealer: Sealer,
    number: u32,
}

impl Under {
    pub(crate) fn new(key: &DataKey, number: u32, format: Format) -> Self {
        Self {
            sealer: Sealer::new(key, format),
            number,
        }
    }
}

/// Writes, sealed under `to`, all that is sealed under `from`, whole and durable; of `from` nothing is
/// changed. Returns what the anchor is to say once the new key counts. The store is closed, and its lock held.
pub(crate) fn reseal(
    options: &Options,
    about: &About,
    old_key: &DataKey,
    from: &Under,
    to: &Under,
) -> Result<Marks, OpenError> {
    let mut merged = read(options, from)?;
    let Some(mut header) = merged.header.take() else {
        return Err(damaged("its header cannot be read"));
    };
    header
        .fingerprint_key
        .get_or_insert_with(|| FingerprintKey(fingerprint_key(old_key)));
    let unsealable = |error: SealError| OpenError::System(error.to_string());
    let sealed_header = seal_header(&to.sealer, &header).map_err(unsealable)?;
    let mut rows = vec![header_change(Arc::clone(&sealed_header))];
    let mut mirrored = vec![(HEADER_MIRROR.to_owned(), sealed_header)];
    let old_marks = places(options, about.instance).read();
    let mut marks = old_marks.clone();
    let mut retired = old_marks.clone();
    let ordinals = merged.accounts.values().map(|newest| newest.stored.ordinal);
    let newest = ordinals.chain(old_marks.values().copied()).max();
    let after_all = newest.unwrap_or(0).saturating_add(1);
    for (old_name, newest) in &merged.accounts {
        let grant = &newest.stored.record.grant;
        let name = to.sealer.name(&grant.account);
        let payload = newest.stored.encode().map_err(unsealable)?;
        let sealed = to
            .sealer
            .seal(Kind::Record, name, grant.generation.0, payload);
        let sealed: Arc<[u8]> = sealed.map_err(unsealable)?.into();
        rows.push(record_change(name, Some(Arc::clone(&sealed))));
        mirrored.push((name.to_string(), sealed));
        // Whatever is found under the old name from then on is an older copy.
        retired.insert(old_name.short(), after_all);
        if let Some(mark) = old_marks.get(&old_name.short()) {
            marks.insert(name.short(), *mark);
            retired.insert(name.short(), *mark);
        }
    }
    for (id, (owed, _)) in &merged.revocations {
        let name = to.sealer.name(&owed.account);
        let payload = owed.encode().map_err(unsealable)?;
        let sealed = to.sealer.seal(Kind::Revocation, name, *id, payload);
        let sealed: Arc<[u8]> = sealed.map_err(unsealable)?.into();
        rows.push(revocation_change(*id, Some(Arc::clone(&sealed))));
        mirrored.push((revocation_mirror(*id), sealed));
    }
    let mut intents = Vec::new();
    for (attempt, standing) in &merged.intents {
        let sealed = seal_intent(&to.sealer, &standing.intent).map_err(unsealable)?;
        rows.push(Change {
            key: intent_key(*attempt),
            value: Some(Arc::clone(&sealed)),
        });
        intents.push((*attempt, sealed));
    }
    // Until the new key counts the old names must be found too.
    anchor(options, about.instance, &marks);

    let layout = Layout::new(&options.dir, to.number);
    let disk = Arc::clone(&options.disk);
    let mirrors = Mirrors::open(Arc::clone(&disk), layout.mirrors.clone())
        .map_err(disk_error(&layout.mirrors))?;
    for (name, sealed) in &mirrored {
        mirrors
            .write(name, sealed)
            .map_err(disk_error(&layout.mirrors))?;
    }
    // An intent has its slot as well: it is known even when the database is lost.
    let (mut spill, _) =
        Spill::open(Arc::clone(&disk), layout.spill.clone()).map_err(disk_error(&layout.spill))?;
    for (attempt, sealed) in &intents {
        spill
            .reserve(*attempt, sealed, 0)
            .map_err(disk_error(&layout.spill))?;
    }
    let mut database = Database::new(Arc::clone(&disk), layout.database.clone());
    database
        .rebuild(&rows)
        .and_then(|()| database.close())
        .map_err(|failure| in_database(&layout, failure))?;
    disk::replace(&*disk, &layout.clean, b"").map_err(disk_error(&layout.clean))?;
    Ok(retired)
}

/// Lets the anchor say this. One that cannot be written lags, and that is no harm.
pub(crate) fn anchor(options: &Options, instance: u128, marks: &Marks) {
    places(options, instance).write_marks(marks);
}

/// Everything, from wherever its newest stands.
fn read(options: &Options, under: &Under) -> Result<Merged, OpenError> {
    let disk = Arc::clone(&options.disk);
    let layout = Layout::new(&options.dir, under.number);
    let dir = options.dir.as_path();
    let was_clean = disk
        .list(dir)
        .map_err(disk_error(dir))?
        .contains(&layout.clean);
    if was_clean {
        disk::remove(&*disk, &layout.clean).map_err(disk_error(&layout.clean))?;
    }
    let mut database = Database::new(Arc::clone(&disk), layout.database.clone());
    let mut merge = Merge::new(&under.sealer, false);
    database
        .open(!was_clean)
        .and_then(|()| database.for_each(|key, bytes| merge.row(key, bytes)))
        .and_then(|()| database.close())
        .map_err(|failure| in_database(&layout, failure))?;
    if was_clean && let Err(error) = disk::replace(&*disk, &layout.clean, b"") {
        tracing::debug!(%error, "the next start looks more closely than it would have to");
    }
    let mirrors = Mirrors::open(Arc::clone(&disk), layout.mirrors.clone())
        .map_err(disk_error(&layout.mirrors))?;
    mirrors
        .for_each(|name, path, bytes| merge.mirror(name, path, bytes))
        .map_err(disk_error(&layout.mirrors))?;
    let (_, slots) = Spill::open(disk, layout.spill.clone()).map_err(disk_error(&layout.spill))?;
    for slot in slots {
        merge.slot(slot);
    }
    let merged = merge
        .finish()
        .map_err(|error| OpenError::System(error.to_string()))?;
    match merged.damaged.first() {
        // A start puts it aside first, where it is kept.
        Some(found) => Err(damaged(&found.what)),
        None => Ok(merged),
    }
}

fn damaged(what: &str) -> OpenError {
    OpenError::System(format!(
        "{what} is damaged; start the daemon anew, which mends or keeps it, and then try again"
    ))
}

fn in_database(layout: &Layout, failure: Failure) -> OpenError {
    let trouble: DiskTrouble = failure.trouble();
    OpenError::Disk {
        path: layout.database.clone(),
        trouble,
    }
}
