//! What a process takes of the machine: processor time and memory.

use std::{fs, time::Duration};

/// The time that all its threads have run, to ten milliseconds.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn processor_time(pid: u32) -> Duration {
    /// Of a second, in `/proc`, whatever the kernel counts in itself.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name before may hold anything; from behind it on, the 12th and 13th are what we look for.
    let (_, numbers) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = numbers.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| TICK * ticks.parse::<u32>().expect("a number"))
        .sum()
}

/// Its memory that is in use, in bytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.expect("a line").parse().expect("a number");
    kib * 1024
}
