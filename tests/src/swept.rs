//! An instance in which every secret bears the mark, and that is looked through for it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use authd_proto::{
    call::Request,
    frame::FrameBuffer,
    message::Message,
    provider::ProviderList,
    request::{
        AccountGet, AccountList, DaemonReload, DaemonStatus, EventsQuery, LoginStart, LoginWait,
        Renew, Subscribe,
    },
};
use authd_testkit::{Client, ClientAuthentication, FakeServer, Options, Settings};

use crate::{
    binaries,
    instance::{Instance, private_directory},
    login::PendingLogin,
    process::Finished,
    raw::{Raw, frame},
    sweep::{holds_secret, leaks_below, leaks_of_processes},
};

/// A client's secret with all in it that is written otherwise somewhere.
pub const SECRET: &str = "canary-secret-sweepmark/+&\"'\\%é";

/// An instance whose every program says all that it ever says, with a provider whose tokens bear the mark.
pub struct Swept {
    /// The provider: it knows the clients `native` and `confidential`, the latter by [`SECRET`].
    pub server: FakeServer,
    /// Where everything runs.
    pub instance: Instance,
    /// What the person put there, secrets among it.
    given: PathBuf,
}

impl Default for Swept {
    fn default() -> Self {
        Self::new()
    }
}

impl Swept {
    /// A fresh one, no daemon running.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            access_token_prefix: "canary-at-sweepmark-".to_owned(),
            refresh_token_prefix: "canary-rt-sweepmark-".to_owned(),
            device_interval: Duration::from_secs(1),
            ..Settings::default()
        };
        let secret = ClientAuthentication::Basic(SECRET.to_owned());
        let server = FakeServer::start(Options {
            settings,
            clients: vec![
                Client::native("native"),
                Client::native("confidential").authenticated_by(secret),
            ],
            ..Options::default()
        });
        let mut instance = Instance::new();
        let (given, temporary) = (instance.dir().join("given"), instance.dir().join("tmp"));
        private_directory(&given);
        private_directory(&temporary);
        instance.set_env("TMPDIR", temporary);
        Self {
            server: server.expect("a fake provider"),
            instance,
            given,
        }
    }

    /// A file of the person's, for nobody else to read.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn give(&self, name: &str, text: &str) -> String {
        let path = self.given.join(name);
        fs::write(&path, text).expect("a file of ours");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, mode).expect("a file of ours");
        path.to_str().expect("a plain path").to_owned()
    }

    /// Runs `authctl` to its end; there is no secret in what it prints.
    ///
    /// # Panics
    /// When there is.
    pub fn authctl(&self, arguments: &[&str]) -> Finished {
        let finished = self.instance.authctl(arguments);
        says_nothing(&finished);
        finished
    }

    /// A login with these options to its end, and there is no secret in what it prints; the code of its error,
    /// or `done`. With `browse` somebody signs in.
    ///
    /// # Panics
    /// When there is, or it does not end.
    #[must_use]
    pub fn login(&self, account: &str, options: &[&str], browse: bool) -> String {
        let mut command = self.instance.command(binaries::authctl());
        command.args(["login", account, "--no-browser", "--json"]);
        command.args(options);
        // Where it is not asked for it is taken for a pasted answer, and is none.
        let mut pending = PendingLogin::start_with_input(&mut command, SECRET);
        if browse && pending.authorize()["event"] == "authorize" {
            pending.browse();
        }
        let (last, finished) = pending.finish();
        says_nothing(&finished);
        let outcome = last["code"].as_str().or(last["event"].as_str());
        outcome
            .unwrap_or_else(|| panic!("no end of a login: {finished:?}"))
            .to_owned()
    }

    /// The options of a login as the public client.
    #[must_use]
    pub fn native(&self) -> [&str; 4] {
        ["--issuer", self.server.issuer(), "--client-id", "native"]
    }

    /// Looks through everything that others can read, and everything on the disk.
    ///
    /// # Panics
    /// When there is a secret in it.
    pub fn sweep(&self, after: &str) {
        assert!(self.instance.log().contains("DEBUG"), "the log is verbose");
        let leaks = leaks_below(self.instance.dir(), Some(&self.given));
        assert_eq!(leaks, Vec::<PathBuf>::new(), "files, after {after}");
        let leaks = leaks_of_processes();
        assert_eq!(leaks, Vec::<PathBuf>::new(), "processes, after {after}");
    }

    /// Asks the daemon all that it can be asked without a token for an answer, and looks at the bytes of the
    /// answers: tokens go out in those to `token.get` and `token.reject` alone.
    ///
    /// # Panics
    /// When there is a secret in one.
    pub fn ask_everything(&self) {
        let account = "demo".to_owned();
        self.ask(&AccountList::default());
        self.ask(&AccountGet { account });
        self.ask(&DaemonStatus {});
        self.ask(&DaemonReload {});
        self.ask(&EventsQuery::default());
        self.ask(&ProviderList::default());
        self.ask(&Subscribe::default());
        self.ask(&Renew {
            account: "nobody".to_owned(),
            scopes: None,
            resource: None,
            wait_secs: Some(0),
        });
        self.ask(&LoginStart {
            account: "nobody".to_owned(),
            ..LoginStart::default()
        });
        self.ask(&LoginWait {
            login_id: "none".to_owned(),
            wait_secs: Some(0),
        });
    }

    fn ask<R: Request>(&self, request: &R) {
        let mut raw = Raw::connect(&self.instance.socket());
        assert!(raw.send(&frame(7, request)));
        let mut incoming = FrameBuffer::new();
        loop {
            let read = incoming.next_frame().expect("frames");
            let Some(frame) = read else {
                let count = incoming.read_from(raw.stream()).expect("an answer");
                assert!(count > 0, "no answer");
                continue;
            };
            let method = R::METHOD.as_str();
            assert!(
                !holds_secret(frame),
                "a secret is in the answer to {method}"
            );
            if let Ok(Message::Response { .. }) = Message::parse(frame) {
                return;
            }
        }
    }
}

/// Asserts that there is no secret in what a command printed.
///
/// # Panics
/// When there is.
pub fn says_nothing(finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!holds_secret(text.as_bytes()), "a secret: {finished:?}");
    }
}
