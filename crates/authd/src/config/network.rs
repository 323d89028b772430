//! `[network]`: how providers are reached.

use std::{collections::BTreeMap, path::PathBuf};

use authd_oauth::{
    BadHost, ExplicitProxy, HostList, Http, HttpConfig, PrivateAddresses, ProxyConfig, ProxyLogin,
    roots_from_pem,
};
use serde::Deserialize;

use crate::credential::{Source, file};

/// Largest file with certificates that is read: all of the web's together have a quarter of that.
const LARGEST_CA_FILE: usize = 1024 * 1024;

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Network {
    /// Which providers may be in a private network.
    pub(crate) private_addresses: Private,
    /// Seconds for a whole request.
    pub(crate) request_timeout_secs: u64,
    /// Certificates to trust beside the system's, in PEM; empty for none.
    pub(crate) ca_file: PathBuf,
    /// `environment`, `none`, or a URL.
    pub(crate) proxy: String,
    /// Hosts that are spoken to without it.
    pub(crate) no_proxy: Vec<String>,
    /// Our name at the proxy; empty for none.
    pub(crate) proxy_user: String,
    /// Where the password is, one of the three: a file, ...
    pub(crate) proxy_password_file: PathBuf,
    /// ... a program that prints it, ...
    pub(crate) proxy_password_command: Vec<String>,
    /// ... the key store's entry with these attributes.
    pub(crate) proxy_password_attributes: BTreeMap<String, String>,
}

/// `private_addresses`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "true, false or a list of hosts and networks")]
pub(crate) enum Private {
    /// All, or none.
    Whether(bool),
    /// These hosts and networks.
    Of(Vec<String>),
}

impl Default for Network {
    fn default() -> Self {
        Self {
            private_addresses: Private::Whether(false),
            request_timeout_secs: 30,
            ca_file: PathBuf::new(),
            proxy: "environment".to_owned(),
            no_proxy: Vec::new(),
            proxy_user: String::new(),
            proxy_password_file: PathBuf::new(),
            proxy_password_command: Vec::new(),
            proxy_password_attributes: BTreeMap::new(),
        }
    }
}

