//! From entries to presets: what extends what, whether it holds together, and the values of variables.

use std::{collections::BTreeMap, time::Duration};

use authd_core::grant::{Endpoints, Profile, Rotation};

use super::{
    Habits, Known, Preset, Presets,
    entry::Entry,
    template::{fill, matched, names},
};

/// Longest value of a variable, in bytes.
const VALUE_LEN: usize = 255;

/// Why an entry is not taken. The user must mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Names go into commands and into the titles of documentation.
    #[error("a provider's name is of small letters, digits and dashes")]
    Name,
    /// There is no such entry.
    #[error("it extends `{0}`, which there is not")]
    ExtendsUnknown(String),
    /// It extends itself, by whatever way.
    #[error("it extends itself, by way of `{0}`")]
    Circle(String),
    /// It names no place.
    #[error("it has neither `issuer` nor `token_endpoint`")]
    Nowhere,
    /// A key has what cannot be there.
    #[error("`{key}` {why}")]
    Key {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        why: BadKey,
    },
}

/// What is wrong with the value of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither `https` nor `http`.
    #[error("is no https address")]
    NotWeb,
    /// `{name}` is no variable.
    #[error("has {{{0}}} in it, which is not among its `variables`")]
    NoVariable(String),
    /// Not exactly one tenant.
    #[error("must have one {{name}} in it, for the tenant")]
    NotOneTenant,
    /// RFC 6901.
    #[error("is no JSON pointer: it begins with a slash")]
    NoPointer,
    /// Zero means nothing there.
    #[error("must be at least 1")]
    Zero,
    /// Nothing stands between scopes.
    #[error("must not be empty")]
    Empty,
}

/// Whose entry is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider `{name}`: {why}")]
pub struct BadEntryAt {
    /// The entry.
    pub name: String,
    /// What is wrong.
    pub why: BadEntry,
}

/// There is no preset of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no provider '{0}'")]
pub struct UnknownPreset(pub String);

/// Why a preset cannot be used as asked. The user must give other values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// See there.
    #[error(transparent)]
    Unknown(#[from] UnknownPreset),
    /// A value is needed.
    #[error("'{provider}' needs to know its {variable}: {about}")]
    Missing {
        /// The preset.
        provider: String,
        /// The variable.
        variable: String,
        /// What it is.
        about: String,
    },
    /// A value is given for nothing.
    #[error("'{provider}' has no variable '{variable}'")]
    NoSuchVariable {
        /// The preset.
        provider: String,
        /// What was given.
        variable: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A value is none.
    #[error(
        "'{variable}' cannot be {value:?}: it goes into an address as it is, without https:// and \
         without blanks"
    )]
    BadValue {
        /// The variable.
        variable: String,
        /// What was given, made fit to print.
        value: String,
    },
}

impl Presets {
    /// Those that come with authd, and `own` over them: an entry completes the one that it extends,
    /// or the one of the same name.
    ///
    /// # Errors
    /// [`BadEntryAt`], for the first of `own` that does not hold together.
    pub fn with(&self, own: &BTreeMap<String, Entry>) -> Result<Self, BadEntryAt> {
        let mut presets = self.clone();
        for name in own.keys() {
            let bad = |why| BadEntryAt {
                name: name.clone(),
                why,
            };
            let entry = self.completed(name, own, &mut Vec::new()).map_err(bad)?;
            entry.check(name).map_err(bad)?;
            let known = Known {
                entry,
                from_config: true,
            };
            presets.by_name.insert(name.clone(), known);
        }
        Ok(presets)
    }

