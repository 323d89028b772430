//! `authctl exec`: a command with fresh tokens in its environment.
//!
//! The tokens are in the environment of the command alone. On Unix this process becomes the command, so
//! signals, terminal and exit status are its own and nothing stands between it and the caller.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use authd_proto::request::TokenGet;
use clap::Args;

use super::token::is_bound;
use crate::cli::seconds;
use crate::daemon;
use crate::exit::Failure;

/// The variable where none is named.
const DEFAULT_VARIABLE: &str = "AUTHD_TOKEN";

/// Run a command with fresh tokens in its environment
///
/// The exit status is the command's own, and 125 when it could not be started. A token in the environment
/// is not renewed: a command that outlives it should run `authctl token` itself. So should one for a token that
/// is bound to a key (DPoP), since each request with that needs a proof of its own.
#[derive(Args)]
#[command(after_help = "Examples:\n  authctl exec work -- make publish\n  \
                        authctl exec work --env GH_TOKEN --env NPM_TOKEN=npm -- ./release.sh")]
pub(crate) struct ExecArgs {
    /// The account of every variable that names none
    account: String,

    /// A variable to set, with the token of ACCOUNT or of the account it names [default: AUTHD_TOKEN]
    #[arg(long, value_name = "VAR[=ACCOUNT]", value_parser = variable)]
    env: Vec<Variable>,

    /// How long the tokens must still live at least
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    min_ttl: Option<u64>,

    /// How long to wait for a renewal
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    wait: u64,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// `VAR` or `VAR=ACCOUNT`.
#[derive(Clone)]
struct Variable {
    name: String,
    account: Option<String>,
}

fn variable(text: &str) -> Result<Variable, VariableError> {
    let (name, account) = match text.split_once('=') {
        Some((_, "")) => return Err(VariableError::NoAccount),
        Some((name, account)) => (name, Some(account.to_owned())),
        None => (text, None),
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(letters)
    {
        return Err(VariableError::Name);
    }
    Ok(Variable {
        name: name.to_owned(),
        account,
    })
}

/// What is wrong with the value of `--env`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum VariableError {
    #[error("the name of a variable is letters, digits and '_', and does not begin with a digit")]
    Name,
    #[error("no account after '='")]
    NoAccount,
}

pub(crate) fn run(args: &ExecArgs) -> Result<ExitCode, Failure> {
    let (program, arguments) = args
        .command
        .split_first()
        .expect("the grammar requires a command");
    let mut command = Command::new(program);
    command.args(arguments);
    let default = [Variable {
        name: DEFAULT_VARIABLE.to_owned(),
        account: None,
    }];
    let variables = if args.env.is_empty() {
        &default
    } else {
        args.env.as_slice()
    };
    let mut client = daemon::reach()?;
    for variable in variables {
        let token = daemon::ask_waiting(
            &mut client,
            &TokenGet {
                account: Some(variable.account.as_ref().unwrap_or(&args.account)),
                min_ttl_secs: args.min_ttl,
                wait_secs: Some(args.wait),
                ..TokenGet::default()
            },
            args.wait,
        )?;
        if is_bound(&token) {
            return Err(Failure::BoundToken {
                account: token.renewal.account,
            });
        }
        command.env(&variable.name, token.access_token.expose());
    }
    drop(client);
    start(&mut command).map_err(|source| Failure::Program {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}

/// Becomes the command; returns only when that fails.
#[cfg(unix)]
fn start(command: &mut Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec())
}

/// Runs the command and passes its status on.
#[cfg(not(unix))]
fn start(command: &mut Command) -> std::io::Result<ExitCode> {
    let status = command.status()?.code().unwrap_or(i32::MAX);
    std::process::exit(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_name_its_account() {
        let read = |text| variable(text).map(|v| (v.name, v.account));
        assert_eq!(read("GH_TOKEN"), Ok(("GH_TOKEN".to_owned(), None)));
        assert_eq!(
            read("A1=work=x"),
            Ok(("A1".to_owned(), Some("work=x".to_owned())))
        );
        assert_eq!(read("A="), Err(VariableError::NoAccount));
        for bad in ["", "=work", "1A", "A-B", "A B", "\u{c4}"] {
            assert_eq!(read(bad), Err(VariableError::Name), "{bad:?}");
        }
    }
}
