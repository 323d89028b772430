//! What can be asked for: the grammar of the command line.
//!
//! The arguments of a verb stand beside the verb, in [`crate::command`].

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

#[cfg(unix)]
use crate::command::ssh;
use crate::command::{
    adopt, approve, audit, completions, daemon, doctor, events, exec, forget, grant, import, key,
    list, lock, login, logout, man, provider, renew, service, socket, status, token, unlock,
};
use crate::exit::{EXEC_FAILED, Failure, statuses_in_short};

/// Log in once; every tool gets an access token that is alive.
///
/// authd keeps your OAuth logins and renews their access tokens before they expire. authctl logs in,
/// prints tokens, and shows how your accounts are.
#[derive(Parser)]
#[command(
    name = "authctl",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    after_help = statuses_in_short()
)]
pub(crate) struct Cli {
    /// Colour: auto (on a terminal, without NO_COLOR), always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What is asked for on the command line of this process. Where that is help, or nothing that there is, says
    /// so and ends the process.
    ///
    /// Only the verb that is asked for is put together: tools run this before every request they make, and to put
    /// all of them together would be much of what that costs. What is said of them needs them all.
    pub(crate) fn read() -> Self {
        Self::try_parse().unwrap_or_else(|_| {
            let mut whole = Self::command();
            whole.build();
            Self::from_arg_matches(&whole.get_matches()).unwrap_or_else(|error| error.exit())
        })
    }
}

/// The verbs.
#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    Login(Box<login::LoginArgs>),
    Token(token::TokenArgs),
    Status(status::StatusArgs),
    List(list::ListArgs),
    Renew(renew::RenewArgs),
    Logout(logout::LogoutArgs),
    Forget(forget::ForgetArgs),
    Exec(exec::ExecArgs),
    Doctor(doctor::DoctorArgs),
    Events(events::EventsArgs),
    Approve(approve::ApproveArgs),
    Grant(grant::GrantArgs),
    Audit(audit::AuditArgs),
    Provider(provider::ProviderArgs),
    Import(Box<import::ImportArgs>),
    Adopt(adopt::AdoptArgs),
    Socket(socket::SocketArgs),
    #[cfg(unix)]
    Ssh(ssh::SshArgs),
    Lock(lock::LockArgs),
    Unlock(unlock::UnlockArgs),
    Key(key::KeyArgs),
    Service(service::ServiceArgs),
    Daemon(daemon::DaemonArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// Does it. The exit status of a command that did its work is not always 0: see `status`.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Login(args) => login::run(*args),
            Self::Token(args) => token::run(&args),
            Self::Status(args) => status::run(&args),
            Self::List(args) => list::run(&args),
            Self::Renew(args) => renew::run(args),
            Self::Logout(args) => logout::run(args),
            Self::Forget(args) => forget::run(args),
            Self::Exec(args) => exec::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Events(args) => events::run(&args),
            Self::Approve(args) => approve::run(&args),
            Self::Grant(args) => grant::run(args),
            Self::Audit(args) => audit::run(&args),
            Self::Provider(args) => provider::run(args),
            Self::Import(args) => import::run(*args),
            Self::Adopt(args) => adopt::run(args),
            Self::Socket(args) => socket::run(args),
            #[cfg(unix)]
            Self::Ssh(args) => ssh::run(&args),
            Self::Lock(args) => lock::run(&args),
            Self::Unlock(args) => unlock::run(&args),
            Self::Key(args) => key::run(&args),
            Self::Service(args) => service::run(&args),
            Self::Daemon(args) => daemon::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
        }
    }

    /// The exit status of every failure of this verb, where it is not the failure's own.
    pub(crate) fn failure_status(&self) -> Option<u8> {
        match self {
            Self::Exec(_) => Some(EXEC_FAILED),
            #[cfg(unix)]
            Self::Ssh(_) => Some(EXEC_FAILED),
            _ => None,
        }
    }
}

/// `--json`, for the verbs that print data.
#[derive(Args, Clone, Copy)]
pub(crate) struct Json {
    /// Print JSON; times are Unix seconds
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--scope` and `--resource`: which of an account's tokens.
#[derive(Args)]
pub(crate) struct Slot {
    /// Scopes the token must have; repeat, or separate by spaces or commas
    #[arg(long = "scope", value_name = "SCOPE")]
    scope: Vec<String>,

    /// The resource the token is for (RFC 8707)
    #[arg(long, value_name = "URL")]
    pub(crate) resource: Option<String>,
}

impl Slot {
    /// The scopes asked for; `None` for those of the login.
    pub(crate) fn scopes(&self) -> Option<Vec<&str>> {
        (!self.scope.is_empty()).then(|| split_scopes(&self.scope).collect())
    }
}

/// The scopes in the values of `--scope`. A comma is no part of the scopes people use, though RFC 6749
/// would allow it.
pub(crate) fn split_scopes(values: &[String]) -> impl Iterator<Item = &str> {
    values
        .iter()
        .flat_map(|value| value.split([' ', ',']))
        .filter(|scope| !scope.is_empty())
}

/// Reads `90s`, `5m`, `1h30m` as whole seconds, rounded up: nobody who asks for half a second means none.
pub(crate) fn seconds(text: &str) -> Result<u64, humantime::DurationError> {
    let duration: Duration = humantime::parse_duration(text)?;
    Ok(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_seconds_minutes_and_hours() {
        let read = |text| seconds(text).ok();
        assert_eq!(read("90s"), Some(90));
        assert_eq!(read("5m"), Some(300));
        assert_eq!(read("1h"), Some(3600));
        assert_eq!(read("1h30m"), Some(5400));
        assert_eq!(read("1500ms"), Some(2));
        assert_eq!(read("0s"), Some(0));
        assert_eq!(read("5"), None, "a number without a unit is a guess");
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn scopes_come_in_lists_and_one_by_one() {
        let values = ["openid email".to_owned(), "a,b, c".to_owned()];
        let scopes: Vec<_> = split_scopes(&values).collect();
        assert_eq!(scopes, ["openid", "email", "a", "b", "c"]);
    }
}
