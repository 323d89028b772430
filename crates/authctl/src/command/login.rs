//! `authctl login` ↔ `login.start`, `login.wait`, `login.complete`, `login.cancel`.
//!
//! The daemon does the protocol; this command opens the browser, or shows what to open, and waits.

mod client;
mod client_file;
mod interrupt;
mod open;
mod paste;
mod place;
mod qr;
mod repeat;
pub(super) mod show;
mod which;
pub(super) mod wizard;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use authd_client::Client;
use authd_proto::ErrorCode;
use authd_proto::request::{Flow, LoginStart, LoginWait};
use authd_proto::response::{LoginDone, LoginProgress, LoginStartReply};
use clap::Args;

use self::client::ClientArgs;
pub(super) use self::client::CredentialArgs;
pub(super) use self::client_file::ClientFile;
use self::interrupt::Interrupts;
use self::place::{Asked, Surroundings, Way};
use crate::cli::{Json, seconds, split_scopes};
use crate::daemon;
use crate::exit::Failure;
use crate::input::Keyboard;

/// How long one `login.wait` waits; then it is asked again.
const WAIT_SECS: u64 = 60;
/// What the daemon may need to learn from the provider where to log in.
const DISCOVERY_SECS: u64 = 60;

/// Log in to an account, or mend one
///
/// Opens the browser at the provider's page and waits for you; where a browser would be of no use, as over
/// SSH, takes another way and says so. On a terminal, asks for what it is not told. With nothing but its
/// name, logs in again to an account that exists, whatever state it is in.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl login                       asks for everything\n  \
    authctl login work --provider gitlab --client-id ID\n  \
    authctl login work --issuer https://idp.example.com --client-id authd\n  \
    authctl login --resource https://mcp.example.com/mcp    an MCP server\n  \
    authctl login work                  log in again\n  \
    authctl login work --device         with a code, on another device\n  \
    authctl login ci --service-account-file key.json    a service")]
pub(crate) struct LoginArgs {
    /// Its name; may be left out: then the provider's name, the issuer's host, or the only account
    account: Option<String>,

    /// A provider that authd knows ('authctl provider list'), or one of your configuration
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "issuer",
        help_heading = "Where to log in"
    )]
    provider: Option<String>,

    /// What the provider needs to know, like host=git.example.org; repeat for further ones
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        value_parser = parameter,
        requires = "provider",
        help_heading = "Where to log in"
    )]
    variables: Vec<(String, String)>,

    /// The issuer; its metadata says where everything is (RFC 8414, OIDC)
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    issuer: Option<String>,

    /// A resource the tokens are for (RFC 8707); alone, as for an MCP server, it says where to log in;
    /// repeat for further ones
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    resource: Vec<String>,

    /// The authorization endpoint, where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    authorization_endpoint: Option<String>,

    /// The token endpoint, where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    token_endpoint: Option<String>,

    /// The device authorization endpoint (RFC 8628), where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    device_authorization_endpoint: Option<String>,

    /// The revocation endpoint (RFC 7009), where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    revocation_endpoint: Option<String>,

    /// The userinfo endpoint, where no metadata names it
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    userinfo_endpoint: Option<String>,

    #[command(flatten)]
    client: ClientArgs,

    /// The redirect it is registered with [default: http://127.0.0.1:PORT/callback]
    #[arg(long, value_name = "URL", help_heading = "The client")]
    redirect_uri: Option<String>,

    /// A scope to ask for; repeat, or separate by spaces or commas
    #[arg(long = "scope", value_name = "SCOPE", help_heading = "The login")]
    scope: Vec<String>,

    /// What a server refused a token with (WWW-Authenticate): log in for its scopes too
    #[arg(long, value_name = "TEXT", help_heading = "The login")]
    challenge: Option<String>,

    /// A parameter to add to the authorization request, like prompt=consent
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parameter, help_heading = "The login")]
    params: Vec<(String, String)>,

    /// Bind the tokens to a key that stays in the daemon (DPoP, RFC 9449)
    #[arg(long, help_heading = "The login")]
    dpop: bool,

    /// Do without such a key, where the account's tokens had one
    #[arg(long, conflicts_with = "dpop", help_heading = "The login")]
    no_dpop: bool,

    /// Let someone else sign in than the account belongs to
    #[arg(long, help_heading = "The login")]
    replace_subject: bool,

    /// Log in with a code, on any device (RFC 8628)
    #[arg(long, help_heading = "The login")]
    device: bool,

    /// Open the browser here, wherever this seems to be
    #[arg(long, conflicts_with_all = ["device", "no_browser"], help_heading = "The login")]
    browser: bool,

    /// Open no browser: print the URL, and take the address it ended at from standard input
    #[arg(long, help_heading = "The login")]
    no_browser: bool,

    /// Give up after this time [default: as long as the provider allows]
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "The login")]
    timeout: Option<u64>,

    /// Print one JSON object a line: "authorize", then "done" or "error"
    #[command(flatten)]
    json: Json,
}

