//! A format after the current one, made up, so that migrations can be tested before there is one.

use crate::{
    DataKey, Loaded, OpenError, Options, Store,
    migrate::{Format, Payload, Step},
    record::PendingRevocation,
    seal::{Kind, Unsealable},
};

/// In it the endpoint of an owed revocation ends in a slash.
pub(crate) fn next_format() -> Format {
    fn slash(kind: Kind, payload: Payload) -> Result<Payload, Unsealable> {
        if kind != Kind::Revocation {
            return Ok(payload);
        }
        let mut owed = PendingRevocation::decode(&payload).ok_or(Unsealable::Malformed)?;
        owed.endpoint.push('/');
        owed.encode().map_err(|_| Unsealable::Malformed)
    }
    Format {
        version: Format::CURRENT.version + 1,
        steps: &[Step {
            from: Format::CURRENT.version,
            apply: slash,
        }],
    }
}

/// Opens a store as a program of the next format does: it brings an older one up to that.
///
/// # Errors
/// As [`Store::open`].
pub fn open_in_next_format(options: Options, key: DataKey) -> Result<(Store, Loaded), OpenError> {
    Store::open_as(options, key, next_format())
}
