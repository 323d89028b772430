//! What a client sends to the daemon: a byte stream, cut anywhere, of requests in any shape.
#![no_main]

use authd_proto::Call;
use authd_proto::frame::{FrameBuffer, FrameError};
use authd_proto::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    // Where the stream happens to be cut must not matter.
    assert_eq!(frames(stream, usize::from(size) + 1), whole);
    for frame in &whole.0 {
        if let Ok(Message::Request { method, params, .. }) = Message::parse(frame) {
            let _ = params.trace_id();
            let _ = Call::decode(method, params).map(|call| call.method());
        }
    }
});

/// The frames of a stream that arrives in pieces of `size`, and what ended it.
fn frames(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut incoming = FrameBuffer::new();
    let mut frames = Vec::new();
    for mut piece in stream.chunks(size) {
        while !piece.is_empty() {
            let spare = incoming.spare();
            let count = spare.len().min(piece.len());
            spare[..count].copy_from_slice(&piece[..count]);
            incoming.advance(count);
            piece = &piece[count..];
            loop {
                match incoming.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
    }
    (frames, None)
}
