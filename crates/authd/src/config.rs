//! The configuration: one TOML file. Unknown keys are refused, with a suggestion.

mod network;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_oauth::preset::{Entry, Presets, built_in};
use serde::Deserialize;

pub(crate) use self::network::Network;
use crate::{
    credential::file::{self, FileTrouble},
    suggest::meant,
};

/// Largest file that is read.
const LARGEST: usize = 1024 * 1024;

/// Most seconds for a request to a provider: a stop waits for those under way, and not for ever.
pub(crate) const LONGEST_REQUEST: u64 = 60;

/// All that can be set. `config.toml` has the same shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Whether root may ask; a daemon that runs as root always answers it.
    pub(crate) allow_root: bool,
    /// When tokens are renewed.
    pub(crate) renewal: Renewal,
    /// How logins are made.
    pub(crate) login: Login,
    /// How providers are reached.
    pub(crate) network: Network,
    /// How the person is told.
    pub(crate) notify: Notify,
    /// How the store's key is kept.
    pub(crate) key: Key,
    /// Providers of the user's own, and changes to those that come with authd.
    pub(crate) providers: BTreeMap<String, Entry>,
}

/// `[renewal]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Renewal {
    /// Seconds without a request after which an account is only kept alive.
    pub(crate) idle_after_secs: u64,
    /// Seconds between two questions to a provider whether a token in use is alive; 0 asks never.
    pub(crate) validate_every_secs: u64,
}

/// `[login]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Login {
    /// The address of a document that describes this client, and is its id where providers take that;
    /// empty where there is none.
    pub(crate) client_id_metadata_document: String,
}

/// `[notify]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notify {
    /// Whether to use the desktop's notifications.
    pub(crate) desktop: bool,
    /// A program to run, with its arguments; the account, the notice and a sentence are appended.
    pub(crate) command: Vec<String>,
}

/// `[key]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Key {
    /// Where a new store's key goes.
    pub(crate) protection: Protection,
    /// Seconds that the key store may take for an answer.
    pub(crate) timeout_secs: u64,
}

/// Where the key of a new store is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protection {
    /// In the operating system's key store when there is one, else in a file.
    #[default]
    Auto,
    /// In a file, always.
    File,
}

impl Default for Renewal {
    fn default() -> Self {
        let engine = authd_core::broker::Config::default();
        Self {
            idle_after_secs: engine.idle_after.as_secs(),
            validate_every_secs: engine.validate_every.map_or(0, |every| every.as_secs()),
        }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            desktop: true,
            command: Vec::new(),
        }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self {
            protection: Protection::Auto,
            timeout_secs: 5,
        }
    }
}

/// Why a configuration is not taken. The user must mend the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read, or somebody else can write it.
    #[error(transparent)]
    File(#[from] FileTrouble),
    /// It is not what it should be.
    #[error("{}: {message}", path.display())]
    Wrong { path: PathBuf, message: String },
}

