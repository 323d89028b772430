//! Logging in again needs no arguments and mends an account in whatever state it is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use authd_e2e::{Daemon, Instance, PendingLogin, api, binaries, instance::private_directory};
use authd_proto::response::{FlagName, State};
use authd_testkit::{Endpoint, FakeServer, Fault, Options, Rule};

/// A provider, a login at it, and the daemon that holds it.
struct Scene {
    server: FakeServer,
    instance: Instance,
    daemon: Option<Daemon>,
}

impl Scene {
    fn new() -> Self {
        let server = FakeServer::start(Options::default()).unwrap();
        let instance = Instance::new();
        instance.configure("[network]\nrequest_timeout_secs = 1\n");
        let daemon = instance.start_daemon();
        instance.login(&server, "demo");
        Self {
            server,
            instance,
            daemon: Some(daemon),
        }
    }

    /// A renewal meets this.
    fn meet(&self, fault: impl Into<Rule>) {
        let rule = fault.into().for_grant_type("refresh_token");
        self.server.fault_always(Endpoint::Token, rule);
        self.instance.renew("demo").unwrap_err();
    }

    /// Yesterday's store stands where today's was.
    fn restore_an_older_store(&mut self) {
        let backup = self.instance.dir().join("backup");
        private_directory(&backup);
        assert!(self.daemon.take().unwrap().stop().success());
        copy(&self.instance.state_dir(), &backup);
        let daemon = self.instance.start_daemon();
        self.instance.renew("demo").unwrap();
        assert!(daemon.stop().success());
        fs::remove_dir_all(self.instance.state_dir()).unwrap();
        private_directory(&self.instance.state_dir());
        copy(&backup, &self.instance.state_dir());
        self.daemon = Some(self.instance.start_daemon());
    }
}

/// Copies what is in a directory, sockets apart, into one that is there.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            private_directory(&target);
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn inv_22_login_without_arguments_mends_every_broken_state_of_the_real_daemon() {
    type Breaks = fn(&mut Scene);
    let states: [(FlagName, Breaks); 7] = [
        (FlagName::Offline, |scene| scene.meet(Fault::status(500))),
        (FlagName::Ambiguous, |scene| scene.meet(Fault::Drop)),
        (FlagName::Suspect, |scene| {
            scene.meet(Fault::oauth_error("invalid_grant"));
        }),
        (FlagName::Misconfigured, |scene| {
            scene.meet(Fault::oauth_error("invalid_client"));
        }),
        (FlagName::Throttled, |scene| {
            scene.meet(Fault::too_many_requests(3600));
        }),
        (FlagName::NeedsLogin, |scene| {
            scene.meet(Fault::oauth_error("interaction_required"));
        }),
        (FlagName::StaleStore, Scene::restore_an_older_store),
    ];
    for (flag, breaks) in states {
        let mut scene = Scene::new();
        breaks(&mut scene);
        let broken = scene.instance.account("demo");
        let flags: Vec<_> = broken.flags.iter().map(|raised| raised.flag).collect();
        assert!(flags.contains(&flag), "{flag:?}: {flags:?}");

        // The fault of renewals is still there: a login does not depend on it.
        let mut command = scene.instance.command(binaries::authctl());
        command.args(["login", "demo", "--no-browser", "--json"]);
        let mut pending = PendingLogin::start(&mut command);
        assert_eq!(pending.browse().status, 200, "{flag:?}");
        let (last, finished) = pending.finish();
        assert_eq!(last["event"], "done", "{flag:?}: {finished:?}");

        let mended = scene.instance.account("demo");
        assert_eq!(
            (mended.state, mended.flags),
            (State::Fresh, vec![]),
            "{flag:?}"
        );
        let token = scene.instance.token("demo", Duration::ZERO).unwrap();
        let works = api::ping(&scene.server, token.access_token.expose());
        assert_eq!(works, 200, "{flag:?}");
        scene.server.clear_faults(Endpoint::Token);
        scene.instance.renew("demo").unwrap();
    }
}
