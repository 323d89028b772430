//! `clients/NAME.toml` beside the configuration: a client, where it is registered, and where what proves
//! it is kept.
//!
//! Such a file is the only way to have the daemon run a command or read a file for a client, and it says
//! to which provider what comes of it may go. Whoever can only speak on the socket can do neither: not
//! read this machine's files through the daemon, and not have a secret sent elsewhere.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use authd_core::grant::{
    AssertionAudience, ClientAuth, Endpoints, FurtherResources, Provider, origin,
};
use authd_oauth::SignerOptions;
use authd_proto::request::LoginStart;
use serde::Deserialize;

use super::file::{self, FileTrouble, Readers};
use crate::config::explain;

/// A client as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    path: PathBuf,
    pub(crate) client_id: Option<String>,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) source: Source,
    pub(crate) audience: Option<AssertionAudience>,
    pub(crate) further_resources: Option<FurtherResources>,
    issuer: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// Where what proves the client is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere: a public client.
    None,
    Command(Vec<String>),
    File(PathBuf),
    KeyStore(BTreeMap<String, String>),
    Key {
        path: PathBuf,
        options: SignerOptions,
    },
    Certificate {
        chain: PathBuf,
        key: PathBuf,
    },
}

/// Why there is no such client. The user must mend the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfiguredTrouble {
    #[error("there is no client {name:?} in the configuration: {} is missing", path.display())]
    Missing { name: String, path: PathBuf },
    #[error("{0:?} is no name for a client: letters, digits and any of ._@+-")]
    BadName(String),
    #[error(transparent)]
    File(#[from] FileTrouble),
    #[error("{}: {message}", path.display())]
    Wrong { path: PathBuf, message: String },
    #[error("{} is for another provider or client than this login: {member}", path.display())]
    Elsewhere { path: PathBuf, member: &'static str },
    #[error(
        "the {member} is at another host than the token endpoint, and {} names neither it nor an issuer", path.display()
    )]
    NotNamed { path: PathBuf, member: &'static str },
}

/// The file's own shape.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    issuer: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    client_id: Option<String>,
    client_auth: Option<Method>,
    secret_command: Option<Vec<String>>,
    secret_file: Option<PathBuf>,
    secret_attributes: Option<BTreeMap<String, String>>,
    key_file: Option<PathBuf>,
    key_id: Option<String>,
    key_algorithm: Option<String>,
    audience: Option<AudienceForm>,
    further_resources: Option<FurtherResources>,
    certificate_file: Option<PathBuf>,
}

/// `token_endpoint_auth_method` (RFC 7591 §2), by its registered names.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    None,
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    TlsClientAuth,
    SelfSignedTlsClientAuth,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AudienceForm {
    Issuer,
    TokenEndpoint,
    #[serde(untagged)]
    Other(String),
}

