//! How a command ends: each failure with its exit status and the line that names the fix.
//!
//! The exit statuses of the daemon's codes stand in [`authd_proto::ErrorCode::exit_status`].

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use authd_client::{ClientError, ConnectError, Instance, PathError, StartError};
use authd_proto::request::AccountList;
use authd_proto::{ErrorCode, ExitStatus, WireError};

use crate::command::import::{ImportTool, Unreadable};
use crate::command::service::ServiceError;
#[cfg(unix)]
use crate::command::ssh::SshTrouble;
use crate::{daemon, output};

/// The exit status of every failure of `exec` itself, as of `env`, `nohup` and `timeout`: below it all
/// are the command's own.
pub(crate) const EXEC_FAILED: u8 = 125;

/// The exit statuses as people read them: what each means, and what to do about it. They stand at the end
/// of `authctl --help` and in the manual.
pub(crate) const STATUSES: &[(ExitStatus, &str, &str)] = &[
    (ExitStatus::Success, "ok", ""),
    (
        ExitStatus::Failure,
        "failure",
        "read the line on standard error",
    ),
    (ExitStatus::Usage, "usage", "mend the command"),
    (
        ExitStatus::UnknownAccount,
        "no such account",
        "'authctl list' names the accounts",
    ),
    (
        ExitStatus::LoginRequired,
        "login required",
        "run 'authctl login ACCOUNT'",
    ),
    (
        ExitStatus::TryLater,
        "try later",
        "the provider cannot be reached, asked for a pause or did not answer in time, and authd goes on trying",
    ),
    (
        ExitStatus::Denied,
        "denied or locked",
        "'authctl status' tells which",
    ),
    (
        ExitStatus::DaemonUnreachable,
        "daemon unreachable",
        "run 'authctl doctor'",
    ),
];

