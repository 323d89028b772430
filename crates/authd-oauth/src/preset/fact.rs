//! What can be known of a provider, and whence it is known.

use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// Where some facts come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which facts.
    pub facts: Vec<Fact>,
    /// The page.
    pub url: String,
    /// When it was read: a date of RFC 3339.
    pub read: String,
    /// What it says, in our words.
    pub says: String,
}

macro_rules! facts {
    ($($(#[$doc:meta])* $fact:ident = $name:literal: $($field:ident),+;)*) => {
        /// One thing to know of a provider, named as the groups of keys that state it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Fact {
            $($(#[$doc])* $fact,)*
        }

        impl Fact {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fact,)*];

            /// Its name in the entries.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$fact => $name,)* }
            }

            /// What `entry` says of it, for people; `None` when nothing.
            #[must_use]
            pub fn stated(self, entry: &Entry) -> Option<String> {
                let stated: Vec<String> = match self {
                    $(Self::$fact => [$(entry.$field.shown(stringify!($field))),+]
                        .into_iter()
                        .flatten()
                        .collect(),)*
                };
                (!stated.is_empty()).then(|| stated.join("; "))
            }

            pub(super) fn clear(self, entry: &mut Entry) {
                match self { $(Self::$fact => { $(entry.$field = Default::default();)+ })* }
            }
        }
    };
}

facts! {
    /// Where it listens.
    Endpoints = "endpoints": issuer, issuer_template, authorization_endpoint, token_endpoint;
    /// How clients authenticate.
    ClientAuth = "client_auth": client_auth;
    /// RFC 7636.
    Pkce = "pkce": pkce;
    /// RFC 8628.
    Device = "device": device, device_authorization_endpoint;
    /// Which redirects can be registered.
    Redirect = "redirect": redirect;
    /// What brings a refresh token.
    Offline = "offline": offline_scopes, params;
    /// What stands between scopes.
    ScopeSeparator = "scope_separator": scope_separator;
    /// How long access tokens live.
    Lifetime = "lifetime": lifetime_secs;
    /// What becomes of a used refresh token.
    Rotation = "rotation": rotation;
    /// For how long a spent one is still taken.
    Leeway = "leeway": leeway_secs;
    /// Whether the access token before it ends.
    RefreshRevokesAccessToken = "refresh_revokes_access_token": refresh_revokes_access_token;
    /// When an unused refresh token ends.
    InactivityLimit = "inactivity_limit": inactivity_limit_secs;
    /// When a login ends in any case.
    AbsoluteLimit = "absolute_limit": absolute_limit_secs;
    /// How it departs from the RFCs in its errors.
    Errors = "errors": quirks, error_pointer, error_codes;
    /// RFC 7009.
    Revocation = "revocation": revocation_endpoint, end_session_endpoint;
    /// RFC 7662.
    Introspection = "introspection": introspection_endpoint;
    /// Who signed in.
    Userinfo = "userinfo": userinfo_endpoint;
    /// How to get a client id.
    Registration = "registration": registration;
}

/// A field's value as text; `None` when it says nothing.
trait Shown {
    fn shown(&self, field: &str) -> Option<String>;
}

impl Shown for Option<String> {
    fn shown(&self, field: &str) -> Option<String> {
        let value = self.as_ref()?;
        Some(format!("{field} {value}"))
    }
}

impl Shown for Option<super::entry::Registration> {
    fn shown(&self, _: &str) -> Option<String> {
        self.as_ref().map(|registration| registration.url.clone())
    }
}

impl Shown for Option<bool> {
    fn shown(&self, _: &str) -> Option<String> {
        self.map(|yes| if yes { "yes" } else { "no" }.to_owned())
    }
}

impl Shown for Option<u64> {
    fn shown(&self, _: &str) -> Option<String> {
        self.map(|secs| format!("{secs} seconds"))
    }
}

/// A choice in the word that the entries have for it.
fn word(value: impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

macro_rules! shown_as_words {
    ($($choice:ty),*) => {
        $(impl Shown for Option<$choice> {
            fn shown(&self, _: &str) -> Option<String> {
                self.and_then(word)
            }
        }

        impl Shown for Vec<$choice> {
            fn shown(&self, _: &str) -> Option<String> {
                let words: Vec<String> = self.iter().copied().filter_map(word).collect();
                (!words.is_empty()).then(|| words.join(", "))
            }
        })*
    };
}

shown_as_words!(
    super::entry::AuthMethod,
    super::entry::Pkce,
    super::entry::Redirect,
    authd_core::grant::Rotation,
    authd_core::grant::Quirk
);

impl Shown for Vec<String> {
    fn shown(&self, _: &str) -> Option<String> {
        (!self.is_empty()).then(|| format!("scope {}", self.join(" ")))
    }
}

impl Shown for std::collections::BTreeMap<String, String> {
    fn shown(&self, _: &str) -> Option<String> {
        let pairs: Vec<String> = self
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join(" "))
    }
}
