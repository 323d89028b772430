//! A daemon of the tests: speaks the protocol over a real socket, and says what the test tells it to.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use authd_proto::call::Call;
use authd_proto::error::{ErrorShape, WireError};
use authd_proto::event::{Event, EventKind};
use authd_proto::frame::FrameBuffer;
use authd_proto::message::Message;
use authd_proto::response as res;
use authd_proto::{WireSecret, encode};

/// Longer than any test takes, short enough to see that one hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, written to the connection it belongs to.
pub(crate) struct Reply<'a> {
    stream: &'a UnixStream,
    id: u32,
}

impl Reply<'_> {
    pub(crate) fn ok<T: serde::Serialize>(&mut self, result: &T) {
        let mut out = Vec::new();
        encode::response(&mut out, self.id, result).expect("encodes");
        self.send(&out);
    }

    pub(crate) fn error(&mut self, error: &WireError) {
        let mut out = Vec::new();
        encode::error(&mut out, self.id, error, ErrorShape::Map);
        self.send(&out);
    }

    pub(crate) fn event(&mut self, event: EventKind) {
        self.push(&Event::new(1, 1, event));
    }

    pub(crate) fn push(&mut self, event: &Event) {
        let mut out = Vec::new();
        encode::event(&mut out, event).expect("encodes");
        self.send(&out);
    }

    pub(crate) fn hang_up(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn send(&mut self, bytes: &[u8]) {
        // A client that has gone away is the test's own business.
        let _ = (&mut &*self.stream).write_all(bytes);
    }
}

type Script = dyn Fn(Call<'_>, &mut Reply<'_>) + Send + Sync;

/// The daemon; ends with the test process.
pub(crate) struct FakeDaemon {
    directory: tempfile::TempDir,
    calls: Mutex<Receiver<String>>,
}

impl FakeDaemon {
    /// Listens; each call but `hello` is answered by `script`.
    pub(crate) fn start(script: impl Fn(Call<'_>, &mut Reply<'_>) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("s")).expect("listens");
        let (sender, calls) = channel();
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, sender) = (Arc::clone(&script), sender.clone());
                std::thread::spawn(move || serve(&stream, &*script, &sender));
            }
        });
        Self {
            directory,
            calls: Mutex::new(calls),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// The command, meant for this daemon.
    pub(crate) fn authctl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = authctl(args);
        command
            .env("AUTHD_SOCKET", self.socket())
            .env("AUTHD_STATE_DIR", self.directory.path())
            .env("AUTHD_CONFIG_DIR", self.directory.path());
        command
    }

    /// The method of the next call that came (but `hello`), waiting for it.
    pub(crate) fn next_call(&self) -> String {
        let calls = self.calls.lock().expect("not poisoned");
        calls.recv_timeout(PATIENCE).expect("a call")
    }
}

/// The command in an environment of its own: no colour wishes, no tokens, no daemon.
pub(crate) fn authctl<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authctl"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(args)
        .timeout(PATIENCE);
    command
}

fn serve(stream: &UnixStream, script: &Script, calls: &Sender<String>) {
    let mut incoming = FrameBuffer::new();
    let mut source = stream;
    loop {
        match incoming.next_frame().expect("frames") {
            None => {
                if incoming.read_from(&mut source).unwrap_or(0) == 0 {
                    return;
                }
            }
            Some(frame) => {
                let Ok(Message::Request { id, method, params }) = Message::parse(frame) else {
                    panic!("the client sends requests only");
                };
                let mut reply = Reply { stream, id };
                match Call::decode(method, params).unwrap_or_else(|e| panic!("{method}: {e}")) {
                    Call::Hello(hello) => {
                        assert_eq!(hello.errors, ErrorShape::Map);
                        reply.ok(&res::HelloReply {
                            version: 1,
                            min_version: 1,
                            max_version: 1,
                            daemon_version: "0.1.0".to_owned(),
                            max_frame: 262_144,
                            max_depth: 16,
                            max_wait_secs: 300,
                        });
                    }
                    call => {
                        // Nobody asks for it in most tests.
                        let _ = calls.send(method.to_owned());
                        script(call, &mut reply);
                    }
                }
            }
        }
    }
}

