//! What a start makes of the files it finds: a pure function from rows, mirrors and spill files to
//! the newest of everything, and to the changes that bring the files up to it.
//!
//! For each account the highest ordinal wins, wherever it stands: the database lost a commit to a
//! crash, the mirror lags, the spill holds an answer that the database never took. One damaged copy
//! harms nothing while another is whole, and one account at most where none is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use authd_core::{
    grant::Providers,
    id::{Account, AttemptId, GrantId},
};

use crate::{
    database::{Change, Key},
    record::{Header, Intent, PendingRevocation, Stored, decode},
    seal::{Kind, Name, Opened, SealError, Sealer, Unsealable},
    spill,
};

/// The mirror of the header.
pub(crate) const HEADER_MIRROR: &str = "header";

/// The mirror of an owed revocation.
pub(crate) fn revocation_mirror(id: u64) -> String {
    format!("owed-{id:016x}")
}

/// The newest of one account.
pub(crate) struct Newest {
    pub(crate) stored: Stored,
    /// How large it is when sealed.
    pub(crate) size: usize,
    /// Sealed anew, where something has to be brought up to it.
    pub(crate) sealed: Option<Arc<[u8]>>,
    /// The format it was sealed in.
    version: u8,
    in_database: bool,
    in_mirror: bool,
    /// The spill file, when only that has it.
    spilled: Option<PathBuf>,
}

/// An intent without an outcome.
#[derive(Clone)]
pub(crate) struct StandingIntent {
    pub(crate) intent: Intent,
    pub(crate) sealed: Arc<[u8]>,
}

/// Something that does not open.
pub(crate) struct Damaged {
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: Place,
}

/// Where it stands.
pub(crate) enum Place {
    Row(Key),
    File(PathBuf),
    /// In a slot, which is kept or dropped for its intent's sake.
    Slot,
}

/// The outcome.
#[derive(Default)]
pub(crate) struct Merged {
    pub(crate) header: Option<Header>,
    /// A header was found and none of its copies opened.
    pub(crate) header_refused: bool,
    pub(crate) accounts: BTreeMap<Name, Newest>,
    pub(crate) intents: BTreeMap<AttemptId, StandingIntent>,
    pub(crate) revocations: BTreeMap<u64, (PendingRevocation, Arc<[u8]>)>,
    pub(crate) damaged: Vec<Damaged>,
    /// What the database lacks or has too much of.
    pub(crate) changes: Vec<Change>,
    /// What the mirrors lack.
    pub(crate) mirror_writes: Vec<(String, Arc<[u8]>)>,
    /// Slots whose intent still stands.
    pub(crate) kept_slots: Vec<(AttemptId, PathBuf)>,
    /// Slots that are of no use once the changes are written.
    pub(crate) spent_slots: Vec<PathBuf>,
    /// Answers that were found in the spill alone.
    pub(crate) from_spill: Vec<(Account, AttemptId, PathBuf)>,
}

/// Takes in what is read, piece by piece: all of it at once would be several times what is kept.
pub(crate) struct Merge<'a> {
    sealer: &'a Sealer,
    providers: Providers,
    merged: Merged,
    /// Of the database: attempt, intent, bytes, format.
    intents: BTreeMap<AttemptId, (Intent, Vec<u8>, u8)>,
    /// The revocations that have a mirror.
    mirrored: BTreeSet<u64>,
    /// Of the slots.
    slot_intents: BTreeMap<AttemptId, (Intent, Vec<u8>, u8, PathBuf)>,
    header_seen: bool,
    /// Intents of the database may be missing: those of the slots count too.
    distrust_intents: bool,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Database,
    Mirror,
    Spill(&'a Path),
}

impl<'a> Merge<'a> {
    /// With `database_lost` when the database is missing or damaged, so that no row will come.
    pub(crate) fn new(sealer: &'a Sealer, database_lost: bool) -> Self {
        Self {
            sealer,
            providers: Providers::default(),
            merged: Merged::default(),
            intents: BTreeMap::new(),
            mirrored: BTreeSet::new(),
            slot_intents: BTreeMap::new(),
            header_seen: false,
            distrust_intents: database_lost,
        }
    }

