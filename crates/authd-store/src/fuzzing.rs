//! What fuzz targets reach: the readers of what stands on the disk, which nobody else is to call.

use std::{collections::BTreeMap, path::PathBuf};

use zeroize::Zeroizing;

use crate::{
    DataKey,
    about::About,
    anchor,
    database::Key,
    load::{HEADER_MIRROR, Merge},
    migrate::Format,
    record::{Header, Intent, PendingRevocation, Stored, decode},
    seal::{Kind, Name, Sealer},
    spill,
};

/// What is sealed, as whoever holds the key could have written it: records, intents, owed revocations.
pub fn record(payload: &[u8]) {
    if let Some(stored) = Stored::decode(payload) {
        let encoded = stored.encode().expect("what was read can be written");
        let again = Stored::decode(&encoded).expect("what was written can be read");
        assert_eq!(stored.ordinal, again.ordinal);
        assert_eq!(stored.record.grant, again.record.grant);
    }
    if let Some(owed) = PendingRevocation::decode(payload) {
        let encoded = owed.encode().expect("what was read can be written");
        assert!(PendingRevocation::decode(&encoded).is_some());
    }
    drop(decode::<Intent>(payload));
    drop(decode::<Header>(payload));
}

/// A directory that somebody else wrote: the files in the clear, and rows, mirrors and slots, sealed or not.
///
/// Pieces of it, each a byte that says what it is, two bytes of its length, and itself.
pub fn directory(mut bytes: &[u8]) {
    let key = DataKey::from_bytes(&[7; 32]).expect("32 bytes");
    let sealer = Sealer::new(&key, Format::CURRENT);
    let mut merge = Merge::new(&sealer, false);
    let mut marks = BTreeMap::new();
    while let [what, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        bytes = rest;
        let kind = match what & 3 {
            0 => Kind::Header,
            1 => Kind::Record,
            2 => Kind::Intent,
            _ => Kind::Revocation,
        };
        // Sealed under the key, so that what is inside is read as well; or as it is.
        let piece = if what & 4 == 0 {
            let (name, generation) = match Stored::decode(piece) {
                Some(stored) => {
                    let grant = &stored.record.grant;
                    (sealer.name(&grant.account), grant.generation.0)
                }
                None => (Name::STORE, 1),
            };
            let payload = Zeroizing::new(piece.to_vec());
            let sealed = sealer.seal(kind, name, generation, payload);
            sealed.expect("it is small")
        } else {
            piece.to_vec()
        };
        let path = PathBuf::from("piece");
        match what >> 3 {
            0..8 => merge.row(Key::new(kind, &piece[..piece.len().min(8)]), piece),
            8..12 => merge.mirror("0123", path, piece),
            12..14 => merge.mirror("owed-1", path, piece),
            14 => merge.mirror(HEADER_MIRROR, path, piece),
            15..20 => merge.slot(spill::Found {
                path,
                intent: piece.clone(),
                answer: piece,
                kept: what & 4 == 0,
            }),
            20..24 => anchor::merge(&mut marks, &piece),
            _ => drop(About::parse(&piece)),
        }
    }
    drop(merge.finish());
}