    fn completed<'a>(
        &self,
        name: &'a str,
        own: &'a BTreeMap<String, Entry>,
        path: &mut Vec<&'a str>,
    ) -> Result<Entry, BadEntry> {
        let same_name = || self.by_name.get(name).map(|known| known.entry.clone());
        let Some(entry) = own.get(name).filter(|_| !path.contains(&name)) else {
            return same_name().ok_or_else(|| match path.contains(&name) {
                true => BadEntry::Circle(path.last().copied().unwrap_or_default().to_owned()),
                false => BadEntry::ExtendsUnknown(name.to_owned()),
            });
        };
        path.push(name);
        let base = match &entry.extends {
            Some(base) => Some(self.completed(base, own, path)?),
            None => same_name(),
        };
        Ok(match base {
            Some(base) => entry.clone().over(&base),
            None => entry.clone(),
        })
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.by_name
            .iter()
            .map(|(name, known)| (name.as_str(), known))
    }

    /// One of them.
    ///
    /// # Errors
    /// [`UnknownPreset`].
    pub fn find(&self, name: &str) -> Result<&Known, UnknownPreset> {
        self.by_name
            .get(name)
            .ok_or_else(|| UnknownPreset(crate::text::clean(name, 64)))
    }

    /// One of them, with the values that were given, or the defaults, for its variables.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn choose(
        &self,
        name: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<Preset, Unresolved> {
        self.find(name)?.entry.resolve(name, values)
    }

    /// What is to be known at a later login to an account that came by the preset `name`: where it is,
    /// the account knows.
    #[must_use]
    pub fn habits(&self, name: &str) -> Option<Habits> {
        let entry = &self.by_name.get(name)?.entry;
        Some(entry.habits(name, |variable| entry.default_of(variable)))
    }

    /// The profile of the provider whose issuer this is: by its own name first, then by what its entry
    /// recognises, the most exact first.
    #[must_use]
    pub fn recognise(&self, issuer: &str) -> Option<Profile> {
        let fits = self.iter().filter_map(|(name, known)| {
            let exactness = known.entry.recognises(issuer)?;
            Some((exactness, known.from_config, name, &known.entry))
        });
        fits.max_by_key(|(exactness, from_config, name, _)| {
            (*exactness, *from_config, std::cmp::Reverse(*name))
        })
        .map(|(_, _, name, entry)| entry.profile(name))
    }

    /// The client id that a user's own entry has for exactly this issuer.
    #[must_use]
    pub fn client_id_at(&self, issuer: &str) -> Option<&str> {
        self.iter().find_map(|(_, known)| {
            let client_id = known.entry.client_id.as_deref()?;
            (known.entry.recognises(issuer) == Some(usize::MAX)).then_some(client_id)
        })
    }
}

impl Entry {
    /// The habits that renewal must know.
    #[must_use]
    pub fn profile(&self, name: &str) -> Profile {
        Profile {
            name: Some(name.to_owned()),
            lifetime: self.lifetime_secs.map(Duration::from_secs),
            rotation: self.rotation.unwrap_or(Rotation::Unknown),
            leeway: self.leeway_secs.map(Duration::from_secs),
            refresh_revokes_access_token: self.refresh_revokes_access_token.unwrap_or(false),
            inactivity_limit: self.inactivity_limit_secs.map(Duration::from_secs),
            absolute_limit: self.absolute_limit_secs.map(Duration::from_secs),
            quirks: self.quirks.clone(),
            error_pointer: self.error_pointer.clone(),
            error_codes: self.error_codes.clone(),
            issuer_template: self.issuer_template.clone(),
            dpop: self.dpop.unwrap_or(false),
            jarm: self.jarm.unwrap_or(false),
            assertion_audience: self.assertion_audience.unwrap_or_default(),
            further_resources: self.further_resources.unwrap_or_default(),
        }
    }

    /// How exactly the issuer is this provider's, in letters that agree; `None` when it is not.
    fn recognises(&self, issuer: &str) -> Option<usize> {
        let by_default = self
            .issuer
            .as_deref()
            .and_then(|template| fill(template, |name| self.default_of(name)).ok());
        if by_default.as_deref() == Some(issuer) {
            return Some(usize::MAX);
        }
        let templates = self.recognise.iter();
        templates
            .filter(|template| matched(template, issuer).is_some())
            .map(String::len)
            .max()
    }

