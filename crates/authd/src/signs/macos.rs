//! macOS: the system's notification center tells that the network changed. Word of sleep would take a
//! run loop of IOKit; a sleep is noticed afterwards instead, by the clock that stood still, at the
//! latest 30 s after the wake. Nothing here was run on macOS yet.
#![expect(unsafe_code, reason = "notify(3) has no other door")]

use std::{
    ffi::{CStr, c_char, c_int},
    io::{self, Read as _},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use tokio::io::{Interest, unix::AsyncFd};

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
        let mut ready = changes.readable().await?;
        drain(changes.get_ref())?;
        ready.clear_ready();
        tokio::time::sleep(SETTLING).await;
        drain(changes.get_ref())?;
        tell(mailbox, Sign::NetworkUp, None);
        tokio::time::sleep(DISTANCE - SETTLING).await;
    }
}

fn register() -> io::Result<AsyncFd<UnixStream>> {
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
    // One end of a pipe or of a pair of sockets; reading is the same for both.
    let changes = UnixStream::from(descriptor);
    changes.set_nonblocking(true)?;
    // SAFETY: a socket's descriptor stays the same, and open until the socket is dropped.
    let changes = unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }?;
    Ok(changes)
}

/// Reads the tokens that say which notification came: there is one only.
fn drain(mut changes: &UnixStream) -> io::Result<()> {
    let mut tokens = [0; 64];
    loop {
        match changes.read(&mut tokens) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
