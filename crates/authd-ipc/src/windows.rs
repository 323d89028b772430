//! Named pipes: for the owner's SID alone, first instance only, no remote clients.
//!
//! The blocking client reads on a thread of its own, because a pipe has no time-outs: a read that lasts
//! too long is given up, and the thread ends with the connection.
#![expect(
    unsafe_code,
    reason = "tokens, owners and reads under way are Win32's alone"
)]

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use interprocess::os::windows::named_pipe::{DuplexPipeStream, pipe_mode};
use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, ERROR_SUCCESS, LocalFree, WAIT_TIMEOUT};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, GetSecurityInfo, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, SECURITY_IDENTIFICATION};
use windows_sys::Win32::System::IO::CancelIoEx;
use windows_sys::Win32::System::Pipes::WaitNamedPipeW;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

use crate::error::ConnectError;
use crate::path::SocketPath;

type Pipe = DuplexPipeStream<pipe_mode::Bytes>;

/// How often the thread that reads is told that it is over, and how long it has each time. A few times do.
const TIMES: u32 = 200;
const EACH: Duration = Duration::from_millis(1);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Stream {
    pipe: Arc<Pipe>,
    incoming: Receiver<io::Result<Vec<u8>>>,
    /// What reads. It holds the pipe open, so it is ended with the connection.
    reader: JoinHandle<()>,
    over: Arc<AtomicBool>,
    pending: Vec<u8>,
    read_timeout: std::cell::Cell<Option<Duration>>,
}

impl Stream {
    fn new(pipe: Pipe) -> io::Result<Self> {
        let pipe = Arc::new(pipe);
        let over = Arc::new(AtomicBool::new(false));
        let (send, incoming) = sync_channel(1);
        let (its_pipe, is_over) = (Arc::clone(&pipe), Arc::clone(&over));
        let reader = thread::Builder::new()
            .name("authd-pipe".into())
            .spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let mut chunk = vec![0; 4096];
                    let read = (&*its_pipe).read(&mut chunk);
                    let last = !matches!(read, Ok(1..));
                    let read = read.map(|count| {
                        chunk.truncate(count);
                        chunk
                    });
                    if send.send(read).is_err() || last {
                        return;
                    }
                }
            })?;
        Ok(Self {
            pipe,
            incoming,
            reader,
            over,
            pending: Vec::new(),
            read_timeout: std::cell::Cell::new(None),
        })
    }

    /// How long one read may take; `None` is for ever. It then fails with `TimedOut`.
    ///
    /// # Errors
    /// None on this platform.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout);
        Ok(())
    }

    /// Without effect: a request fits the pipe's buffer.
    ///
    /// # Errors
    /// None on this platform.
    pub fn set_write_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.pending.is_empty() {
            let received = match self.read_timeout.get() {
                Some(timeout) => self.incoming.recv_timeout(timeout),
                None => self
                    .incoming
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(chunk) => self.pending = chunk?,
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        let count = self.pending.len().min(buf.len());
        buf[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self.pipe).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    /// Ends the thread that reads, and with it the connection.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Once may not do: between its look at `over` and its next read there is nothing to cancel yet. After
        // that read it looks again.
        for _ in 0..TIMES {
            // It may be waiting for somebody to take what it has read.
            while self.incoming.try_recv().is_ok() {}
            // SAFETY: the pipe is open, and nothing but that read is under way: to write takes `&mut self`.
            unsafe { CancelIoEx(self.pipe.as_raw_handle(), std::ptr::null()) };
            if self.reader.is_finished() {
                return;
            }
            thread::sleep(EACH);
        }
    }
}

/// Connects to the daemon within `timeout` and checks that the pipe is owned by our SID. Another user cannot make
/// one that is: to give an object away takes a privilege of administrators. The process behind it is not asked
/// for: that of an elevated daemon does not answer to us, and its number may have come to mean another one.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(socket: &SocketPath, timeout: Duration) -> Result<Stream, ConnectError> {
    let path = || socket.path().to_owned();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConnectError::NotRunning(path()),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::TimedOut(path()),
        _ => ConnectError::Io {
            path: path(),
            source,
        },
    };
    let pipe = open(socket.path(), timeout).map_err(failed)?;
    let own = own_sid().map_err(failed)?;
    let found = owner_of(pipe.as_handle()).map_err(failed)?;
    if found != own {
        return Err(ConnectError::ServerUser {
            path: path(),
            found,
            own,
        });
    }
    Stream::new(pipe).map_err(failed)
}