    /// A row of the database.
    pub(crate) fn row(&mut self, key: Key, bytes: Vec<u8>) {
        if key.of(Kind::Header).is_some() {
            self.header(&bytes);
        } else if let Some(id) = key.of(Kind::Record) {
            let name = <[u8; 32]>::try_from(id).ok().map(Name);
            if self.record(name, &bytes, Source::Database).is_err() {
                self.damaged(
                    "the database's record of an account",
                    bytes,
                    Place::Row(key),
                );
            }
        } else if key.of(Kind::Intent).is_some() {
            match self.open_intent(&bytes) {
                Some((intent, version)) => {
                    self.intents
                        .insert(intent.attempt, (intent, bytes, version));
                }
                None => {
                    self.distrust_intents = true;
                    self.damaged("an intent", bytes, Place::Row(key));
                }
            }
        } else if key.of(Kind::Revocation).is_some() {
            if self.revocation(&bytes, Source::Database).is_err() {
                self.damaged("an owed revocation", bytes, Place::Row(key));
            }
        } else {
            self.damaged("a row of unknown kind", bytes, Place::Row(key));
        }
    }

    /// A mirror: name, path, content.
    pub(crate) fn mirror(&mut self, name: &str, path: PathBuf, bytes: Vec<u8>) {
        let (what, taken) = if name == HEADER_MIRROR {
            self.header(&bytes);
            return;
        } else if name.starts_with("owed-") {
            (
                "the mirror of an owed revocation",
                self.revocation(&bytes, Source::Mirror),
            )
        } else {
            (
                "the mirror of an account",
                self.record(None, &bytes, Source::Mirror),
            )
        };
        if taken.is_err() {
            self.damaged(what, bytes, Place::File(path));
        }
    }

    /// A spill file.
    pub(crate) fn slot(&mut self, slot: spill::Found) {
        if slot.answer.first().is_some_and(|byte| *byte != 0)
            && self
                .record(None, &slot.answer, Source::Spill(&slot.path))
                .is_err()
        {
            // Torn while it was written: then nobody was told that it was kept. The intent in front
            // of it still counts. A mere copy that is torn is nothing to speak of.
            if slot.kept {
                self.damaged("a spilled answer", slot.answer, Place::Slot);
            }
        }
        match self.open_intent(&slot.intent) {
            Some((intent, version)) => {
                self.slot_intents
                    .insert(intent.attempt, (intent, slot.intent, version, slot.path));
            }
            None => self.merged.spent_slots.push(slot.path),
        }
    }

    fn header(&mut self, bytes: &[u8]) {
        self.header_seen = true;
        let opened = self.sealer.open(Kind::Header, Some(Name::STORE), bytes);
        if let Some(header) = opened.ok().and_then(|opened| decode(&opened.payload)) {
            self.merged.header.get_or_insert(header);
        }
    }

    fn record(
        &mut self,
        name: Option<Name>,
        bytes: &[u8],
        source: Source<'_>,
    ) -> Result<(), Unsealable> {
        let opened = self.sealer.open(Kind::Record, name, bytes)?;
        let mut stored = Stored::decode(&opened.payload).ok_or(Unsealable::Malformed)?;
        let Opened {
            name,
            generation,
            version,
            ..
        } = opened;
        let grant = &stored.record.grant;
        if self.sealer.name(&grant.account) != name || grant.generation.0 != generation {
            return Err(Unsealable::Misplaced);
        }
        let provider = &mut stored.record.grant.provider;
        *provider = self.providers.share(Arc::clone(provider));
        let mut newest = Newest {
            stored,
            size: bytes.len(),
            sealed: None,
            version,
            in_database: false,
            in_mirror: false,
            spilled: None,
        };
        match source {
            Source::Database => newest.in_database = true,
            Source::Mirror => newest.in_mirror = true,
            Source::Spill(path) => newest.spilled = Some(path.to_owned()),
        }
        match self.merged.accounts.get_mut(&name) {
            Some(held) if held.stored.ordinal == newest.stored.ordinal => {
                held.in_database |= newest.in_database;
                held.in_mirror |= newest.in_mirror;
            }
            Some(held) if held.stored.ordinal > newest.stored.ordinal => {}
            _ => {
                self.merged.accounts.insert(name, newest);
            }
        }
        Ok(())
    }

