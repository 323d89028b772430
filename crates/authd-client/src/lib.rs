//! Blocking client for the authd socket: std only, thin, quick to start.
//!
//! [`Client`] speaks to a daemon that is there; [`spawn`] starts one that is not.
//!
//! ```no_run
//! use std::time::Duration;
//! use authd_client::{Instance, Who, spawn};
//! use authd_proto::request::TokenGet;
//!
//! let instance = Instance::of_process()?;
//! let who = Who { name: "example", version: "1.0" };
//! let mut client = spawn::connect_or_start(&instance, who, Duration::from_secs(10))?;
//! let get = TokenGet { account: Some("work"), ..TokenGet::default() };
//! let token = client.call(&get, Duration::from_secs(15))?;
//! println!("{} s left", token.renewal.ttl_secs.unwrap_or_default());
//! # Ok::<(), authd_client::ClientError>(())
//! ```

pub mod client;
pub mod error;
pub mod spawn;

#[cfg(windows)]
pub use authd_ipc::own_sid;
pub use authd_ipc::{ConnectError, Directories, Environment, PathError, SocketPath, own_process};
pub use client::{Client, Who};
pub use error::{ClientError, StartError};

/// The daemon that this environment means: where its socket, state and configuration are.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Where it listens.
    pub socket: SocketPath,
    /// Where its state and configuration are.
    pub directories: Directories,
}

impl Instance {
    /// The one that the environment of this process means.
    ///
    /// # Errors
    /// [`ClientError::Path`] when the environment makes no sense.
    pub fn of_process() -> Result<Self, ClientError> {
        let environment = Environment::of_process();
        let directories = Directories::locate(&environment)?;
        let socket = SocketPath::locate(&environment, &directories)?;
        Ok(Self {
            socket,
            directories,
        })
    }
}