/// The exit statuses in one line, for the end of `--help`.
pub(crate) fn statuses_in_short() -> String {
    let all: Vec<_> = STATUSES
        .iter()
        .map(|(status, meaning, _)| format!("{} {meaning}", *status as u8))
        .collect();
    format!("Exit status: {}.", all.join(", "))
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon said no, or could not be reached.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// It went away while it was being watched.
    #[error("the daemon has stopped")]
    DaemonEnded,
    /// It was asked to stop and is still there.
    #[error("the daemon is still running after {secs} s")]
    StillRunning { secs: u64 },
    /// Standard output takes no more. A closed pipe is no failure: see [`Failure::report`].
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read {what} from standard input: {source}")]
    Stdin {
        what: &'static str,
        source: io::Error,
    },
    /// Standard input is empty.
    #[error("{what} is missing on standard input")]
    NothingOnStdin { what: &'static str },
    /// Standard input would show the secret.
    #[error("{what} is not read from a terminal, which would show it")]
    SecretFromTerminal { what: &'static str },
    /// `login` without a name, and nothing to derive it from.
    #[error("which account?")]
    NoAccountName,
    /// `login` to a new account, nowhere.
    #[error("there is no account '{account}' yet, and nothing says where to log in")]
    NoServer { account: String },
    /// `login --provider` with a secret that stays where it is.
    #[error("where the secret may go is not said: '{provider}' needs to know more")]
    NoPlaceForSecret { provider: String },
    /// `login` to a new account without a client id.
    #[error("a new login needs the id this client has at the provider")]
    NoClientId { account: String },
    /// `import` of what cannot be read.
    #[error("{}: {why}", tool.name())]
    Unreadable { tool: ImportTool, why: Unreadable },
    /// `import` of a refresh token whose first exchange has not come about yet.
    #[error(
        "'{account}' is here and its refresh token is safe, but it is not renewed yet{}",
        .why.as_ref().map_or_else(String::new, |why| format!(": {why}"))
    )]
    NotRenewedYet {
        account: String,
        why: Option<String>,
    },
    /// The person said no, or nothing more, when they were asked.
    #[error("nothing was done")]
    GivenUp,
    /// A file that an option names, or that this command writes.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// `login --client-secret-command`.
    #[error("the secret command is empty, or has a quote without its end")]
    BadSecretCommand,
    /// `login --service-account-file`.
    #[error("{}: no key file of a service account", path.display())]
    NoServiceAccount { path: PathBuf },
    /// `login --timeout`.
    #[error("nobody finished the login in time")]
    LoginTimedOut { account: String },
    /// A passphrase is asked for, and there is no terminal.
    #[error("a passphrase is needed, and there is no terminal to ask for it")]
    NoPassphrase,
    /// It was typed twice, and not the same.
    #[error("the two passphrases are not the same")]
    PassphrasesDiffer,
    /// Ctrl-C cannot be caught.
    #[error("cannot listen for interrupts: {source}")]
    Interrupts { source: ctrlc::Error },
    /// `exec` with a token that is of no use without proofs (RFC 9449).
    #[error("the token of '{account}' is bound to a key: from an environment nobody can use it")]
    BoundToken { account: String },
    /// `ssh` is not run, or its socket does not get there.
    #[cfg(unix)]
    #[error(transparent)]
    Ssh(#[from] SshTrouble),
    /// `man` about what there is not.
    #[error("there is no command 'authctl {command}'")]
    NoSuchCommand { command: String },
    /// `service` cannot do what was asked.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// `exec`'s command does not start.
    #[error("cannot run '{program}': {source}")]
    Program { program: String, source: io::Error },
}

impl Failure {
    /// The daemon's code, if it was the daemon that said no.
    pub(crate) fn wire_code(&self) -> Option<ErrorCode> {
        self.wire().map(|error| error.code)
    }

    fn wire(&self) -> Option<&WireError> {
        match self {
            Self::Daemon(ClientError::Wire(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether there is simply no daemon.
    pub(crate) fn is_not_running(&self) -> bool {
        matches!(
            self,
            Self::Daemon(ClientError::Connect(ConnectError::NotRunning(_)))
        )
    }

    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Self::Daemon(error) => error.exit_status(),
            Self::DaemonEnded => ExitStatus::DaemonUnreachable,
            Self::NothingOnStdin { .. }
            | Self::SecretFromTerminal { .. }
            | Self::NoAccountName
            | Self::NoPassphrase
            | Self::PassphrasesDiffer
            | Self::NoServer { .. }
            | Self::NoPlaceForSecret { .. }
            | Self::NoClientId { .. }
            | Self::BadSecretCommand
            | Self::NoServiceAccount { .. }
            | Self::NoSuchCommand { .. }
            | Self::Unreadable { .. } => ExitStatus::Usage,
            #[cfg(unix)]
            Self::Ssh(_) => ExitStatus::Failure,
            Self::NotRenewedYet { .. } => ErrorCode::Unavailable.exit_status(),
            Self::GivenUp => ErrorCode::LoginCancelled.exit_status(),
            Self::LoginTimedOut { .. } => ErrorCode::LoginExpired.exit_status(),
            Self::StillRunning { .. }
            | Self::Stdout(_)
            | Self::Stdin { .. }
            | Self::File { .. }
            | Self::Interrupts { .. }
            | Self::BoundToken { .. }
            | Self::Service(_)
            | Self::Program { .. } => ExitStatus::Failure,
        }
    }

    /// The word a program acts on: the daemon's code, or one in its spirit.
    pub(crate) fn code(&self) -> &'static str {
        match (self.wire_code(), self.status()) {
            (Some(code), _) => code.as_str(),
            (None, ExitStatus::DaemonUnreachable) => "daemon_unreachable",
            (None, ExitStatus::Usage) => ErrorCode::BadRequest.as_str(),
            (None, _) if matches!(self, Self::LoginTimedOut { .. }) => {
                ErrorCode::LoginExpired.as_str()
            }
            (None, _) => ErrorCode::Internal.as_str(),
        }
    }

    /// How long the daemon wants to be left alone; no time where it does not say.
    pub(crate) fn retry_after(&self) -> Duration {
        let secs = self.wire().and_then(|error| error.retry_after_secs);
        Duration::from_secs(secs.unwrap_or(0))
    }

    /// What happened, for people: without the code, which is for programs.
    pub(crate) fn message(&self) -> String {
        self.wire()
            .map_or_else(|| self.to_string(), |error| error.message.clone())
    }

    /// What to do about it: the daemon's word, or else ours.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Daemon(ClientError::Wire(error)) => {
                error.hint.clone().or_else(|| hint_for(error))
            }
            // Nobody starts one where AUTHD_SOCKET names it.
            Self::Daemon(ClientError::Connect(ConnectError::NotRunning(_)))
                if !is_of_another() =>
            {
                Some("'authctl login' and 'authctl token' start it".to_owned())
            }
            Self::Daemon(
                ClientError::Connect(ConnectError::NotRunning(_))
                | ClientError::Start(StartError::Explicit(_)),
            ) => Some("start that daemon, or unset AUTHD_SOCKET".to_owned()),
            Self::Daemon(ClientError::Start(StartError::NotOurs(_))) => {
                Some("unset AUTHD_SOCKET".to_owned())
            }
            Self::Daemon(ClientError::Start(StartError::Refused { .. })) => {
                Some("mend that, then run it again".to_owned())
            }
            Self::Daemon(ClientError::Start(StartError::NoProgram)) => None,
            Self::Daemon(
                ClientError::Path(error) | ClientError::Connect(ConnectError::Path(error)),
            ) => place_for(error),
            // Whom it does not serve it tells nothing.
            Self::Daemon(ClientError::Closed) if is_of_another() => Some(
                "it may be stopping, or not serve this user: 'authctl socket create --uid' says whom \
                 it serves, where authd runs"
                    .to_owned(),
            ),
            Self::Daemon(_) | Self::StillRunning { .. } => Some("run 'authctl doctor'".to_owned()),
            Self::NothingOnStdin { .. } | Self::SecretFromTerminal { .. } => {
                Some("pipe it in".to_owned())
            }
            Self::NoAccountName => {
                Some("run 'authctl login NAME --issuer URL --client-id ID'".to_owned())
            }
            Self::NoServer { account } => Some(format!(
                "run 'authctl login {account} --provider NAME --client-id ID', with --issuer URL for one \
                 that 'authctl provider list' lacks"
            )),
            Self::NoPlaceForSecret { provider } => Some(format!(
                "give --set KEY=VALUE, for what 'authctl provider show {provider}' leaves open"
            )),
            Self::NoClientId { account } => Some(format!(
                "register one there, then run 'authctl login {account} … --client-id ID'"
            )),
            Self::Service(error) => error.hint(),
            Self::LoginTimedOut { account } => Some(format!("run 'authctl login {account}'")),
            Self::NoSuchCommand { .. } => Some("'authctl --help' names them all".to_owned()),
            Self::Unreadable { tool, why } => Some(tool.hint(why)),
            Self::BoundToken { account } => Some(format!(
                "have the command run 'authctl token {account} --format header --method METHOD --url URL' for \
                 each request"
            )),
            #[cfg(unix)]
            Self::Ssh(trouble) => trouble.hint(),
            Self::NotRenewedYet { account, .. } => Some(format!(
                "authd goes on by itself; 'authctl status {account}' tells"
            )),
            Self::NoPassphrase => Some("give it with --passphrase-stdin".to_owned()),
            Self::DaemonEnded
            | Self::GivenUp
            | Self::PassphrasesDiffer
            | Self::Stdout(_)
            | Self::Stdin { .. }
            | Self::File { .. }
            | Self::BadSecretCommand
            | Self::NoServiceAccount { .. }
            | Self::Interrupts { .. }
            | Self::Program { .. } => None,
        }
    }

    /// Tells the person, and the caller by the exit status: `own` where a verb has one for all failures.
    ///
    /// A reader that has seen enough and closed the pipe is no failure.
    pub(crate) fn report(&self, own: Option<u8>) -> ExitCode {
        if let Self::Stdout(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let hint = self.similar_account().or_else(|| self.hint());
        let message = self.message();
        let message = if self.wire().is_some() {
            // Some of it is a provider's or a person's: none of that begins a line.
            output::clean(&message).into_owned()
        } else {
            // The end of the daemon's log has lines of its own.
            let lines: Vec<_> = message.lines().map(output::clean).collect();
            lines.join("\n")
        };
        match hint {
            Some(hint) => output::note(format_args!("{message}: {}", output::clean(&hint))),
            None => output::note(message),
        }
        ExitCode::from(own.unwrap_or(self.status() as u8))
    }

    /// Which account was meant, where a name is close to one there is.
    fn similar_account(&self) -> Option<String> {
        let error = self
            .wire()
            .filter(|error| error.code == ErrorCode::UnknownAccount)?;
        let asked = error.account.as_deref()?;
        let mut client = daemon::running().ok()?;
        let page = daemon::ask(&mut client, &AccountList::default()).ok()?;
        let names = page.accounts.iter().map(|account| account.account.as_str());
        closest(asked, names).map(|name| format!("did you mean '{name}'?"))
    }
}

