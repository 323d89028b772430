//! A disk that is full and a database that is damaged cost no login.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use authd_e2e::{
    Daemon, Instance, PATIENCE, Process, api,
    instance::{call, is_flagged, renewal},
    until,
};
use authd_proto::{ErrorCode, event::EventKind, request::EventsQuery, response::FlagName};
use authd_testkit::{Endpoint, FakeServer, Options, Phase};

/// The size of a page of redb.
const PAGE: u64 = 4096;

fn server() -> FakeServer {
    FakeServer::start(Options::default()).unwrap()
}

/// A small file system of its own for the state.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounted over the state directory; `None`, said aloud, where that is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    fn mount(instance: &Instance) -> Option<Self> {
        let at = instance.state_dir();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "authd-e2e"])
            .arg(&at);
        let mounted = Process::capture(&mut mount).finish(PATIENCE);
        if mounted.code() != 0 {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here (that takes root): {mounted:?}");
            return None;
        }
        Some(Self(at))
    }

    /// Takes all that is left of it.
    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        let chunk = [0_u8; 4096];
        while ballast.write_all(&chunk).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        // Lazily: a daemon may still have files open there when a test fails.
        unmount.arg("--lazy").arg(&self.0);
        let _ = Process::capture(&mut unmount).finish(PATIENCE);
    }
}

#[test]
fn a_disk_that_is_full_at_commit_keeps_the_new_token_in_the_reserved_space() {
    let server = server();
    let instance = Instance::new();
    let Some(disk) = SmallDisk::mount(&instance) else {
        return;
    };
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");

    // The intent is on disk and its space reserved; then the disk fills while the provider rotates.
    // The new token is long, so that the database has to grow for it.
    server.update(|settings| settings.access_token_prefix = "x".repeat(20_000));
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(move || call(&mut waiting, &renewal("demo")));
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        all_reserved_space_is_taken(&instance);
        disk.fill();
        server.open_gate(Endpoint::Token);
        assert_eq!(renewing.join().unwrap().unwrap().generation, 2);
    });
    let info = instance.account("demo");
    assert!(
        is_flagged(&info, FlagName::StoreDegraded),
        "{:?}",
        info.flags
    );
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(
        api::ping(&server, token.access_token.expose()),
        200,
        "the new one is served"
    );
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(
        refused.code,
        ErrorCode::StoreFailed,
        "no further rotation: {refused}"
    );
    assert_eq!(server.counts().refreshes(), 1);

    // A crash now loses nothing: the answer is in its spill file.
    daemon.kill();
    disk.free();
    let _daemon = instance.start_daemon();
    let after = instance.token("demo", Duration::ZERO).unwrap();
    assert!(after.access_token.expose() == token.access_token.expose());
    assert_eq!(instance.account("demo").flags, vec![]);
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
}

/// While the request is under way: every byte of the spill files has its block, or a full disk would be
/// noticed when the answer is there.
fn all_reserved_space_is_taken(instance: &Instance) {
    let mut reserved = 0;
    for slot in fs::read_dir(instance.state_dir().join("spill")).unwrap() {
        let slot = slot.unwrap().metadata().unwrap();
        assert!(slot.blocks() * 512 >= slot.len(), "a hole: {slot:?}");
        reserved += slot.len();
    }
    assert!(reserved >= 64 << 10, "{reserved} bytes are reserved");
}

