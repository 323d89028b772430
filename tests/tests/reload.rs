//! The configuration is read again without a restart, and a bad file changes nothing.

use authd_e2e::{Instance, PATIENCE, instance::call, until};
use authd_proto::{
    ErrorCode,
    event::EventKind,
    request::{DaemonReload, DaemonStatus},
};
use rustix::process::Signal;

#[test]
fn a_bad_file_keeps_the_old_configuration_and_says_why() {
    let instance = Instance::new();
    instance.configure("[renewal]\nidle_after_secs = 77\n");
    let _daemon = instance.start_daemon();
    instance.configure("[renewal]\nidle_after_sec = 78\n");
    let refused = instance.call(&DaemonReload {}).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BadConfig);
    assert!(
        refused.message.contains("did you mean `idle_after_secs`?"),
        "{refused}"
    );
    // What is in force is still what the first file said: writing that again changes nothing.
    instance.configure("[renewal]\nidle_after_secs = 77\n");
    assert_eq!(
        instance.call(&DaemonReload {}).unwrap().changed,
        Vec::<String>::new()
    );
    instance.configure("[renewal]\nidle_after_secs = 78\n");
    assert_eq!(
        instance.call(&DaemonReload {}).unwrap().changed,
        ["renewal"]
    );
}

#[test]
fn sighup_reloads_and_drops_no_connection() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    let mut connected = instance.client();
    call(&mut connected, &DaemonStatus {}).unwrap();
    let mut watcher = instance.watch();
    instance.configure("[notify]\ndesktop = false\n");
    daemon.signal(Signal::HUP);
    watcher.wait_for(PATIENCE, |event| {
        event.event == EventKind::Daemon && event.outcome.as_deref() == Some("reloaded")
    });
    instance.configure("= =\n");
    daemon.signal(Signal::HUP);
    until("the log says that the bad file was not taken", || {
        instance.log().contains("the configuration stays as it was")
    });
    assert_eq!(
        call(&mut connected, &DaemonStatus {}).unwrap().pid,
        daemon.pid()
    );
    instance.configure("[notify]\ndesktop = false\n");
    assert_eq!(
        instance.call(&DaemonReload {}).unwrap().changed,
        Vec::<String>::new()
    );
    assert!(daemon.stop().success());
}

#[test]
fn what_counts_from_the_next_start_on_is_told_until_then() {
    let instance = Instance::new();
    let daemon = instance.start_daemon();
    instance.configure("allow_root = true\n[network]\nrequest_timeout_secs = 5\n");
    for changed in [&["allow_root", "network"][..], &["network"]] {
        let reloaded = instance.call(&DaemonReload {}).unwrap();
        assert_eq!(reloaded.changed, changed);
        assert_eq!(reloaded.warnings.len(), 1, "{reloaded:?}");
    }
    let told = instance.authctl(&["doctor"]).stdout;
    assert!(
        told.contains("changed since it was read: network"),
        "{told}"
    );
    assert!(told.contains("-> authctl daemon stop"), "{told}");
    assert!(daemon.stop().success());
    let _daemon = instance.start_daemon();
    let told = instance.authctl(&["doctor"]).stdout;
    assert!(!told.contains("changed since it was read"), "{told}");
}
