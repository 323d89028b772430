//! A disk that is full and a database that is damaged cost no login.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use authd_e2e::{
    Daemon, Instance, PATIENCE, Process, api,
    instance::{call, is_flagged, renewal},
};
use authd_proto::{ErrorCode, response::FlagName};
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
