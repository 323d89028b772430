//! Encoding: every function appends one whole message to a buffer that the caller keeps and reuses.
//!
//! When encoding fails the buffer is as it was.

use rmp::encode as raw;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::call::Request;
use crate::error::{ErrorShape, WireError};
use crate::event::{EVENT_METHOD, Event};
use crate::limits::MAX_FRAME;
use crate::response::TokenReply;

/// Why a message was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It would exceed [`MAX_FRAME`].
    #[error("the message takes {0} bytes, more than the {MAX_FRAME} of a frame")]
    TooLarge(usize),
    /// A type of ours does not serialise; a bug.
    #[error("the message does not encode")]
    Serialize(#[from] rmp_serde::encode::Error),
}

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const NOTIFICATION: u8 = 2;
const NIL: u8 = 0xc0;
const FIXARRAY: u8 = 0x90;

/// Appends a request.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn request<R: Request>(out: &mut Vec<u8>, id: u32, params: &R) -> Result<(), EncodeError> {
    frame(out, |out| {
        out.extend_from_slice(&[FIXARRAY | 4, REQUEST]);
        put_uint(out, u64::from(id));
        put_str(out, R::METHOD.as_str());
        out.push(FIXARRAY | 1);
        put(out, params)
    })
}

/// Appends a successful response.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn response<T: Serialize>(out: &mut Vec<u8>, id: u32, result: &T) -> Result<(), EncodeError> {
    frame(out, |out| {
        response_head(out, id);
        put(out, result)
    })
}

/// Appends an error response. Cannot fail: an error that did not fit would be cut to its code.
pub fn error(out: &mut Vec<u8>, id: u32, error: &WireError, shape: ErrorShape) {
    let head = |out: &mut Vec<u8>| {
        out.extend_from_slice(&[FIXARRAY | 4, RESPONSE]);
        put_uint(out, u64::from(id));
    };
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&[FIXARRAY | 2, 0]);
        put_str(out, text);
    };
    let written = frame(out, |out| {
        head(out);
        match shape {
            ErrorShape::Text => text(out, &error.to_string()),
            ErrorShape::Map => put(out, error)?,
        }
        out.push(NIL);
        Ok(())
    });
    if written.is_err() {
        head(out);
        text(
            out,
            &format!("{}: the explanation does not fit", error.code),
        );
        out.push(NIL);
    }
}

/// Appends an event notification.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn event(out: &mut Vec<u8>, event: &Event) -> Result<(), EncodeError> {
    frame(out, |out| {
        out.extend_from_slice(&[FIXARRAY | 3, NOTIFICATION]);
        put_str(out, EVENT_METHOD);
        out.push(FIXARRAY | 1);
        put(out, event)
    })
}

/// The result of `token.get` for a cached token, encoded once: answering is a copy and three members.
/// Wiped when dropped.
pub struct EncodedToken(Zeroizing<Box<[u8]>>);

/// What of a cached token's result differs from request to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTail {
    /// What is left now; `None` when nobody knows.
    pub ttl_secs: Option<u64>,
    /// Whether that is below the floor.
    pub low: bool,
    /// Whether this request caused or awaited an exchange.
    pub renewed: bool,
}

/// Members of the tail.
const TAIL: u32 = 3;

impl EncodedToken {
    /// Encodes all of `token` but its `ttl_secs`, `low` and `renewed`.
    #[must_use]
    pub fn new(token: &TokenReply) -> Self {
        let about = &token.renewal;
        let optional = u32::from(about.resource.is_some()) + u32::from(about.subject.is_some());
        let text: usize = about.scopes.iter().map(|scope| scope.len() + 5).sum();
        let texts = [
            token.access_token.expose(),
            &about.token_type,
            &about.account,
            &about.fingerprint,
        ];
        let text = text + texts.iter().map(|text| text.len()).sum::<usize>();
        let others = about
            .resource
            .iter()
            .chain(&about.subject)
            .map(String::len)
            .sum::<usize>();
        // Never reallocated, so no copy of the token is left behind: 256 covers the keys and headers.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text + others + 256));
        let out = &mut *bytes;
        put_map(out, 8 + optional + TAIL);
        put_member(out, "access_token", token.access_token.expose());
        put_member(out, "token_type", &about.token_type);
        put_str(out, "expires_at");
        put_option(out, about.expires_at);
        put_str(out, "expiry");
        put_infallible(out, &about.expiry);
        put_str(out, "scopes");
        put_infallible(out, &about.scopes);
        if let Some(resource) = &about.resource {
            put_member(out, "resource", resource);
        }
        put_member(out, "account", &about.account);
        if let Some(subject) = &about.subject {
            put_member(out, "subject", subject);
        }
        put_str(out, "generation");
        put_uint(out, about.generation);
        put_member(out, "fingerprint", &about.fingerprint);
        // Kept as long as the token lives, in no more room than it takes.
        Self(Zeroizing::new(out.as_slice().into()))
    }

    /// Appends the whole response.
    pub fn response(&self, out: &mut Vec<u8>, id: u32, tail: TokenTail) {
        out.reserve(self.0.len() + 64);
        response_head(out, id);
        out.extend_from_slice(&self.0);
        put_str(out, "ttl_secs");
        put_option(out, tail.ttl_secs);
        put_str(out, "low");
        out.push(boolean(tail.low));
        put_str(out, "renewed");
        out.push(boolean(tail.renewed));
    }
}

/// The bytes that `value` takes inside a message.
#[must_use]
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match value.serialize(&mut rmp_serde::Serializer::new(&mut count).with_struct_map()) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// Appends what `write` appends, or nothing.
fn frame(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let written = write(out).and_then(|()| match out.len() - start {
        0..=MAX_FRAME => Ok(()),
        len => Err(EncodeError::TooLarge(len)),
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn response_head(out: &mut Vec<u8>, id: u32) {
    out.extend_from_slice(&[FIXARRAY | 4, RESPONSE]);
    put_uint(out, u64::from(id));
    out.push(NIL);
}

fn put<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    Ok(value.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())?)
}

fn put_infallible<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    put(out, value).expect("a unit variant or a list of strings always serialises into memory");
}

fn put_member(out: &mut Vec<u8>, key: &str, text: &str) {
    put_str(out, key);
    put_str(out, text);
}

fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => put_uint(out, number),
        None => out.push(NIL),
    }
}

fn put_uint(out: &mut Vec<u8>, number: u64) {
    raw::write_uint(out, number).expect("writing into memory does not fail");
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    raw::write_str(out, text).expect("writing into memory does not fail");
}

fn put_map(out: &mut Vec<u8>, members: u32) {
    raw::write_map_len(out, members).expect("writing into memory does not fail");
}

const fn boolean(value: bool) -> u8 {
    if value { 0xc3 } else { 0xc2 }
}
