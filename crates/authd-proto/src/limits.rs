//! The caps of PROTOCOL.md, section 6. Each is checked before anything is buffered or allocated for it.

/// Bytes of one frame, in either direction.
pub const MAX_FRAME: usize = 256 * 1024;
/// Nesting of one frame; its outermost array is level 1.
pub const MAX_DEPTH: usize = 16;
/// Unanswered requests on one connection; beyond, the daemon reads no further until some are answered.
pub const MAX_IN_FLIGHT: usize = 256;
/// `wait_secs` beyond this counts as this.
pub const MAX_WAIT_SECS: u64 = 300;
/// What an absent `wait_secs` means.
pub const DEFAULT_WAIT_SECS: u64 = 10;
/// Entries of a page; a greater `limit` counts as this.
pub const MAX_PAGE: usize = 500;
/// What an absent `limit` means.
pub const DEFAULT_PAGE: usize = 100;
/// Entries of `scopes`.
pub const MAX_SCOPES: usize = 128;
/// Seconds by which a clock may be off without a word: as much as most servers overlook in what is dated.
pub const CLOCK_TOLERANCE_SECS: u64 = 120;
/// Beyond so many seconds things fail for it: signed requests, certificates, other tools.
pub const CLOCK_WRONG_SECS: u64 = 300;
/// Seconds that a restricted socket is there where nobody says how long: a working day.
pub const DEFAULT_SOCKET_SECS: u64 = 8 * 3600;
/// Seconds that it is there at most.
pub const MAX_SOCKET_SECS: u64 = 30 * 86_400;
/// Restricted sockets at a time.
pub const MAX_SOCKETS: usize = 64;
/// Entries of `uids`.
pub const MAX_UIDS: usize = 16;
/// Characters of the `label` of a restricted socket.
pub const MAX_LABEL: usize = 64;
/// Entries of `resources`.
pub const MAX_RESOURCES: usize = 64;

/// How long to wait for a request that says `wait_secs`, in seconds: the default and the cap applied.
#[must_use]
pub fn wait_secs(asked: Option<u64>) -> u64 {
    asked.unwrap_or(DEFAULT_WAIT_SECS).min(MAX_WAIT_SECS)
}

/// How many entries a page that says `limit` may hold at most: the default and the cap applied.
#[must_use]
pub fn page_limit(asked: Option<u64>) -> usize {
    asked.map_or(DEFAULT_PAGE, |limit| {
        usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_specification_has_these_numbers() {
        let spec = include_str!("../../../proto/PROTOCOL.md");
        let rows = [
            format!("| frame, either direction | {} bytes |", grouped(MAX_FRAME)),
            format!("| nesting (the outermost array is level 1) | {MAX_DEPTH} |"),
            format!("| unanswered requests on one connection | {MAX_IN_FLIGHT} |"),
            format!("| `wait_secs` | {MAX_WAIT_SECS} |"),
            format!("| `limit` of a page | {MAX_PAGE}; {DEFAULT_PAGE} when absent |"),
            format!("| `scopes` | {MAX_SCOPES} entries"),
            format!("| `resources` | {MAX_RESOURCES} entries |"),
            format!("| restricted sockets | {MAX_SOCKETS} |"),
            format!(
                "| `ttl_secs` of a restricted socket | 60 to {} (30 days) |",
                grouped(usize::try_from(MAX_SOCKET_SECS).expect("a month is no large number"))
            ),
            format!("| {MAX_UIDS} entries; {MAX_LABEL} characters |"),
        ];
        for row in rows {
            assert!(spec.contains(&row), "PROTOCOL.md has no row {row}");
        }
        assert_eq!(DEFAULT_SOCKET_SECS, 28_800, "eight hours");
    }

    /// As people read it: 262,144.
    fn grouped(number: usize) -> String {
        let digits = number.to_string();
        let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
        String::from_utf8(groups.join(&b',')).expect("digits")
    }

    #[test]
    fn what_is_not_said_has_a_default_and_what_is_too_much_a_cap() {
        let waits = [None, Some(0), Some(7), Some(300), Some(301), Some(u64::MAX)];
        assert_eq!(waits.map(wait_secs), [10, 0, 7, 300, 300, 300]);
        let limits = [None, Some(0), Some(7), Some(500), Some(501), Some(u64::MAX)];
        assert_eq!(limits.map(page_limit), [100, 1, 7, 500, 500, 500]);
    }
}
