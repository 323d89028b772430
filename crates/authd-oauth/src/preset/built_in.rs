//! The presets that come with authd.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{Entry, Known, Presets};

/// One file for each house.
const FILES: &[&str] = &[include_str!("../../presets/google.toml")];

/// The same shape as in a user's configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    providers: BTreeMap<String, Entry>,
}

/// The presets that come with authd, read when first asked for.
pub fn built_in() -> &'static Presets {
    static PRESETS: LazyLock<Presets> = LazyLock::new(|| {
        let entries: BTreeMap<String, Entry> = FILES
            .iter()
            .map(|text| toml::from_str::<File>(text).expect("a test reads every preset"))
            .flat_map(|file| file.providers)
            .collect();
        let presets = Presets::default()
            .with(&entries)
            .expect("a test checks every preset");
        let by_name = presets.by_name.into_iter().map(|(name, known)| {
            let known = Known {
                from_config: false,
                ..known
            };
            (name, known)
        });
        Presets {
            by_name: by_name.collect(),
        }
    });
    &PRESETS
}
