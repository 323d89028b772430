//! The packages on trial: made once more they are the same, and the Debian package installs, works and goes
//! away without a trace in a Debian that has nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Contents, Release, archive, deb, layout, remove_folder};
use crate::command;
use crate::daemon;
use crate::error::ChoreError;
use crate::fake_as::{self, FakeAs};
use crate::workspace;

mod root;

use self::root::Root;

/// Beside what every Debian has: what a person reads the manual and completes commands with.
const PACKAGES: &[&str] = &["man-db", "bash-completion"];

const ACCOUNT: &str = "work";

/// Builds both once more and compares.
pub(super) fn same_again(
    release: &Release,
    contents: &Contents,
    built: &[&Path],
) -> Result<(), ChoreError> {
    let folder = workspace::target_dir()?.join("dist-again");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder).map_err(ChoreError::io("create", &folder))?;
    let again = [
        deb::build(release, contents, &folder)?,
        archive::build(release, contents, &folder)?,
    ];
    for (first, second) in built.iter().zip(&again) {
        let read = |path: &Path| fs::read(path).map_err(ChoreError::io("read", path));
        expect(
            read(first)? == read(second)?,
            &format!("{} is not the same when made again", first.display()),
        )?;
        println!("dist: {} is reproducible", name(first));
    }
    remove_folder(&folder)
}

/// Installs the package into a fresh Debian, uses it as a person does, and purges it.
pub(super) fn in_debian(package: &Path) -> Result<(), ChoreError> {
    command::run(command::cargo().args([
        "build",
        "--locked",
        "--package=authd-testkit",
        "--bin=fake-as",
    ]))?;
    let started = Instant::now();
    let root = Root::debootstrap(PACKAGES)?;
    println!(
        "dist: a fresh Debian after {} s",
        started.elapsed().as_secs()
    );

    let before = root.files()?;
    root.install(package)?;
    what_is_installed(&root)?;
    use_it(&root)?;
    refuses_its_namesake(&root)?;
    root.apt(&["purge", deb::NAME])?;
    let left: Vec<_> = root.files()?.difference(&before).cloned().collect();
    expect(left.is_empty(), &format!("left after the purge: {left:?}"))?;
    println!(
        "dist: installed, used and purged without a trace, {} s in all",
        started.elapsed().as_secs()
    );
    Ok(())
}

/// The manual, the completions, the units, and that every file is as it was packed.
fn what_is_installed(root: &Root) -> Result<(), ChoreError> {
    expect(
        root.as_root(&["dpkg", "--verify", deb::NAME])?.is_empty(),
        "dpkg --verify finds files that are not as they were packed",
    )?;
    for (page, wanted) in [
        (&["authctl"][..], "authctl-token(1)"),
        (&["authctl-token"], "--min-ttl"),
        (&["authctl-provider-show"], "authctl provider show"),
        (&["authd"], "AUTHD_STATE_DIR"),
        (&["5", "authd-config"], "request_timeout_secs"),
    ] {
        let text = root.as_person(&[&["man", "--warnings"], page].concat())?;
        expect(
            text.contains(wanted),
            &format!("man {} says nothing of {wanted}", page.join(" ")),
        )?;
        for line in text.lines() {
            expect(
                line.chars().count() <= 80,
                &format!("man {}: wider than 80 columns: {line}", page.join(" ")),
            )?;
        }
    }
    let completed = root.as_person(&[
        "bash",
        "-c",
        ". /usr/share/bash-completion/bash_completion; _completion_loader authctl; \
         COMP_WORDS=(authctl tok); COMP_CWORD=1; _authctl authctl tok authctl; echo ${COMPREPLY[*]}",
    ])?;
    expect(
        completed.trim() == "token",
        &format!("bash completes 'authctl tok' to '{}'", completed.trim()),
    )?;
    for script in [
        "usr/share/zsh/vendor-completions/_authctl",
        "usr/share/fish/vendor_completions.d/authctl.fish",
    ] {
        expect(root.path(script).is_file(), &format!("{script} is missing"))?;
    }
    let unit = root.path("usr/lib/systemd/user/authd.service");
    let text = fs::read_to_string(&unit).map_err(ChoreError::io("read", &unit))?;
    let daemon = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/"))
        .unwrap_or_default();
    let mode = fs::metadata(root.path(daemon)).map(|file| file.permissions().mode());
    expect(
        mode.is_ok_and(|mode| mode & 0o777 == 0o755),
        &format!("the unit starts '/{daemon}', which is no program"),
    )
}

/// Login, token, status, all by the installed command, which starts the installed daemon.
fn use_it(root: &Root) -> Result<(), ChoreError> {
    let binary = workspace::target_dir()?.join("debug").join("fake-as");
    let server = FakeAs::start(&binary, Duration::from_secs(600))?;
    daemon::log_in(&mut root.person_command(&["authctl"]), ACCOUNT, &server)?;
    let token = root.as_person(&["authctl", "token", ACCOUNT])?;
    let answer = fake_as::http_agent()
        .get(&server.api)
        .header("Authorization", format!("Bearer {}", token.trim()))
        .call()
        .map_err(ChoreError::http(&server.api))?;
    expect(answer.status() == 200, "the API does not take the token")?;
    let status = root.as_person(&["authctl", "status", "--json"])?;
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    expect(
        status.pointer("/accounts/0/state") == Some(&"fresh".into()),
        &format!("the account is not fresh: {status}"),
    )?;
    let pid = status.pointer("/daemon/pid").and_then(Value::as_u64);
    let program = pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
    expect(
        program == Some(root.path("usr/bin/authd")),
        &format!("the daemon is {program:?}"),
    )?;
    println!("dist: login, token and status by the installed programs");
    root.as_person(&["authctl", "daemon", "stop"]).map(drop)
}

/// A package of the name that Ubuntu's has, with the file that both have, is not installed beside ours.
fn refuses_its_namesake(root: &Root) -> Result<(), ChoreError> {
    let dir = tempfile::tempdir().map_err(ChoreError::io("create", Path::new("a folder")))?;
    let control = "Package: authd\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
                   Description: another program of this name\n";
    super::write(&dir.path().join("tree/DEBIAN/control"), control.as_bytes())?;
    super::write(&dir.path().join("tree/usr/bin/authctl"), b"#!/bin/sh\n")?;
    let package = dir.path().join("authd.deb");
    command::stdout(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&dir.path().join("tree"), &package]),
    )?;
    layout::copy(&package, &root.path("tmp/authd.deb"))?;
    let installed = root.as_root(&["dpkg", "--install", "/tmp/authd.deb"]);
    expect(
        installed.is_err(),
        "Ubuntu's authd is installed beside ours",
    )?;
    fs::remove_file(root.path("tmp/authd.deb"))
        .map_err(ChoreError::io("remove", &root.path("tmp/authd.deb")))?;
    println!("dist: a package 'authd' is refused while ours is there");
    Ok(())
}

fn expect(holds: bool, otherwise: &str) -> Result<(), ChoreError> {
    if holds {
        Ok(())
    } else {
        Err(ChoreError::Dist(otherwise.to_owned()))
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
