//! One frame read as a message, without copying.

use serde::Deserialize;

use crate::error::{ErrorCode, WireError};
use crate::frame::{FrameError, Scanner};

/// A MessagePack-RPC message; everything in it borrows from the frame.
#[derive(Clone, Copy)]
pub enum Message<'a> {
    /// `[0, id, method, [params]]`
    Request {
        /// Chosen by the client, to match the response.
        id: u32,
        /// See [`crate::call::Method`].
        method: &'a str,
        /// The one map of the parameters.
        params: Params<'a>,
    },
    /// `[1, id, error, result]`
    Response {
        /// That of the request.
        id: u32,
        /// The result, or the daemon's error.
        outcome: Outcome<'a>,
    },
    /// `[2, method, [params]]`
    Notification {
        /// `event` from the daemon; anything from a client.
        method: &'a str,
        /// The one map of the parameters.
        params: Params<'a>,
    },
}

impl<'a> Message<'a> {
    /// Reads one frame, as [`crate::frame::FrameBuffer::next_frame`] returns it.
    ///
    /// # Errors
    /// When it is no MessagePack-RPC message: the connection has to be closed.
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = frame;
        let members = rmp::decode::read_array_len(&mut rest).map_err(|_| FrameError::NotRpc)?;
        let kind: u8 = rmp::decode::read_int(&mut rest).map_err(|_| FrameError::NotRpc)?;
        match (kind, members) {
            (0, 4) => {
                let id = rmp::decode::read_int(&mut rest).map_err(|_| FrameError::NotRpc)?;
                let method = take_str(&mut rest)?;
                Ok(Self::Request {
                    id,
                    method,
                    params: Params(rest),
                })
            }
            (1, 4) => {
                let id = rmp::decode::read_int(&mut rest).map_err(|_| FrameError::NotRpc)?;
                let error = take_value(&mut rest)?;
                let outcome = if error == [NIL] {
                    Outcome::Ok(rest)
                } else {
                    Outcome::Err(error)
                };
                Ok(Self::Response { id, outcome })
            }
            (2, 3) => Ok(Self::Notification {
                method: take_str(&mut rest)?,
                params: Params(rest),
            }),
            _ => Err(FrameError::NotRpc),
        }
    }
}

const NIL: u8 = 0xc0;
const EMPTY_MAP: &[u8] = &[0x80];

fn take_str<'a>(rest: &mut &'a [u8]) -> Result<&'a str, FrameError> {
    let (text, tail) = rmp::decode::read_str_from_slice(*rest).map_err(|_| FrameError::NotRpc)?;
    *rest = tail;
    Ok(text)
}

fn take_value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], FrameError> {
    let len = Scanner::default().scan(rest)?.ok_or(FrameError::NotRpc)?;
    let (value, tail) = rest.split_at(len);
    *rest = tail;
    Ok(value)
}

/// The undecoded parameters of a request or notification.
#[derive(Clone, Copy)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Decodes the one map. Text in `T` may borrow from the frame.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`]. Its message names no value that was sent: one might be a secret in the
    /// wrong place.
    pub fn decode<T: Deserialize<'a>>(self) -> Result<T, WireError> {
        rmp_serde::from_slice(self.map()?).map_err(|error| bad_params(&error))
    }

    /// The trace id of a `traceparent` member (W3C Trace Context, version 00): 32 hex digits. `None` when
    /// there is none or it is malformed.
    #[must_use]
    pub fn trace_id(self) -> Option<&'a str> {
        let mut rest = self.map().ok()?;
        for _ in 0..rmp::decode::read_map_len(&mut rest).ok()? {
            let key = take_value(&mut rest).ok()?;
            let mut value = take_value(&mut rest).ok()?;
            if key.ends_with(b"traceparent") && take_str(&mut { key }) == Ok("traceparent") {
                return trace_id(take_str(&mut value).ok()?);
            }
        }
        None
    }

    /// The bytes of the map, `[]`, `[nil]` and `[[]]` read as the empty one.
    fn map(self) -> Result<&'a [u8], WireError> {
        let not_a_map = || {
            WireError::new(
                ErrorCode::BadRequest,
                "parameters are an array with one map",
            )
        };
        let mut rest = self.0;
        match rmp::decode::read_array_len(&mut rest) {
            Ok(0) => Ok(EMPTY_MAP),
            Ok(1) => match rest {
                [NIL] | [0x90] | [0xdc, 0, 0] | [0xdd, 0, 0, 0, 0] => Ok(EMPTY_MAP),
                [0x80..=0x8f | 0xde | 0xdf, ..] => Ok(rest),
                _ => Err(not_a_map()),
            },
            _ => Err(not_a_map()),
        }
    }
}

