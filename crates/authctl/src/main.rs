//! `authctl`: the command for people and scripts.
//!
//! [`cli`] says what can be asked, [`command`] has one file per verb, [`output`] is the one way to the
//! terminal, [`trouble`] says what is not well with an account, [`exit`] the one table of failures.
//! Everything that needs a provider is the daemon's work: this process speaks to one local socket, reads no
//! configuration, and has no async runtime, because tools run it before every request they make.

mod cli;
mod command;
mod daemon;
mod exit;
mod input;
mod manual;
mod output;
mod release;
mod trouble;

use std::process::ExitCode;

use authd_client::own_process;

fn main() -> ExitCode {
    own_process::hide_panics();
    let cli = cli::Cli::read();
    output::set_color(cli.color);
    let own_failure = cli.command.failure_status();
    if own_failure.is_none() {
        // What passes through here is secret. What `exec` and `ssh` run is not ours to limit. Where the system
        // does not let us, it is as safe as in whatever asked for it.
        let _ = own_process::refuse_core_files();
    }
    cli.command
        .run()
        .unwrap_or_else(|failure| failure.report(own_failure))
}