impl Network {
    /// Whether it can be used as it is.
    ///
    /// # Errors
    /// The key at fault and what is wrong with it, in a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.roots()?;
        let config = HttpConfig {
            proxy: self.proxy(None)?,
            private_addresses: self.private_addresses()?,
            ..HttpConfig::default()
        };
        let name = "`network.proxy` must be \"environment\", \"none\", or the URL of a proxy: http, \
                    https, socks5 or socks5h";
        Http::new(config).map_err(|_| name.to_owned())?;
        if self.names_a_proxy() && has_userinfo(&self.proxy) {
            return Err(
                "`network.proxy` holds a user or a password: put the user into \
                 `network.proxy_user`, and say by `network.proxy_password_file` or \
                 `network.proxy_password_command` where the password is"
                    .to_owned(),
            );
        }
        let source = self.password_source()?;
        match (self.names_a_proxy(), !self.proxy_user.is_empty(), source) {
            (true, true, None) => Err("`network.proxy_user` needs a password: say by \
                                       `network.proxy_password_file` where it is"
                .to_owned()),
            (true, false, Some(_)) => {
                Err("a password for the proxy needs `network.proxy_user`".to_owned())
            }
            (false, true, _) | (false, _, Some(_)) => Err(
                "`network.proxy_user` and the password are for a proxy that `network.proxy` names"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// How providers are spoken to. `login` is who we are to the proxy.
    ///
    /// # Errors
    /// As [`check`](Self::check): a file may have changed since.
    pub(crate) fn http(&self, login: Option<ProxyLogin>) -> Result<HttpConfig, String> {
        Ok(HttpConfig {
            request_timeout: std::time::Duration::from_secs(self.request_timeout_secs),
            private_addresses: self.private_addresses()?,
            proxy: self.proxy(login)?,
            extra_roots: self.roots()?,
            ..HttpConfig::default()
        })
    }

    /// Where the password of the proxy is.
    pub(crate) fn password_source(&self) -> Result<Option<Source>, String> {
        let file = &self.proxy_password_file;
        let named = [
            (!file.as_os_str().is_empty()).then(|| Source::File(file.clone())),
            (!self.proxy_password_command.is_empty())
                .then(|| Source::Command(self.proxy_password_command.clone())),
            (!self.proxy_password_attributes.is_empty())
                .then(|| Source::KeyStore(self.proxy_password_attributes.clone())),
        ];
        let mut named = named.into_iter().flatten();
        let source = named.next();
        if named.next().is_some() {
            return Err(
                "one of `network.proxy_password_file`, `network.proxy_password_command` and \
                        `network.proxy_password_attributes` says where the password is"
                    .to_owned(),
            );
        }
        if let Some(Source::File(path)) = &source
            && path.is_relative()
        {
            return Err("`network.proxy_password_file` must be a whole path".to_owned());
        }
        Ok(source)
    }

    fn names_a_proxy(&self) -> bool {
        !matches!(self.proxy.as_str(), "environment" | "none")
    }

    fn proxy(&self, login: Option<ProxyLogin>) -> Result<ProxyConfig, String> {
        let except = hosts("no_proxy", &self.no_proxy)?;
        Ok(match self.proxy.as_str() {
            "environment" if except.is_empty() => ProxyConfig::System,
            "environment" => ProxyConfig::SystemExcept(except),
            "none" => ProxyConfig::Off,
            proxy => ProxyConfig::Explicit(ExplicitProxy {
                proxy: proxy.to_owned(),
                except,
                login,
            }),
        })
    }

    fn private_addresses(&self) -> Result<PrivateAddresses, String> {
        match &self.private_addresses {
            Private::Whether(true) => Ok(PrivateAddresses::Allowed),
            Private::Whether(false) => Ok(PrivateAddresses::Refused),
            Private::Of(entries) => {
                let list = hosts("private_addresses", entries)?;
                if list.names_a_port() {
                    return Err("`network.private_addresses` takes no ports".to_owned());
                }
                Ok(PrivateAddresses::Of(list))
            }
        }
    }

    fn roots(&self) -> Result<Vec<Vec<u8>>, String> {
        let path = &self.ca_file;
        if path.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        if path.is_relative() {
            return Err("`network.ca_file` must be a whole path".to_owned());
        }
        let text = file::settings(path, LARGEST_CA_FILE)
            .map_err(|why| format!("`network.ca_file`: {why}"))?;
        roots_from_pem(text.as_bytes())
            .map_err(|why| format!("`network.ca_file`: {}: {why}", path.display()))
    }
}

fn hosts(key: &str, entries: &[String]) -> Result<HostList, String> {
    HostList::new(entries.iter().map(String::as_str))
        .map_err(|BadHost(entry)| format!("`network.{key}`: {}", BadHost(entry)))
}

/// Whether a URL holds a user or a password.
fn has_userinfo(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let network: Network = toml::from_str(text).map_err(|error| error.to_string())?;
        network.check()
    }

    #[test]
    fn what_can_be_used_is_taken() {
        for text in [
            "",
            "proxy = \"none\"",
            "proxy = \"http://proxy.corp.test:3128\"",
            "proxy = \"proxy.corp.test:3128\"\nno_proxy = [\"*\"]",
            "proxy = \"socks5h://127.0.0.1:1080\"\nproxy_user = \"jane\"\n\
             proxy_password_command = [\"pass\", \"proxy\"]",
            "no_proxy = [\".corp.test\", \"10.0.0.0/8\", \"idp.test:8443\"]",
            "private_addresses = true",
            "private_addresses = [\"git.corp.test\", \"10.0.0.0/8\"]",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_cannot_is_refused_by_its_key_and_without_the_password() {
        let proxy = "proxy = \"http://p.test:1\"\n";
        for (text, words) in [
            ("proxy = \"gopher://x\"", "`network.proxy` must be"),
            ("proxy = \"\"", "`network.proxy` must be"),
            (
                "proxy = \"http://jane:canary@p.test:1\"",
                "put the user into `network.proxy_user`",
            ),
            ("proxy = \"jane@p.test:1\"", "`network.proxy` holds a user"),
            ("no_proxy = [\"a b\"]", "`network.no_proxy`: \"a b\" is no"),
            (
                "private_addresses = [\"10.0.0.0/40\"]",
                "`network.private_addresses`: \"10.0.0.0/40\" is no",
            ),
            ("private_addresses = [\"a.test:1\"]", "takes no ports"),
            ("private_addresses = 1", "true, false or a list"),
            ("ca_file = \"ca.pem\"", "must be a whole path"),
            ("ca_file = \"/no/such.pem\"", "/no/such.pem cannot be read"),
            (&format!("{proxy}proxy_user = \"jane\""), "needs a password"),
            (
                &format!("{proxy}proxy_password_file = \"/p\""),
                "needs `network.proxy_user`",
            ),
            (
                &format!("{proxy}proxy_user = \"jane\"\nproxy_password_file = \"p\""),
                "must be a whole path",
            ),
            (
                &format!(
                    "{proxy}proxy_user = \"jane\"\nproxy_password_file = \"/p\"\n\
                     proxy_password_command = [\"x\"]"
                ),
                "one of `network.proxy_password_file`",
            ),
            (
                "proxy_user = \"jane\"",
                "for a proxy that `network.proxy` names",
            ),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_file_with_certificates_is_read_when_the_configuration_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let of = |path: &Path| Network {
            ca_file: path.to_owned(),
            ..Network::default()
        };
        std::fs::write(&path, "no certificate").unwrap();
        let error = of(&path).check().unwrap_err();
        let expected = format!(
            "`network.ca_file`: {}: there is no certificate",
            path.display()
        );
        assert!(error.starts_with(&expected), "{error}");
        std::fs::write(&path, "x".repeat(LARGEST_CA_FILE + 1)).unwrap();
        assert!(of(&path).check().unwrap_err().contains("larger than"));
    }
}
