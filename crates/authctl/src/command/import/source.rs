//! Other tools that hold logins: what can be had from them, and how each is stopped.

use authd_proto::WireSecret;
use clap::ValueEnum;

use super::{json, pizauth};

/// A tool whose logins can be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// What 'pizauth dump' prints
    Pizauth,
    /// What 'oidc-gen --print NAME' prints
    OidcAgent,
    /// The token that ortie's storage command prints
    Ortie,
}

/// What a tool holds of one login.
pub(super) struct Held {
    /// Its name there.
    pub(super) name: Option<String>,
    pub(super) refresh_token: WireSecret,
    pub(super) issuer: Option<String>,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) device_authorization_endpoint: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<WireSecret>,
    pub(super) scopes: Vec<String>,
}

impl Held {
    /// A refresh token, and nothing else that would be known.
    pub(super) fn of(refresh_token: WireSecret) -> Self {
        Self {
            name: None,
            refresh_token,
            issuer: None,
            authorization_endpoint: None,
            token_endpoint: None,
            device_authorization_endpoint: None,
            client_id: None,
            client_secret: None,
            scopes: Vec::new(),
        }
    }
}

/// Why a tool's login could not be read. Never with anything of what was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("that is no dump of pizauth, or it is damaged")]
    NoDump,
    #[error("the dump is of version {version}, and only version 1 is known here")]
    OtherVersion { version: u64 },
    #[error("that is no JSON")]
    NotJson,
    #[error("the account is encrypted")]
    Encrypted,
    #[error("the account has a mytoken, which is no refresh token of the provider's")]
    MyToken,
    #[error("there is no refresh token in it")]
    NoRefreshToken,
    #[error("there are several logins in it: {}", .names.join(", "))]
    Several { names: Vec<String> },
    #[error("there is no login of the name '{name}' with a refresh token in it; there are: {}", list(.names))]
    NoSuch { name: String, names: Vec<String> },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Tool {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pizauth => "pizauth",
            Self::OidcAgent => "oidc-agent",
            Self::Ortie => "ortie",
        }
    }

    /// Reads the login that is called `name` there; where nothing is of that name and it was not asked for,
    /// the only one.
    pub(super) fn read(self, text: &[u8], name: &str, is_asked: bool) -> Result<Held, Unreadable> {
        let json = || std::str::from_utf8(text).map_err(|_| Unreadable::NotJson);
        match self {
            Self::Pizauth => choose(pizauth::read(text)?, name, is_asked),
            Self::OidcAgent => json::oidc_agent(json()?),
            Self::Ortie => json::ortie(json()?),
        }
    }

    /// The command that prints what is read here, and what to do where it cannot be read.
    pub(crate) fn hint(self, trouble: &Unreadable) -> String {
        match (self, trouble) {
            (_, Unreadable::Several { .. } | Unreadable::NoSuch { .. }) => {
                "name one with --name".to_owned()
            }
            (_, Unreadable::MyToken) => "log in anew with 'authctl login'".to_owned(),
            (Self::Pizauth, _) => "give what 'pizauth dump' prints".to_owned(),
            (Self::OidcAgent, _) => "give what 'oidc-gen --print NAME' prints".to_owned(),
            (Self::Ortie, _) => {
                "give what the command prints that is 'storage.read.command' in ortie's configuration"
                    .to_owned()
            }
        }
    }

    /// How it is stopped from using the refresh token, without its end at the provider.
    pub(super) fn how_to_stop(self, name: &str) -> String {
        match self {
            Self::Pizauth => format!(
                "run 'pizauth revoke {name}', which forgets it there, and take the account out of pizauth.conf"
            ),
            Self::OidcAgent => format!(
                "run 'oidc-add --remove {name}', and load it no more; not 'oidc-gen --delete', which would end \
                 the login at the provider"
            ),
            Self::Ortie => {
                "take the account out of ortie's configuration, and the token out of its storage"
                    .to_owned()
            }
        }
    }
}

fn choose(held: Vec<Held>, name: &str, is_asked: bool) -> Result<Held, Unreadable> {
    let names: Vec<String> = held.iter().filter_map(|held| held.name.clone()).collect();
    let count = held.len();
    let mut found = None;
    for one in held {
        if one.name.as_deref() == Some(name) || (count == 1 && !is_asked) {
            found = Some(one);
        }
    }
    found.ok_or_else(|| match (names.is_empty(), is_asked) {
        (true, false) => Unreadable::NoRefreshToken,
        (false, false) => Unreadable::Several { names },
        (_, true) => Unreadable::NoSuch {
            name: name.to_owned(),
            names,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(names: &[&str]) -> Vec<Held> {
        let one = |name: &&str| Held {
            name: Some((*name).to_owned()),
            ..Held::of(WireSecret::new("rt"))
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn of_several_the_one_that_is_meant_is_taken() {
        let chosen = |names: &[&str], name, is_asked| {
            choose(held(names), name, is_asked).map(|held| held.name.unwrap())
        };
        assert_eq!(chosen(&["work", "home"], "home", false).unwrap(), "home");
        assert_eq!(chosen(&["mail"], "work", false).unwrap(), "mail");
        let error = chosen(&["mail"], "work", true).err().unwrap().to_string();
        assert!(
            error.contains("'work'") && error.contains("mail"),
            "{error}"
        );
        let error = chosen(&["a", "b"], "work", false).err().unwrap();
        assert!(matches!(error, Unreadable::Several { .. }));
        let error = chosen(&[], "work", false).err().unwrap();
        assert!(matches!(error, Unreadable::NoRefreshToken));
    }
}