pub(super) fn parameter(text: &str) -> Result<(String, String), NotAPair> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(NotAPair),
    }
}

/// What is wrong with the value of `--param` or `--set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it as KEY=VALUE")]
pub(super) struct NotAPair;

pub(crate) fn run(args: LoginArgs) -> Result<ExitCode, Failure> {
    let json = args.json.json;
    let done = log_in(args).and_then(|done| show::done(&done, json).map(|()| ExitCode::SUCCESS));
    if json && let Err(failure) = &done {
        show::failed(failure)?;
    }
    done
}

fn log_in(mut args: LoginArgs) -> Result<LoginDone, Failure> {
    let json = args.json.json;
    let way = place::choose(args.asked_way(), &Surroundings::here());
    let deadline = args
        .timeout
        .and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs)));
    let interrupts = Interrupts::listen()?;
    let mut client = daemon::reach()?;
    // Programs are asked nothing.
    let keyboard = if json { None } else { Keyboard::take() };
    if let Some(keyboard) = &keyboard {
        wizard::complete(&mut args, &mut client, keyboard, way)?;
    }
    let which = args.which(&mut client)?;
    let is_new = which.is_new;
    let (request, client_file) = args.request(&mut client, which.account, way.flow())?;
    if !json {
        which::announce(&request, is_new);
    }
    let mut login = Login {
        request,
        client,
        interrupts,
        keyboard,
        way,
        json,
        deadline,
    };
    let done = match login.attempt() {
        Err(failure) if login.can_ask_about(&failure) => {
            if !wizard::replace(login.keyboard.as_ref(), &failure) {
                return Err(Failure::GivenUp);
            }
            login.request.replace_subject = true;
            login.attempt()
        }
        Err(failure) if failure.wire_code() == Some(ErrorCode::ClientIdRequired) => {
            let Some(keyboard) = &login.keyboard else {
                return Err(failure);
            };
            wizard::client_id(keyboard, &failure, &mut login.request)?;
            login.attempt()
        }
        ended => ended,
    }?;
    if let Some(client_file) = client_file {
        client_file.keep(&login.request.account);
    }
    Ok(done)
}

/// One login, with whatever its attempts have in common.
struct Login {
    request: LoginStart,
    client: Client,
    interrupts: Interrupts,
    /// Where a person answers.
    keyboard: Option<Keyboard>,
    way: Way,
    json: bool,
    deadline: Option<Instant>,
}

impl Login {
    fn attempt(&mut self) -> Result<LoginDone, Failure> {
        self.interrupts.starting();
        let started = daemon::ask_waiting(&mut self.client, &self.request, DISCOVERY_SECS);
        let login_id = started.as_ref().ok().map(|started| &*started.login_id);
        self.interrupts.started(login_id);
        let started = started?;
        let ended = self.see_through(&started);
        // Where nobody can see the page, or hear how it ended, nobody finishes it.
        if ended
            .as_ref()
            .is_err_and(|failure| failure.wire_code().is_none())
        {
            interrupt::cancel(&started.login_id);
        }
        self.interrupts.started(None);
        ended
    }

    /// From the page to the end.
    fn see_through(&mut self, started: &LoginStartReply) -> Result<LoginDone, Failure> {
        let json = self.json;
        let needs_nobody = matches!(started.flow, Flow::ClientCredentials | Flow::JwtBearer);
        if needs_nobody {
            // There is nothing to open or to type.
        } else if json {
            show::authorize(started)?;
        } else {
            which::found(started);
            if let Some(reason) = self.way.reason() {
                show::because(reason, started);
            }
        }
        let _listening = match started.flow {
            Flow::Browser if self.open(started) => None,
            Flow::Browser => {
                if !json {
                    show::open_this(started);
                }
                Some(paste::listen(started, self.keyboard.as_ref(), json)?)
            }
            _ => {
                if !json && !needs_nobody {
                    show::device(started, self.patience(started));
                }
                None
            }
        };
        wait(&mut self.client, started, self.deadline, json)
    }

    /// How long the person has, in seconds.
    fn patience(&self, started: &LoginStartReply) -> u64 {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up: a part of it is gone already.
        left.map_or(u64::MAX, |left| left.as_millis().div_ceil(1000) as u64)
            .min(started.expires_in_secs)
    }

