//! Who this client is and what proves it: from options to what the daemon is told.
//!
//! A command, a path or the attributes of a key store's entry never go over the socket. They are written
//! to `clients/ACCOUNT.toml` beside the daemon's configuration, with the provider that they are for, and
//! the daemon is told the name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use authd_client::Client;
use authd_proto::WireSecret;
use authd_proto::provider::{ProviderShow, ProviderShowReply};
use authd_proto::request::{ClientAuth, Flow, LoginStart};
use clap::{Args, ValueEnum};

use super::client_file::ClientFile;
use super::{NotAPair, parameter};
use crate::exit::Failure;
use crate::{daemon, input};

/// Largest key file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Which client this is, what proves it, and whether it logs in by itself.
#[derive(Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    pub(super) credential: CredentialArgs,

    /// Log in by the key file of a Google service account; no person takes part
    #[arg(
        long,
        help_heading = "The client",
        value_name = "PATH",
        group = "credential",
        conflicts_with = "client_id"
    )]
    service_account_file: Option<PathBuf>,

    /// Log in by the client's own credentials (RFC 6749 4.4); no person takes part
    #[arg(long, help_heading = "The client", conflicts_with_all = ["device", "no_browser"])]
    client_credentials: bool,

    /// Log in by assertions that the client's key signs (RFC 7523 2.1); no person takes part
    #[arg(long, help_heading = "The client", conflicts_with_all = ["device", "no_browser", "client_credentials"])]
    jwt_bearer: bool,

    /// With assertions: about whom they are, where not about the client itself
    #[arg(long, help_heading = "The client", value_name = "NAME")]
    subject: Option<String>,
}

/// Which client this is, and what proves it.
#[derive(Args)]
pub(crate) struct CredentialArgs {
    /// The id this client is registered with at the provider
    #[arg(long, help_heading = "The client", value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// Read the client's secret from the first line of standard input
    #[arg(long, help_heading = "The client", group = "credential")]
    client_secret_stdin: bool,

    /// What was typed in when it was asked for.
    #[arg(skip)]
    pub(super) typed_secret: Option<WireSecret>,

    /// Run this command for the client's secret, when it is needed; no shell
    #[arg(
        long,
        help_heading = "The client",
        value_name = "COMMAND",
        group = "credential"
    )]
    client_secret_command: Option<String>,

    /// Read the client's secret from this file, when it is needed
    #[arg(
        long,
        help_heading = "The client",
        value_name = "PATH",
        group = "credential"
    )]
    client_secret_file: Option<PathBuf>,

    /// Take the client's secret from the key store's entry with this attribute; repeat
    #[arg(long, help_heading = "The client", value_name = "KEY=VALUE", value_parser = attribute, group = "credential")]
    client_secret_attribute: Vec<(String, String)>,

    /// Sign with the private key in this file (PEM or JWK)
    #[arg(
        long,
        help_heading = "The client",
        value_name = "PATH",
        group = "credential"
    )]
    client_key_file: Option<PathBuf>,

    /// The name that the provider knows the key by
    #[arg(
        long,
        help_heading = "The client",
        value_name = "KID",
        requires = "client_key_file"
    )]
    client_key_id: Option<String>,

    /// The client's certificate for TLS, whose key is in --client-key-file
    #[arg(
        long,
        help_heading = "The client",
        value_name = "PATH",
        requires = "client_key_file"
    )]
    client_cert_file: Option<PathBuf>,

    /// Keep a copy of the key sealed in the store, instead of its place
    #[arg(long, help_heading = "The client", conflicts_with = "client_cert_file")]
    store_key: bool,

    /// A client of the daemon's configuration: clients/NAME.toml
    #[arg(
        long,
        help_heading = "The client",
        value_name = "NAME",
        group = "credential"
    )]
    client: Option<String>,

    /// How the client authenticates [default: what fits its credential, none without]
    #[arg(long, help_heading = "The client", value_name = "METHOD")]
    client_auth: Option<Authentication>,
}

