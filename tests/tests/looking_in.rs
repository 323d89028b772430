//! Another program of the same user looks into the daemon, in every way that the system has. None works;
//! each works on a process that does nothing against it, so that these tests can fail.
//!
//! Daemon and intruder run as a user that the test makes up: to root, which the tests may be, the kernel
//! refuses nothing of this.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "what an intruder does has no safe name")]

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use authd_e2e::{Instance, PATIENCE, Process, binaries, may_change_users, sweep, tool};
use authd_testkit::{FakeServer, Options};
use hmac::{Hmac, Mac};
use rustix::process::{
    Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions, kill_process, prlimit, waitpid,
};
use sha2::Sha256;

/// Nobody else's, here or in another test.
const SOMEBODY: u32 = 61_234;
/// In the environment of those who are looked into.
const CANARY: &str = "canary-environment";

/// Does `what` as somebody. On Linux a user is a thread's own, and ends with it.
fn as_somebody<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_gid(Gid::from_raw(SOMEBODY)).unwrap();
        rustix::thread::set_thread_uid(Uid::from_raw(SOMEBODY)).unwrap();
        what()
    });
    thread.join().unwrap()
}

fn pid_of(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

/// A process of somebody's that does nothing, and nothing against anybody.
fn ordinary(directory: &Path) -> Process {
    let mut command = Command::new(tool::required("cat"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .current_dir(directory)
        .env("CANARY", CANARY)
        .uid(SOMEBODY)
        .gid(SOMEBODY);
    let process = Process::spawn(&mut command);
    // Its own program by now, and no longer this one's copy.
    authd_e2e::until("it runs", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.pid()));
        name.is_ok_and(|name| name == "cat\n")
    });
    process
}

/// One way to look in; it says what the system answered.
type Attack = (&'static str, fn(u32) -> io::Result<()>);

const ATTACKS: &[Attack] = &[
    ("ptrace attach", attach),
    ("ptrace seize", seize),
    ("gdb", gdb),
    ("/proc/PID/mem", |id| open(id, "mem")),
    ("/proc/PID/environ", |id| open(id, "environ")),
    ("/proc/PID/maps", |id| open(id, "maps")),
    ("/proc/PID/auxv", |id| open(id, "auxv")),
    ("/proc/PID/exe", |id| fs::read_link(of(id, "exe")).map(drop)),
    ("/proc/PID/cwd", |id| fs::read_dir(of(id, "cwd")).map(drop)),
    ("/proc/PID/fd", |id| fs::read_dir(of(id, "fd")).map(drop)),
    ("process_vm_readv", read_memory),
    ("pidfd_getfd", take_descriptor),
];

fn of(id: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(id.to_string()).join(file)
}

fn open(id: u32, file: &str) -> io::Result<()> {
    File::open(of(id, file)).map(drop)
}

fn result(returned: libc::c_long) -> io::Result<()> {
    match returned {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn attach(id: u32) -> io::Result<()> {
    trace(libc::PTRACE_ATTACH, id)?;
    // It stops, and must stand still to be let go.
    waitpid(Some(pid_of(id)), WaitOptions::UNTRACED)?;
    trace(libc::PTRACE_DETACH, id)
}

fn seize(id: u32) -> io::Result<()> {
    trace(libc::PTRACE_SEIZE, id)?;
    trace(libc::PTRACE_INTERRUPT, id)?;
    waitpid(Some(pid_of(id)), WaitOptions::UNTRACED)?;
    trace(libc::PTRACE_DETACH, id)
}

fn trace(request: libc::c_uint, id: u32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of these requests reads or writes memory of this process.
    let returned = unsafe { libc::ptrace(request, id.cast_signed(), none, none) };
    result(returned)
}

fn gdb(id: u32) -> io::Result<()> {
    // It inherits the user of the thread that starts it.
    let output = Command::new(tool::required("gdb"))
        .args(["-nx", "-batch", "-iex", "set debuginfod enabled off"])
        .args(["-p", &id.to_string(), "-ex", "info registers pc"])
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    match text.lines().any(|line| line.starts_with("pc ")) {
        true => Ok(()),
        false if errors.contains("Operation not permitted") => {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        false => panic!("gdb says something else: {text} {errors}"),
    }
}

fn read_memory(id: u32) -> io::Result<()> {
    // Any mapping of it; of one that hides its mappings, one of this process's: it is not got to.
    let maps = fs::read_to_string(of(id, "maps"));
    let maps = maps.or_else(|_| fs::read_to_string("/proc/self/maps"))?;
    let start = maps.split('-').next().unwrap_or_default();
    let start = usize::from_str_radix(start, 16).unwrap();
    let mut bytes = [0u8; 16];
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: bytes.len(),
    };
    // SAFETY: what is written to is `bytes`, which is as long as said.
    let returned = unsafe { libc::process_vm_readv(id.cast_signed(), &local, 1, &remote, 1, 0) };
    result(returned as libc::c_long)
}

fn take_descriptor(id: u32) -> io::Result<()> {
    let process = rustix::process::pidfd_open(pid_of(id), rustix::process::PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(process, 0, rustix::process::PidfdGetfdFlags::empty())?;
    Ok(())
}

/// The processes that this one has started and that still run.
fn children(id: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // "PID (NAME) STATE PPID …"
        let stat = fs::read_to_string(of(child, "stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        if after.split_whitespace().nth(1) == Some(&id.to_string()) {
            found.push(child);
        }
    }
    found
}

fn name(id: u32) -> String {
    fs::read_to_string(of(id, "comm")).unwrap_or_default()
}

#[test]
fn nobody_of_the_same_user_looks_into_the_daemon_its_launcher_or_its_environment() {
    if !may_change_users() {
        return;
    }
    let server = FakeServer::start(Options::default()).unwrap();
    let mut instance = Instance::of_user(SOMEBODY);
    instance.set_env("CANARY", CANARY);
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    let launcher = children(daemon.pid());
    assert_eq!(launcher.len(), 1, "one child of the daemon: its launcher");
    authd_e2e::until("the launcher runs", || {
        name(launcher[0]) == "authd-launcher\n"
    });

    for (attack, attempt) in ATTACKS {
        let ordinary = ordinary(instance.dir());
        let id = ordinary.pid();
        let succeeded = as_somebody(move || attempt(id));
        assert!(
            succeeded.is_ok(),
            "{attack} on an ordinary process: {succeeded:?}"
        );
        for victim in [daemon.pid(), launcher[0]] {
            let refused = as_somebody(move || attempt(victim)).map_err(|error| error.kind());
            let denied = Err(io::ErrorKind::PermissionDenied);
            assert_eq!(refused, denied, "{attack} on {}", name(victim));
        }
    }
    // Nothing of it disturbed anybody.
    assert_eq!(instance.authctl(&["renew", "demo"]).code(), 0);
    let status = instance.authctl(&["status", "--json"]).json();
    assert_eq!(status["daemon"]["sandbox"], "full", "{status}");
}

/// Whether the kernel writes core files into the directory of whoever dies. Said aloud when not.
#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn writes_core_files() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let writes = !pattern.starts_with('|') && !pattern.contains('/');
    if !writes {
        eprintln!("SKIPPED: core files go elsewhere here: {pattern}");
    }
    writes
}

fn core_files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("core"))
        .count()
}

const UNLIMITED: Rlimit = Rlimit {
    current: None,
    maximum: None,
};

/// Raises the limit on core files of a process, as root can. Said aloud where root cannot.
#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn raise_core(id: u32) -> bool {
    let raised = prlimit(Some(pid_of(id)), Resource::Core, UNLIMITED);
    if let Err(error) = &raised {
        eprintln!("SKIPPED: this root cannot raise limits of others: {error}");
    }
    raised.is_ok()
}

