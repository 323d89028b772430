//! Parsers that are not ours, for what other systems are to read.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What this Python script prints when it reads `input`.
pub(super) fn python(script: &str, input: &[u8]) -> String {
    let mut child = Command::new("python3")
        .args(["-I", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is installed: run cargo xtask setup");
    // It reads all of it before it writes.
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}
