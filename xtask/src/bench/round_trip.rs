//! One request and its answer on an open connection, both ends on one core: no parallelism to hide
//! behind.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::sample::Sample;
use crate::error::ChoreError;
use crate::fake_as;
use crate::wire::Connection;

const BLOCKS: usize = 100;
const BLOCK: usize = 200;

/// Measures the daemon against the floor, in turns. Returns the floor's sample first. The caller has
/// pinned both sides.
pub(super) fn measure(
    floor: &Path,
    daemon: &mut Connection,
    request: &[u8],
) -> Result<[Sample; 2], ChoreError> {
    let answer = daemon.exchange(request)?;
    let mut echo = Echo::start(floor, request, answer)?;
    let (mut at_floor, mut at_daemon) = (Sample::default(), Sample::default());
    for _ in 0..BLOCKS {
        for _ in 0..BLOCK {
            let started = Instant::now();
            echo.exchange().map_err(ChoreError::io("talk to", floor))?;
            at_floor.push(started.elapsed());
        }
        for _ in 0..BLOCK {
            let started = Instant::now();
            daemon.exchange(request)?;
            at_daemon.push(started.elapsed());
        }
    }
    Ok([at_floor, at_daemon])
}

/// How long single requests take while something else goes wrong.
pub(super) fn latencies(daemon: &mut Connection, request: &[u8]) -> Result<Sample, ChoreError> {
    let mut sample = Sample::default();
    for _ in 0..BLOCKS * BLOCK {
        let started = Instant::now();
        daemon.exchange(request)?;
        sample.push(started.elapsed());
    }
    Ok(sample)
}

/// floor.c at the other end of a socket pair, exchanging as many bytes as the daemon would.
struct Echo {
    child: Child,
    stream: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Echo {
    fn start(floor: &Path, request: &[u8], answer: usize) -> Result<Self, ChoreError> {
        let (stream, theirs) = UnixStream::pair().map_err(ChoreError::io("talk to", floor))?;
        let child = Command::new(floor)
            .arg("echo")
            .args([request.len().to_string(), answer.to_string()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|source| ChoreError::Spawn {
                program: floor.display().to_string(),
                source,
            })?;
        Ok(Self {
            child,
            stream,
            request: request.to_vec(),
            answer: vec![0; answer],
        })
    }

    fn exchange(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        self.stream.read_exact(&mut self.answer)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        fake_as::end(&mut self.child);
    }
}
