//! What the files of a store are called. Those of a later key bear its number, so that the old ones stand
//! beside the new until these count.

use std::path::{Path, PathBuf};

/// The files that are sealed under one key.
pub(crate) struct Layout {
    pub(crate) database: PathBuf,
    pub(crate) mirrors: PathBuf,
    pub(crate) spill: PathBuf,
    /// The mark of a clean stop.
    pub(crate) clean: PathBuf,
}

impl Layout {
    /// Those of the key of that number.
    pub(crate) fn new(dir: &Path, number: u32) -> Self {
        let of_key = |name: &str, suffix: &str| {
            dir.join(match number {
                0 => format!("{name}{suffix}"),
                _ => format!("{name}-{number}{suffix}"),
            })
        };
        Self {
            database: of_key("authd", ".redb"),
            mirrors: of_key("mirrors", ""),
            spill: of_key("spill", ""),
            clean: of_key("clean", ""),
        }
    }
}

/// Whether a file of that name is a database of ours, damaged ones that are kept included.
pub(crate) fn is_database(name: &str) -> bool {
    name.starts_with("authd") && name.contains(".redb") && !name.ends_with(crate::disk::TEMPORARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_known_by_its_name() {
        for (name, is) in [
            ("authd.redb", true),
            ("authd-3.redb", true),
            ("authd.redb.corrupt-1", true),
            ("authd.redb.new", false),
            ("authd.log", false),
            ("other.redb", false),
            ("about", false),
        ] {
            assert_eq!(is_database(name), is, "{name}");
        }
    }
}