    /// The addresses in it, by key; they may have variables in them.
    #[must_use]
    pub fn addresses(&self) -> [(&'static str, &Option<String>); 9] {
        [
            ("issuer", &self.issuer),
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            (
                "device_authorization_endpoint",
                &self.device_authorization_endpoint,
            ),
            ("revocation_endpoint", &self.revocation_endpoint),
            ("introspection_endpoint", &self.introspection_endpoint),
            ("userinfo_endpoint", &self.userinfo_endpoint),
            ("end_session_endpoint", &self.end_session_endpoint),
            ("redirect_uri", &self.redirect_uri),
        ]
    }

    fn check(&self, name: &str) -> Result<(), BadEntry> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            return Err(BadEntry::Name);
        }
        if self.issuer.is_none() && self.token_endpoint.is_none() {
            return Err(BadEntry::Nowhere);
        }
        let bad = |key, why| Err(BadEntry::Key { key, why });
        for (key, address) in self.addresses() {
            let Some(address) = address else { continue };
            if !["https://", "http://"]
                .iter()
                .any(|scheme| address.starts_with(scheme))
            {
                return bad(key, BadKey::NotWeb);
            }
            for name in names(address) {
                if !self.variables.contains_key(name) {
                    return bad(key, BadKey::NoVariable(name.to_owned()));
                }
            }
        }
        for value in self.params.values() {
            for name in names(value) {
                if !self.variables.contains_key(name) {
                    return bad("params", BadKey::NoVariable(name.to_owned()));
                }
            }
        }
        if let Some(template) = &self.issuer_template
            && names(template).len() != 1
        {
            return bad("issuer_template", BadKey::NotOneTenant);
        }
        if let Some(pointer) = &self.error_pointer
            && !pointer.starts_with('/')
        {
            return bad("error_pointer", BadKey::NoPointer);
        }
        if self.scope_separator.as_deref() == Some("") {
            return bad("scope_separator", BadKey::Empty);
        }
        for (key, secs) in [
            ("lifetime_secs", self.lifetime_secs),
            ("inactivity_limit_secs", self.inactivity_limit_secs),
            ("absolute_limit_secs", self.absolute_limit_secs),
        ] {
            if secs == Some(0) {
                return bad(key, BadKey::Zero);
            }
        }
        Ok(())
    }

    fn resolve(&self, name: &str, values: &BTreeMap<String, String>) -> Result<Preset, Unresolved> {
        for (variable, value) in values {
            if !self.variables.contains_key(variable) {
                return Err(Unresolved::NoSuchVariable {
                    provider: name.to_owned(),
                    variable: crate::text::clean(variable, 64),
                    known: self.variables.keys().cloned().collect(),
                });
            }
            if !is_value(value) {
                return Err(Unresolved::BadValue {
                    variable: variable.clone(),
                    value: crate::text::clean(value, 64),
                });
            }
        }
        let value = |variable: &str| {
            let given = values.get(variable).cloned();
            given.or_else(|| self.default_of(variable))
        };
        let filled = |template: &str| {
            fill(template, value).map_err(|variable| Unresolved::Missing {
                provider: name.to_owned(),
                variable: variable.to_owned(),
                about: self
                    .variables
                    .get(variable)
                    .map(|variable| variable.about.clone())
                    .unwrap_or_default(),
            })
        };
        let address = |template: &Option<String>| template.as_deref().map(filled).transpose();
        for text in self.params.values().chain(&self.redirect_uri) {
            filled(text)?;
        }
        Ok(Preset {
            issuer: address(&self.issuer)?,
            endpoints: Endpoints {
                authorization: address(&self.authorization_endpoint)?,
                token: address(&self.token_endpoint)?.unwrap_or_default(),
                device_authorization: address(&self.device_authorization_endpoint)?,
                revocation: address(&self.revocation_endpoint)?,
                introspection: address(&self.introspection_endpoint)?,
                // Only where the provider's metadata offers it.
                pushed_authorization_request: None,
                userinfo: address(&self.userinfo_endpoint)?,
                end_session: address(&self.end_session_endpoint)?,
            },
            habits: self.habits(name, value),
        })
    }

    /// What a value is missing for is left out.
    fn habits(&self, name: &str, value: impl Fn(&str) -> Option<String> + Copy) -> Habits {
        let filled = |template: &str| fill(template, value).ok();
        let params = self.params.iter();
        Habits {
            client_auth: self.client_auth.clone(),
            client_id: self.client_id.clone(),
            scopes: self.scopes.clone(),
            offline_scopes: self.offline_scopes.clone(),
            params: params
                .filter_map(|(name, value)| Some((name.clone(), filled(value)?)))
                .collect(),
            scope_separator: self.scope_separator.clone(),
            redirect_uri: self.redirect_uri.as_deref().and_then(filled),
            profile: self.profile(name),
        }
    }

    fn default_of(&self, variable: &str) -> Option<String> {
        self.variables.get(variable)?.default.clone()
    }
}

/// Whether `text` may stand in an address as it is: a host with or without a port, or a path.
fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= VALUE_LEN
        && !text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && !text.split('/').any(|segment| matches!(segment, "." | ".."))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':' | '/'))
}
