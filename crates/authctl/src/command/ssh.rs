//! `authctl ssh`: OpenSSH, with a restricted socket that goes along and ends with the session.
//!
//! Everything goes over one connection, which `ssh` itself keeps (ControlMaster): first a directory is made
//! on the host that nobody else gets at, then the socket is forwarded into it (`-R`), then the session
//! begins. So the forwarded socket is never where another user of the host could see it. No token is in a
//! command line or an environment: on the host it is asked for through the socket.
//!
//! Not on Windows, whose OpenSSH shares no connections.

mod arguments;
mod child;
mod connection;

use std::ffi::OsString;
use std::process::ExitCode;

use authd_proto::socket::{SocketCreate, SocketInfo, SocketRevoke};
use clap::Args;

pub(crate) use self::arguments::SshTrouble;
use super::socket::{TermArgs, WAIT_SECS};
use crate::exit::Failure;
use crate::{daemon, output};

/// Run ssh with a socket for one account's token
///
/// Opens a restricted socket, forwards it with OpenSSH's -R, and sets AUTHD_SOCKET there, so that 'authctl
/// token' works on the host. The socket is revoked when ssh ends. The exit status is that of ssh, and 125
/// when it could not be started.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  authctl ssh build.example --account work\n  \
                        authctl ssh build.example --account work --scope api -- -p 2222 make publish"
)]
pub(crate) struct SshArgs {
    /// Where to, as ssh takes it
    host: String,

    /// Whose token; may be left out where there is one account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,

    #[command(flatten)]
    terms: TermArgs,

    /// Options for ssh, and after them a command for the host
    #[arg(last = true, value_name = "SSH-ARGS")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &SshArgs) -> Result<ExitCode, Failure> {
    let (options, command) = arguments::split(&args.rest)?;
    let children = child::Children::listen()?;
    let ask = SocketCreate {
        label: Some(arguments::label(&args.host)),
        ..args.terms.request(args.account.clone())
    };
    let socket = daemon::ask_waiting(&mut daemon::reach()?, &ask, WAIT_SECS)?;
    connection::run(&args.host, options, command, Lent(socket), &children)
}

/// A socket that is revoked when this goes, however that comes.
struct Lent(SocketInfo);

impl Drop for Lent {
    fn drop(&mut self) {
        let socket = &self.0;
        let revoked = daemon::reach().and_then(|mut client| {
            let name = Some(socket.name.clone());
            daemon::ask(&mut client, &SocketRevoke { name })
        });
        if let Err(failure) = revoked {
            // What ssh said counts; the socket's time ends it.
            output::note(format_args!(
                "the socket {} was not revoked ({}); it ends in {}",
                output::clean(&socket.name),
                output::clean(&failure.to_string()),
                output::span(socket.ttl_secs),
            ));
        }
    }
}
