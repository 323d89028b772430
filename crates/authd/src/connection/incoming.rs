//! What has come in on one connection: whole frames, and the beginning of one.
//!
//! Half a frame has a deadline, and takes a place once it is large. What is whole waits for room and for the client
//! to read its answers, without one.

use std::{io, sync::Arc};

use authd_core::id::ClientId;
use authd_proto::frame::{FrameBuffer, FrameError};
use tokio::time::Instant;

use super::{KEPT_BUFFER, Shares};
use crate::admission::Place;

/// A frame that is larger, and only half there, takes one of the places for such frames.
const LARGE: usize = 16 * 1024;
/// With so many bytes of answers to be written, no further request is looked at.
const ANSWERED: usize = 16 * 1024;

/// What a client has sent and nobody has looked at yet.
pub(super) struct Incoming {
    pub(super) buffer: FrameBuffer,
    /// Since when the last frame in it is known to be only half there.
    pub(super) begun_at: Option<Instant>,
    /// Whether something in it has not been looked at.
    pub(super) is_left: bool,
    pub(super) shares: Arc<Shares>,
    process: ClientId,
    /// That of the frame on its way, once it is large.
    place: Option<Place>,
}

impl Incoming {
    pub(super) fn new(shares: Arc<Shares>, process: ClientId) -> Self {
        Self {
            buffer: FrameBuffer::new(),
            begun_at: None,
            is_left: false,
            shares,
            process,
            place: None,
        }
    }

    /// Hands whole frames to `answer`: until `room` of them came back to be answered later, or the answers
    /// written to `outgoing` are enough for once.
    pub(super) fn take<L>(
        &mut self,
        room: usize,
        now: Instant,
        outgoing: &mut Vec<u8>,
        mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<Option<L>>,
    ) -> io::Result<Vec<L>> {
        let mut waiting = Vec::new();
        while waiting.len() < room && outgoing.len() < ANSWERED {
            let Some(frame) = self.buffer.next_frame().map_err(malformed)? else {
                self.is_left = false;
                // Half a frame stays as old as it is, however slowly it grows.
                self.begun_at = (!self.buffer.is_empty()).then(|| self.begun_at.unwrap_or(now));
                self.buffer.forget_taken(KEPT_BUFFER);
                self.make_room()?;
                return Ok(waiting);
            };
            self.begun_at = None;
            waiting.extend(answer(frame, outgoing)?);
        }
        // What is left waits for the daemon, not for the client: no deadline runs.
        Ok(waiting)
    }

    /// Half a frame that is large already is taken in only while such frames are few.
    fn make_room(&mut self) -> io::Result<()> {
        if self.buffer.len() <= LARGE {
            self.place = None;
        } else if self.place.is_none() {
            let place = self.shares.large.enter(self.process);
            self.place = Some(place.map_err(|_| {
                io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "too many large frames are on their way",
                )
            })?);
        }
        Ok(())
    }
}

pub(super) fn malformed(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{FRAME_DEADLINE, LARGE_FRAMES},
        *,
    };

    const HALF: &[u8] = &[0x93, 0x02];
    const WHOLE: &[u8] = &[0x93, 0x02, 0xa1, b'x', 0x90];

    fn receive(incoming: &mut Incoming, bytes: &[u8]) {
        incoming.buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        incoming.buffer.advance(bytes.len());
    }

    fn incoming() -> Incoming {
        Incoming::new(Shares::new(), ClientId(1))
    }

    /// Takes what is there, with each frame to be answered later; how many were taken.
    fn take(incoming: &mut Incoming, room: usize, now: Instant) -> usize {
        let taken = incoming.take(room, now, &mut Vec::new(), |_, _| Ok(Some(())));
        taken.unwrap().len()
    }

    #[test]
    fn whole_frames_that_wait_for_room_have_no_deadline() {
        let now = Instant::now();
        let mut incoming = incoming();
        receive(&mut incoming, &WHOLE.repeat(3));
        assert_eq!(take(&mut incoming, 2, now), 2);
        assert_eq!(incoming.begun_at, None, "one whole frame is left");
        assert_eq!(take(&mut incoming, 2, now), 1);
        assert_eq!(incoming.begun_at, None, "nothing is left");
    }

    #[test]
    fn half_a_frame_has_its_deadline_from_its_first_byte_on() {
        let begun = Instant::now();
        let later = begun + FRAME_DEADLINE / 2;
        let mut incoming = incoming();
        receive(&mut incoming, HALF);
        take(&mut incoming, 1, begun);
        receive(&mut incoming, &WHOLE[HALF.len()..4]);
        take(&mut incoming, 1, later);
        assert_eq!(incoming.begun_at, Some(begun), "a byte more renews nothing");
        receive(&mut incoming, &WHOLE[4..]);
        receive(&mut incoming, HALF);
        take(&mut incoming, 2, later);
        assert_eq!(incoming.begun_at, Some(later), "another frame was begun");
    }

    #[test]
    fn requests_wait_while_many_answers_are_to_be_written() {
        let now = Instant::now();
        let mut incoming = incoming();
        receive(&mut incoming, &WHOLE.repeat(10));
        let mut outgoing = Vec::new();
        let round = |incoming: &mut Incoming, outgoing: &mut Vec<u8>| {
            let mut answered = 0;
            let taken = incoming.take(9, now, outgoing, |_, outgoing| {
                answered += 1;
                outgoing.resize(outgoing.len() + ANSWERED / 4, 0);
                Ok(None::<()>)
            });
            assert!(taken.unwrap().is_empty());
            answered
        };
        incoming.is_left = true;
        assert_eq!(round(&mut incoming, &mut outgoing), 4);
        assert!(incoming.is_left && outgoing.len() == ANSWERED);
        assert_eq!(round(&mut incoming, &mut outgoing), 0, "nothing was read");
        outgoing.clear();
        assert_eq!(round(&mut incoming, &mut outgoing), 4);
        outgoing.clear();
        assert_eq!(round(&mut incoming, &mut outgoing), 2);
        assert!(!incoming.is_left);
    }

    #[test]
    fn large_frames_on_their_way_are_few_and_fewer_from_one_process() {
        let now = Instant::now();
        let shares = Shares::new();
        // A string of 64 KiB, of which a third has come.
        let mut frame = vec![0x93, 0x02, 0xdb, 0, 1, 0, 0];
        frame.resize(LARGE + 1, b'x');
        let begin = |process| {
            let mut incoming = Incoming::new(Arc::clone(&shares), ClientId(process));
            for piece in frame.chunks(1024) {
                receive(&mut incoming, piece);
                incoming.take(1, now, &mut Vec::new(), |_, _| Ok(Some(())))?;
            }
            io::Result::Ok(incoming)
        };
        let mut begun: Vec<Incoming> = (0..LARGE_FRAMES / 4).map(|_| begin(1).unwrap()).collect();
        assert!(begin(1).is_err(), "the share of one process");
        begun.extend((4..LARGE_FRAMES as u64 / 4 * 4).map_while(|n| begin(n / 4 + 1).ok()));
        assert_eq!(begun.len(), LARGE_FRAMES);
        assert!(begin(100).is_err(), "all of them");
        // The first is whole, and gives its place and its memory back.
        let first = &mut begun[0];
        let rest = vec![b'x'; 7 + 64 * 1024 - frame.len()];
        for piece in rest.chunks(1024).chain([&[0x90][..]]) {
            receive(first, piece);
            take(first, 2, now);
        }
        assert!(first.buffer.is_empty() && first.place.is_none());
        assert!(begin(100).is_ok());
    }
}
