//! The wire protocol of authd: MessagePack-RPC over a local socket.
//!
//! `proto/PROTOCOL.md` is the specification; this crate is its Rust form and round-trips its golden
//! vectors. Nothing here does I/O: [`frame`] cuts a byte stream into messages under the caps of
//! [`limits`], [`message`] reads one message without copying, [`call`] gives its parameters a type, and
//! [`encode`] appends messages to a buffer.
//!
//! ```
//! use authd_proto::{call::Call, encode, frame::FrameBuffer, message::Message, request::TokenGet};
//!
//! let mut bytes = Vec::new();
//! encode::request(&mut bytes, 7, &TokenGet { account: Some("work"), ..TokenGet::default() })?;
//!
//! let mut incoming = FrameBuffer::new();
//! incoming.spare()[..bytes.len()].copy_from_slice(&bytes);
//! incoming.advance(bytes.len());
//! let frame = incoming.next_frame()?.expect("the whole frame is there");
//! let Message::Request { id: 7, method, params } = Message::parse(frame)? else { panic!() };
//! let Ok(Call::TokenGet(get)) = Call::decode(method, params) else { panic!() };
//! assert_eq!(get.account, Some("work"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod approval;
pub mod audit;
pub mod call;
pub mod doctor;
pub mod encode;
pub mod error;
pub mod event;
pub mod frame;
pub mod key;
pub mod limits;
pub mod message;
pub mod page;
pub mod protection;
pub mod provider;
pub mod request;
pub mod response;
pub mod secret;
pub mod socket;
pub mod version;

pub use call::{Call, Method, Request};
pub use error::{ErrorCode, ErrorShape, ExitStatus, WireError};
pub use event::Event;
pub use secret::{SecretStr, WireSecret};