impl Configured {
    /// Reads the client's file.
    pub(crate) fn load(config_path: &Path, name: &str) -> Result<Self, ConfiguredTrouble> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(ConfiguredTrouble::BadName(name.to_owned()));
        }
        let path = config_path
            .with_file_name("clients")
            .join(format!("{name}.toml"));
        let text = match file::read(&path, Readers::Anybody) {
            Err(FileTrouble::Unreadable {
                kind: io::ErrorKind::NotFound,
                ..
            }) => {
                let name = name.to_owned();
                return Err(ConfiguredTrouble::Missing { name, path });
            }
            read => read?,
        };
        let wrong = |message: String| ConfiguredTrouble::Wrong {
            path: path.clone(),
            message,
        };
        Self::of(&path, text.expose()).map_err(wrong)
    }

    /// Reads the text of a client's file that is at `path`. What is wrong with it is said on one line.
    pub(crate) fn of(path: &Path, text: &str) -> Result<Self, String> {
        let form: Form = toml::from_str(text).map_err(|error| explain(text, &error))?;
        form.check(path).map_err(str::to_owned)
    }

    /// Fills a login's wishes with what the file says, and refuses those that say otherwise.
    pub(crate) fn apply(&self, start: &mut LoginStart) -> Result<(), ConfiguredTrouble> {
        for (member, wish, own) in [
            ("issuer", &mut start.issuer, &self.issuer),
            (
                "token_endpoint",
                &mut start.token_endpoint,
                &self.token_endpoint,
            ),
            (
                "device_authorization_endpoint",
                &mut start.device_authorization_endpoint,
                &self.device_authorization_endpoint,
            ),
            (
                "revocation_endpoint",
                &mut start.revocation_endpoint,
                &self.revocation_endpoint,
            ),
            ("client_id", &mut start.client_id, &self.client_id),
        ] {
            // Where the secret goes, and as whose, is not for the socket to say. An id alone, where the
            // file has none, is.
            let open = own.is_none() && member == "client_id";
            if wish.is_some() && wish != own && !open {
                return Err(self.elsewhere(member));
            }
            if own.is_some() {
                wish.clone_from(own);
            }
        }
        Ok(())
    }

    /// How such a client proves itself where nothing is said; `None` where the provider's metadata
    /// decides.
    pub(crate) fn usual_client_auth(&self) -> Option<ClientAuth> {
        match self.source {
            Source::None => Some(ClientAuth::None),
            Source::Command(_) | Source::File(_) | Source::KeyStore(_) => None,
            Source::Key { .. } => Some(ClientAuth::PrivateKeyJwt),
            Source::Certificate { .. } => Some(ClientAuth::Tls),
        }
    }

    /// Whether a client can prove itself so with what it has.
    pub(crate) fn fits(&self, client_auth: ClientAuth) -> bool {
        match client_auth {
            ClientAuth::None => true,
            ClientAuth::Basic | ClientAuth::Post => {
                matches!(
                    self.source,
                    Source::Command(_) | Source::File(_) | Source::KeyStore(_)
                )
            }
            ClientAuth::PrivateKeyJwt => matches!(self.source, Source::Key { .. }),
            ClientAuth::Tls => matches!(self.source, Source::Certificate { .. }),
        }
    }

    /// Whether `provider` is the one that the file is for.
    pub(crate) fn check(&self, provider: &Provider) -> Result<(), ConfiguredTrouble> {
        let is = |own: &Option<String>, theirs: Option<&str>| {
            own.as_ref().is_none_or(|own| Some(own.as_str()) == theirs)
        };
        let endpoints = &provider.endpoints;
        if !is(&self.issuer, provider.issuer.as_deref()) {
            return Err(self.elsewhere("issuer"));
        }
        if !is(&self.token_endpoint, Some(&endpoints.token)) {
            return Err(self.elsewhere("token_endpoint"));
        }
        if !is(&self.client_id, Some(&provider.client_id)) {
            return Err(self.elsewhere("client_id"));
        }
        match self.not_named(endpoints) {
            Some(member) => Err(ConfiguredTrouble::NotNamed {
                path: self.path.clone(),
                member,
            }),
            None => Ok(()),
        }
    }

    /// The first endpoint that the secret must not go to. An issuer's word on where else it is counts where
    /// the file names the issuer; a token endpoint speaks for its own host alone, because what is beside it
    /// comes from whatever metadata the request led to.
    fn not_named(&self, endpoints: &Endpoints) -> Option<&'static str> {
        if self.issuer.is_some() || self.source == Source::None {
            return None;
        }
        let named = [
            &self.device_authorization_endpoint,
            &self.revocation_endpoint,
        ];
        let host = origin(&endpoints.token);
        endpoints
            .that_get_the_credential()
            .into_iter()
            .find(|(_, url)| {
                let is_named = named.iter().any(|named| named.as_deref() == *url);
                url.is_some_and(|url| origin(url) != host) && !is_named
            })
            .map(|(member, _)| member)
    }

    fn elsewhere(&self, member: &'static str) -> ConfiguredTrouble {
        let path = self.path.clone();
        ConfiguredTrouble::Elsewhere { path, member }
    }
}

