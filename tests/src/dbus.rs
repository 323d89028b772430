//! A session bus of the test's own, and gnome-keyring on it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::Signal;
use zbus::{
    blocking::{Connection, Proxy, connection, fdo::DBusProxy},
    object_server::Interface,
    zvariant::{DynamicDeserialize, DynamicType, OwnedObjectPath, OwnedValue, Value},
};

use crate::{PATIENCE, process::Process, tool, until};

/// The Secret Service's name on the bus.
const SECRETS: &str = "org.freedesktop.secrets";
/// What every Secret Service has.
const SERVICE: &str = "org.freedesktop.Secret.Service";
/// What gnome-keyring's own dialog uses; there is no other way to unlock it without a person.
const DIALOG: &str = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
/// The password of the keyring. Only ever this one's.
const PASSWORD: &[u8] = b"a password of the tests";

/// A bus on which nothing is started by itself: what is on it was put there.
const CONFIGURATION: &str = r#"<busconfig>
  <type>session</type>
  <listen>unix:path=DIRECTORY/socket</listen>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// A session bus by `dbus-run-session`. It ends with the test, however that ends.
pub struct Bus {
    process: Process,
    address: String,
    dir: PathBuf,
}

impl Bus {
    /// Starts one; `dir` is for its socket and for all that a keyring keeps.
    ///
    /// # Panics
    /// When it is not installed, or does not come up within [`PATIENCE`].
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let dir = dir.join("bus");
        fs::create_dir(&dir).expect("a new directory");
        let configuration = dir.join("bus.conf");
        let text = CONFIGURATION.replace("DIRECTORY", &dir.display().to_string());
        fs::write(&configuration, text).expect("a writable directory");
        Self::run(dir)
    }

    /// Ends it and starts it again: nobody who was on it is on it any more.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn restart(self) -> Self {
        let dir = self.dir.clone();
        drop(self);
        // Nobody waits for the bus: `dbus-run-session` tells it to end and leaves. What it does last
        // is to remove its socket, and by now that could be the next one's.
        until("the bus has ended", || !dir.join("socket").exists());
        Self::run(dir)
    }

    fn run(dir: PathBuf) -> Self {
        let configuration = dir.join("bus.conf");
        let mut process = Process::spawn(
            Command::new(tool::required("dbus-run-session"))
                .arg("--config-file")
                .arg(configuration)
                // The session lasts until its standard input is closed.
                .args(["--", "sh", "-c"])
                .arg(r#"echo "$DBUS_SESSION_BUS_ADDRESS"; exec cat"#)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let stdout = process.child().stdout.take().expect("a pipe was asked for");
        let line = in_time(move || {
            let mut line = String::new();
            // Nothing read is no address, and is told below.
            let _ = BufReader::new(stdout).read_line(&mut line);
            line
        });
        // Without its id, which is another one when it is started again.
        let address = line.trim().split(',').next().unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "the session bus does not come up");
        Self {
            process,
            address,
            dir,
        }
    }

    /// `DBUS_SESSION_BUS_ADDRESS`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts gnome-keyring, its keyring unlocked (and made, the first time).
    ///
    /// # Panics
    /// When it is not installed, or does not come up within [`PATIENCE`].
    #[must_use]
    pub fn start_keyring(&self) -> Keyring<'_> {
        let connection = self.connection();
        let process = self.gnome_keyring(&["--unlock", "--components=secrets", "--foreground"]);
        in_time(move || {
            let bus = DBusProxy::new(&connection).expect("the bus itself");
            let filter = [(0, SECRETS)];
            let mut changes = bus
                .receive_name_owner_changed_with_args(&filter)
                .expect("a subscription");
            let name = SECRETS.try_into().expect("a name");
            if !bus.name_has_owner(name).expect("an answer of the bus") {
                changes.next();
            }
        });
        Keyring { bus: self, process }
    }

    fn gnome_keyring(&self, arguments: &[&str]) -> Process {
        let mut process = Process::spawn(
            Command::new(tool::required("gnome-keyring-daemon"))
                .args(arguments)
                .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
                .env("HOME", &self.dir)
                .env("XDG_DATA_HOME", &self.dir)
                .env("XDG_RUNTIME_DIR", &self.dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let stdin = process.child().stdin.take();
        let written = stdin.map(|mut stdin| stdin.write_all(PASSWORD));
        written
            .expect("a pipe was asked for")
            .expect("the keyring reads its password");
        process
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connect(|builder| Ok(builder))
    }

    /// A connection that is `name` on this bus and serves `interface` at `path`. Nobody can call it
    /// before it answers: its name is asked for last.
    pub(crate) fn serve(
        &self,
        name: &'static str,
        path: &'static str,
        interface: impl Interface,
    ) -> Connection {
        self.connect(move |builder| builder.serve_at(path, interface)?.name(name))
    }

    fn connect<F>(&self, with: F) -> Connection
    where
        F: FnOnce(connection::Builder<'_>) -> zbus::Result<connection::Builder<'_>>,
        F: Send + 'static,
    {
        let address = self.address.clone();
        in_time(move || {
            connection::Builder::address(address.as_str())
                .and_then(with)
                .and_then(|builder| builder.method_timeout(PATIENCE).build())
                .expect("a connection to the bus")
        })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // `dbus-run-session` takes its bus along only when it ends by itself.
        drop(self.process.child().stdin.take());
        self.process.wait(PATIENCE);
    }
}

/// A running gnome-keyring. Dropping it ends it; what it keeps stays on the disk.
pub struct Keyring<'a> {
    bus: &'a Bus,
    process: Process,
}

impl Keyring<'_> {
    /// Locks the default keyring.
    ///
    /// # Panics
    /// When that does not work.
    pub fn lock(&self) {
        let connection = self.bus.connection();
        let keyrings = vec![default_keyring(&connection)];
        let (locked, _prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            ask(&connection, SERVICE, "Lock", &(keyrings,));
        assert_eq!(locked.len(), 1, "the keyring is locked without a question");
    }

    /// Unlocks it, as its dialog does once the person has typed the password.
    ///
    /// # Panics
    /// When that does not work.
    pub fn unlock(&self) {
        let connection = self.bus.connection();
        let plain = ("plain", Value::from(""));
        let (_, session): (OwnedValue, OwnedObjectPath) =
            ask(&connection, SERVICE, "OpenSession", &plain);
        let secret = (session, Vec::<u8>::new(), PASSWORD, "text/plain");
        let keyring = default_keyring(&connection);
        ask::<_, ()>(
            &connection,
            DIALOG,
            "UnlockWithMasterPassword",
            &(keyring, secret),
        );
    }

    /// How many secrets of authd's it holds.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn secrets(&self) -> usize {
        let attributes = BTreeMap::from([("service", "authd")]);
        let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = ask(
            &self.bus.connection(),
            SERVICE,
            "SearchItems",
            &(attributes,),
        );
        unlocked.len() + locked.len()
    }

    /// From now on it takes questions and answers none, as one does that hangs.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// It goes on where it stood.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Ends it, and waits until it is gone.
    ///
    /// # Panics
    /// When it outlives that.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        assert!(self.process.wait(PATIENCE).is_some(), "it outlived SIGTERM");
    }
}

fn default_keyring(connection: &Connection) -> OwnedObjectPath {
    ask(connection, SERVICE, "ReadAlias", &("default",))
}

fn ask<B, R>(connection: &Connection, interface: &str, method: &str, body: &B) -> R
where
    B: serde::Serialize + DynamicType,
    R: for<'d> DynamicDeserialize<'d>,
{
    Proxy::new(connection, SECRETS, "/org/freedesktop/secrets", interface)
        .and_then(|service| service.call(method, body))
        .unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// What `wait` comes to, within [`PATIENCE`].
pub(crate) fn in_time<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // The test may have given up.
        let _ = tell.send(wait());
    });
    told.recv_timeout(PATIENCE).expect("it happens in time")
}
