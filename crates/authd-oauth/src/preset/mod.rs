//! Provider presets: what is known of a provider, as data.
//!
//! Each provider is one entry of a TOML table, those that come with authd (`presets/*.toml`) and those
//! in a user's configuration alike; there is no code for any of them. An entry says where the provider
//! listens, how to log in there, and which habits renewal must know: its [`Profile`]. Of the entries
//! that come with authd, each [`Fact`] has a source or is listed as unknown; a test holds that.
//!
//! | Here | |
//! |---|---|
//! | [`Entry`] | one entry, as written |
//! | [`Presets`] | all of them: those that come with authd, and a user's over them |
//! | [`Preset`] | one of them, for a login: variables filled in |
//! | [`Habits`] | what every login of an account that came by it is like |
//! | [`Fact`], [`Source`] | what is known, and whence |

mod built_in;
mod entry;
mod fact;
mod resolve;
mod template;

use std::collections::BTreeMap;

use authd_core::grant::{Endpoints, Profile};

pub(crate) use self::template::{is_issuer, matched};
pub use self::{
    built_in::built_in,
    entry::{AuthMethod, Entry, Pkce, Redirect, Registration, Variable},
    fact::{Fact, Source},
    resolve::{BadEntry, BadEntryAt, BadKey, UnknownPreset, Unresolved},
};

/// Every provider that can be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presets {
    by_name: BTreeMap<String, Known>,
}

/// An entry with what it extends taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it says, all in all.
    pub entry: Entry,
    /// Whether a user's configuration has a part in it.
    pub from_config: bool,
}

/// A provider to log in to: an entry whose variables have values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its metadata is asked there; `None` where the endpoints are all there is.
    pub issuer: Option<String>,
    /// Endpoints known without metadata; they stand in for what the metadata lacks. The token endpoint
    /// is empty where only the metadata knows it.
    pub endpoints: Endpoints,
    /// How to log in there, wherever it is.
    pub habits: Habits,
}

/// What a login with a preset is like, and every later one of the same account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// How a client may prove itself there, best first; empty where that is not known.
    pub client_auth: Vec<AuthMethod>,
    /// The client id of a user's own entry.
    pub client_id: Option<String>,
    /// Asked for when the user names no scopes.
    pub scopes: Vec<String>,
    /// Asked for always, because no refresh token comes without.
    pub offline_scopes: Vec<String>,
    /// Added to the authorization request.
    pub params: BTreeMap<String, String>,
    /// What stands between scopes, where it is no blank.
    pub scope_separator: Option<String>,
    /// The redirect that the user was told to register, where not every port will do.
    pub redirect_uri: Option<String>,
    /// What renewal must know, named after the preset.
    pub profile: Profile,
}

#[cfg(test)]
mod tests;