    /// Opens the browser where that is the way; says so, or that it could not.
    fn open(&self, started: &LoginStartReply) -> bool {
        let is_way = matches!(self.way, Way::Browser | Way::WindowsBrowser(_));
        let url = started.authorization_url.as_deref().unwrap_or_default();
        let opened = is_way && open::open(self.way, url);
        if opened && !self.json {
            show::opened(started, self.patience(started));
        } else if is_way && !self.json {
            show::not_opened();
        }
        opened
    }

    /// Whether someone else signed in than the account belongs to, and the person can say what they want.
    fn can_ask_about(&self, failure: &Failure) -> bool {
        failure.wire_code() == Some(ErrorCode::SubjectMismatch)
            && !self.request.replace_subject
            && self.keyboard.is_some()
    }
}

impl LoginArgs {
    fn asked_way(&self) -> Asked {
        match (self.device, self.no_browser, self.browser) {
            (true, ..) => Asked::Device,
            (_, true, _) => Asked::NoBrowser,
            (.., true) => Asked::Browser,
            _ => Asked::Nothing,
        }
    }

    fn request(
        self,
        client: &mut Client,
        account: String,
        flow: Flow,
    ) -> Result<(LoginStart, Option<ClientFile>), Failure> {
        let scopes: Vec<String> = split_scopes(&self.scope).map(str::to_owned).collect();
        let mut resources = self.resource.into_iter();
        let mut start = LoginStart {
            account,
            provider: self.provider,
            variables: BTreeMap::from_iter(self.variables),
            issuer: self.issuer,
            authorization_endpoint: self.authorization_endpoint,
            token_endpoint: self.token_endpoint,
            device_authorization_endpoint: self.device_authorization_endpoint,
            revocation_endpoint: self.revocation_endpoint,
            userinfo_endpoint: self.userinfo_endpoint,
            client_id: None,
            client_secret: None,
            client: None,
            client_auth: None,
            subject: None,
            scopes: (!scopes.is_empty()).then_some(scopes),
            resource: resources.next(),
            challenge: self.challenge,
            resources: resources.collect(),
            flow,
            redirect_uri: self.redirect_uri,
            dpop: match (self.dpop, self.no_dpop) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            replace_subject: self.replace_subject,
            extra: BTreeMap::from_iter(self.params),
        };
        let client_file = self.client.apply(&mut start, client)?;
        Ok((start, client_file))
    }

    /// Where a server is named on the command line.
    fn server(&self) -> Option<&String> {
        self.issuer
            .as_ref()
            .or(self.token_endpoint.as_ref())
            .or(self.authorization_endpoint.as_ref())
    }

    /// Whether the command line says where to log in.
    fn names_server(&self) -> bool {
        self.provider.is_some() || self.server().is_some()
    }
}

/// The browser of the person, wherever they sit.
pub(super) mod browser {
    use super::open;
    use super::place::{self, Asked, Surroundings};

    /// Opens a page that the person asked for.
    pub(in crate::command) fn open(url: &str) -> bool {
        open::open(place::choose(Asked::Browser, &Surroundings::here()), url)
    }
}

fn wait(
    client: &mut Client,
    started: &LoginStartReply,
    deadline: Option<Instant>,
    json: bool,
) -> Result<LoginDone, Failure> {
    // What was pushed is kept for a moment only; whoever is there in time has all the time there is.
    let mut page_ends = started
        .authorization_url_expires_in_secs
        .filter(|_| !json)
        .and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs)));
    let left = |until: Instant| until.saturating_duration_since(Instant::now());
    loop {
        if deadline.is_some_and(|deadline| left(deadline).is_zero()) {
            return Err(Failure::LoginTimedOut {
                account: started.account.clone(),
            });
        }
        if page_ends.is_some_and(|ends| left(ends).is_zero()) {
            page_ends = None;
            show::page_is_over();
        }
        let next = [deadline, page_ends].into_iter().flatten().map(left).min();
        let wait_secs = next.map_or(WAIT_SECS, |left| {
            WAIT_SECS.min(left.as_secs().saturating_add(1))
        });
        let progress = daemon::ask_waiting(
            client,
            &LoginWait {
                login_id: started.login_id.clone(),
                wait_secs: Some(wait_secs),
            },
            wait_secs,
        )?;
        if let LoginProgress::Done(done) = progress {
            return Ok(*done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_a_pair() {
        assert_eq!(
            parameter("login_hint=a=b"),
            Ok(("login_hint".to_owned(), "a=b".to_owned()))
        );
        assert_eq!(parameter("prompt"), Err(NotAPair));
        assert_eq!(parameter("=x"), Err(NotAPair));
    }
}