    fn revocation(&mut self, bytes: &[u8], source: Source<'_>) -> Result<(), Unsealable> {
        let opened = self.sealer.open(Kind::Revocation, None, bytes)?;
        let owed = PendingRevocation::decode(&opened.payload).ok_or(Unsealable::Malformed)?;
        let id = owed.id;
        let current = opened.version == self.sealer.current_version();
        if matches!(source, Source::Mirror) && current {
            self.mirrored.insert(id);
        }
        if !self.merged.revocations.contains_key(&id) {
            let sealed: Arc<[u8]> = if current {
                bytes.into()
            } else {
                let payload = owed.encode().map_err(|_| Unsealable::Malformed)?;
                let sealed = self.sealer.seal(Kind::Revocation, opened.name, id, payload);
                sealed.map_err(|_| Unsealable::Malformed)?.into()
            };
            if !current || !matches!(source, Source::Database) {
                let key = Key::new(Kind::Revocation, &id.to_be_bytes());
                self.merged.changes.push(Change {
                    key,
                    value: Some(Arc::clone(&sealed)),
                });
            }
            self.merged.revocations.insert(id, (owed, sealed));
        }
        Ok(())
    }

    fn open_intent(&self, bytes: &[u8]) -> Option<(Intent, u8)> {
        let opened = self.sealer.open(Kind::Intent, None, bytes).ok()?;
        let intent: Intent = decode(&opened.payload)?;
        (self.sealer.name(&intent.account) == opened.name).then_some((intent, opened.version))
    }

    fn damaged(&mut self, what: &str, bytes: Vec<u8>, place: Place) {
        self.merged.damaged.push(Damaged {
            what: what.to_owned(),
            bytes,
            place,
        });
    }

    /// The outcome, once everything was read.
    pub(crate) fn finish(mut self) -> Result<Merged, SealError> {
        self.settle_intents()?;
        let merged = &mut self.merged;
        merged.header_refused = self.header_seen && merged.header.is_none();
        for (name, newest) in &mut merged.accounts {
            if newest.version < self.sealer.current_version() {
                (newest.in_database, newest.in_mirror) = (false, false);
            }
            if newest.in_database && newest.in_mirror {
                continue;
            }
            let payload = newest.stored.encode()?;
            let generation = newest.stored.record.grant.generation.0;
            let sealed: Arc<[u8]> = self
                .sealer
                .seal(Kind::Record, *name, generation, payload)?
                .into();
            newest.size = sealed.len();
            newest.sealed = Some(Arc::clone(&sealed));
            if !newest.in_mirror {
                let sealed = Arc::clone(&sealed);
                merged.mirror_writes.push((name.to_string(), sealed));
            }
            if !newest.in_database {
                let (key, value) = (Key::new(Kind::Record, &name.0), Some(sealed));
                merged.changes.push(Change { key, value });
            }
            if let (Some(path), Some(attempt)) = (newest.spilled.take(), newest.stored.attempt) {
                let account = newest.stored.record.grant.account.clone();
                merged.from_spill.push((account, attempt, path));
            }
        }
        for (id, (_, sealed)) in &merged.revocations {
            if !self.mirrored.contains(id) {
                // A row without its mirror: the settling, or the owing, was cut short.
                merged
                    .mirror_writes
                    .push((revocation_mirror(*id), Arc::clone(sealed)));
            }
        }
        Ok(self.merged)
    }

    fn settle_intents(&mut self) -> Result<(), SealError> {
        for (attempt, (intent, bytes, version)) in std::mem::take(&mut self.intents) {
            let key = Key::new(Kind::Intent, &attempt.0.to_be_bytes());
            if self.is_settled(&intent) {
                self.merged.changes.push(Change { key, value: None });
                continue;
            }
            let sealed: Arc<[u8]> = if version < self.sealer.current_version() {
                let sealed = seal_intent(self.sealer, &intent)?;
                let value = Some(Arc::clone(&sealed));
                self.merged.changes.push(Change { key, value });
                sealed
            } else {
                bytes.into()
            };
            self.merged
                .intents
                .insert(attempt, StandingIntent { intent, sealed });
        }
        for (attempt, (intent, _, _, path)) in std::mem::take(&mut self.slot_intents) {
            let known = self.merged.intents.contains_key(&attempt);
            if !known && self.distrust_intents && !self.is_settled(&intent) {
                let sealed = seal_intent(self.sealer, &intent)?;
                let key = Key::new(Kind::Intent, &attempt.0.to_be_bytes());
                let value = Some(Arc::clone(&sealed));
                self.merged.changes.push(Change { key, value });
                self.merged
                    .intents
                    .insert(attempt, StandingIntent { intent, sealed });
            } else if !known {
                self.merged.spent_slots.push(path);
                continue;
            }
            self.merged.kept_slots.push((attempt, path));
        }
        Ok(())
    }