/// `token_endpoint_auth_method`, in short.
#[derive(Clone, Copy, ValueEnum)]
enum Authentication {
    /// Not at all: a public client
    None,
    /// client_secret_basic
    Basic,
    /// client_secret_post
    Post,
    /// private_key_jwt
    PrivateKeyJwt,
    /// tls_client_auth, self_signed_tls_client_auth
    Tls,
}

impl Authentication {
    fn wire(self) -> ClientAuth {
        match self {
            Self::None => ClientAuth::None,
            Self::Basic => ClientAuth::Basic,
            Self::Post => ClientAuth::Post,
            Self::PrivateKeyJwt => ClientAuth::PrivateKeyJwt,
            Self::Tls => ClientAuth::Tls,
        }
    }

    fn registered(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Tls => "tls_client_auth",
        }
    }
}

/// Why it is no attribute of a key store's entry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoAttribute {
    #[error(transparent)]
    NotAPair(#[from] NotAPair),
    #[error(
        "on Windows no entry is found by its attributes; say --client-secret-file or --client-secret-command"
    )]
    NotHere,
}

/// Reads an attribute of a key store's entry.
fn attribute(text: &str) -> Result<(String, String), NoAttribute> {
    attribute_of(text, cfg!(windows))
}

/// The Credential Manager (`on_windows`) has entries by one name, and finds none by anything else.
fn attribute_of(text: &str, on_windows: bool) -> Result<(String, String), NoAttribute> {
    if on_windows {
        return Err(NoAttribute::NotHere);
    }
    Ok(parameter(text)?)
}

/// What of a service account's key file says where to log in, and as whom.
#[derive(serde::Deserialize)]
struct ServiceAccount {
    client_email: String,
    token_uri: String,
}

impl ClientArgs {
    /// Whether it says by itself where to log in and as whom.
    pub(super) fn is_enough(&self) -> bool {
        self.credential.client.is_some() || self.service_account_file.is_some()
    }

    /// Whether it says what proves the client, so that nobody need be asked.
    pub(super) fn names_credential(&self) -> bool {
        self.credential.is_named() || self.is_enough()
    }

    /// Completes what the daemon is asked, and writes down what it is not told.
    pub(super) fn apply(
        mut self,
        start: &mut LoginStart,
        client: &mut Client,
    ) -> Result<Option<ClientFile>, Failure> {
        start.subject.clone_from(&self.subject);
        if self.client_credentials {
            start.flow = Flow::ClientCredentials;
        }
        if self.jwt_bearer || self.service_account_file.is_some() {
            start.flow = Flow::JwtBearer;
        }
        if let Some(path) = self.service_account_file {
            let account: ServiceAccount = serde_json::from_str(read(&path)?.expose())
                .map_err(|_| Failure::NoServiceAccount { path: path.clone() })?;
            start.client_id = Some(account.client_email);
            if start.issuer.is_none() && start.token_endpoint.is_none() {
                start.token_endpoint = Some(account.token_uri);
            }
            self.credential.client_key_file = Some(path);
        }
        self.credential.apply(start, client)
    }
}

impl CredentialArgs {
    /// Whether it says what proves the client.
    pub(crate) fn is_named(&self) -> bool {
        self.client_secret_stdin
            || self.client_secret_command.is_some()
            || self.client_secret_file.is_some()
            || !self.client_secret_attribute.is_empty()
            || self.client_key_file.is_some()
            || self.client.is_some()
    }

