//! The licences of what is in the binaries, with the notices that they ask to be passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::sbom;
use super::shipped::{Facts, Id};
use crate::error::ChoreError;

/// How such files begin, whatever their end.
const NAMES: &[&str] = &[
    "license",
    "licence",
    "copying",
    "notice",
    "unlicense",
    "copyright",
];

/// Each crate with its licence, then each text once, with those whose text it is.
pub(crate) fn document(
    shipped: &BTreeSet<Id>,
    facts: &BTreeMap<Id, Facts>,
) -> Result<String, ChoreError> {
    let mut list = String::from(
        "authd and authctl contain these libraries, under the licences named. The texts and notices that\n\
         come with them follow. Rust's standard library (MIT OR Apache-2.0) is in both as well.\n\n",
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in shipped {
        let Some(facts) = facts.get(id).filter(|facts| facts.source.is_some()) else {
            continue;
        };
        let name = format!("{} {}", id.name, id.version);
        let license = sbom::license(facts).unwrap_or_else(|| "see its text".to_owned());
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{name}: {license}");
        for text in texts_in(facts.manifest_path.parent().unwrap_or(Path::new("")))? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, names) in &texts {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = write!(list, "\n{}\n{}\n\n{text}", "=".repeat(80), names.join(", "));
    }
    Ok(list)
}

fn texts_in(folder: &Path) -> Result<Vec<String>, ChoreError> {
    let mut texts = Vec::new();
    let entries = fs::read_dir(folder).map_err(ChoreError::io("read", folder))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let path = entry.path();
        if NAMES.iter().any(|prefix| name.starts_with(prefix)) && path.is_file() {
            let bytes = fs::read(&path).map_err(ChoreError::io("read", &path))?;
            let text = String::from_utf8_lossy(&bytes);
            // The same text is often kept with other ends of lines.
            let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
            texts.push(lines.join("\n") + "\n");
        }
    }
    Ok(texts)
}
