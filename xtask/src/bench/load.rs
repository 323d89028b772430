//! Requests a second, from one thread that keeps many connections busy.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use authd_proto::frame::FrameBuffer;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::ChoreError;
use crate::wire;

/// How the connections are used.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Connections at a time.
    pub(super) connections: usize,
    /// Requests that are under way on each.
    pub(super) depth: usize,
    /// Whether a connection is used again after its answers came.
    pub(super) keep_open: bool,
}

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(2);

impl Load {
    /// Requests a second, the median of a few runs.
    pub(super) fn measure(self, socket: &Path, account: &str) -> Result<f64, ChoreError> {
        let mut batch = Vec::new();
        for id in 0..self.depth {
            batch.extend(wire::token_get(account, u32::try_from(id).unwrap_or(0))?);
        }
        let mut rates = (0..RUNS)
            .map(|_| self.run(socket, &batch))
            .collect::<io::Result<Vec<f64>>>()
            .map_err(ChoreError::io("put load on", socket))?;
        rates.sort_unstable_by(f64::total_cmp);
        Ok(rates[RUNS / 2])
    }

    fn run(self, socket: &Path, batch: &[u8]) -> io::Result<f64> {
        let mut lines = (0..self.connections)
            .map(|_| Line::open(socket, batch))
            .collect::<io::Result<Vec<Line>>>()?;
        let mut answered = 0_u32;
        let started = Instant::now();
        while started.elapsed() < RUN {
            let ready: Vec<bool> = {
                let mut fds: Vec<PollFd<'_>> = lines
                    .iter()
                    .map(|line| PollFd::new(&line.stream, PollFlags::IN))
                    .collect();
                poll(&mut fds, None)?;
                fds.iter().map(|fd| !fd.revents().is_empty()).collect()
            };
            for (line, _) in lines.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                answered += line.take()?;
                if line.answers < self.depth {
                    continue;
                }
                if self.keep_open {
                    line.answers = 0;
                    line.stream.write_all(batch)?;
                } else {
                    *line = Line::open(socket, batch)?;
                }
            }
        }
        Ok(f64::from(answered) / started.elapsed().as_secs_f64())
    }
}

/// A connection with a batch of requests under way.
struct Line {
    stream: UnixStream,
    incoming: FrameBuffer,
    /// Answers to the batch so far.
    answers: usize,
}

impl Line {
    fn open(socket: &Path, batch: &[u8]) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(batch)?;
        Ok(Self {
            stream,
            incoming: FrameBuffer::new(),
            answers: 0,
        })
    }

    /// Reads what is there; returns how many answers that completed.
    fn take(&mut self) -> io::Result<u32> {
        if self.incoming.read_from(&mut self.stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut answers = 0;
        while let Some(_answer) = self.incoming.next_frame().map_err(io::Error::other)? {
            answers += 1;
            self.answers += 1;
        }
        Ok(answers)
    }
}