    /// Completes what the daemon is asked, and writes down what it is not told.
    pub(crate) fn apply(
        self,
        start: &mut LoginStart,
        client: &mut Client,
    ) -> Result<Option<ClientFile>, Failure> {
        if self.client_id.is_some() {
            start.client_id.clone_from(&self.client_id);
        }
        start.client_auth = self.client_auth.map(Authentication::wire);
        if self.typed_secret.is_some() {
            start.client_secret = self.typed_secret;
        } else if self.client_secret_stdin {
            start.client_secret = Some(input::secret("the client secret")?);
        } else if let Some(path) = self.client_key_file.as_ref().filter(|_| self.store_key) {
            start.client_secret = Some(read(path)?);
            if start.flow != Flow::JwtBearer && start.client_auth.is_none() {
                start.client_auth = Some(ClientAuth::PrivateKeyJwt);
            }
        } else if let Some(place) = self.place()? {
            let text = self.file(start, client, &place)?;
            let file = ClientFile::write(&start.account, &text)?;
            start.client = Some(file.name().to_owned());
            return Ok(Some(file));
        } else {
            start.client = self.client;
        }
        Ok(None)
    }

    /// The lines that say where the credential is.
    fn place(&self) -> Result<Option<String>, Failure> {
        let mut lines = String::new();
        let mut line = |key: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{key} = {value}");
        };
        if let Some(command) = &self.client_secret_command {
            let argv = shlex::split(command).filter(|argv| !argv.is_empty());
            let argv = argv.ok_or(Failure::BadSecretCommand)?;
            let argv: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
            line("secret_command", format!("[{}]", argv.join(", ")));
        } else if let Some(path) = &self.client_secret_file {
            line("secret_file", whole(path)?);
        } else if !self.client_secret_attribute.is_empty() {
            let pairs = self.client_secret_attribute.iter();
            let pairs: Vec<_> = pairs
                .map(|(key, value)| format!("{} = {}", quoted(key), quoted(value)))
                .collect();
            line("secret_attributes", format!("{{ {} }}", pairs.join(", ")));
        } else if let Some(path) = &self.client_key_file {
            line("key_file", whole(path)?);
            if let Some(id) = &self.client_key_id {
                line("key_id", quoted(id));
            }
            if let Some(path) = &self.client_cert_file {
                line("certificate_file", whole(path)?);
            }
        } else {
            return Ok(None);
        }
        Ok(Some(lines))
    }

    /// The whole file: to whom the credential may go comes first.
    fn file(
        &self,
        start: &LoginStart,
        client: &mut Client,
        place: &str,
    ) -> Result<String, Failure> {
        let named = match (&start.issuer, &start.token_endpoint, &start.provider) {
            (None, None, Some(provider)) => Some(address(client, provider, &start.variables)?),
            (None, None, None) => {
                let account = start.account.clone();
                return Err(Failure::NoServer { account });
            }
            _ => None,
        };
        let (issuer, token_endpoint) = match named {
            Some(Address::Issuer(issuer)) => (Some(issuer), None),
            Some(Address::TokenEndpoint(endpoint)) => (None, Some(endpoint)),
            None => (start.issuer.clone(), start.token_endpoint.clone()),
        };
        let mut text = String::from(
            "# Written by 'authctl login': a client, the provider it is for, and where what proves it\n\
             # is kept. The secret itself is not in here.\n",
        );
        for (key, value) in [
            ("issuer", &issuer),
            ("token_endpoint", &token_endpoint),
            (
                "device_authorization_endpoint",
                &start.device_authorization_endpoint,
            ),
            ("revocation_endpoint", &start.revocation_endpoint),
            ("client_id", &start.client_id),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", quoted(value));
            }
        }
        if let Some(method) = self.client_auth {
            let _ = writeln!(text, "client_auth = {}", quoted(method.registered()));
        }
        text.push_str(place);
        Ok(text)
    }
}

/// Where a secret may go.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Issuer(String),
    TokenEndpoint(String),
}

