//! Cutting a byte stream into frames: one MessagePack value is one frame.
//!
//! The [`Scanner`] walks headers only and remembers where it stopped, so a frame that drips in byte by
//! byte costs no more than one that comes whole. It refuses what breaks a cap as soon as the header that
//! claims it is read: nothing is ever allocated for a claim.

use std::io::{self, Read};

use zeroize::Zeroize as _;

use crate::limits::{MAX_DEPTH, MAX_FRAME};

/// Why a stream cannot go on. The connection has to be closed: there is no way back into step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is larger than [`MAX_FRAME`], or a header in it claims so.
    #[error("the frame is larger than {MAX_FRAME} bytes")]
    TooLarge,
    /// A frame is nested deeper than [`MAX_DEPTH`].
    #[error("the frame is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The byte 0xc1, which MessagePack never uses.
    #[error("the stream is not MessagePack")]
    NotMessagePack,
    /// MessagePack, but no request, response or notification.
    #[error("the frame is no MessagePack-RPC message")]
    NotRpc,
}

/// Finds the end of one MessagePack value, over as many calls as it takes.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Where the next header begins, counted from the beginning of the value. It may lie beyond the bytes
    /// that have come: then a string is still on its way.
    next: usize,
    /// Values still to come in each open array or map, outermost first.
    open: [u32; MAX_DEPTH],
    depth: usize,
    complete: bool,
}

impl Scanner {
    /// Looks at `value`, which begins where the value begins and holds all of it that has come so far.
    /// Returns the value's length once it is all there. Bytes seen by an earlier call are not read again.
    ///
    /// # Errors
    /// As soon as the bytes prove that the value breaks a cap or is no MessagePack.
    pub fn scan(&mut self, value: &[u8]) -> Result<Option<usize>, FrameError> {
        while !self.complete {
            let Some(header) = value.get(self.next..).and_then(Header::read) else {
                // Even without the rest, no valid frame can be longer than the cap.
                return if value.len() >= MAX_FRAME {
                    Err(FrameError::TooLarge)
                } else {
                    Ok(None)
                };
            };
            self.take(header?)?;
        }
        Ok((value.len() >= self.next).then_some(self.next))
    }

    fn take(&mut self, header: Header) -> Result<(), FrameError> {
        // The header's claims are 32-bit and `next` is at most the cap, so nothing overflows 64 bits.
        let next = self.next as u64 + header.len as u64 + u64::from(header.payload);
        // Each member of an array or map takes at least one byte.
        if next + header.members > MAX_FRAME as u64 {
            return Err(FrameError::TooLarge);
        }
        self.next = next as usize;
        if header.container {
            let Some(level) = self.open.get_mut(self.depth) else {
                return Err(FrameError::TooDeep);
            };
            if header.members > 0 {
                *level = header.members as u32;
                self.depth += 1;
                return Ok(());
            }
        }
        while self.depth > 0 {
            let remaining = &mut self.open[self.depth - 1];
            *remaining -= 1;
            if *remaining > 0 {
                return Ok(());
            }
            self.depth -= 1;
        }
        self.complete = true;
        Ok(())
    }
}

/// What the first bytes of a value say about it.
struct Header {
    /// Bytes of the header itself.
    len: usize,
    /// Bytes that follow it: of a string, a number, an ext.
    payload: u32,
    /// Values that follow it: an array's, or a map's keys and values.
    members: u64,
    container: bool,
}

impl Header {
    /// `None` when `bytes` ends within the header.
    fn read(bytes: &[u8]) -> Option<Result<Self, FrameError>> {
        let plain = |payload| Self {
            len: 1,
            payload,
            members: 0,
            container: false,
        };
        let sized = |width: usize, extra: u32| {
            let payload = be_uint(bytes.get(1..=width)?).saturating_add(extra);
            Some(Self {
                len: 1 + width,
                payload,
                members: 0,
                container: false,
            })
        };
        let container = |width: usize, each: u64| {
            let members = u64::from(be_uint(bytes.get(1..=width)?)) * each;
            Some(Self {
                len: 1 + width,
                payload: 0,
                members,
                container: true,
            })
        };
        let fixed = |members| Self {
            len: 1,
            payload: 0,
            members,
            container: true,
        };
        let marker = *bytes.first()?;
        Some(Ok(match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => plain(0),
            0x80..=0x8f => fixed(u64::from(marker & 0x0f) * 2),
            0x90..=0x9f => fixed(u64::from(marker & 0x0f)),
            0xa0..=0xbf => plain(u32::from(marker & 0x1f)),
            0xc1 => return Some(Err(FrameError::NotMessagePack)),
            0xc4 | 0xd9 => sized(1, 0)?,
            0xc5 | 0xda => sized(2, 0)?,
            0xc6 | 0xdb => sized(4, 0)?,
            // An ext has a type byte before its payload.
            0xc7 => sized(1, 1)?,
            0xc8 => sized(2, 1)?,
            0xc9 => sized(4, 1)?,
            0xcc | 0xd0 => plain(1),
            0xcd | 0xd1 => plain(2),
            0xca | 0xce | 0xd2 => plain(4),
            0xcb | 0xcf | 0xd3 => plain(8),
            0xd4 => plain(2),
            0xd5 => plain(3),
            0xd6 => plain(5),
            0xd7 => plain(9),
            0xd8 => plain(17),
            0xdc => container(2, 1)?,
            0xdd => container(4, 1)?,
            0xde => container(2, 2)?,
            0xdf => container(4, 2)?,
        }))
    }
}