pub(crate) fn renewal() -> res::RenewReply {
    res::RenewReply {
        token_type: "Bearer".to_owned(),
        expires_at: Some(2_000_000_000),
        expiry: res::Expiry::Exact,
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        resource: None,
        account: "work".to_owned(),
        subject: Some("alice".to_owned()),
        generation: 7,
        fingerprint: "f1".to_owned(),
        ttl_secs: Some(250),
        low: false,
        renewed: false,
    }
}

pub(crate) fn token(secret: &str) -> res::TokenReply {
    res::TokenReply {
        access_token: WireSecret::new(secret),
        renewal: renewal(),
    }
}

pub(crate) fn account(name: &str) -> res::AccountInfo {
    let lease = res::LeaseInfo {
        resource: None,
        scopes: vec!["openid".to_owned()],
        state: res::State::Fresh,
        expires_at: Some(2_000_000_000),
        expiry: res::Expiry::Exact,
        ttl_secs: Some(2_530),
        generation: 7,
        next_renewal_at: Some(0),
        learned_lifetime_secs: None,
        stated_lifetime_secs: None,
    };
    res::AccountInfo {
        account: name.to_owned(),
        issuer: "https://idp.example.com".to_owned(),
        client_id: "authd".to_owned(),
        state: res::State::Fresh,
        flags: Vec::new(),
        expires_at: lease.expires_at,
        expiry: lease.expiry,
        ttl_secs: lease.ttl_secs,
        next_renewal_at: lease.next_renewal_at,
        generation: 7,
        renewals: 6,
        last_error: None,
        subject: Some("248289761001".to_owned()),
        subject_name: Some("Alice".to_owned()),
        scopes: lease.scopes.clone(),
        resource: None,
        profile: None,
        dpop: None,
        created_at: 1_700_000_000,
        login_ends_at: None,
        clock_ahead_secs: None,
        leases: vec![lease],
    }
}

pub(crate) fn daemon_status() -> res::DaemonStatusReply {
    res::DaemonStatusReply {
        version: "0.1.0".to_owned(),
        protocol: 1,
        pid: 4242,
        started_at: 1_700_000_000,
        uptime_secs: 7_830,
        socket: "/run/user/1000/authd/authd.sock".to_owned(),
        state_dir: "/home/alice/.local/state/authd".to_owned(),
        config_path: None,
        key_protection: res::KeyProtection {
            kind: "keyring".to_owned(),
            detail: "Secret Service".to_owned(),
        },
        sandbox: "full".to_owned(),
        protections: Vec::new(),
        store: res::StoreStatus {
            state: "ok".to_owned(),
            detail: None,
            hint: None,
        },
        accounts: 1,
        connections: 1,
        watchers: 0,
        waiters: 0,
        exchanges_in_flight: 0,
        questions_in_flight: 0,
        served: 12,
        renewals: 6,
        revocations: Vec::new(),
        approvals_waiting: 0,
        audit_lost: 0,
    }
}

/// What `status` and `doctor` ask, answered from these.
pub(crate) fn state_of(
    status: res::DaemonStatusReply,
    accounts: Vec<res::AccountInfo>,
) -> impl Fn(Call<'_>, &mut Reply<'_>) + Send + Sync + 'static {
    move |call, reply| match call {
        Call::DaemonStatus(_) => reply.ok(&status),
        Call::DoctorCheck(_) => reply.ok(&authd_proto::doctor::DoctorCheckReply {
            findings: Vec::new(),
            variables: Vec::new(),
            salt: "salt".to_owned(),
        }),
        Call::AccountList(_) => reply.ok(&res::AccountListReply {
            accounts: accounts.clone(),
            cursor: None,
        }),
        Call::AccountGet(get) => match accounts.iter().find(|known| known.account == get.account) {
            Some(account) => reply.ok(account),
            None => reply.error(
                &WireError::new(
                    authd_proto::ErrorCode::UnknownAccount,
                    format!("there is no account '{}'", get.account),
                )
                .with_account(get.account),
            ),
        },
        Call::AccountCheck(check) => reply.ok(&res::AccountCheckReply {
            account: check.account,
            metadata: res::MetadataState::Unchanged,
            message: None,
        }),
        call => panic!("not expected: {}", call.method().as_str()),
    }
}

/// Standard output and standard error as text, and the exit status.
pub(crate) fn run(command: &mut Command) -> (String, String, Option<i32>) {
    let output = command.output().expect("runs");
    (
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
        output.status.code(),
    )
}