/// The address of a provider that has a name. A name in the configuration may come to mean another place; an
/// address does not, so it is what stands in the client's file.
fn address(
    client: &mut Client,
    provider: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Address, Failure> {
    let shown = daemon::ask(
        client,
        &ProviderShow {
            provider: provider.to_owned(),
        },
    )?;
    filled(&shown, variables).ok_or_else(|| Failure::NoPlaceForSecret {
        provider: provider.to_owned(),
    })
}

/// `None` where it needs to know more.
fn filled(shown: &ProviderShowReply, variables: &BTreeMap<String, String>) -> Option<Address> {
    let find = |name: &str| shown.addresses.iter().find(|address| address.name == name);
    let fill = |template: &str| {
        let mut text = template.to_owned();
        for variable in &shown.info.variables {
            let value = variables.get(&variable.name).or(variable.default.as_ref());
            if let Some(value) = value {
                text = text.replace(&format!("{{{}}}", variable.name), value);
            }
        }
        (!text.contains('{')).then_some(text)
    };
    match (find("issuer"), find("token_endpoint")) {
        (Some(issuer), _) => fill(&issuer.url).map(Address::Issuer),
        (None, Some(endpoint)) => fill(&endpoint.url).map(Address::TokenEndpoint),
        (None, None) => None,
    }
}

/// A TOML string; JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn whole(path: &Path) -> Result<String, Failure> {
    let path = absolute(path).map_err(|source| Failure::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(quoted(&path.to_string_lossy()))
}

fn read(path: &Path) -> Result<WireSecret, Failure> {
    let failed = |source| Failure::File {
        path: path.to_owned(),
        source,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > LARGEST {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read_to_string(path)
        .map(WireSecret::new)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use authd_proto::provider::{ProviderAddress, ProviderInfo, ProviderOrigin, ProviderVariable};

    use super::*;

    #[test]
    fn an_attribute_is_a_pair_and_on_windows_the_option_says_what_to_use() {
        let pair = ("service".to_owned(), "idp".to_owned());
        assert_eq!(attribute_of("service=idp", false), Ok(pair));
        assert_eq!(
            attribute_of("service", false),
            Err(NoAttribute::NotAPair(NotAPair))
        );
        let refused = attribute_of("service=idp", true).unwrap_err().to_string();
        for option in ["--client-secret-file", "--client-secret-command"] {
            assert!(refused.contains(option), "{refused}");
        }
    }

    #[test]
    fn a_name_becomes_the_address_that_it_means_today() {
        let shown = |addresses: &[(&str, &str)]| ProviderShowReply {
            info: ProviderInfo {
                name: "x".to_owned(),
                title: "X".to_owned(),
                flows: Vec::new(),
                variables: vec![
                    ProviderVariable {
                        name: "host".to_owned(),
                        about: String::new(),
                        default: None,
                    },
                    ProviderVariable {
                        name: "realm".to_owned(),
                        about: String::new(),
                        default: Some("main".to_owned()),
                    },
                ],
                origin: ProviderOrigin::BuiltIn,
            },
            addresses: addresses
                .iter()
                .map(|(name, url)| ProviderAddress {
                    name: (*name).to_owned(),
                    url: (*url).to_owned(),
                })
                .collect(),
            redirect_uri: String::new(),
            registration: None,
            notes: Vec::new(),
            facts: Vec::new(),
        };
        let given = BTreeMap::from([("host".to_owned(), "git.example".to_owned())]);
        let issuer = ("issuer", "https://{host}/{realm}");
        let endpoint = ("token_endpoint", "https://{host}/token");
        assert_eq!(
            filled(&shown(&[endpoint, issuer]), &given),
            Some(Address::Issuer("https://git.example/main".to_owned()))
        );
        assert_eq!(
            filled(&shown(&[endpoint]), &given),
            Some(Address::TokenEndpoint(
                "https://git.example/token".to_owned()
            ))
        );
        assert_eq!(filled(&shown(&[issuer]), &BTreeMap::new()), None);
        assert_eq!(filled(&shown(&[]), &given), None);
    }

    #[test]
    fn what_is_written_is_toml_whatever_stands_in_it() {
        assert_eq!(quoted("a \"b\" \\ \u{1}\n"), r#""a \"b\" \\ \u0001\n""#);
        assert!(whole(Path::new("x")).ok().unwrap().ends_with("/x\""));
    }
}
