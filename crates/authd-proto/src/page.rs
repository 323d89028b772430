//! Pages: 10,000 accounts do not fit a frame.

use serde::Serialize;

use crate::encode::encoded_len;
use crate::limits::MAX_FRAME;

/// Leaves room for the envelope and the cursor.
const BUDGET: usize = MAX_FRAME - 4096;

/// Takes as many of `entries` as `limit` allows and a frame holds. The caller's cursor points behind the
/// last one taken; when fewer than all were taken there is a next page.
///
/// An entry too large for a frame of its own (see [`fits`]) ends the page: at its head, the page is empty.
pub fn fill<T: Serialize>(entries: impl IntoIterator<Item = T>, limit: usize) -> Vec<T> {
    let mut room = BUDGET;
    entries
        .into_iter()
        .take(limit)
        .map_while(|entry| {
            room = room.checked_sub(encoded_len(&entry))?;
            Some(entry)
        })
        .collect()
}

/// Whether a page can hold the entry at all.
pub fn fits<T: Serialize>(entry: &T) -> bool {
    encoded_len(entry) <= BUDGET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_no_more_than_its_limit() {
        assert_eq!(fill(0..10u8, 4), [0, 1, 2, 3]);
    }

    #[test]
    fn a_page_holds_no_more_than_a_frame() {
        let entry = "x".repeat(BUDGET / 4);
        let page = fill(std::iter::repeat_n(entry, 10), 10);
        assert_eq!(page.len(), 3, "four and their headers do not fit");
    }

    #[test]
    fn a_page_leaves_room_for_what_is_around_it_and_not_much_more() {
        let page = |length: usize| fill(["x".repeat(length)], 1);
        assert!(page(MAX_FRAME - 1024).is_empty(), "envelope and cursor");
        assert_eq!(page(MAX_FRAME - 8 * 1024).len(), 1);
    }

    #[test]
    fn what_fits_is_what_a_page_of_its_own_would_hold() {
        for (length, holds) in [(BUDGET / 2, true), (BUDGET, false)] {
            let entry = "x".repeat(length);
            assert_eq!(fits(&entry), holds, "{length} bytes and their header");
            assert_eq!(!fill([entry], 1).is_empty(), holds);
        }
    }
}