fn be_uint(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, &byte| (number << 8) | u32::from(byte))
}

/// Bytes a read is offered at first; grows while reads fill it, so idle connections stay small.
const FIRST_READ: usize = 1024;
const LARGEST_READ: usize = 64 * 1024;

/// What has been read from a peer and not been taken yet.
///
/// Holds at most one incomplete frame ([`MAX_FRAME`]) plus one read. Costs no memory before the first
/// read, and gives memory back after a burst. What was in it is wiped: a request may hold a secret.
#[derive(Default)]
pub struct FrameBuffer {
    /// All of it is initialised; `start..end` is what was read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    scanner: Scanner,
    read_size: usize,
}

impl FrameBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read into, never empty. Call [`advance`](Self::advance) with what was read. Take all
    /// frames ([`next_frame`](Self::next_frame)) before, or the buffer grows without bound.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start == self.end {
            // Twice, so that a cut-off frame before a full read does not make a busy buffer start over.
            self.wipe(2 * LARGEST_READ);
        }
        let wanted = self.read_size.max(FIRST_READ);
        if self.bytes.len() - self.end < wanted {
            // Moving is worth it only when it frees as much as it moves; so each byte moves O(1) times.
            if self.start >= self.end - self.start {
                self.bytes.copy_within(self.start..self.end, 0);
                let used = self.end;
                self.end -= self.start;
                self.start = 0;
                self.bytes[self.end..used].zeroize();
            }
            if self.bytes.len() - self.end < wanted {
                let len =
                    (self.end + wanted).max((self.bytes.len() * 2).min(self.end + LARGEST_READ));
                // Not by `resize`, which leaves what it copied where it was.
                let mut grown = Vec::with_capacity(len);
                grown.extend_from_slice(&self.bytes[..self.end]);
                grown.resize(len, 0);
                self.bytes[..self.end].zeroize();
                self.bytes = grown;
            }
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were read into [`spare`](Self::spare).
    ///
    /// # Panics
    /// When `count` is more than `spare` offered.
    pub fn advance(&mut self, count: usize) {
        assert!(
            count <= self.bytes.len() - self.end,
            "more was read than there was room for"
        );
        self.end += count;
        if self.end == self.bytes.len() {
            self.read_size = (self.bytes.len() * 2).min(LARGEST_READ);
        }
    }

    /// Reads once from a blocking source. Returns the number of bytes read, 0 at its end.
    ///
    /// # Errors
    /// The source's.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let count = source.read(self.spare())?;
        self.advance(count);
        Ok(count)
    }

    /// The next whole frame, or `None` when more has to be read.
    ///
    /// # Errors
    /// When the stream cannot go on; every later call fails alike.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(len) = self.scanner.scan(&self.bytes[self.start..self.end])? else {
            return Ok(None);
        };
        self.scanner = Scanner::default();
        let frame = self.start..self.start + len;
        self.start = frame.end;
        Ok(Some(&self.bytes[frame]))
    }

    /// Forgets what was taken, when nothing else is buffered: wipes it, and keeps no more than `most` bytes
    /// of memory for what is to come.
    pub fn forget_taken(&mut self, most: usize) {
        if self.start == self.end {
            self.wipe(most);
        }
    }

    fn wipe(&mut self, most: usize) {
        self.bytes[..self.end].zeroize();
        (self.start, self.end) = (0, 0);
        if self.bytes.len() > most {
            self.bytes = Vec::new();
            self.read_size = FIRST_READ;
        }
    }

    /// Bytes that were read and not taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is buffered: at the end of a stream, `false` means that a frame was cut off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        self.bytes[..self.end].zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = b"\x93\x02\xa6secret\x90";

    fn receive(buffer: &mut FrameBuffer, bytes: &[u8]) {
        buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        buffer.advance(bytes.len());
    }

    fn holds_secret(buffer: &FrameBuffer) -> bool {
        buffer.bytes.windows(6).any(|window| window == b"secret")
    }

    #[test]
    fn what_was_taken_is_wiped_before_the_next_read_and_when_it_is_forgotten() {
        let mut buffer = FrameBuffer::new();
        receive(&mut buffer, FRAME);
        assert_eq!(buffer.len(), FRAME.len());
        assert!(buffer.next_frame().unwrap().is_some() && holds_secret(&buffer));
        buffer.spare();
        assert!(!holds_secret(&buffer));
        receive(&mut buffer, FRAME);
        buffer.next_frame().unwrap();
        buffer.forget_taken(0);
        assert!(buffer.bytes.is_empty() && buffer.is_empty());
    }

    #[test]
    fn what_moves_leaves_nothing_behind_where_it_was() {
        let mut buffer = FrameBuffer::new();
        let many = FRAME.repeat(FIRST_READ / FRAME.len());
        receive(&mut buffer, &many);
        while buffer.next_frame().unwrap().is_some() {}
        // Half a frame that does not move until room is wanted.
        receive(&mut buffer, &[0x93, 0x02, 0xa9]);
        assert!(buffer.next_frame().unwrap().is_none());
        buffer.spare();
        assert!(!holds_secret(&buffer));
        // What was forgotten is not forgotten half-way: half a frame stays.
        buffer.forget_taken(0);
        assert_eq!(buffer.len(), 3);
        receive(&mut buffer, b"unchanged\x90");
        assert!(buffer.next_frame().unwrap().is_some());
    }

    /// The header of a frame of `len` bytes: one long string.
    fn header(len: usize) -> Vec<u8> {
        let payload = u32::try_from(len - 5).unwrap();
        [&[0xdb_u8][..], &payload.to_be_bytes()].concat()
    }

    #[test]
    fn what_a_read_is_offered_grows_with_what_comes_up_to_a_bound() {
        let mut buffer = FrameBuffer::new();
        let mut offered = vec![buffer.spare().len()];
        assert_eq!(offered, [1024]);
        buffer.spare()[..5].copy_from_slice(&header(MAX_FRAME));
        buffer.advance(1024);
        while buffer.next_frame().unwrap().is_none() {
            let room = buffer.spare().len();
            offered.push(room);
            buffer.advance(room.min(MAX_FRAME - buffer.len()));
            assert!(buffer.bytes.len() <= MAX_FRAME + 64 * 1024, "{offered:?}");
        }
        assert!(offered[1] >= 2048, "{offered:?}");
        assert!(offered.contains(&(64 * 1024)), "{offered:?}");
    }

    #[test]
    fn a_burst_is_given_back_and_what_is_used_all_the_time_is_kept() {
        for (len, kept) in [(100 * 1024, true), (MAX_FRAME, false)] {
            let mut buffer = FrameBuffer::new();
            receive(&mut buffer, &header(len));
            while buffer.next_frame().unwrap().is_none() {
                let room = buffer.spare().len();
                buffer.advance(room.min(len - buffer.len()));
            }
            let held = buffer.bytes.len();
            buffer.spare();
            assert_eq!(buffer.bytes.len() == held, kept, "{held} bytes");
            assert!(kept || buffer.bytes.len() <= FIRST_READ);
        }
    }

    #[test]
    fn a_stream_that_never_ends_with_a_frame_takes_no_more_memory_than_one_that_does() {
        let mut buffer = FrameBuffer::new();
        receive(&mut buffer, &FRAME[..4]);
        for _ in 0..1000 {
            receive(&mut buffer, &FRAME[4..]);
            receive(&mut buffer, &FRAME[..4]);
            assert!(buffer.next_frame().unwrap().is_some());
            assert!(buffer.next_frame().unwrap().is_none());
            assert_eq!(buffer.len(), 4);
            assert!(!buffer.is_empty(), "a frame is cut off");
        }
        assert!(buffer.bytes.len() <= 4 * FIRST_READ);
    }

    #[test]
    fn as_much_memory_as_may_be_kept_is_kept() {
        let mut buffer = FrameBuffer::new();
        receive(&mut buffer, FRAME);
        buffer.next_frame().unwrap();
        buffer.forget_taken(FIRST_READ);
        assert_eq!(buffer.bytes.len(), FIRST_READ);
        buffer.forget_taken(FIRST_READ - 1);
        assert_eq!(buffer.bytes.len(), 0);
    }
}