/// A daemon that tells of what it notices by writing it into a file; that file.
fn with_an_alarm(instance: &Instance) -> PathBuf {
    let alarms = instance.dir().join("alarms");
    let script = instance.dir().join("alarm.sh");
    let text = format!("#!/bin/sh\necho \"$@\" >> {}\n", alarms.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    instance.configure(&format!(
        "[notify]\ndesktop = false\ncommand = [\"{}\"]\n",
        script.display()
    ));
    alarms
}

/// What the daemon itself has told, by its words.
fn told(instance: &Instance) -> Vec<String> {
    let query = EventsQuery {
        events: Some(vec![EventKind::Daemon]),
        ..EventsQuery::default()
    };
    let events = instance.call(&query).unwrap().events;
    events
        .into_iter()
        .filter_map(|event| event.outcome)
        .collect()
}

#[test]
fn a_full_disk_raises_an_alarm_and_what_it_did_not_take_is_written_when_there_is_space() {
    let server = server();
    let instance = Instance::new();
    let alarms = with_an_alarm(&instance);
    let Some(disk) = SmallDisk::mount(&instance) else {
        return;
    };
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    server.update(|settings| settings.access_token_prefix = "x".repeat(20_000));
    fail_while_renewing(&server, &instance, || disk.fill());
    assert!(is_flagged(
        &instance.account("demo"),
        FlagName::StoreDegraded
    ));
    assert!(told(&instance).contains(&"store_degraded".to_owned()));
    until("the alarm was given", || {
        fs::read_to_string(&alarms).is_ok_and(|text| text.contains("demo"))
    });
    // It is tried again, and nobody has to ask for it.
    let mut watcher = instance.watch();
    disk.free();
    watcher.wait_for_account("demo", 2 * PATIENCE, |info| info.flags.is_empty());
    assert!(told(&instance).contains(&"store_recovered".to_owned()));
    daemon.kill();
    let _daemon = instance.start_daemon();
    assert_eq!(instance.account("demo").generation, 2);
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
}

/// Renews with `trouble` beginning when the provider has rotated and its answer is on the way. The
/// answer is good all the same.
fn fail_while_renewing(server: &FakeServer, instance: &Instance, trouble: impl FnOnce()) {
    let generation = instance.account("demo").generation;
    server.close_gate(Endpoint::Token, Phase::AfterCommit);
    let mut waiting = instance.client();
    std::thread::scope(|scope| {
        let renewing = scope.spawn(move || call(&mut waiting, &renewal("demo")));
        server
            .wait_held_blocking(Endpoint::Token, 1, PATIENCE)
            .unwrap();
        trouble();
        server.open_gate(Endpoint::Token);
        let renewed = renewing.join().unwrap().unwrap();
        assert_eq!(renewed.generation, generation + 1);
    });
    let token = instance.token("demo", Duration::ZERO).unwrap();
    assert_eq!(
        api::ping(server, token.access_token.expose()),
        200,
        "the new one is served"
    );
}

/// The state directory, read-only even for root and for files that are open: no byte can be written
/// and no name changed.
struct Immutable(PathBuf);

impl Immutable {
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    fn make(instance: &Instance) -> Option<Self> {
        let made = Self(instance.state_dir());
        // The files first: a directory that is immutable still lets its files be changed.
        if let Err(why) = made.chattr("+i") {
            eprintln!("SKIPPED: files cannot be made immutable here (that takes root): {why}");
            return None;
        }
        Some(made)
    }

    fn chattr(&self, change: &str) -> Result<(), String> {
        let mut command = Command::new("chattr");
        command.args(["-R", change]);
        for part in ["authd.redb", "mirrors", "spill"] {
            command.arg(self.0.join(part));
        }
        let changed = Process::capture(&mut command).finish(PATIENCE);
        let names = self.names(change);
        if changed.code() == 0 && names.code() == 0 {
            return Ok(());
        }
        Err(format!("{changed:?} {names:?}"))
    }

    /// The same for the names in the directory itself.
    fn names(&self, change: &str) -> authd_e2e::process::Finished {
        let mut command = Command::new("chattr");
        command.arg(change).arg(&self.0);
        Process::capture(&mut command).finish(PATIENCE)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        // Both, or the directory could not be removed.
        let _ = self.names("-i");
        let _ = self.chattr("-i");
    }
}

#[test]
fn a_directory_turned_read_only_during_a_renewal_costs_no_token() {
    let server = server();
    let instance = Instance::new();
    let alarms = with_an_alarm(&instance);
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let mut read_only = None;
    fail_while_renewing(&server, &instance, || {
        read_only = Immutable::make(&instance);
    });
    let Some(read_only) = read_only else {
        return;
    };
    // No file took the answer: it is in memory, served, and said to be there alone.
    assert!(is_flagged(
        &instance.account("demo"),
        FlagName::StoreDegraded
    ));
    assert!(told(&instance).contains(&"store_degraded".to_owned()));
    until("the alarm was given", || {
        fs::read_to_string(&alarms).is_ok_and(|text| text.contains("demo"))
    });
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(refused.code, ErrorCode::StoreFailed, "{refused}");
    assert_eq!(server.counts().refreshes(), 1, "no further rotation");

    let mut watcher = instance.watch();
    drop(read_only);
    watcher.wait_for_account("demo", 2 * PATIENCE, |info| info.flags.is_empty());
    daemon.kill();
    let _daemon = instance.start_daemon();
    let info = instance.account("demo");
    assert_eq!((info.generation, info.flags), (2, vec![]));
    instance.renew("demo").unwrap();
    assert_eq!(server.counts().reuse_detected, 0);
}

#[test]
fn a_disk_that_is_full_before_the_exchange_stops_it_and_is_taken_up_again_by_itself() {
    let server = server();
    let instance = Instance::new();
    let Some(disk) = SmallDisk::mount(&instance) else {
        return;
    };
    let _daemon = instance.start_daemon();
    instance.login(&server, "demo");
    disk.fill();
    let refused = instance.renew("demo").unwrap_err();
    assert_eq!(refused.code, ErrorCode::StoreFailed, "{refused}");
    assert_eq!(server.counts().refreshes(), 0, "nothing left this machine");
    assert!(is_flagged(
        &instance.account("demo"),
        FlagName::StoreDegraded
    ));
    assert!(
        instance.token("demo", Duration::ZERO).is_ok(),
        "the token at hand is served"
    );
    disk.free();
    instance.renew("demo").unwrap();
    assert_eq!(instance.account("demo").flags, vec![]);
}

const ACCOUNTS: [&str; 3] = ["one", "two", "three"];

/// Zeroes one page after the other, each time with the daemon stopped by `stop`, and looks whether
/// every account is still there with a token that works.
fn zero_every_page(stop: impl Fn(Daemon)) {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    for account in ACCOUNTS {
        instance.login(&server, account);
    }
    assert!(daemon.stop().success());
    let database = instance.state_dir().join("authd.redb");
    let pages = fs::metadata(&database).unwrap().len() / PAGE;
    assert!(pages > 3, "a database of {pages} pages");
    let mut rebuilt = 0;
    for page in 0..pages {
        stop(instance.start_daemon());
        zero(&database, page);
        let daemon = instance.start_daemon();
        for account in ACCOUNTS {
            let token = instance.token(account, Duration::ZERO).unwrap();
            let status = api::ping(&server, token.access_token.expose());
            assert_eq!(status, 200, "{account}, page {page}");
            let flags = instance.account(account).flags;
            assert_eq!(flags, vec![], "{account}, page {page}");
        }
        let detail = instance.status().store.detail.unwrap_or_default();
        rebuilt += u64::from(detail.contains("rebuilt from its mirrors"));
        instance.renew("two").unwrap();
        assert!(daemon.stop().success());
    }
    assert!(rebuilt > 0, "no page that was zeroed was in use");
    assert_eq!(server.counts().reuse_detected, 0);
    assert_eq!(server.counts().authorizations, 3, "no login was lost");
}

#[test]
fn any_page_zeroed_after_a_kill_is_made_good_from_the_mirrors() {
    zero_every_page(Daemon::kill);
}

#[test]
fn any_page_zeroed_after_a_clean_stop_is_made_good_from_the_mirrors() {
    zero_every_page(|daemon| assert!(daemon.stop().success()));
}

fn zero(database: &Path, page: u64) {
    let mut file = OpenOptions::new().write(true).open(database).unwrap();
    file.seek(SeekFrom::Start(page * PAGE)).unwrap();
    file.write_all(&[0; PAGE as usize]).unwrap();
}

#[test]
fn a_damaged_mirror_harms_nothing_while_the_database_is_whole() {
    let server = server();
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    daemon.kill();
    for mirror in fs::read_dir(instance.state_dir().join("mirrors")).unwrap() {
        fs::write(mirror.unwrap().path(), b"nothing of ours").unwrap();
    }
    let _daemon = instance.start_daemon();
    instance.renew("demo").unwrap();
    assert_eq!(instance.account("demo").flags, vec![]);
}
