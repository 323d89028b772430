//! The local socket of authd: where it is, who may listen, who is on the other end.
//!
//! [`path`] decides where things are and whether that place can be trusted; [`lock`] lets one daemon in;
//! `unix` and `windows` listen and connect; [`peer`] tells who connected, and `process` holds on to it;
//! `activation` (Unix) adopts a socket that the service manager has opened; `successor` (Unix) takes the
//! place of a daemon that listens; `restricted` is the place of sockets that give less; [`own_process`] is what
//! daemon and command do to themselves first, and [`variables`] what they hand on of their environment. With
//! the feature `tokio`, `Listener` is what the daemon accepts from.
//!
//! The checks stand on both ends: the daemon asks the kernel for its peer's uid, and [`connect`] asks for
//! the server's before a byte is sent, because MessagePack-RPC clients execute what a server sends them.

#[cfg(unix)]
pub mod activation;
#[cfg(all(unix, feature = "tokio"))]
mod bind;
pub mod error;
#[cfg(feature = "tokio")]
mod listener;
pub mod lock;
#[cfg(any(target_os = "linux", all(target_os = "macos", feature = "tokio")))]
mod option;
pub mod own_process;
pub mod path;
pub mod peer;
#[cfg(feature = "tokio")]
pub mod process;
#[cfg(all(unix, feature = "tokio"))]
pub mod restricted;
#[cfg(unix)]
mod successor;
#[cfg(unix)]
mod unix;
pub mod variables;
#[cfg(windows)]
mod windows;

pub use error::{ConnectError, ListenError, LockError, PathError};
#[cfg(feature = "tokio")]
pub use listener::{Listener, TokioStream};
pub use lock::InstanceLock;
pub use path::{Directories, Environment, SocketPath};
pub use peer::{Peer, PeerRule, Refused};
#[cfg(all(unix, feature = "tokio"))]
pub use restricted::{Reach, RestrictedDirectory};
#[cfg(unix)]
pub use successor::take_place;
#[cfg(unix)]
pub use unix::{Stream, connect};
#[cfg(windows)]
pub use windows::{Stream, connect, own_sid};
