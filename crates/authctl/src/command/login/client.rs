//! Who this client is and what proves it: from options to what the daemon is told.
//!
//! A command, a path or the attributes of a key store's entry never go over the socket. They are written
//! to `clients/ACCOUNT.toml` beside the daemon's configuration, with the provider that they are for, and
//! the daemon is told the name.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use authd_proto::WireSecret;
use authd_proto::request::{ClientAuth, Flow, LoginStart};
use clap::{Args, ValueEnum};

use super::client_file::ClientFile;
use super::parameter;
use crate::exit::Failure;
use crate::input;

/// Largest key file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// The client's own options.
#[derive(Args)]
pub(super) struct ClientArgs {
    /// The id this client is registered with at the provider
    #[arg(long, help_heading = "The client", value_name = "ID")]
    pub(super) client_id: Option<String>,

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
    #[arg(long, help_heading = "The client", value_name = "KEY=VALUE", value_parser = parameter, group = "credential")]
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

    /// Log in by the key file of a Google service account; no person takes part
    #[arg(
        long,
        help_heading = "The client",
        value_name = "PATH",
        group = "credential",
        conflicts_with = "client_id"
    )]
    service_account_file: Option<PathBuf>,

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

/// What of a service account's key file says where to log in, and as whom.
#[derive(serde::Deserialize)]
struct ServiceAccount {
    client_email: String,
    token_uri: String,
}

impl ClientArgs {
    /// Whether it says by itself where to log in and as whom.
    pub(super) fn is_enough(&self) -> bool {
        self.client.is_some() || self.service_account_file.is_some()
    }

    /// Whether it says what proves the client, so that nobody need be asked.
    pub(super) fn names_credential(&self) -> bool {
        self.client_secret_stdin
            || self.client_secret_command.is_some()
            || self.client_secret_file.is_some()
            || !self.client_secret_attribute.is_empty()
            || self.client_key_file.is_some()
            || self.is_enough()
    }

    /// Completes what the daemon is asked, and writes down what it is not told.
    pub(super) fn apply(self, start: &mut LoginStart) -> Result<Option<ClientFile>, Failure> {
        start.client_id.clone_from(&self.client_id);
        start.client_auth = self.client_auth.map(Authentication::wire);
        start.subject.clone_from(&self.subject);
        if self.client_credentials {
            start.flow = Flow::ClientCredentials;
        }
        if self.jwt_bearer || self.service_account_file.is_some() {
            start.flow = Flow::JwtBearer;
        }
        if let Some(path) = &self.service_account_file {
            let account: ServiceAccount = serde_json::from_str(read(path)?.expose())
                .map_err(|_| Failure::NoServiceAccount { path: path.clone() })?;
            start.client_id = Some(account.client_email);
            if start.issuer.is_none() && start.token_endpoint.is_none() {
                start.token_endpoint = Some(account.token_uri);
            }
        }
        let key_file = self
            .client_key_file
            .as_ref()
            .or(self.service_account_file.as_ref());
        if self.typed_secret.is_some() {
            start.client_secret = self.typed_secret;
        } else if self.client_secret_stdin {
            start.client_secret = Some(input::secret("the client secret")?);
        } else if let Some(path) = key_file.filter(|_| self.store_key) {
            start.client_secret = Some(read(path)?);
            if start.flow != Flow::JwtBearer && start.client_auth.is_none() {
                start.client_auth = Some(ClientAuth::PrivateKeyJwt);
            }
        } else if let Some(place) = self.place()? {
            let text = self.file(start, &place)?;
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
        } else if let Some(path) = self
            .client_key_file
            .as_ref()
            .or(self.service_account_file.as_ref())
        {
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
    fn file(&self, start: &LoginStart, place: &str) -> Result<String, Failure> {
        if start.issuer.is_none() && start.token_endpoint.is_none() {
            let account = start.account.clone();
            return Err(match start.provider.clone() {
                // A name in the configuration may come to mean another place; an address does not.
                Some(provider) => Failure::NoPlaceForSecret { provider },
                None => Failure::NoServer { account },
            });
        }
        let mut text = String::from(
            "# Written by 'authctl login': a client, the provider it is for, and where what proves it\n\
             # is kept. The secret itself is not in here.\n",
        );
        for (key, value) in [
            ("issuer", &start.issuer),
            ("token_endpoint", &start.token_endpoint),
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
    use super::*;

    #[test]
    fn what_is_written_is_toml_whatever_stands_in_it() {
        assert_eq!(quoted("a \"b\" \\ \u{1}\n"), r#""a \"b\" \\ \u0001\n""#);
        assert!(whole(Path::new("x")).ok().unwrap().ends_with("/x\""));
    }
}
