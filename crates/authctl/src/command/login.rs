//! `authctl login` ↔ `login.start`, `login.wait`, `login.complete`, `login.cancel`.
//!
//! The daemon does the protocol; this command opens the browser, or shows what to open, and waits.

mod client;
mod show;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use authd_client::Client;
use authd_proto::ErrorCode;
use authd_proto::request::{AccountGet, Flow, LoginCancel, LoginComplete, LoginStart, LoginWait};
use authd_proto::response::{LoginDone, LoginProgress, LoginStartReply};
use clap::Args;
use url::Url;

use self::client::ClientArgs;
use crate::cli::{Json, seconds, split_scopes};
use crate::daemon;
use crate::exit::Failure;
use crate::{input, output};

/// How long one `login.wait` waits; then it is asked again.
const WAIT_SECS: u64 = 60;
/// What the daemon may need to learn from the provider where to log in.
const DISCOVERY_SECS: u64 = 60;

/// Log in to an account, or mend one
///
/// Opens the browser at the provider's page and waits for you. Without options, logs in again to an
/// account that exists, whatever state it is in.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    authctl login work --issuer https://idp.example.com --client-id authd\n  \
    authctl login work                  log in again\n  \
    authctl login work --device         with a code, on another device\n  \
    authctl login ci --service-account-file key.json    a service")]
pub(crate) struct LoginArgs {
    /// Its name; may be left out: then the issuer's host, or the only account
    account: Option<String>,

    /// The issuer; its metadata says where everything is (RFC 8414, OIDC)
    #[arg(long, value_name = "URL", help_heading = "Where to log in")]
    issuer: Option<String>,

    /// A resource the tokens are for (RFC 8707); repeat for further ones
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

    /// A parameter to add to the authorization request, like prompt=consent
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parameter, help_heading = "The login")]
    params: Vec<(String, String)>,

    /// Let someone else sign in than the account belongs to
    #[arg(long, help_heading = "The login")]
    replace_subject: bool,

    /// Log in with a code, on any device (RFC 8628)
    #[arg(long, help_heading = "The login")]
    device: bool,

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

fn parameter(text: &str) -> Result<(String, String), NotAPair> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(NotAPair),
    }
}

/// What is wrong with the value of `--param`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it as KEY=VALUE")]
struct NotAPair;

pub(crate) fn run(args: LoginArgs) -> Result<ExitCode, Failure> {
    let json = args.json.json;
    let done = log_in(args).and_then(|done| show::done(&done, json).map(|()| ExitCode::SUCCESS));
    if json && let Err(failure) = &done {
        show::failed(failure)?;
    }
    done
}

fn log_in(args: LoginArgs) -> Result<LoginDone, Failure> {
    let (json, no_browser) = (args.json.json, args.no_browser);
    let deadline = args
        .timeout
        .and_then(|secs| Instant::now().checked_add(Duration::from_secs(secs)));
    let mut client = daemon::reach()?;
    let request = args.request(&mut client)?;
    let started = daemon::ask_waiting(&mut client, &request, DISCOVERY_SECS)?;
    cancel_on_interrupt(&started.login_id)?;
    let needs_nobody = matches!(started.flow, Flow::ClientCredentials | Flow::JwtBearer);
    if json && !needs_nobody {
        show::authorize(&started)?;
    }
    match started.flow {
        Flow::ClientCredentials | Flow::JwtBearer => {}
        Flow::Device if json => {}
        Flow::Device => show::device(&started),
        Flow::Browser => {
            let opened = !no_browser && open_browser(&started, json);
            if no_browser && !json {
                show::open_this(&started);
            }
            if !opened {
                accept_pasted(&started.login_id, json);
            }
        }
    }
    wait(&mut client, &started, deadline)
}

impl LoginArgs {
    fn request(self, client: &mut Client) -> Result<LoginStart, Failure> {
        let account = self.account_name(client)?;
        self.check_enough(client, &account)?;
        let scopes: Vec<String> = split_scopes(&self.scope).map(str::to_owned).collect();
        let mut resources = self.resource.into_iter();
        let mut start = LoginStart {
            account,
            provider: None,
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
            resources: resources.collect(),
            flow: if self.device {
                Flow::Device
            } else {
                Flow::Browser
            },
            redirect_uri: self.redirect_uri,
            replace_subject: self.replace_subject,
            extra: BTreeMap::from_iter(self.params),
        };
        self.client.apply(&mut start)?;
        Ok(start)
    }

