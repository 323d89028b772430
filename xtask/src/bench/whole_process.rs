//! From fork to exit: what a shell script that calls `authctl token` pays.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::sample::Sample;
use crate::command;
use crate::error::ChoreError;

const ROUNDS: usize = 1000;

/// Runs all the programs in turn, many times over, so that whatever the machine does meets them
/// alike.
pub(super) fn measure(programs: &mut [Command]) -> Result<Vec<Sample>, ChoreError> {
    let mut samples: Vec<Sample> = programs.iter().map(|_| Sample::default()).collect();
    for program in &mut *programs {
        program.stdin(Stdio::null()).stdout(Stdio::null());
    }
    for _ in 0..ROUNDS {
        for (program, sample) in programs.iter_mut().zip(&mut samples) {
            let started = Instant::now();
            let status = program.status().map_err(|source| ChoreError::Spawn {
                program: command::line(program),
                source,
            })?;
            sample.push(started.elapsed());
            if !status.success() {
                return Err(ChoreError::Failed {
                    command: command::line(program),
                    status,
                });
            }
        }
    }
    Ok(samples)
}