#[test]
fn no_core_file_is_written_of_the_daemon_whatever_kills_it_and_whatever_the_limit() {
    if !may_change_users() || !writes_core_files() {
        return;
    }
    // Inherited by all that is started from here.
    prlimit(None, Resource::Core, UNLIMITED).unwrap();
    let instance = Instance::of_user(SOMEBODY);
    let home = instance.dir().join("home");

    let mut dies = ordinary(&home);
    kill_process(pid_of(dies.pid()), Signal::SEGV).unwrap();
    dies.wait(PATIENCE).unwrap();
    assert_eq!(core_files(&home), 1, "of an ordinary process there is one");
    for entry in fs::read_dir(&home).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }

    // Not SEGV: the first one that nobody's memory causes is passed over by Rust's own guard of the stack.
    for signal in [Signal::ILL, Signal::ABORT, Signal::QUIT] {
        // With its own limit; and with one that somebody mightier raised.
        for raised in [false, true] {
            let mut daemon = instance.daemon().directory(&home).ready();
            if raised && !raise_core(daemon.pid()) {
                continue;
            }
            daemon.signal(signal);
            let status = daemon.ended(PATIENCE);
            assert!(!status.success(), "{signal:?}: {status}");
            assert_eq!(core_files(&home), 0, "{signal:?}, raised: {raised}");
        }
    }
}

