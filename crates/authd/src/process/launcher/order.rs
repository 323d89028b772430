//! The launcher's own side: takes orders until its socket closes.

use std::{
    io::{self, IoSliceMut, PipeWriter, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::Child,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketType, recvmsg,
        sockopt,
    },
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use serde::{Deserialize, Serialize};

use super::{Seen, seen};

/// What makes a launcher of the daemon's program. For itself alone: no person needs it.
pub(super) const ARGUMENT: &str = "--launch";
/// Bytes that an order's descriptors take up in a message.
pub(super) const ROOM: usize = rustix::cmsg_space!(ScmRights(2));
/// Bytes of a report.
pub(super) const REPORT: usize = 5;
/// Bytes of an order, or of what was seen, at most: some pages of arguments.
pub(super) const LARGEST: usize = 64 * 1024;
/// Bytes of stack for a thread that waits for one command.
const STACK: usize = 256 * 1024;
/// Sandboxes that are looked into at once. Whoever made one may keep us waiting there for ever.
const LOOKS: usize = 8;

/// What the daemon wants done.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// To run this command.
    Run {
        argv: Vec<String>,
        /// Whether it may outlive whoever asked.
        lasts: bool,
    },
    /// To say what can be seen of this process.
    See(u32),
    /// To say which program runs in this process.
    Program(u32),
    /// To say what the sandbox of this process says of itself.
    Sandbox(u32),
}

/// Puts an order into words.
pub(super) fn write(order: &Order) -> io::Result<Vec<u8>> {
    let words = serde_json::to_vec(order)?;
    if words.len() > LARGEST {
        return Err(io::ErrorKind::ArgumentListTooLong.into());
    }
    Ok(words)
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this status, as `wait` gives it.
    With(i32),
    /// It did not start; the system's error number, where there is one.
    NotStarted(Option<i32>),
}

impl Ended {
    fn words(self) -> [u8; REPORT] {
        let (kind, number) = match self {
            Self::NotStarted(code) => (0, code.unwrap_or(0)),
            Self::With(status) => (1, status),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d]
    }

    pub(super) fn read([kind, a, b, c, d]: [u8; REPORT]) -> Self {
        let number = i32::from_le_bytes([a, b, c, d]);
        match kind {
            0 => Self::NotStarted((number != 0).then_some(number)),
            _ => Self::With(number),
        }
    }
}

/// Takes orders on standard input until it closes; then ends what still runs, and returns.
///
/// # Errors
/// When standard input is not the daemon's socket, or breaks.
pub fn take_orders() -> io::Result<()> {
    let orders = io::stdin();
    if sockopt::socket_type(&orders)? != SocketType::SEQPACKET {
        return Err(io::Error::other("it is the daemon's own business"));
    }
    // Shown by ps and top. Nothing depends on it.
    let _ = rustix::thread::set_name(c"authd-launcher");
    close_inherited()?;
    // A signal to all that is called authd is for the daemon, which ends this process when it has no more
    // use for it. Caught and not ignored: what is ignored stays so in a command.
    let seen = Arc::default();
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&seen))?;
    }
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    // Counts those who look.
    let looks = Arc::new(());
    let mut words = vec![0; LARGEST];
    while let Some((length, descriptors)) = receive(&orders, &mut words)? {
        running.retain(|thread| !thread.is_finished());
        let mut descriptors = descriptors.into_iter();
        let (Some(report), output) = (descriptors.next(), descriptors.next()) else {
            continue;
        };
        let Ok(order) = serde_json::from_slice::<Order>(&words[..length]) else {
            continue;
        };
        let report = UnixStream::from(report);
        match order {
            Order::Run { argv, lasts } => {
                let output = output.map(PipeWriter::from);
                let spawned = start(move || run(&argv, lasts, &report, output));
                // Without a thread the descriptors close, which says that it did not work.
                running.extend(spawned.ok().filter(|_| !lasts));
            }
            // It waits for nobody, and takes less than a thread would.
            Order::See(pid) => answer(report, &Seen::of(pid)),
            Order::Program(pid) => answer(report, &seen::program(pid)),
            Order::Sandbox(pid) if Arc::strong_count(&looks) <= LOOKS => {
                let look = Arc::clone(&looks);
                let _ = start(move || {
                    answer(report, &seen::sandbox(pid));
                    drop(look);
                });
            }
            Order::Sandbox(_) => {}
        }
    }
    // Each has seen its report's socket close with the daemon, and ends its command.
    for thread in running {
        let _ = thread.join();
    }
    Ok(())
}