impl Config {
    /// Reads the file; one that is not there means the defaults.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |message| ConfigError::Wrong {
            path: path.to_owned(),
            message,
        };
        let text = match file::settings(path, LARGEST) {
            Ok(text) => text,
            Err(FileTrouble::Unreadable {
                kind: io::ErrorKind::NotFound,
                ..
            }) => return Ok(Self::default()),
            Err(trouble) => return Err(trouble.into()),
        };
        Self::of(&text).map_err(wrong)
    }

    /// Reads the text of a file. What is wrong with it is said on one line.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.check()?;
        built_in().with(&config.providers).map_err(|error| {
            let line = line_of_provider(text, &error.name);
            format!("{}{error}", place(line))
        })?;
        Ok(config)
    }

    /// Every provider that can be named.
    pub(crate) fn presets(&self) -> Presets {
        // A file whose providers do not hold together is not taken.
        let presets = built_in().with(&self.providers);
        presets.unwrap_or_else(|_| built_in().clone())
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("renewal.idle_after_secs", self.renewal.idle_after_secs),
            (
                "network.request_timeout_secs",
                self.network.request_timeout_secs,
            ),
            ("key.timeout_secs", self.key.timeout_secs),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` must be at least 1"));
        }
        let document = &self.login.client_id_metadata_document;
        if !document.is_empty() && !is_client_id(document) {
            return Err(
                "`login.client_id_metadata_document` must be an https address with a path, and without \
                 user name, fragment and dots for segments"
                    .to_owned(),
            );
        }
        if self.network.request_timeout_secs > LONGEST_REQUEST {
            return Err(format!(
                "`network.request_timeout_secs` must be at most {LONGEST_REQUEST}"
            ));
        }
        self.network.check()
    }

    /// What of it the engine needs.
    pub(crate) fn engine(&self) -> authd_core::broker::Config {
        authd_core::broker::Config {
            idle_after: Duration::from_secs(self.renewal.idle_after_secs),
            validate_every: Some(Duration::from_secs(self.renewal.validate_every_secs))
                .filter(|every| !every.is_zero()),
        }
    }

    /// The tables in which `new` differs.
    pub(crate) fn differences(&self, new: &Self) -> Vec<&'static str> {
        [
            ("allow_root", self.allow_root != new.allow_root),
            ("renewal", self.renewal != new.renewal),
            ("login", self.login != new.login),
            ("network", self.network != new.network),
            ("notify", self.notify != new.notify),
            ("key", self.key != new.key),
            ("providers", self.providers != new.providers),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// What of it is in force once a daemon that goes by `old` has read it again: what counts only from
    /// the next start on stays as it is.
    pub(crate) fn reloaded_over(self, old: &Self) -> Self {
        Self {
            network: old.network.clone(),
            key: old.key.clone(),
            ..self
        }
    }

    /// The settings among `changed` that count only from the next start on.
    pub(crate) fn needs_restart(changed: &[&str]) -> Vec<String> {
        changed
            .iter()
            .filter(|name| matches!(**name, "network" | "key"))
            .map(|name| format!("[{name}] counts from the next start on"))
            .collect()
    }
}

/// Whether an address can be a client id (draft-ietf-oauth-client-id-metadata-document §3).
fn is_client_id(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("https://") else {
        return false;
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split('?').next().unwrap_or_default();
    !host.is_empty()
        && !path.is_empty()
        && !host.contains(['@', '?'])
        && !rest.contains(['#', '\\'])
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The parser's message on one line, with its place, and for an unknown key the one that was meant. A text
/// of the wrong type is not repeated: it may be a secret in the wrong place.
pub(crate) fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map(|span| text[..span.start].matches('\n').count() + 1);
    let place = place(line);
    let message = without_text(error.message()).replace('\n', " ");
    let Some((unknown, known)) = unknown_key(&message) else {
        return format!("{place}{message}");
    };
    match meant(unknown, known.iter().copied()) {
        Some(key) => format!("{place}unknown key `{unknown}`, did you mean `{key}`?"),
        None => format!(
            "{place}unknown key `{unknown}`, known are {}",
            known.join(", ")
        ),
    }
}

/// What serde says of a text that is of the wrong type, without the text.
fn without_text(message: &str) -> String {
    let begins = message.find(": string \"");
    let ends = message.rfind("\", expected ");
    match (begins, ends) {
        (Some(begins), Some(ends)) if begins < ends => {
            let kind = begins + ": string".len();
            format!("{}{}", &message[..kind], &message[ends + 1..])
        }
        _ => message.to_owned(),
    }
}

fn place(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!("line {line}: "))
}

/// Where a provider's entry begins: at its own table, or the first one inside it.
fn line_of_provider(text: &str, name: &str) -> Option<usize> {
    let begins = |line: &str| {
        let key = line.trim_start().strip_prefix("[providers.")?;
        let key = key.trim_start_matches('"').strip_prefix(name)?;
        key.starts_with(['"', ']', '.']).then_some(())
    };
    let at = text.lines().position(|line| begins(line).is_some())?;
    Some(at + 1)
}

/// Takes serde's "unknown field" apart: the first quoted word is the key, the others are those known.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message
        .strip_prefix("unknown field")?
        .split('`')
        .skip(1)
        .step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn no_file_means_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            Config::load(&dir.path().join("none.toml")).unwrap(),
            Config::default()
        );
        assert_eq!(load("").unwrap(), Config::default());
    }

    #[test]
    fn a_text_of_the_wrong_type_is_not_repeated() {
        let error = load("allow_root = \"hush \\\", expected\\n\"\n").unwrap_err();
        assert!(
            error.ends_with("line 1: invalid type: string, expected a boolean"),
            "{error}"
        );
        let error = load("[network]\nrequest_timeout_secs = \"hush\"\n").unwrap_err();
        assert!(
            !error.contains("hush") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_what_was_meant() {
        let error = load("allow_root = false\n[renewal]\nidle_aftr_secs = 5\n").unwrap_err();
        assert!(
            error
                .ends_with("line 3: unknown key `idle_aftr_secs`, did you mean `idle_after_secs`?"),
            "{error}"
        );
        let error = load("[notify]\nzzz = 1\n").unwrap_err();
        assert!(
            error.contains("unknown key `zzz`, known are desktop, command"),
            "{error}"
        );
    }

    #[test]
    fn wrong_types_and_values_are_refused() {
        assert!(
            load("[renewal]\nidle_after_secs = \"soon\"")
                .unwrap_err()
                .contains("line 2")
        );
        assert!(
            load("[key]\ntimeout_secs = 0")
                .unwrap_err()
                .contains("at least 1")
        );
        assert!(load("[network]\nrequest_timeout_secs = 60").is_ok());
        assert!(
            load("[network]\nrequest_timeout_secs = 61")
                .unwrap_err()
                .contains("at most 60")
        );
        assert!(load("= =").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_document_that_is_a_client_id_has_an_address_that_can_be_one() {
        let with = |address: &str| {
            load(&format!(
                "[login]\nclient_id_metadata_document = \"{address}\""
            ))
        };
        for right in [
            "https://example.org/authd.json",
            "https://example.org:8443/a/b?c",
        ] {
            assert!(with(right).is_ok(), "{right}");
        }
        assert_eq!(with(""), Ok(Config::default()));
        for wrong in [
            "http://example.org/authd.json",
            "https://example.org",
            "https://example.org/",
            "https:///authd.json",
            "https://me@example.org/authd.json",
            "https://example.org/authd.json#x",
            "https://example.org/a/../authd.json",
            "https://example.org/a b",
        ] {
            assert!(
                with(wrong)
                    .unwrap_err()
                    .contains("must be an https address"),
                "{wrong}"
            );
        }
        let changed = with("https://example.org/authd.json").unwrap();
        assert_eq!(Config::default().differences(&changed), ["login"]);
    }

    #[test]
    fn a_provider_that_does_not_hold_together_is_refused_with_its_line() {
        let error = load("allow_root = false\n\n[providers.lab]\ntitle = \"Lab\"\n").unwrap_err();
        assert!(
            error.ends_with(
                "line 3: the provider `lab`: it has neither `issuer` nor `token_endpoint`"
            ),
            "{error}"
        );
        let error = load("[providers.lab]\nisuer = \"https://x\"\n").unwrap_err();
        assert!(
            error.ends_with("line 2: unknown key `isuer`, did you mean `issuer`?"),
            "{error}"
        );
        let error = load("[providers.\"a b\"]\nissuer = \"https://x\"\n").unwrap_err();
        assert!(error.contains("line 1: the provider `a b`"), "{error}");
        let text = "[providers.lab.variables.host]\nabout = \"x\"\n";
        assert!(load(text).unwrap_err().contains("line 1: "));
        let config = load("[providers.gitlab]\nlifetime_secs = 60\n").unwrap();
        assert_eq!(config.presets().iter().count(), built_in().iter().count());
        assert_eq!(Config::default().differences(&config), ["providers"]);
    }

    #[test]
    fn differences_are_named_by_table() {
        let new = load("[network]\nprivate_addresses = true").unwrap();
        assert_eq!(Config::default().differences(&new), ["network"]);
        assert_eq!(Config::needs_restart(&["notify"]), Vec::<String>::new());
        assert_eq!(Config::needs_restart(&["network"]).len(), 1);
        let all = load("allow_root = true\n[network]\nprivate_addresses = true").unwrap();
        let reloaded = all.clone().reloaded_over(&Config::default());
        assert_eq!(reloaded.differences(&all), ["network"]);
    }
}