/// A socket of somebody's where the daemon's would be, and the command that waits there for an answer.
fn waiting(instance: &Instance, arguments: &[&str]) -> (UnixListener, Process) {
    let path = instance.socket();
    let directory = path.parent().unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    chown(directory, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    // Whoever calls `listen` is whom the kernel names to a client.
    let listener = as_somebody(move || UnixListener::bind(path)).unwrap();
    let mut command = instance.command(binaries::authctl());
    command
        .args(arguments)
        .current_dir(instance.dir().join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::spawn(&mut command);
    let (mut connection, _) = listener.accept().unwrap();
    // It has asked, and whatever it does before that is done.
    connection.read_exact(&mut [0; 4]).unwrap();
    (listener, process)
}

#[test]
fn no_core_file_is_written_of_a_command_that_secrets_pass_through() {
    if !may_change_users() || !writes_core_files() {
        return;
    }
    prlimit(None, Resource::Core, UNLIMITED).unwrap();
    for arguments in [&["token", "demo"][..], &["unlock"], &["key", "rotate"]] {
        let instance = Instance::of_user(SOMEBODY);
        let (_listener, mut waiting) = waiting(&instance, arguments);
        kill_process(pid_of(waiting.pid()), Signal::QUIT).unwrap();
        let status = waiting.wait(PATIENCE).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGQUIT), "{status}");
        assert_eq!(core_files(&instance.dir().join("home")), 0, "{arguments:?}");
    }
}

/// Where the key's bytes are in the memory of a process, and what the kernel says of that memory. It takes
/// root, to which nothing is closed.
fn places(id: u32, key: &[u8]) -> Vec<(String, String)> {
    use std::os::unix::fs::FileExt as _;
    let memory = File::open(of(id, "mem")).unwrap();
    let mut places = Vec::new();
    let mut range = None;
    for line in fs::read_to_string(of(id, "smaps")).unwrap().lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:")
            && let Some((name, start, end)) = range.take()
        {
            let mut bytes = vec![0; end - start];
            // What cannot be read, as the guards, holds nothing.
            if memory.read_exact_at(&mut bytes, start as u64).is_ok() && sweep::holds(&bytes, key) {
                places.push((name, format!("{flags} ")));
            }
        } else if let Some((addresses, _)) = line.split_once(' ')
            && let Some((start, end)) = addresses.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(end, 16),
            )
        {
            range = Some((line.to_owned(), start, end));
        }
    }
    places
}

/// A key that the store derives from its data key.
fn derived(key: &[u8], label: &str) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
    mac.update(label.as_bytes());
    mac.finalize().into_bytes().into()
}

#[test]
fn the_stores_keys_are_in_locked_memory_and_nowhere_else() {
    if !may_change_users() {
        return;
    }
    let server = FakeServer::start(Options::default()).unwrap();
    let instance = Instance::new();
    // Once to make the key, and once more to have it from its file alone.
    assert!(instance.start_daemon().stop().success());
    let daemon = instance.start_daemon();
    instance.login(&server, "demo");
    instance.renew("demo").unwrap();
    let key = fs::read(instance.state_dir().join("key")).unwrap();
    assert_eq!(key.len(), 32);

    let locked = |key: &[u8], label| {
        let places = places(daemon.pid(), &derived(key, label));
        assert!(!places.is_empty(), "{label} is somewhere");
        for (place, flags) in places {
            for flag in [" lo ", " dd ", " wf "] {
                assert!(
                    flags.contains(flag),
                    "{label}: {flag} in {flags} of {place}"
                );
            }
        }
    };
    // It is forgotten once the others are derived from it, and those are looked after.
    assert_eq!(places(daemon.pid(), &key), [], "the data key");
    for label in ["authd-store seal v1", "authd-store names v1", "fingerprint"] {
        locked(&key, label);
    }
    // What outlives a key is kept in the store's header from then on.
    let rotated = instance.authctl(&["key", "rotate"]);
    assert_eq!(rotated.code(), 0, "{rotated:?}");
    locked(&key, "fingerprint");
    let new = fs::read(key_file(&instance)).unwrap();
    assert_ne!(key, new);
    assert_eq!(places(daemon.pid(), &new), [], "the new data key");
    locked(&new, "authd-store seal v1");

    // A lock forgets them all.
    assert_eq!(instance.authctl(&["lock"]).code(), 0);
    let kept = derived(&key, "fingerprint");
    assert_eq!(places(daemon.pid(), &kept), [], "fingerprint");
    for label in ["authd-store seal v1", "authd-store names v1"] {
        assert_eq!(places(daemon.pid(), &derived(&new, label)), [], "{label}");
    }

    // Nor has anybody written it anywhere, in any form.
    let hex: String = new.iter().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        new.clone(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ];
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        forms.iter().any(|form| sweep::holds(&bytes, form))
    };
    let own = key_file(&instance);
    assert!(holds(&own), "the search finds it");
    for path in files_below(instance.dir()) {
        assert!(path == own || !holds(&path), "{}", path.display());
    }
    for id in [daemon.pid()].into_iter().chain(children(daemon.pid())) {
        for file in ["environ", "cmdline"] {
            assert!(!holds(&of(id, file)), "{}", of(id, file).display());
        }
    }
}

/// Where the key is now: a new one has a name of its own.
fn key_file(instance: &Instance) -> PathBuf {
    let entries = fs::read_dir(instance.state_dir()).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("key-") && path.is_file()
    });
    let file = files.next().unwrap();
    assert_eq!(files.next(), None, "one key");
    file
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            files.extend(files_below(&path));
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files
}