    /// Whether an intent's outcome is known, or of no account any more.
    fn is_settled(&self, intent: &Intent) -> bool {
        let newest = self.merged.accounts.get(&self.sealer.name(&intent.account));
        let held = newest.map(|newest| {
            let grant = &newest.stored.record.grant;
            (grant.id, grant.generation)
        });
        outdated(intent, held.map(|(id, generation)| (id, generation.0)))
    }
}

/// Whether what is held of the account shows that an intent's exchange needs no further thought: it
/// succeeded, or its login has been replaced or forgotten since.
pub(crate) fn outdated(intent: &Intent, held: Option<(GrantId, u64)>) -> bool {
    match held {
        Some((grant, generation)) if grant == intent.grant => generation > intent.generation.0,
        // Another login stands there, or none: only a login under way can still matter.
        _ => intent.generation.0 > 0,
    }
}

/// Seals an intent.
pub(crate) fn seal_intent(sealer: &Sealer, intent: &Intent) -> Result<Arc<[u8]>, SealError> {
    let name = sealer.name(&intent.account);
    let payload = crate::record::encode(intent)?;
    Ok(sealer
        .seal(Kind::Intent, name, intent.generation.0, payload)?
        .into())
}

#[cfg(test)]
mod tests {
    use authd_core::{
        grant::ClientAuth, id::Fingerprint, id::Generation, lease::LeaseKey, secret::Secret,
        time::Stamp,
    };

    use super::*;
    use crate::{
        fault::next_format,
        migrate::Format,
        record::{TokenTypeHint, tests::stored},
        seal::DataKey,
    };

    fn sealer(format: Format) -> Sealer {
        Sealer::new(&DataKey::from_bytes(&[1; 32]).unwrap(), format)
    }

    /// The record of one account after so many writes of the store.
    fn record(sealer: &Sealer, ordinal: u64) -> Vec<u8> {
        let stored = Stored {
            ordinal,
            ..stored()
        };
        let grant = &stored.record.grant;
        let (name, generation) = (sealer.name(&grant.account), grant.generation.0);
        let payload = stored.encode().unwrap();
        sealer
            .seal(Kind::Record, name, generation, payload)
            .unwrap()
    }

    fn revocation(sealer: &Sealer, id: u64) -> Vec<u8> {
        let owed = PendingRevocation {
            id,
            account: Account::new("work").unwrap(),
            endpoint: "https://idp.example.com/revoke".to_owned(),
            client_id: "client".to_owned(),
            client_auth: ClientAuth::None,
            client_secret: None,
            provider: None,
            token: Secret::new("a refresh token"),
            hint: TokenTypeHint::RefreshToken,
        };
        let name = sealer.name(&owed.account);
        sealer
            .seal(Kind::Revocation, name, id, owed.encode().unwrap())
            .unwrap()
    }

    fn intent(attempt: u64, generation: u64) -> Intent {
        let grant = stored().record.grant;
        Intent {
            account: grant.account,
            grant: grant.id,
            generation: Generation(generation),
            attempt: AttemptId(attempt),
            refresh_token_hash: Fingerprint([1; 16]),
            grant_type: authd_core::answer::GrantType::RefreshToken,
            lease: LeaseKey::default(),
            at: Stamp::default(),
        }
    }

    fn sealed_intent(sealer: &Sealer, attempt: u64, generation: u64) -> Vec<u8> {
        let sealed = seal_intent(sealer, &intent(attempt, generation));
        sealed.unwrap().to_vec()
    }