    /// Where a server is named on the command line.
    fn server(&self) -> Option<&String> {
        self.issuer
            .as_ref()
            .or(self.token_endpoint.as_ref())
            .or(self.authorization_endpoint.as_ref())
    }

    /// The account named, else the host of the server named, else the only account there is.
    fn account_name(&self, client: &mut Client) -> Result<String, Failure> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        if let Some(server) = self.server().or(self.resource.first()) {
            return host(server).ok_or(Failure::NoAccountName);
        }
        match daemon::accounts(client)?.as_slice() {
            [only] => Ok(only.account.clone()),
            _ => Err(Failure::NoAccountName),
        }
    }

    /// An account that does not exist yet needs a server and a client id. The daemon would say so too, but
    /// does not know what the options are called here.
    fn check_enough(&self, client: &mut Client, account: &str) -> Result<(), Failure> {
        let resource_decides = !self.resource.is_empty() && self.server().is_none();
        let named = self.client.client_id.is_some() && self.server().is_some();
        if named || self.client.is_enough() || resource_decides {
            return Ok(());
        }
        let known = daemon::ask(
            client,
            &AccountGet {
                account: account.to_owned(),
            },
        );
        let account = account.to_owned();
        match known {
            Err(failure) if failure.wire_code() == Some(ErrorCode::UnknownAccount) => {
                Err(if self.server().is_some() {
                    Failure::NoClientId { account }
                } else {
                    Failure::NoServer { account }
                })
            }
            Err(failure) => Err(failure),
            Ok(_) => Ok(()),
        }
    }
}

fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Opens the browser; says so, or that it could not.
fn open_browser(started: &LoginStartReply, json: bool) -> bool {
    let url = started.authorization_url.as_deref().unwrap_or_default();
    // Whatever else a provider's metadata may name is nothing for a browser to start.
    let web = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    let opened = web && webbrowser::open(url).is_ok();
    if !json {
        if opened {
            show::opened(started);
        } else {
            output::note("no browser could be opened: open the page yourself, or use --device");
            show::open_this(started);
        }
    }
    opened
}

/// Takes pasted redirects from standard input for as long as the command runs.
fn accept_pasted(login_id: &str, json: bool) {
    if !json {
        show::paste_here();
    }
    let login_id = login_id.to_owned();
    std::thread::spawn(move || {
        for pasted in input::lines() {
            // How the login ends is told by `login.wait`; here, only what is wrong with what was pasted.
            let request = LoginComplete {
                login_id: login_id.clone(),
                redirect_url: pasted,
                wait_secs: Some(0),
            };
            if let Err(failure) =
                daemon::running().and_then(|mut client| daemon::ask(&mut client, &request))
                && failure.wire_code() == Some(ErrorCode::BadRequest)
            {
                output::note(format_args!(
                    "that does not finish the login: {}",
                    output::clean(&failure.message())
                ));
            }
        }
    });
}

/// The first interrupt cancels the attempt, and its end is waited for; the second ends this process.
fn cancel_on_interrupt(login_id: &str) -> Result<(), Failure> {
    let login_id = login_id.to_owned();
    let interrupted = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(ErrorCode::LoginCancelled.exit_status() as i32);
        }
        let login_id = login_id.clone();
        std::thread::spawn(move || cancel(&login_id));
    })
    .map_err(|source| Failure::Interrupts { source })
}

/// At best: when it fails, the attempt ends by its own expiry.
fn cancel(login_id: &str) {
    let request = LoginCancel {
        login_id: login_id.to_owned(),
    };
    let _ = daemon::running().and_then(|mut client| daemon::ask(&mut client, &request));
}

fn wait(
    client: &mut Client,
    started: &LoginStartReply,
    deadline: Option<Instant>,
) -> Result<LoginDone, Failure> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            cancel(&started.login_id);
            return Err(Failure::LoginTimedOut {
                account: started.account.clone(),
            });
        }
        let wait_secs = left.map_or(WAIT_SECS, |left| {
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
    fn the_account_is_named_after_the_host_of_the_issuer() {
        assert_eq!(
            host("https://idp.example.com:8443/realms/x").as_deref(),
            Some("idp.example.com")
        );
        assert_eq!(host("idp.example.com"), None);
    }

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
