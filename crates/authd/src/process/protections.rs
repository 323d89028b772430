//! What is in force of all that protects this process: looked at each time it is asked for, where the system
//! can be asked.

use authd_proto::protection::Protection;
use authd_store::{KeyProtection, locked};

use super::Outcome;
use crate::daemon::Daemon;

/// What mends a kernel without landlock.
const LANDLOCK: &str = "a kernel from Linux 5.19 on, with 'landlock' among the names in \
                        /sys/kernel/security/lsm (boot parameter lsm=)";
const SECCOMP: &str = "a kernel with CONFIG_SECCOMP_FILTER, on x86-64, arm64 or riscv64";
const MEMLOCK: &str = "ulimit -l 64 before the daemon starts; under systemd: systemctl --user edit \
                       authd.service, and there LimitMEMLOCK=64K";
const ANCHOR: &str = "let that be a directory that you can write, then run: authctl daemon restart";
const RESTART: &str = "authctl daemon stop (the next command starts it again)";

/// Each protection that this platform has, in a fixed order.
pub(crate) fn all(daemon: &Daemon) -> Vec<Protection> {
    let confinement = &daemon.confinement;
    // A process that is shared is not ours to judge.
    let mut all = match confinement.wanted {
        true => own(),
        false => Vec::new(),
    };
    all.push(protection(
        "locked_keys",
        locked::trouble().map(|kind| format!("the system locks no memory for keys: {kind}")),
        MEMLOCK,
    ));
    let in_key_store =
        daemon.standing.load().key_protection.kind == KeyProtection::KeyStore.as_str();
    let anchor = daemon.place.anchor_trouble.clone();
    all.push(protection(
        "copies_noticed",
        anchor
            .filter(|_| !in_key_store)
            .map(|why| format!("an older copy of the store would be taken for it: {why}")),
        ANCHOR,
    ));
    all.extend(outcome("files", &confinement.files, LANDLOCK));
    all.extend(outcome("system_calls", &confinement.system_calls, SECCOMP));
    if daemon.launcher.is_apart() {
        let trouble = daemon.launcher.trouble();
        let detail = trouble.map(|why| format!("secret and notify commands cannot be run: {why}"));
        all.push(protection("launcher", detail, RESTART));
    }
    all
}

/// In one word: `full`, `partial` or `none`. The launcher protects nothing.
pub(crate) fn word(protections: &[Protection]) -> &'static str {
    let confines = |protection: &&Protection| {
        matches!(&*protection.name, "files" | "system_calls" | "undumpable")
    };
    let mut those = protections.iter().filter(confines);
    let (some, all) = those.by_ref().fold((false, true), |(some, all), one| {
        (some || one.in_force, all && one.in_force)
    });
    match (some, all) {
        (false, _) => "none",
        (true, false) => "partial",
        (true, true) => "full",
    }
}

#[cfg(unix)]
fn own() -> Vec<Protection> {
    use rustix::process::{Resource, getrlimit};

    let core = getrlimit(Resource::Core).current;
    let no_core_file = protection(
        "no_core_file",
        (core != Some(0)).then(|| "the system may write the memory to a core file".to_owned()),
        "ulimit -c 0 before the daemon starts",
    );
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        let undumpable = matches!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        let readable = "your other programs can read the daemon's memory".to_owned();
        let settled = rustix::thread::no_new_privs().unwrap_or(false);
        let gains = "a program that it starts could gain privileges".to_owned();
        vec![
            protection("undumpable", (!undumpable).then_some(readable), RESTART),
            no_core_file,
            protection("no_new_privileges", (!settled).then_some(gains), RESTART),
        ]
    }
    #[cfg(not(target_os = "linux"))]
    vec![no_core_file]
}

#[cfg(not(unix))]
fn own() -> Vec<Protection> {
    Vec::new()
}

fn outcome(name: &str, outcome: &Outcome, fix: &str) -> Option<Protection> {
    match outcome {
        Outcome::NotTried => None,
        Outcome::InForce(lacks) => Some(Protection {
            name: name.to_owned(),
            in_force: true,
            detail: lacks.clone(),
            fix: None,
        }),
        Outcome::Missing(why) => Some(protection(name, Some(why.clone()), fix)),
    }
}

/// In force unless something is said against it.
fn protection(name: &str, trouble: Option<String>, fix: &str) -> Protection {
    Protection {
        name: name.to_owned(),
        in_force: trouble.is_none(),
        fix: trouble.is_some().then(|| fix.to_owned()),
        detail: trouble,
    }
}
