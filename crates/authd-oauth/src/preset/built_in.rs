//! The presets that come with authd.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{Entry, Known, Presets};

/// One file for each house.
pub(super) const FILES: &[&str] = &[
    include_str!("../../presets/atlassian.toml"),
    include_str!("../../presets/auth0.toml"),
    include_str!("../../presets/cloudflare.toml"),
    include_str!("../../presets/cognito.toml"),
    include_str!("../../presets/discord.toml"),
    include_str!("../../presets/dropbox.toml"),
    include_str!("../../presets/fitbit.toml"),
    include_str!("../../presets/github.toml"),
    include_str!("../../presets/gitlab.toml"),
    include_str!("../../presets/google.toml"),
    include_str!("../../presets/hubspot.toml"),
    include_str!("../../presets/huggingface.toml"),
    include_str!("../../presets/keycloak.toml"),
    include_str!("../../presets/linear.toml"),
    include_str!("../../presets/microsoft.toml"),
    include_str!("../../presets/notion.toml"),
    include_str!("../../presets/okta.toml"),
    include_str!("../../presets/salesforce.toml"),
    include_str!("../../presets/slack.toml"),
    include_str!("../../presets/spotify.toml"),
    include_str!("../../presets/twitch.toml"),
    include_str!("../../presets/xero.toml"),
    include_str!("../../presets/zoom.toml"),
];

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
