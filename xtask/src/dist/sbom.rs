//! The list of a binary's parts (SBOM), in CycloneDX 1.5.
//!
//! Nothing in it depends on the machine or the hour: two runs on one commit write the same bytes.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::shipped::{Facts, Id, Uses};
use crate::command;
use crate::error::ChoreError;

/// A part that is no crate.
pub(crate) struct Library {
    name: &'static str,
    version: String,
    license: &'static str,
    purl: String,
}

/// Rust's standard library, which is in every binary.
pub(crate) fn standard_library() -> Result<Library, ChoreError> {
    let text = command::stdout(Command::new("rustc").arg("--version"))?;
    // rustc 1.95.0 (hash date)
    let version = text.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Library {
        name: "std",
        license: "MIT OR Apache-2.0",
        purl: format!("pkg:github/rust-lang/rust@{version}"),
        version,
    })
}

/// What a static link adds: the C library and the compiler's own.
pub(crate) fn static_libraries() -> Result<Vec<Library>, ChoreError> {
    let glibc = command::stdout(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let glibc = glibc.trim().trim_start_matches("glibc ").to_owned();
    let libgcc = command::stdout(Command::new("cc").arg("-dumpfullversion"))?;
    let libgcc = libgcc.trim().to_owned();
    Ok(vec![
        Library {
            name: "glibc",
            license: "LGPL-2.1-or-later",
            purl: format!("pkg:generic/glibc@{glibc}"),
            version: glibc,
        },
        Library {
            name: "libgcc",
            license: "GPL-3.0-or-later WITH GCC-exception-3.1",
            purl: format!("pkg:generic/libgcc@{libgcc}"),
            version: libgcc,
        },
    ])
}

/// The document about the binary of `package`; `timestamp` is in RFC 3339.
pub(crate) fn document(
    package: &Id,
    uses: &Uses,
    facts: &BTreeMap<Id, Facts>,
    libraries: &[Library],
    timestamp: &str,
) -> Value {
    let crates = uses.keys().filter(|id| *id != package);
    let mut components: Vec<Value> = crates
        .map(|id| component("library", id, facts.get(id)))
        .collect();
    components.extend(libraries.iter().map(|library| {
        json!({
            "type": "library",
            "bom-ref": library.purl,
            "name": library.name,
            "version": library.version,
            "scope": "required",
            "licenses": [{"expression": library.license}],
            "purl": library.purl,
        })
    }));
    let mut dependencies: Vec<Value> = uses
        .iter()
        .map(|(id, used)| {
            let mut on: Vec<String> = used.iter().map(|id| reference(id, facts.get(id))).collect();
            if id == package {
                on.extend(libraries.iter().map(|library| library.purl.clone()));
            }
            json!({"ref": reference(id, facts.get(id)), "dependsOn": on})
        })
        .collect();
    dependencies.extend(
        libraries
            .iter()
            .map(|library| json!({"ref": library.purl, "dependsOn": []})),
    );
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "component": component("application", package, facts.get(package)),
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(kind: &str, id: &Id, facts: Option<&Facts>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(id, facts),
        "name": id.name,
        "version": id.version,
        "scope": "required",
    });
    let Some(facts) = facts else { return component };
    if let Some(description) = &facts.description {
        let words: Vec<&str> = description.split_whitespace().collect();
        component["description"] = words.join(" ").into();
    }
    if let Some(license) = license(facts) {
        component["licenses"] = json!([{"expression": license}]);
    }
    if facts.source.is_some() {
        component["purl"] = reference(id, Some(facts)).into();
    }
    if let Some(checksum) = &facts.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &facts.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// The licence as SPDX has it; cargo still takes an older spelling too.
pub(crate) fn license(facts: &Facts) -> Option<String> {
    let license = facts.license.as_deref()?;
    Some(license.replace(" / ", " OR ").replace('/', " OR "))
}

/// The same wherever the workspace lies: ours have no address.
fn reference(id: &Id, facts: Option<&Facts>) -> String {
    let Id { name, version } = id;
    if facts.is_some_and(|facts| facts.source.is_some()) {
        format!("pkg:cargo/{name}@{version}")
    } else {
        format!("{name}@{version}")
    }
}
