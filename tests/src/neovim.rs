//! Stock Neovim: headless, without a plugin or anybody's configuration.

use std::fs;

use serde_json::Value;

use crate::{Instance, PATIENCE, process::Process, tool};

/// What every script runs in: `channel` is a connection to the daemon, `seen` is what it hands back.
/// A failure that it does not catch is `seen.uncaught`, instead of a prompt that nobody answers.
const FRAME: &str = "\
let seen = {}
try
  let channel = sockconnect('pipe', $AUTHD_TEST_SOCKET, {'rpc': v:true})
  source $AUTHD_TEST_SCRIPT
catch
  let seen.uncaught = v:exception
endtry
call writefile([json_encode(seen)], $AUTHD_TEST_SEEN)
qall!
";

/// Runs Vim script with a connection to the daemon in `g:channel`; what it put into `g:seen`.
///
/// # Panics
/// When Neovim is not installed, does not end in time, or a command of the script fails outside a
/// `try` of its own.
#[must_use]
pub fn run(instance: &Instance, script: &str) -> Value {
    let place = |name: &str| instance.dir().join(name);
    fs::write(place("frame.vim"), FRAME).expect("a writable directory");
    fs::write(place("script.vim"), script).expect("a writable directory");
    let mut neovim = instance.command(tool::required("nvim"));
    neovim
        .args(["--headless", "-n", "-u", "NONE", "-i", "NONE", "-S"])
        .arg(place("frame.vim"))
        .env("AUTHD_TEST_SOCKET", instance.socket())
        .env("AUTHD_TEST_SCRIPT", place("script.vim"))
        .env("AUTHD_TEST_SEEN", place("seen.json"));
    let finished = Process::capture(&mut neovim).finish(PATIENCE);
    let seen = fs::read_to_string(place("seen.json"))
        .unwrap_or_else(|_| panic!("the script handed nothing back: {finished:?}"));
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    assert!(seen["uncaught"].is_null(), "{}", seen["uncaught"]);
    assert_eq!(finished.code(), 0, "{finished:?}");
    seen
}
