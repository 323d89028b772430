//! The crates that are in a shipped binary, and nothing else: what the list of parts and the licences are
//! made of.
//!
//! `cargo tree` resolves a package alone, as `cargo xtask install` builds it, so that no feature of another
//! member counts; crates that only ran while building are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::command;
use crate::error::ChoreError;
use crate::workspace;

/// A crate by name and version: cargo allows several versions of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What a binary is made of: each crate with those that it uses, itself included.
pub(crate) type Uses = BTreeMap<Id, BTreeSet<Id>>;

/// The crates in the binary of `package` for this machine's platform.
pub(crate) fn of(package: &str, target: &str) -> Result<Uses, ChoreError> {
    let mut tree = command::cargo();
    tree.args(["tree", "--quiet", "--locked", "--package", package])
        .args(["--edges=normal,no-proc-macro", "--target", target])
        .args(["--prefix=depth", "--format= {p}"]);
    let text = command::stdout(&mut tree)?;
    parse(&text).ok_or_else(|| ChoreError::Output {
        command: command::line(&tree),
        reason: "not a tree of crates with their depths".to_owned(),
    })
}

/// Reads lines like `2 serde v1.0.228 (proc-macro) (*)`.
fn parse(tree: &str) -> Option<Uses> {
    let mut uses = Uses::new();
    let mut path: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let depth: usize = words.next()?.parse().ok()?;
        let id = Id {
            name: words.next()?.to_owned(),
            version: words.next()?.strip_prefix('v')?.to_owned(),
        };
        if depth > path.len() {
            return None;
        }
        path.truncate(depth);
        if let Some(parent) = path.last() {
            uses.entry(parent.clone()).or_default().insert(id.clone());
        }
        uses.entry(id.clone()).or_default();
        path.push(id);
    }
    (!uses.is_empty()).then_some(uses)
}

/// What its author says about a crate.
#[derive(Clone, Deserialize)]
pub(crate) struct Facts {
    name: String,
    version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
    /// `None` for one of ours.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    /// SHA-256 of what the registry serves, in hexadecimal digits.
    #[serde(skip)]
    pub(crate) checksum: Option<String>,
}

/// Everything in the lock file that the workspace uses on `target`.
pub(crate) fn facts(target: &str) -> Result<BTreeMap<Id, Facts>, ChoreError> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Facts>,
    }
    let mut metadata = command::cargo();
    metadata.args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        target,
    ]);
    let text = command::stdout(&mut metadata)?;
    let found: Metadata = serde_json::from_str(&text).map_err(|error| ChoreError::Output {
        command: command::line(&metadata),
        reason: error.to_string(),
    })?;
    let checksums = checksums()?;
    Ok(found
        .packages
        .into_iter()
        .map(|mut facts| {
            let id = Id {
                name: facts.name.clone(),
                version: facts.version.clone(),
            };
            facts.checksum = checksums.get(&id).cloned();
            (id, facts)
        })
        .collect())
}

fn checksums() -> Result<BTreeMap<Id, String>, ChoreError> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let path = workspace::root().join("Cargo.lock");
    let text = fs::read_to_string(&path).map_err(ChoreError::io("read", &path))?;
    let lock: Lock = toml::from_str(&text).map_err(|error| ChoreError::Output {
        command: path.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(lock
        .package
        .into_iter()
        .filter_map(|locked| {
            let id = Id {
                name: locked.name,
                version: locked.version,
            };
            Some((id, locked.checksum?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        Id {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn a_tree_is_read_with_who_uses_whom() {
        let uses = parse(
            "0 authd v0.1.0 (/somewhere/authd)\n1 a v1.0.0\n2 b v2.0.0\n1 c v3.0.0\n2 b v2.1.0\n2 a v1.0.0 (*)\n",
        )
        .expect("it is a tree");
        let of = |name, version| uses.get(&id(name, version)).expect("it is there").clone();
        assert_eq!(uses.len(), 5, "two versions of b are two crates");
        assert_eq!(
            of("authd", "0.1.0"),
            [id("a", "1.0.0"), id("c", "3.0.0")].into()
        );
        assert_eq!(of("a", "1.0.0"), [id("b", "2.0.0")].into());
        assert_eq!(
            of("c", "3.0.0"),
            [id("a", "1.0.0"), id("b", "2.1.0")].into()
        );
        assert!(parse("").is_none(), "nothing is no tree");
        assert!(parse("0 a v1\n2 b v1").is_none(), "a depth is missing");
    }
}