impl Form {
    fn check(self, path: &Path) -> Result<Configured, &'static str> {
        if self.issuer.is_none() && self.token_endpoint.is_none() {
            return Err("`issuer` or `token_endpoint` must say where the client is registered");
        }
        let source = match (
            self.secret_command,
            self.secret_file,
            self.secret_attributes,
            self.key_file,
            self.certificate_file,
        ) {
            (None, None, None, None, None) => Source::None,
            (Some(argv), None, None, None, None) if !argv.is_empty() => Source::Command(argv),
            (None, Some(path), None, None, None) => Source::File(path),
            (None, None, Some(attributes), None, None) if !attributes.is_empty() => {
                Source::KeyStore(attributes)
            }
            (None, None, None, Some(path), None) => Source::Key {
                path,
                options: SignerOptions {
                    key_id: self.key_id,
                    algorithm: self.key_algorithm,
                    audience: match &self.audience {
                        Some(AudienceForm::Other(audience)) => Some(audience.clone()),
                        _ => None,
                    },
                },
            },
            (None, None, None, Some(key), Some(chain)) => Source::Certificate { chain, key },
            (None, None, None, None, Some(_)) => {
                return Err("`certificate_file` needs `key_file`, the certificate's private key");
            }
            _ => {
                return Err(
                    "one of `secret_command`, `secret_file`, `secret_attributes` and `key_file` \
                     says where the secret is",
                );
            }
        };
        let files = match &source {
            Source::File(path) | Source::Key { path, .. } => vec![path],
            Source::Certificate { chain, key } => vec![chain, key],
            _ => Vec::new(),
        };
        if files.iter().any(|path| path.is_relative()) {
            return Err("a file is named by its whole path");
        }
        let client_auth = self.client_auth.map(|method| match method {
            Method::None => ClientAuth::None,
            Method::ClientSecretBasic => ClientAuth::Basic,
            Method::ClientSecretPost => ClientAuth::Post,
            Method::PrivateKeyJwt => ClientAuth::PrivateKeyJwt,
            Method::TlsClientAuth | Method::SelfSignedTlsClientAuth => ClientAuth::Tls,
        });
        Ok(Configured {
            path: path.to_owned(),
            client_id: self.client_id,
            client_auth,
            source,
            audience: match self.audience {
                Some(AudienceForm::Issuer) => Some(AssertionAudience::Issuer),
                Some(AudienceForm::TokenEndpoint) => Some(AssertionAudience::TokenEndpoint),
                Some(AudienceForm::Other(_)) | None => None,
            },
            further_resources: self.further_resources,
            issuer: self.issuer,
            token_endpoint: self.token_endpoint,
            device_authorization_endpoint: self.device_authorization_endpoint,
            revocation_endpoint: self.revocation_endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(text: &str) -> Result<Configured, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("clients")).unwrap();
        let file = dir.path().join("clients/work.toml");
        fs::write(&file, text).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Configured::load(&dir.path().join("config.toml"), "work").map_err(|why| why.to_string())
    }

    const ISSUER: &str = "issuer = \"https://idp.example\"\n";

    fn loaded(text: &str) -> Configured {
        load(&format!("{ISSUER}{text}")).unwrap()
    }