/// Whether AUTHD_SOCKET names whom to ask: then the daemon is somebody else's to look after.
fn is_of_another() -> bool {
    Instance::of_process().is_ok_and(|instance| instance.socket.is_explicit())
}

/// The name most like `asked`, if it is like it at all.
fn closest<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.8;
    names
        .map(|name| (strsim::jaro_winkler(asked, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// What to do about a place that is not to be used. Nothing is to be removed: the path is a person's own, and may
/// be the wrong one.
pub(crate) fn place_for(error: &PathError) -> Option<String> {
    match error {
        PathError::NotASocket(_) if is_of_another() => {
            Some("name the socket itself in AUTHD_SOCKET, or unset it".to_owned())
        }
        PathError::NotASocket(path) | PathError::NotADirectory(path) => Some(format!(
            "put '{}' out of the way, or set AUTHD_SOCKET to a path of your own",
            path.display()
        )),
        // Whose sticky bit is set is meant for everybody.
        PathError::Writable { path, mode } if mode & 0o1000 == 0 => {
            Some(format!("chmod go-w '{}'", path.display()))
        }
        PathError::Writable { .. } | PathError::Owner { .. } => {
            Some("set AUTHD_SOCKET to a path in a directory of your own".to_owned())
        }
        _ => None,
    }
}

/// The command that mends what the daemon reports without a hint of its own.
fn hint_for(error: &WireError) -> Option<String> {
    let account = error.account.as_deref().unwrap_or("ACCOUNT");
    let hint = match error.code {
        ErrorCode::LoginRequired
        | ErrorCode::UnknownLogin
        | ErrorCode::LoginFailed
        | ErrorCode::LoginExpired => format!("run 'authctl login {account}'"),
        ErrorCode::InsufficientScope => format!("run 'authctl login {account} --scope SCOPE'"),
        ErrorCode::SubjectMismatch => {
            "sign in as the same person, or log in with --replace-subject".to_owned()
        }
        ErrorCode::UnknownAccount => "'authctl list' names the accounts".to_owned(),
        ErrorCode::AmbiguousAccount if error.candidates.is_empty() => "name one".to_owned(),
        ErrorCode::AmbiguousAccount => format!("name one of {}", error.candidates.join(", ")),
        ErrorCode::AdoptionRequired => format!("run 'authctl adopt {account}'"),
        ErrorCode::MaxTtlExceeded => match error.max_ttl_secs {
            Some(most) => format!("ask for --min-ttl {most}s at most"),
            None => "ask for less with --min-ttl".to_owned(),
        },
        ErrorCode::Unavailable | ErrorCode::Throttled | ErrorCode::Timeout | ErrorCode::Busy => {
            match error.retry_after_secs {
                Some(secs) => format!("try again in {}", output::span(secs)),
                None => "try again".to_owned(),
            }
        }
        ErrorCode::Locked | ErrorCode::StoreFailed => "run 'authctl doctor'".to_owned(),
        ErrorCode::PassphraseRequired => {
            "give it in a terminal, or with --passphrase-stdin".to_owned()
        }
        ErrorCode::WrongPassphrase => match error.retry_after_secs {
            Some(secs) => format!("try again in {}", output::span(secs)),
            None => "try again".to_owned(),
        },
        ErrorCode::BadConfig => "mend the file, then run 'authctl daemon reload'".to_owned(),
        ErrorCode::ShuttingDown => "run it again".to_owned(),
        ErrorCode::Unsupported | ErrorCode::UnknownMethod => {
            "the daemon that runs is older than this authctl: run 'authctl daemon restart'"
                .to_owned()
        }
        ErrorCode::VersionMismatch => {
            "install the same version of authd and authctl, then run 'authctl daemon restart'"
                .to_owned()
        }
        _ => return None,
    };
    Some(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: WireError) -> Failure {
        Failure::Daemon(ClientError::Wire(error))
    }

    #[test]
    fn every_code_of_the_daemon_keeps_its_exit_status() {
        for &code in ErrorCode::ALL {
            let failure = failure(WireError::new(code, "x"));
            assert_eq!(failure.status(), code.exit_status(), "{code}");
            assert_eq!(failure.code(), code.as_str());
        }
    }

    #[test]
    fn every_exit_status_is_explained() {
        for &code in ErrorCode::ALL {
            let status = code.exit_status();
            assert!(
                STATUSES.iter().any(|(explained, ..)| *explained == status),
                "{status:?} of {code} is not in the manual"
            );
        }
        let numbers: Vec<_> = STATUSES
            .iter()
            .map(|(status, ..)| *status as usize)
            .collect();
        assert_eq!(numbers, (0..STATUSES.len()).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_a_person_can_mend_names_the_fix() {
        for code in [
            ErrorCode::LoginRequired,
            ErrorCode::InsufficientScope,
            ErrorCode::UnknownAccount,
            ErrorCode::AmbiguousAccount,
            ErrorCode::AdoptionRequired,
            ErrorCode::Unavailable,
            ErrorCode::MaxTtlExceeded,
            ErrorCode::LoginExpired,
            ErrorCode::SubjectMismatch,
            ErrorCode::Locked,
            ErrorCode::BadConfig,
            ErrorCode::VersionMismatch,
        ] {
            let failure = failure(WireError::new(code, "x"));
            assert!(failure.hint().is_some(), "{code} says not what to do");
        }
    }

    #[test]
    fn the_hint_of_the_daemon_goes_before_ours() {
        let error =
            WireError::new(ErrorCode::LoginRequired, "the login expired").with_account("work");
        let ours = failure(error.clone()).hint();
        assert_eq!(ours.as_deref(), Some("run 'authctl login work'"));
        let theirs = failure(error.with_hint("do this")).hint();
        assert_eq!(theirs.as_deref(), Some("do this"));
    }

    #[test]
    fn only_a_name_that_is_alike_is_suggested() {
        let names = ["work", "home", "work-staging"];
        assert_eq!(closest("wrok", names.into_iter()), Some("work"));
        assert_eq!(
            closest("work-stagng", names.into_iter()),
            Some("work-staging")
        );
        assert_eq!(closest("zebra", names.into_iter()), None);
    }
}