/// Closes what the daemon's own parent left open for it: none of it is for the user's commands.
fn close_inherited() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one by which the directory was read is closed already.
        if rustix::io::fcntl_getfd(borrowed(&descriptor)).is_ok() {
            #[expect(unsafe_code, reason = "descriptors by number have no owner yet")]
            // SAFETY: nothing was opened here yet, so nothing in this process owns it.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    Ok(())
}

fn borrowed(descriptor: &i32) -> std::os::fd::BorrowedFd<'_> {
    #[expect(unsafe_code, reason = "to ask whether a descriptor is open")]
    // SAFETY: it is asked about and nothing else; one that is closed gives an error.
    unsafe {
        std::os::fd::BorrowedFd::borrow_raw(*descriptor)
    }
}

/// The next order and its descriptors; `None` when the daemon is gone.
fn receive(orders: &io::Stdin, words: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let received = loop {
        match recvmsg(
            orders,
            &mut [IoSliceMut::new(words)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    // Cut off, it is no order: its descriptors close, which says so.
    let whole = !received.flags.contains(ReturnFlags::TRUNC);
    Ok(Some((if whole { received.bytes } else { 0 }, descriptors)))
}

fn start(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().stack_size(STACK).spawn(work)
}

fn answer(mut report: UnixStream, what: &impl Serialize) {
    if let Ok(words) = serde_json::to_vec(what) {
        // Whoever asked may be gone.
        let _ = report.write_all(&words);
    }
}

/// Runs one command and reports how it ended.
fn run(argv: &[String], lasts: bool, report: &UnixStream, output: Option<PipeWriter>) {
    let started = super::command(argv, output).and_then(|mut command| {
        let child = command.spawn();
        // With it goes our copy of the pipe: its end must be the command's.
        drop(command);
        child
    });
    let child = match started {
        Ok(child) => Arc::new(Mutex::new(Some(child))),
        Err(error) => return say(report, Ended::NotStarted(error.raw_os_error())),
    };
    let watch = match lasts {
        true => None,
        false => match watch(report, Arc::clone(&child)) {
            Ok(watch) => Some(watch),
            // Nobody would end it.
            Err(_) => return end(&child),
        },
    };
    if let Some(status) = wait(&child) {
        say(report, Ended::With(status));
    }
    // Whoever asked closes the socket once it knows.
    if let Some(watch) = watch {
        let _ = watch.join();
    }
}

type Shared = Arc<Mutex<Option<Child>>>;

/// Ends the command when whoever asked for it is gone.
fn watch(report: &UnixStream, child: Shared) -> io::Result<JoinHandle<()>> {
    let mut report = report.try_clone()?;
    start(move || {
        // Nothing is ever sent this way: it returns at the end.
        let _ = report.read(&mut [0]);
        end(&child);
    })
}

/// Waits for the command to end, and gives its status.
fn wait(child: &Shared) -> Option<i32> {
    let id = pid(lock(child).as_ref()?)?;
    // Without reaping: the id stays the command's for as long as somebody may want to end it.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(id), options) {}
    let mut child = lock(child).take()?;
    child.wait().ok().map(ExitStatusExt::into_raw)
}

/// Ends the command and what it started, unless it has been waited for.
fn end(child: &Shared) {
    if let Some(child) = &mut *lock(child) {
        if let Some(group) = pid(child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill();
    }
}

fn lock(child: &Shared) -> std::sync::MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn say(mut report: &UnixStream, ended: Ended) {
    // Whoever asked may be gone.
    let _ = report.write_all(&ended.words());
}
