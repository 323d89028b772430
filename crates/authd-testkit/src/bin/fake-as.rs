//! `fake-as`: the fake authorization server as a process of its own.
//!
//! Prints one line of JSON when it is ready: `{"issuer": …, "control": …, "api": …, "pid": …}`, and
//! serves until it is killed, told to end through its control API (see `authd_testkit::control`), or,
//! with `--until-stdin-closes`, until whoever started it is gone.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use authd_testkit::{
    Client, Clock, Control, Endpoint, FakeServer, ManualClock, Options, Settings, StartError,
};
use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};

/// A strict fake OAuth authorization server, for tests and the demo. Loopback only.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Lifetime of access tokens: 20s, 500ms, 1h
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// What a refresh does to the refresh token
    #[arg(long, value_enum, default_value = "strict")]
    rotation: Rotation,
    /// For how long a spent refresh token is still accepted
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    leeway: Duration,
    /// Port of the authorization server on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the control API on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Path of the issuer, such as /tenant/a
    #[arg(long, default_value = "")]
    issuer_path: String,
    /// Identifier of a public native client; more through the control API
    #[arg(long, default_value = "native")]
    client_id: String,
    /// Settings as a JSON object, laid over the flags above
    #[arg(long, value_parser = parse_settings, default_value = "{}")]
    settings: Map<String, Value>,
    /// The clock stands still until the control API moves it
    #[arg(long)]
    manual_clock: bool,
    /// End when standard input closes
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rotation {
    /// Single use; reuse revokes the whole family
    Strict,
    /// Single use; reuse is only refused
    Lenient,
    /// One refresh token for good
    Off,
}

/// Why it could not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("--settings: {0}")]
    Settings(#[from] serde_json::Error),
    #[error("cannot start the server: {0}")]
    Start(#[from] StartError),
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With stderr gone too, the exit code alone has to tell.
            let _ = writeln!(io::stderr(), "fake-as: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let settings = Settings {
        access_token_ttl: arguments.ttl,
        rotation: !matches!(arguments.rotation, Rotation::Off),
        reuse_detection: matches!(arguments.rotation, Rotation::Strict),
        leeway: arguments.leeway,
        ..Settings::default()
    }
    .patched(arguments.settings)?;
    let server = FakeServer::start(Options {
        settings,
        clients: vec![Client::native(&arguments.client_id)],
        clock: if arguments.manual_clock {
            ManualClock::starting_now().into()
        } else {
            Clock::Real
        },
        port: arguments.port,
        issuer_path: arguments.issuer_path,
    })?;
    let control = Control::start(server.clone(), arguments.control_port)?;
    let ready = json!({
        "issuer": server.issuer(),
        "control": control.url(),
        "api": server.url(Endpoint::Api),
        "pid": std::process::id(),
    });
    let mut stdout = io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;

    let (stdin_closed, closed) = tokio::sync::oneshot::channel::<()>();
    // Without the flag it is kept to the end, and so never fires.
    let mut stdin_closed = Some(stdin_closed);
    if arguments.until_stdin_closes {
        let fires_when_dropped = stdin_closed.take();
        std::thread::spawn(move || {
            // End of file and a failed read mean the same: nobody is there any more.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(fires_when_dropped);
        });
    }
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(async {
            tokio::select! {
                () = control.exit_requested() => control.stop().await,
                _ = closed => {}
            }
        });
    Ok(())
}

fn parse_settings(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(text)
}
