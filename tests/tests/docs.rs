//! The documentation says what is there: paths, links, and every key of the configuration.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use authd_e2e::Instance;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a package within the workspace")
}

/// Every Markdown file of ours.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                if !["target", "node_modules", ".git"].contains(&name) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "these are not the documents: {found:?}");
    found
}

/// The lines that are neither code nor diagram.
fn prose(text: &str) -> Vec<&str> {
    let mut in_code = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            !in_code && !fence
        })
        .collect()
}

/// The name by which a heading is linked to.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

/// The targets of the inline links and images in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

#[test]
fn the_two_paths_of_the_architecture_name_files_that_exist() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (heading, least) in [("### One request", 15), ("### One renewal", 20)] {
        let section = text.split_once(heading).unwrap().1;
        let section = section.split("\n#").next().unwrap();
        let items: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("- "))
            .collect();
        assert!(items.len() >= least, "{heading} has {} steps", items.len());
        for item in items {
            let path = item.strip_prefix('`').and_then(|rest| rest.split_once('`'));
            let (path, _) = path.unwrap_or_else(|| panic!("a step without its file: {item}"));
            assert!(root().join(path).is_file(), "{heading}: there is no {path}");
        }
    }
}

#[test]
fn every_path_of_the_repository_that_a_document_names_exists() {
    const FOLDERS: &[&str] = &[
        "crates/", "docs/", "fuzz/", "launchd/", "proto/", "systemd/", "tests/", "xtask/",
    ];
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for line in prose(&text) {
            for word in line.split('`').skip(1).step_by(2) {
                let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder))
                    && !word.contains([' ', '*', '<']);
                let from_here = document.parent().unwrap().join(word);
                if is_path && !root().join(word).exists() && !from_here.exists() {
                    wrong.push(format!("{}: {word}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in prose(&text).into_iter().flat_map(links) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let leads = target.exists()
                && (anchor.is_empty() || {
                    let text = fs::read_to_string(&target).unwrap();
                    prose(&text)
                        .iter()
                        .any(|line| line.starts_with('#') && slug(line) == anchor)
                });
            if !leads {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("crates"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("node_modules") && !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a document");
                for part in text
                    .split("#[test]")
                    .chain(text.split("#[tokio::test"))
                    .skip(1)
                {
                    let name = part.split_once("fn ").map(|(_, rest)| rest);
                    let name = name.and_then(|rest| rest.split_once('('));
                    found.extend(name.map(|(name, _)| name.to_owned()));
                }
            }
        }
    }
    assert!(found.len() > 500, "these are not the tests");
    found
}

#[test]
fn every_row_of_the_threat_model_names_tests_and_all_of_them_exist() {
    let tests = tests();
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let (threats, _) = text.split_once("## What is fuzzed").unwrap();
    let rows = threats.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| *line != "| Threat | Held by | Test |");
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let names: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a row without a test: {row}");
        for name in names {
            assert!(tests.contains(name), "there is no test {name}");
        }
        count += 1;
    }
    assert!(count > 50, "{count} rows");
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap() {
        let target = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            text.contains(&format!("fuzz/fuzz_targets/{target}")),
            "{target}"
        );
    }
}

/// What `daemon.reload` says to this configuration.
fn reload(instance: &Instance, text: &str) -> Result<Value, String> {
    instance.configure(text);
    let reload = instance.authctl(&["daemon", "reload", "--json"]);
    match reload.code() {
        0 => Ok(reload.json()),
        _ => Err(reload.stderr),
    }
}

#[test]
fn the_configuration_template_has_every_key_with_its_default() {
    let template = fs::read_to_string(root().join("docs/config.toml")).unwrap();
    let instance = Instance::new();
    let _daemon = instance.start_daemon();
    let reply = reload(&instance, &template).unwrap();
    assert_eq!(reply["changed"], serde_json::json!([]), "not the defaults");

    // A key that is like no other makes the daemon name all that it knows.
    let known = |table: &str| -> BTreeSet<String> {
        let message = reload(&instance, &format!("{table}\nzzzz = 1\n")).unwrap_err();
        let (_, keys) = message.split_once("known are ").expect(&message);
        let is_key = |c: char| c.is_ascii_lowercase() || c == '_';
        let first_words = keys
            .split(", ")
            .map(|key| key.chars().take_while(|c| is_key(*c)).collect::<String>());
        first_words.collect()
    };
    let mut stated: BTreeSet<String> = BTreeSet::new();
    let mut tables = vec![String::new()];
    for line in template.lines() {
        if line.starts_with('[') {
            tables.push(line.to_owned());
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            stated.insert(format!("{}{key}", tables.last().unwrap()));
        }
    }
    let names: BTreeSet<String> = tables
        .iter()
        .map(|table| table.trim_matches(['[', ']']).to_owned())
        .collect();
    // The entries of providers have no defaults: the template shows each key as a comment.
    for key in known("[providers.x]") {
        assert!(
            template.contains(&format!("\n# {key} = ")),
            "the template lacks `{key}` of a provider"
        );
    }
    for table in tables.iter().filter(|table| *table != "[providers]") {
        for key in known(table) {
            let is_there = stated.contains(&format!("{table}{key}"))
                || table.is_empty() && names.contains(&key);
            assert!(is_there, "the template lacks `{key}` of {table:?}");
        }
    }
}
