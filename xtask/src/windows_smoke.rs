//! Both binaries built for Windows and run under wine, against a demo authorization server that runs here:
//! wine shares the network.
//!
//! It shows that the programs start, find their folders, talk through a named pipe, store a login and use it.
//! What wine is not Windows enough for is said at the end, and is no failure.

mod wine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use self::wine::Wine;
use crate::command;
use crate::daemon;
use crate::error::ChoreError;
use crate::fake_as::{self, FakeAs};
use crate::foreign::{Compiler, WINDOWS};
use crate::setup::{self, Permission, Program};
use crate::workspace;

const LINKER: &str = "x86_64-w64-mingw32-gcc-posix";

const PROGRAMS: &[Program] = &[
    setup::DLLTOOL,
    Program::new(LINKER, "gcc-mingw-w64-x86-64-posix", "links for Windows"),
];

const ACCOUNT: &str = "work";

/// What wine has no means to show.
const NEVER_SHOWN: &[&str] = &[
    "that another user is kept from the pipe and from the files: wine has one user",
    "that the pipe refuses callers of other machines: nothing can be reached from outside here",
    "that the Credential Manager protects the key: wine's has no password of a person behind it",
    "notifications, waking from sleep, and word that the network is back: wine sends none",
];

/// Builds, runs, and says what was not shown.
pub(crate) fn run() -> Result<(), ChoreError> {
    setup::programs(PROGRAMS, Permission::Install)?;
    command::run(command::cargo().args([
        "build",
        "--locked",
        "--package=authd-testkit",
        "--bin=fake-as",
    ]))?;
    let server = workspace::target_dir()?.join("debug").join("fake-as");
    let binaries = build()?;
    let wine = Wine::start(&binaries)?;
    let unshown = use_it(&wine, &server)?;
    println!(
        "\nwindows-smoke: login, token, status and a renewal under {}",
        wine.version
    );
    println!("windows-smoke: what it could not show:");
    for what in unshown
        .iter()
        .map(String::as_str)
        .chain(NEVER_SHOWN.iter().copied())
    {
        println!("  - {what}");
    }
    Ok(())
}

/// Both binaries.
fn build() -> Result<[PathBuf; 2], ChoreError> {
    let compiler = Compiler::obtain()?;
    // Apart from the other chores', whose artefacts come from another compiler.
    let target = workspace::target_dir()?.join("windows");
    let suffix = WINDOWS.replace('-', "_");
    let mut build = compiler.cargo();
    build
        .args(["build", "--locked", "--package=authd", "--package=authctl"])
        .args(["--target", WINDOWS])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0")
        // Nothing here is looked at in a debugger, and it would fill the disk.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env(
            format!("CARGO_TARGET_{}_LINKER", suffix.to_uppercase()),
            LINKER,
        )
        .env(format!("CC_{suffix}"), LINKER)
        .env(format!("AR_{suffix}"), "x86_64-w64-mingw32-ar");
    command::run(&mut build)?;
    let built = target.join(WINDOWS).join("debug");
    Ok(["authd.exe", "authctl.exe"].map(|name| built.join(name)))
}

