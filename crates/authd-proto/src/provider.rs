//! `provider.*`: which providers can be logged in to by name (PROTOCOL.md, section 9).

use serde::{Deserialize, Serialize};

use crate::request::Flow;

/// `provider.list`: a page of providers, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderList {
    /// See [`crate::limits::page_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// That of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `provider.show`: one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderShow {
    /// Its name.
    pub provider: String,
}

/// Of `provider.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderListReply {
    /// A page, sorted by name.
    pub providers: Vec<ProviderInfo>,
    /// For the next page; nil at the end.
    pub cursor: Option<String>,
}

/// Who says what is known of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderOrigin {
    /// It came with the daemon.
    BuiltIn,
    /// The user's configuration, in whole or in part.
    Config,
    /// Another, of a newer version.
    #[serde(other)]
    Unknown,
}

/// An entry of `provider.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderInfo {
    /// What `login.start` calls it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The ways to log in that are known to work.
    pub flows: Vec<Flow>,
    /// What has to be given.
    pub variables: Vec<ProviderVariable>,
    /// Who says so.
    pub origin: ProviderOrigin,
}

/// Something that differs from user to user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderVariable {
    /// Its name in `variables` of `login.start`.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Its value when none is given; nil where one must be.
    pub default: Option<String>,
}

/// Of `provider.show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderShowReply {
    /// As in the list.
    #[serde(flatten)]
    pub info: ProviderInfo,
    /// Addresses by the names of RFC 8414, variables in braces. Metadata may name more.
    pub addresses: Vec<ProviderAddress>,
    /// The redirect to register.
    pub redirect_uri: String,
    /// How to get a client id; nil where the entry does not say.
    pub registration: Option<ProviderRegistration>,
    /// What else to know.
    pub notes: Vec<String>,
    /// What is known of it.
    pub facts: Vec<ProviderFact>,
}

/// An address of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAddress {
    /// `issuer`, `token_endpoint`, …
    pub name: String,
    /// The address.
    pub url: String,
}

/// How to get a client id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRegistration {
    /// The page.
    pub url: String,
    /// What to do there.
    pub steps: Vec<String>,
}

/// One thing known, or not known, of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderFact {
    /// Which.
    pub fact: String,
    /// What; nil where there is no such thing, or nobody knows.
    pub value: Option<String>,
    /// Whence; empty where it is unknown, or the user says so.
    pub sources: Vec<ProviderSource>,
}

/// Where a fact was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderSource {
    /// The page.
    pub url: String,
    /// When: a date of RFC 3339.
    pub read: String,
    /// What it says, in other words.
    pub says: String,
}