    #[test]
    fn a_file_says_where_the_secret_is() {
        assert_eq!(
            loaded("secret_command = [\"pass\", \"show\", \"x\"]").source,
            Source::Command(["pass", "show", "x"].map(str::to_owned).to_vec())
        );
        assert_eq!(loaded("").source, Source::None);
        let key = loaded("key_file = \"/k.pem\"\nkey_id = \"1\"\naudience = \"https://else\"");
        let Source::Key { options, .. } = &key.source else {
            panic!("{key:?}");
        };
        assert_eq!(options.audience.as_deref(), Some("https://else"));
        let named = loaded("key_file = \"/k.pem\"\naudience = \"token_endpoint\"");
        assert_eq!(named.audience, Some(AssertionAudience::TokenEndpoint));
        let tls = loaded(
            "key_file = \"/k\"\ncertificate_file = \"/c\"\nclient_auth = \"tls_client_auth\"",
        );
        assert_eq!(tls.client_auth, Some(ClientAuth::Tls));
        assert!(matches!(tls.source, Source::Certificate { .. }));
        let attributes = loaded("secret_attributes = { service = \"idp\" }");
        assert!(matches!(attributes.source, Source::KeyStore(_)));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, words) in [
            (
                "client_id = \"x\"",
                "must say where the client is registered",
            ),
            (&format!("{ISSUER}secret_file = \"relative\""), "whole path"),
            (
                &format!("{ISSUER}secret_command = []"),
                "one of `secret_command`",
            ),
            (
                &format!("{ISSUER}secret_file = \"/a\"\nsecret_command = [\"b\"]"),
                "one of `secret_command`",
            ),
            (
                &format!("{ISSUER}certificate_file = \"/a\""),
                "needs `key_file`",
            ),
            (
                &format!("{ISSUER}secret_fiel = \"/a\""),
                "line 2: unknown key `secret_fiel`, did you mean `secret_file`?",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let load = |name| Configured::load(&dir.path().join("config.toml"), name);
        for name in ["", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(
                matches!(load(name), Err(ConfiguredTrouble::BadName(_))),
                "{name}"
            );
        }
        assert!(matches!(
            load("none"),
            Err(ConfiguredTrouble::Missing { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("clients")).unwrap();
        let file = dir.path().join("clients/work.toml");
        fs::write(&file, ISSUER).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o620)).unwrap();
        let error = Configured::load(&dir.path().join("config.toml"), "work").unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }

    #[test]
    fn nobody_on_the_socket_says_where_the_secret_goes() {
        let client = loaded("client_id = \"us\"\nsecret_file = \"/s\"");
        let evil = Some("https://evil.example".to_owned());
        let wishes: [fn(&mut LoginStart, Option<String>); 5] = [
            |start, url| start.issuer = url,
            |start, url| start.token_endpoint = url,
            |start, url| start.device_authorization_endpoint = url,
            |start, url| start.revocation_endpoint = url,
            |start, url| start.client_id = url,
        ];
        for wish in wishes {
            let mut start = LoginStart::default();
            wish(&mut start, evil.clone());
            assert!(client.apply(&mut start).is_err());
        }
        let mut start = LoginStart::default();
        client.apply(&mut start).unwrap();
        assert_eq!(start.issuer.as_deref(), Some("https://idp.example"));
        assert_eq!(start.client_id.as_deref(), Some("us"));
        assert!(client.apply(&mut start).is_ok(), "the same is no other");
    }

    #[test]
    fn a_secret_goes_to_the_provider_that_its_file_names_and_to_no_other() {
        let client = loaded("client_id = \"us\"\nsecret_file = \"/s\"");
        let provider = |issuer: &str, client_id: &str| Provider {
            issuer: Some(issuer.to_owned()),
            client_id: client_id.to_owned(),
            endpoints: Endpoints::default(),
            ..Provider::default()
        };
        assert!(client.check(&provider("https://idp.example", "us")).is_ok());
        assert!(
            client
                .check(&provider("https://idp.example/", "us"))
                .is_err()
        );
        assert!(
            client
                .check(&provider("https://idp.example", "them"))
                .is_err()
        );
        assert!(client.check(&Provider::default()).is_err());
        let by_hand = load("token_endpoint = \"https://idp.example/token\"").unwrap();
        let mut there = provider("https://x.example", "us");
        there.endpoints.token = "https://idp.example/token".to_owned();
        assert!(by_hand.check(&there).is_ok());
        there.endpoints.token = "https://evil.example/token".to_owned();
        assert!(by_hand.check(&there).is_err());
    }
    #[test]
    fn without_an_issuer_a_secret_stays_at_the_token_endpoint_s_host_or_where_the_file_says() {
        const TOKEN: &str = "token_endpoint = \"https://idp.example/token\"\n";
        const EVIL: &str = "https://evil.example/x";
        let provider = |change: fn(&mut Endpoints, String), to: &str| {
            let mut provider = Provider::default();
            provider.endpoints.token = "https://idp.example/token".to_owned();
            change(&mut provider.endpoints, to.to_owned());
            provider
        };
        type Change = fn(&mut Endpoints, String);
        let changes: [(&str, Change); 4] = [
            ("device_authorization_endpoint", |it, url| {
                it.device_authorization = Some(url);
            }),
            ("revocation_endpoint", |it, url| it.revocation = Some(url)),
            ("introspection_endpoint", |it, url| {
                it.introspection = Some(url);
            }),
            ("pushed_authorization_request_endpoint", |it, url| {
                it.pushed_authorization_request = Some(url);
            }),
        ];
        for (name, change) in changes {
            let client = load(&format!("{TOKEN}secret_file = \"/s\"")).unwrap();
            let error = client.check(&provider(change, EVIL)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            let near = provider(change, "https://idp.example/x");
            assert!(client.check(&near).is_ok(), "{name}");
            for far in [
                "https://idp.example.evil.example/x",
                "https://idp.example@evil.example/x",
                "https://idp.example:444/x",
                "http://idp.example/x",
            ] {
                assert!(client.check(&provider(change, far)).is_err(), "{far}");
            }
            let public = load(TOKEN).unwrap();
            assert!(public.check(&provider(change, EVIL)).is_ok(), "{name}");
            // Whose issuer the file names, is believed where else it is.
            let named = load(&format!("{ISSUER}secret_file = \"/s\"")).unwrap();
            let mut theirs = provider(change, "https://idp-too.example/x");
            theirs.issuer = Some("https://idp.example".to_owned());
            assert!(named.check(&theirs).is_ok(), "{name}");
        }
        let client = load(&format!(
            "{TOKEN}secret_file = \"/s\"\nrevocation_endpoint = \"https://idp-too.example/r\""
        ))
        .unwrap();
        let [_, (_, revocation), ..] = changes;
        let said = provider(revocation, "https://idp-too.example/r");
        assert!(client.check(&said).is_ok());
        assert!(client.check(&provider(revocation, EVIL)).is_err());
    }
}
