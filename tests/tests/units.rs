//! The units as they are shipped, by systemd's own judgement.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use authd_e2e::{binaries, tool};
use tempfile::TempDir;

const SERVICE: &str = include_str!("../../systemd/authd.service");
const SOCKET: &str = include_str!("../../systemd/authd.socket");
const DROP_IN: &str = include_str!("../../systemd/authd-hardening.conf");

/// The units in a directory of their own, with the program where it is here.
fn units() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let program = format!("ExecStart={}", binaries::authd().display());
    let service = SERVICE.replace("ExecStart=%h/.local/bin/authd", &program);
    assert_ne!(service, SERVICE);
    fs::write(dir.path().join("authd.service"), service).unwrap();
    fs::write(dir.path().join("authd.socket"), SOCKET).unwrap();
    dir
}

/// Runs `systemd-analyze --user`; whether it is content, and all that it says.
fn analyze(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(tool::required("systemd-analyze"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("XDG_RUNTIME_DIR", dir)
        .current_dir(dir)
        .args(["--user", "--no-pager"])
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let dir = units();
    for hardened in [false, true] {
        if hardened {
            let drop_ins = dir.path().join("authd.service.d");
            fs::create_dir(&drop_ins).unwrap();
            fs::write(drop_ins.join("authd-hardening.conf"), DROP_IN).unwrap();
        }
        let said = analyze(dir.path(), &["verify", "./authd.service", "./authd.socket"]);
        assert_eq!(said, (true, String::new()), "hardened: {hardened}");
    }
    // And it does find one.
    let typo = SERVICE.replace("LockPersonality", "LockPersonalty");
    fs::write(dir.path().join("authd.service"), typo).unwrap();
    let (_, said) = analyze(dir.path(), &["verify", "./authd.service"]);
    assert!(said.contains("LockPersonalty"), "{said}");
}

#[test]
fn the_exposure_is_what_the_unit_says() {
    let dir = units();
    let judge = |threshold| {
        let threshold = format!("--threshold={threshold}");
        analyze(
            dir.path(),
            &["security", "--offline=yes", &threshold, "./authd.service"],
        )
    };
    let (content, said) = judge(64);
    assert!(content, "{said}");
    let overall = said.lines().find(|line| line.contains("Overall")).unwrap();
    let (_, figure) = overall.split_once(": ").unwrap();
    let figure = figure.split(' ').next().unwrap();
    assert!(
        SERVICE.contains(&format!("{figure} as it stands")),
        "{overall}"
    );
    assert!(!judge(50).0, "a threshold that is missed is told");
}
