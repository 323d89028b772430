//! `authctl import` ↔ `account.import`: a login that something else held until now.
//!
//! Files are read here: the wire names none. The refresh token goes over the socket once.

mod json;
mod pizauth;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use authd_client::Client;
use authd_proto::request::{AccountGet, AccountImport, LoginStart};
use authd_proto::response::LoginProgress;
use authd_proto::{ErrorCode, WireSecret};
use clap::{ArgGroup, Args};
use zeroize::Zeroizing;

use self::source::{Held, Tool};
pub(crate) use self::source::{Tool as ImportTool, Unreadable};
use super::login::{ClientFile, CredentialArgs, parameter, show, wizard};
use crate::cli::{Json, seconds, split_scopes};
use crate::exit::Failure;
use crate::input::{self, Keyboard};
use crate::{daemon, output};

/// What the daemon may need to learn from the provider where the login is from.
const DISCOVERY_SECS: u64 = 60;
/// Largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Take over a login that another tool holds
///
/// Its refresh token is kept sealed and renewed at once, so that authd has the newest. From then on nothing else
/// may use it: many providers end a login whose refresh token is used twice. So stop the other tool first.
#[derive(Args)]
#[command(
    override_usage = "authctl import [OPTIONS] <ACCOUNT> --from <TOOL> [FILE]\n       \
        authctl import [OPTIONS] <ACCOUNT> --refresh-token-stdin",
    group = ArgGroup::new("token").required(true),
    after_help = "Examples:\n  \
    pizauth dump | authctl import work --from pizauth\n  \
    oidc-gen --print egi | authctl import egi --from oidc-agent\n  \
    secret-tool lookup app ortie | authctl import work --from ortie --provider google --client-id ID\n  \
    authctl import work --provider gitlab --client-id ID --refresh-token-stdin < token"
)]
pub(crate) struct ImportArgs {
    /// Its name here
    account: String,

    /// With --from: the file with what the tool printed [default: standard input]
    #[arg(requires = "from")]
    file: Option<PathBuf>,

    /// The tool that holds it
    #[arg(
        long,
        value_name = "TOOL",
        group = "token",
        help_heading = "The refresh token"
    )]
    from: Option<Tool>,

    /// Its name there, where it is not ACCOUNT
    #[arg(
        long,
        value_name = "NAME",
        requires = "from",
        help_heading = "The refresh token"
    )]
    name: Option<String>,

    /// Read the refresh token from the first line of standard input
    #[arg(long, group = "token", help_heading = "The refresh token")]
    refresh_token_stdin: bool,

    /// The provider it is from ('authctl provider list')
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "issuer",
        help_heading = "Where it is from"
    )]
    provider: Option<String>,

    /// What the provider needs to know, like host=git.example.org; repeat for further ones
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        value_parser = parameter,
        requires = "provider",
        help_heading = "Where it is from"
    )]
    variables: Vec<(String, String)>,

    /// The issuer; its metadata says where everything is (RFC 8414, OIDC)
    #[arg(long, value_name = "URL", help_heading = "Where it is from")]
    issuer: Option<String>,

    /// The token endpoint, where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where it is from")]
    token_endpoint: Option<String>,

    /// The revocation endpoint (RFC 7009), where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where it is from")]
    revocation_endpoint: Option<String>,

    /// The userinfo endpoint, where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where it is from")]
    userinfo_endpoint: Option<String>,

    /// The resource that its tokens are for (RFC 8707)
    #[arg(long, value_name = "URL", help_heading = "Where it is from")]
    resource: Option<String>,

    /// A scope that it was granted; repeat, or separate by spaces or commas
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        help_heading = "Where it is from"
    )]
    scope: Vec<String>,

    #[command(flatten)]
    credential: CredentialArgs,

    /// Let it take the place of the login that the account has
    #[arg(long)]
    replace: bool,

    /// How long to wait for the provider
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    wait: u64,

    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(args: ImportArgs) -> Result<ExitCode, Failure> {
    let json = args.json.json;
    let account = args.account.clone();
    let ended = take_over(args);
    if json && let Err(failure) = &ended {
        show::failed(failure)?;
    }
    match ended? {
        (_, LoginProgress::Done(done)) => show::taken_over(&done, json).map(|()| ExitCode::SUCCESS),
        (mut client, LoginProgress::Pending) => Err(not_yet(&mut client, account)),
    }
}

fn take_over(args: ImportArgs) -> Result<(Client, LoginProgress), Failure> {
    let (json, wait) = (args.json.json, args.wait);
    // The refresh token may come on standard input; who answers has a terminal of their own.
    let keyboard = if json { None } else { Keyboard::take() };
    let held = args.held(keyboard.as_ref())?;
    let stop = args.how_to_stop(&held);
    let mut client = daemon::reach()?;
    let (mut request, client_file) = args.request(&mut client, held)?;
    output::note(format_args!(
        "once it is here, authd alone may use this refresh token: {stop}"
    ));
    let mut ask =
        |request: &AccountImport| daemon::ask_waiting(&mut client, request, DISCOVERY_SECS + wait);
    let answer = match ask(&request) {
        Err(failure) if failure.wire_code() == Some(ErrorCode::AccountExists) => {
            let Some(keyboard) = keyboard.filter(|_| !request.replace) else {
                return Err(failure);
            };
            if !wizard::replace_login(&keyboard, &failure) {
                return Err(Failure::GivenUp);
            }
            request.replace = true;
            ask(&request)
        }
        answer => answer,
    };
    // What proves the client is needed while an account goes by it; who cannot tell leaves it there.
    let is_there = match &answer {
        Ok(_) => true,
        // It may still come.
        Err(failure) if failure.wire_code() == Some(ErrorCode::Timeout) => true,
        Err(_) => {
            let account = request.login.account.clone();
            let known = daemon::running()
                .and_then(|mut asked| daemon::ask(&mut asked, &AccountGet { account }));
            known.err().and_then(|failure| failure.wire_code()) != Some(ErrorCode::UnknownAccount)
        }
    };
    match client_file {
        Some(client_file) if answer.is_ok() => client_file.keep(&request.login.account),
        Some(client_file) if is_there => client_file.leave(),
        _ => {}
    }
    Ok((client, answer?))
}