fn trace_id(traceparent: &str) -> Option<&str> {
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = traceparent.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let widths = (version, id.len(), parent.len(), flags.len()) == ("00", 32, 16, 2);
    let valid = widths && hex(id) && hex(parent) && hex(flags) && id.bytes().any(|b| b != b'0');
    (valid && parts.next().is_none()).then_some(id)
}

/// Keeps the kind of fault and drops the value at fault.
fn bad_params(error: &rmp_serde::decode::Error) -> WireError {
    let text = error.to_string();
    let message = if text.starts_with("missing field") || text.starts_with("duplicate field") {
        text
    } else if let Some((found, expected)) = text.split_once(", expected ") {
        let kind = found
            .split(['`', '"'])
            .next()
            .unwrap_or_default()
            .trim_end();
        format!("{kind}, expected {expected}")
    } else {
        "a parameter has the wrong type".to_owned()
    };
    WireError::new(ErrorCode::BadRequest, message)
}

/// The undecoded end of a request.
#[derive(Clone, Copy)]
pub enum Outcome<'a> {
    /// The bytes of the result.
    Ok(&'a [u8]),
    /// The bytes of the error, in either shape.
    Err(&'a [u8]),
}

/// A response that is not what the protocol says: a fault of the daemon, or a version in between.
#[derive(Debug, thiserror::Error)]
#[error("the daemon's answer does not read as a {expected}: {detail}")]
pub struct BadResponse {
    /// What was asked for.
    pub expected: &'static str,
    /// What is wrong with it; names no value.
    pub detail: String,
}

impl<'a> Outcome<'a> {
    /// Decodes the result or the error.
    ///
    /// # Errors
    /// [`BadResponse`] when the bytes are neither.
    pub fn decode<T: Deserialize<'a>>(self) -> Result<Result<T, WireError>, BadResponse> {
        match self {
            Self::Ok(bytes) => rmp_serde::from_slice(bytes)
                .map(Ok)
                .map_err(|error| BadResponse {
                    expected: "result",
                    detail: bad_params(&error).message.clone(),
                }),
            Self::Err(bytes) => decode_error(bytes).map(Err),
        }
    }
}

fn decode_error(bytes: &[u8]) -> Result<WireError, BadResponse> {
    let bad = |error| BadResponse {
        expected: "error",
        detail: bad_params(&error).message.clone(),
    };
    if matches!(bytes.first(), Some(0x90..=0x9f)) {
        let (_, text): (u64, &str) = rmp_serde::from_slice(bytes).map_err(bad)?;
        return Ok(WireError::parse_text(text));
    }
    rmp_serde::from_slice(bytes).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn trace_id_of(key: &str, value: &str) -> Option<String> {
        let map = std::collections::BTreeMap::from([("account", "work"), (key, value)]);
        let bytes = rmp_serde::to_vec(&(map,)).expect("memory takes it");
        Params(&bytes).trace_id().map(str::to_owned)
    }

    #[test]
    fn a_trace_id_is_read_only_where_all_of_the_member_is_as_it_should_be() {
        let member = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace_id_of("traceparent", &member).as_deref(), Some(TRACE));
        assert_eq!(
            trace_id_of("x-traceparent", &member),
            None,
            "another member"
        );
        for malformed in [
            member.replacen("00-", "01-", 1),
            member.replacen("00-", "000-", 1),
            member.replace(TRACE, &TRACE[1..]),
            member.replace(TRACE, &TRACE.to_uppercase()),
            member.replace(TRACE, &"0".repeat(32)),
            member.replace("00f067aa0ba902b7", "00f067aa0ba902b"),
            member.replace("00f067aa0ba902b7", "00f067aa0ba902bg"),
            member.replace("-01", "-1"),
            member.replace("-01", "-0x"),
            format!("{member}-"),
            member.replace("-01", ""),
        ] {
            assert_eq!(trace_id_of("traceparent", &malformed), None, "{malformed}");
        }
    }
}
