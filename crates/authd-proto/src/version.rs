//! Negotiation of the major version (PROTOCOL.md, section 5).

use crate::error::{ErrorCode, WireError};

/// The oldest major version this crate speaks.
pub const MIN_VERSION: u64 = 1;
/// The newest major version this crate speaks.
pub const MAX_VERSION: u64 = 1;

/// The version both sides speak: the highest that lies in `theirs` (inclusive) and in ours.
///
/// # Errors
/// [`ErrorCode::VersionMismatch`], naming both ranges, when there is none.
pub fn negotiate(theirs: (u64, u64)) -> Result<u64, WireError> {
    let (min, max) = theirs;
    let best = max.min(MAX_VERSION);
    if best >= min.max(MIN_VERSION) {
        return Ok(best);
    }
    let hint = if min > MAX_VERSION {
        "upgrade the daemon"
    } else {
        "upgrade the client"
    };
    Err(WireError::new(
        ErrorCode::VersionMismatch,
        format!(
            "the client speaks protocol versions {min} to {max}, the daemon {MIN_VERSION} to {MAX_VERSION}"
        ),
    )
    .with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(negotiate((1, 1)).map_err(|e| e.code), Ok(1));
        assert_eq!(negotiate((0, 9)).map_err(|e| e.code), Ok(MAX_VERSION));
    }

    #[test]
    fn a_mismatch_names_both_ranges_and_who_is_older() {
        let newer = negotiate((2, 3)).expect_err("no common version");
        assert_eq!(newer.code, ErrorCode::VersionMismatch);
        assert!(newer.message.contains("2 to 3") && newer.message.contains("1 to 1"));
        assert_eq!(newer.hint.as_deref(), Some("upgrade the daemon"));
        let older = negotiate((0, 0)).expect_err("no common version");
        assert_eq!(older.hint.as_deref(), Some("upgrade the client"));
        assert!(negotiate((3, 1)).is_err(), "an empty range matches nothing");
        let empty = negotiate((MAX_VERSION, 0)).expect_err("an empty range");
        assert_eq!(empty.hint.as_deref(), Some("upgrade the client"));
    }
}