    /// What stands where: a row of the database, or a mirror.
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Row,
        Mirror,
    }
    use At::{Mirror, Row};

    fn take(merge: &mut Merge<'_>, kind: Kind, at: At, bytes: Vec<u8>) {
        // Rows of one kind differ in what follows it; here there is one of each.
        let id = match kind {
            Kind::Record => merge.sealer.name(&stored().record.grant.account).0.to_vec(),
            _ => 7_u64.to_be_bytes().to_vec(),
        };
        let name = match kind {
            Kind::Revocation => revocation_mirror(7),
            _ => "an account".to_owned(),
        };
        match at {
            Row => merge.row(Key::new(kind, &id), bytes),
            Mirror => merge.mirror(&name, PathBuf::from(&name), bytes),
        }
    }

    /// How many rows and mirrors are written to make both alike.
    fn written(merged: &Merged) -> (usize, usize) {
        let rows = merged.changes.iter().filter(|row| row.value.is_some());
        (rows.count(), merged.mirror_writes.len())
    }

    #[test]
    fn what_one_copy_of_an_account_lacks_the_other_gives() {
        let sealer = sealer(Format::CURRENT);
        for (copies, newest, lacking) in [
            (&[(Row, 5)][..], 5, (0, 1)),
            (&[(Mirror, 5)], 5, (1, 0)),
            (&[(Row, 5), (Mirror, 5)], 5, (0, 0)),
            (&[(Mirror, 5), (Row, 5)], 5, (0, 0)),
            (&[(Row, 5), (Mirror, 6)], 6, (1, 0)),
            (&[(Row, 6), (Mirror, 5)], 6, (0, 1)),
            (&[(Mirror, 6), (Row, 5)], 6, (1, 0)),
        ] {
            let mut merge = Merge::new(&sealer, false);
            for (at, ordinal) in copies {
                take(&mut merge, Kind::Record, *at, record(&sealer, *ordinal));
            }
            let merged = merge.finish().unwrap();
            assert!(merged.damaged.is_empty() && merged.accounts.len() == 1);
            let held = merged.accounts.values().next().unwrap();
            assert_eq!((held.stored.ordinal, written(&merged)), (newest, lacking));
        }
    }

    #[test]
    fn what_one_copy_of_an_owed_revocation_lacks_the_other_gives() {
        let sealer = sealer(Format::CURRENT);
        for (copies, lacking) in [
            (&[Row][..], (0, 1)),
            (&[Mirror], (1, 0)),
            (&[Row, Mirror], (0, 0)),
        ] {
            let mut merge = Merge::new(&sealer, false);
            for at in copies {
                take(&mut merge, Kind::Revocation, *at, revocation(&sealer, 7));
            }
            let merged = merge.finish().unwrap();
            assert!(merged.damaged.is_empty() && merged.revocations.contains_key(&7));
            assert_eq!(written(&merged), lacking);
            assert!(
                merged
                    .mirror_writes
                    .iter()
                    .all(|(name, _)| *name == "owed-0000000000000007")
            );
        }
    }

    #[test]
    fn all_that_is_in_an_older_format_is_written_anew() {
        let (old, new) = (sealer(Format::CURRENT), sealer(next_format()));
        let mut merge = Merge::new(&new, false);
        for at in [Row, Mirror] {
            take(&mut merge, Kind::Record, at, record(&old, 5));
            take(&mut merge, Kind::Revocation, at, revocation(&old, 7));
        }
        take(&mut merge, Kind::Intent, Row, sealed_intent(&old, 7, 3));
        let merged = merge.finish().unwrap();
        assert!(merged.damaged.is_empty() && merged.intents.len() == 1);
        assert_eq!(written(&merged), (3, 2));
        for sealed in merged.changes.iter().filter_map(|row| row.value.as_ref()) {
            let kinds = [Kind::Record, Kind::Revocation, Kind::Intent];
            let mut opened = kinds
                .map(|kind| new.open(kind, None, sealed).ok())
                .into_iter();
            let version = opened.find_map(|opened| opened.map(|opened| opened.version));
            assert_eq!(version, Some(new.current_version()));
        }
    }

    #[test]
    fn an_intent_stands_until_its_outcome_is_known() {
        let sealer = sealer(Format::CURRENT);
        // What is held is of generation 3.
        for (generation, stands) in [(2, false), (3, true)] {
            let mut merge = Merge::new(&sealer, false);
            take(&mut merge, Kind::Record, Row, record(&sealer, 5));
            take(
                &mut merge,
                Kind::Intent,
                Row,
                sealed_intent(&sealer, 7, generation),
            );
            let merged = merge.finish().unwrap();
            assert_eq!(merged.intents.contains_key(&AttemptId(7)), stands);
            let removed = merged.changes.iter().any(|row| row.value.is_none());
            assert_eq!(removed, !stands);
            // One that stands as it was is not written again.
            assert_eq!(written(&merged).0, 0);
        }
    }

    #[test]
    fn an_intent_needs_no_more_thought_once_a_later_generation_or_another_login_stands() {
        let own = intent(7, 0).grant;
        let other = GrantId(1);
        for (generation, held, settled) in [
            (2, Some((own, 3)), true),
            (3, Some((own, 3)), false),
            (4, Some((own, 3)), false),
            (2, Some((other, 1)), true),
            (0, Some((other, 1)), false),
            (1, None, true),
            (0, None, false),
        ] {
            let found = outdated(&intent(7, generation), held);
            assert_eq!(found, settled, "{generation} beside {held:?}");
        }
    }
}