/// Opens the client's end, when there is an instance of the pipe for it. The server may ask who we are and not act
/// as us, which by default it may: whose it is is known only afterwards.
fn open(path: &Path, timeout: Duration) -> io::Result<Pipe> {
    let name = widestring::U16CString::from_os_str(path)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let start = Instant::now();
    let end = loop {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(FILE_FLAG_OVERLAPPED)
            .security_qos_flags(SECURITY_IDENTIFICATION)
            .open(path);
        match opened {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed()) => {}
            opened => break opened?,
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // 0 would be as long as the server says.
        let millis = u32::try_from(left.as_millis())
            .unwrap_or(u32::MAX - 1)
            .max(1);
        // SAFETY: the name ends with a NUL and lives.
        if unsafe { WaitNamedPipeW(name.as_ptr(), millis) } == 0 {
            return Err(io::Error::last_os_error());
        }
    };
    let pipe = Pipe::try_from(OwnedHandle::from(end))?;
    // Nothing was written yet that would have to be waited for in the end.
    pipe.assume_flushed();
    Ok(pipe)
}

/// Listens on the pipe, inside a tokio runtime.
#[cfg(feature = "tokio")]
pub(crate) fn listen(
    socket: &SocketPath,
) -> Result<interprocess::local_socket::tokio::Listener, crate::error::ListenError> {
    use crate::error::ListenError;
    use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
    use interprocess::os::windows::local_socket::ListenerOptionsExt;
    use interprocess::os::windows::security_descriptor::SecurityDescriptor;

    let failed = |source: io::Error| match source.kind() {
        // The pipe's first instance is someone's already.
        io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse => {
            ListenError::InUse(socket.path().to_owned())
        }
        _ => ListenError::Io {
            path: socket.path().to_owned(),
            source,
        },
    };
    // Owned by the user, because that is what clients go by: an elevated daemon's objects would be the
    // administrators'. No group, which interprocess would take for the owner. Protected (nothing inherited), and
    // one entry: all access for the owner.
    let sddl = own_sid()
        .map(|sid| format!("O:{sid}D:P(A;;GA;;;{sid})"))
        .map_err(failed)?;
    let sddl = widestring::U16CString::from_str(sddl)
        .map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
    let descriptor = SecurityDescriptor::deserialize(&sddl).map_err(failed)?;
    let name = socket
        .path()
        .to_fs_name::<GenericFilePath>()
        .map_err(failed)?;
    ListenerOptions::new()
        .name(name)
        .security_descriptor(descriptor)
        .create_tokio()
        .map_err(failed)
}

/// The SID of this process's user, as text.
///
/// # Errors
/// The system's.
pub fn own_sid() -> io::Result<String> {
    let mut token = std::ptr::null_mut();
    // SAFETY: the pseudo handle of this process is always good, and `token` is ours to write to.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded, so this is a handle that nobody else owns.
    let token = unsafe { owned(token) }?;
    // 8-aligned for the pointer in TOKEN_USER; a SID has at most 68 bytes.
    let mut buffer = [0u64; 32];
    let mut len = 0;
    let size = u32::try_from(size_of_val(&buffer)).unwrap_or(u32::MAX);
    // SAFETY: `buffer` has `size` bytes, and the system writes no more.
    let read = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size,
            &mut len,
        )
    };
    if read == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the buffer begins with a TOKEN_USER whose SID lies in the same buffer, which still lives.
    unsafe { text_of((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// The SID that owns a pipe, as text.
fn owner_of(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    let (mut owner, mut descriptor) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the handle is open, both places are ours to write to, and nothing else is asked for.
    let status = unsafe {
        GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &mut descriptor,
        )
    };
    if status != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    let text = if owner.is_null() {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        // SAFETY: the owner lies in the descriptor, which still lives.
        unsafe { text_of(owner) }
    };
    // SAFETY: the system allocated it for us to free, once, after the last look at it.
    unsafe { LocalFree(descriptor) };
    text
}

/// A SID as text.
///
/// # Safety
/// `sid` points to a valid SID.
unsafe fn text_of(sid: PSID) -> io::Result<String> {
    let mut text = std::ptr::null_mut();
    // SAFETY: the caller vouches for the SID, and `text` is ours to write to.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system returned a NUL-terminated string that is ours to free, once, after the copy.
    let sid = unsafe { widestring::U16CStr::from_ptr_str(text) }.to_string_lossy();
    // SAFETY: as above.
    unsafe { LocalFree(text.cast()) };
    Ok(sid)
}

/// A handle that keeps the number of process `pid` from being given to another.
pub(crate) fn hold(pid: u32) -> io::Result<OwnedHandle> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: plain integers go in; the result is checked before it is owned.
    unsafe { owned(OpenProcess(access, 0, pid)) }
}

/// Whether the process behind a handle from [`hold`] has not ended.
pub(crate) fn runs(process: &OwnedHandle) -> bool {
    // SAFETY: the handle is open and may be waited for.
    unsafe { WaitForSingleObject(process.as_raw_handle(), 0) == WAIT_TIMEOUT }
}

/// # Safety
/// `handle` is null or an open handle that nobody else owns.
unsafe fn owned(handle: windows_sys::Win32::Foundation::HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: not null, and the caller vouches for the rest.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