/// It is here and safe, and its first renewal has not come about yet.
fn not_yet(client: &mut Client, account: String) -> Failure {
    let info = daemon::ask(
        client,
        &AccountGet {
            account: account.clone(),
        },
    );
    let why = match info {
        Ok(info) => info.last_error,
        Err(failure) if failure.wire_code() == Some(ErrorCode::UnknownAccount) => return failure,
        Err(_) => None,
    };
    Failure::NotRenewedYet {
        account,
        why: why.map(|error| error.message),
    }
}

impl ImportArgs {
    /// The refresh token, and whatever else the tool says about it.
    fn held(&self, keyboard: Option<&Keyboard>) -> Result<Held, Failure> {
        let Some(tool) = self.from else {
            let typed = keyboard.map(|keyboard| keyboard.secret("Refresh token (not shown): "));
            let refresh_token = match typed {
                Some(typed) => WireSecret::new(typed.ok_or(Failure::GivenUp)?),
                None => input::secret("the refresh token")?,
            };
            return Ok(Held::of(refresh_token));
        };
        let text = match self.file.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => read(File::open(path).map_err(|source| Failure::File {
                path: path.to_owned(),
                source,
            })?),
            None if io::stdin().is_terminal() => {
                return Err(Failure::SecretFromTerminal {
                    what: "what the tool printed",
                });
            }
            None => read(io::stdin().lock()),
        };
        let text = text.map_err(|source| match self.file.clone() {
            Some(path) => Failure::File { path, source },
            None => Failure::Stdin {
                what: "what the tool printed",
                source,
            },
        })?;
        let name = self.name.as_ref().unwrap_or(&self.account);
        tool.read(&text, name, self.name.is_some())
            .map_err(|why| Failure::Unreadable { tool, why })
    }

    fn how_to_stop(&self, held: &Held) -> String {
        let there = held.name.as_ref().or(self.name.as_ref());
        match self.from {
            Some(tool) => tool.how_to_stop(there.unwrap_or(&self.account)),
            None => "stop whatever held it until now".to_owned(),
        }
    }

    fn request(
        self,
        client: &mut Client,
        held: Held,
    ) -> Result<(AccountImport, Option<ClientFile>), Failure> {
        let scopes: Vec<String> = split_scopes(&self.scope).map(str::to_owned).collect();
        let scopes = if scopes.is_empty() {
            held.scopes
        } else {
            scopes
        };
        // What is said here goes before what the tool says.
        let is_said = self.provider.is_some() || self.issuer.is_some();
        let theirs = |endpoint: Option<String>| endpoint.filter(|_| !is_said);
        let mut login = LoginStart {
            account: self.account,
            provider: self.provider,
            variables: BTreeMap::from_iter(self.variables),
            issuer: self.issuer.or_else(|| theirs(held.issuer)),
            authorization_endpoint: theirs(held.authorization_endpoint),
            token_endpoint: self.token_endpoint.or_else(|| theirs(held.token_endpoint)),
            device_authorization_endpoint: theirs(held.device_authorization_endpoint),
            revocation_endpoint: self.revocation_endpoint,
            userinfo_endpoint: self.userinfo_endpoint,
            client_id: held.client_id,
            scopes: (!scopes.is_empty()).then_some(scopes),
            resource: self.resource,
            ..LoginStart::default()
        };
        let is_named = self.credential.is_named();
        let client_file = self.credential.apply(&mut login, client)?;
        if !is_named {
            login.client_secret = held.client_secret;
        }
        let import = AccountImport {
            login,
            refresh_token: held.refresh_token,
            replace: self.replace,
            wait_secs: Some(self.wait),
        };
        Ok((import, client_file))
    }
}

/// No more than a dump may have: input without an end is an error, not a full memory. In one piece, so that
/// growing leaves no copy behind.
fn read(mut input: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(vec![0; 64 * 1024]);
    let mut filled = 0;
    loop {
        match input.read(&mut text[filled..])? {
            0 => break,
            read => filled += read,
        }
        if filled == text.len() {
            if filled as u64 >= LARGEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut larger = Zeroizing::new(vec![0; 2 * filled]);
            larger[..filled].copy_from_slice(&text);
            text = larger;
        }
    }
    text.truncate(filled);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_read_whole_and_not_without_an_end() {
        let long = vec![7; 200_000];
        assert_eq!(*read(long.as_slice()).unwrap(), long);
        assert_eq!(read(io::empty()).unwrap().len(), 0);
        let endless = read(io::repeat(1)).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
    }
}