/// The person's way: login, token, status; then what must not work. Returns what wine did not show.
fn use_it(wine: &Wine, server: &Path) -> Result<Vec<String>, ChoreError> {
    let mut unshown = Vec::new();
    let server = FakeAs::start(server, Duration::from_secs(600))?;
    let version = wine.prints("authctl.exe", &["--version"])?;
    expect(
        version.starts_with("authctl "),
        "authctl.exe does not tell its version",
    )?;

    // No daemon runs: this starts it, beside itself and detached.
    daemon::log_in(&mut wine.command("authctl.exe", &[]), ACCOUNT, &server)?;
    println!("windows-smoke: logged in; authctl.exe started authd.exe by itself");

    let token = wine.prints("authctl.exe", &["token", ACCOUNT])?;
    takes(&server, token.trim())?;
    println!("windows-smoke: the API takes the token that came through the named pipe");

    let status = status(wine)?;
    let told = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let socket = told("/daemon/socket").to_owned();
    expect(
        socket.starts_with(r"\\.\pipe\authd-S-1-5-"),
        &format!("the daemon listens at '{socket}', which is no pipe of the user's SID"),
    )?;
    expect(
        told("/accounts/0/state") == "fresh",
        &format!("the account is not fresh: {status}"),
    )?;
    let protection = told("/daemon/key_protection/kind");
    println!("windows-smoke: listens at {socket}; key protection: {protection}");
    if protection != "keyring" {
        unshown.push(format!(
            "the Credential Manager: the key is kept as '{protection}' here"
        ));
    }

    wine.prints("authctl.exe", &["renew", ACCOUNT])?;
    let renewed = wine.prints("authctl.exe", &["token", ACCOUNT])?;
    expect(renewed != token, "the renewal brought the same token")?;
    takes(&server, renewed.trim())?;
    println!("windows-smoke: renewed, with what is on disk");

    survives_a_restart(wine, &renewed)?;
    refuses_a_second(wine, &socket, &mut unshown)?;
    wine.prints("authctl.exe", &["logout", ACCOUNT])?;
    wine.prints("authctl.exe", &["daemon", "stop"])?;
    expect(
        wine.status("authctl.exe", &["status"])? == Some(7),
        "status does not end with 7 when there is no daemon",
    )?;
    Ok(unshown)
}

/// The login is on disk, and is read again.
fn survives_a_restart(wine: &Wine, token: &str) -> Result<(), ChoreError> {
    wine.prints("authctl.exe", &["daemon", "stop"])?;
    let again = wine.prints("authctl.exe", &["token", ACCOUNT])?;
    expect(again == *token, "after a restart it is another token")?;
    println!("windows-smoke: the daemon stopped, started anew, and knows the login");
    Ok(())
}

/// Neither on the same store, nor on another one at the same pipe.
fn refuses_a_second(
    wine: &Wine,
    socket: &str,
    unshown: &mut Vec<String>,
) -> Result<(), ChoreError> {
    let second = wine.status("authd.exe", &[])?;
    expect(
        second == Some(1),
        &format!("a second daemon on the same store ends with {second:?}"),
    )?;
    println!("windows-smoke: a second daemon on the same store is refused");
    // A store of its own, so that nothing but the pipe is in its way.
    let other = wine.folder("other")?;
    let environment = [
        format!("AUTHD_STATE_DIR={other}"),
        format!("AUTHD_CONFIG_DIR={other}"),
        format!("AUTHD_SOCKET={socket}"),
    ];
    let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
    let mut third = wine.command_with(&environment, "authd.exe", &[]);
    match wine.ends(&mut third, Duration::from_secs(20))? {
        Some(status) => {
            expect(
                status != 0,
                "a second server on the same pipe ends as if all were well",
            )?;
            println!("windows-smoke: a second server on the same pipe is refused");
        }
        None => unshown.push(
            "that the pipe has one server: wine gave it to a second one, in spite of \
             FILE_FLAG_FIRST_PIPE_INSTANCE"
                .to_owned(),
        ),
    }
    Ok(())
}

fn status(wine: &Wine) -> Result<Value, ChoreError> {
    let text = wine.prints("authctl.exe", &["status", "--json"])?;
    serde_json::from_str(&text).map_err(|error| ChoreError::Output {
        command: "authctl.exe status --json".to_owned(),
        reason: error.to_string(),
    })
}

fn takes(server: &FakeAs, token: &str) -> Result<(), ChoreError> {
    let answer = fake_as::http_agent()
        .get(&server.api)
        .header("Authorization", format!("Bearer {token}"))
        .call()
        .map_err(ChoreError::http(&server.api))?;
    expect(answer.status() == 200, "the API does not take the token")
}

fn expect(holds: bool, otherwise: &str) -> Result<(), ChoreError> {
    if holds {
        Ok(())
    } else {
        Err(ChoreError::Windows(otherwise.to_owned()))
    }
}
