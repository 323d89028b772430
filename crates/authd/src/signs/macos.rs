//! macOS: the system's notification center tells that the network changed. Word of sleep would take a
//! run loop of IOKit; a sleep is noticed afterwards instead, by the clock that stood still, at the
//! latest 30 s after the wake. Nothing here was run on macOS yet.
#![expect(unsafe_code, reason = "notify(3) has no other door")]

use std::{
    ffi::{CStr, c_char, c_int},
    io,
    os::fd::{FromRawFd as _, OwnedFd},
    time::Duration,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::net::unix::pipe::Receiver;

use super::{Sign, tell};
use crate::{clock::Clock, driver::Mailbox};

/// How long what belongs together may take to come.
const SETTLING: Duration = Duration::from_secs(1);
/// Least distance between two words of the network: each starts a try at every provider anew.
const DISTANCE: Duration = Duration::from_secs(5);
/// Posted by configd whenever addresses, routes or resolvers changed.
const NETWORK_CHANGED: &CStr = c"com.apple.system.config.network_change";

unsafe extern "C" {
    /// `notify.h`; 0 when it worked.
    fn notify_register_file_descriptor(
        name: *const c_char,
        descriptor: *mut c_int,
        flags: c_int,
        token: *mut c_int,
    ) -> u32;
}

pub(super) fn listen(mailbox: &Mailbox, _clock: &Clock) {
    let mailbox = mailbox.clone();
    tokio::spawn(async move {
        if let Err(error) = network(&mailbox).await {
            tracing::debug!(%error, "nobody tells when the network is back");
        }
    });
}

async fn network(mailbox: &Mailbox) -> io::Result<()> {
    let changes = register()?;
    loop {
        changes.readable().await?;
        drain(&changes)?;
        tokio::time::sleep(SETTLING).await;
        drain(&changes)?;
        tell(mailbox, Sign::NetworkUp, None);
        tokio::time::sleep(DISTANCE - SETTLING).await;
    }
}

fn register() -> io::Result<Receiver> {
    let (mut descriptor, mut token) = (-1, 0);
    // SAFETY: the name ends with a NUL, and two numbers are written to places of their size.
    let status = unsafe {
        notify_register_file_descriptor(
            NETWORK_CHANGED.as_ptr(),
            &raw mut descriptor,
            0,
            &raw mut token,
        )
    };
    if status != 0 || descriptor < 0 {
        return Err(io::Error::other(format!("notify(3) refuses: {status}")));
    }
    // SAFETY: it was made for us, and nobody else closes it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // The end of a pipe, for libnotify calls pipe(2): recv(2) fails on it, read(2) does not. It blocks as it
    // comes.
    fcntl_setfl(&descriptor, fcntl_getfl(&descriptor)? | OFlags::NONBLOCK)?;
    // Unchecked, because read(2) would do for anything else as well.
    Receiver::from_owned_fd_unchecked(descriptor)
}

/// Reads the tokens that say which notification came: there is one only.
fn drain(changes: &Receiver) -> io::Result<()> {
    let mut tokens = [0; 64];
    loop {
        match changes.try_read(&mut tokens) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
