//! Windows: `QueryInterruptTime`, and the runtime's timer.
#![expect(unsafe_code, reason = "the clocks of Windows have no other door")]

use std::time::Duration;

use authd_core::time::{Boot, BootId};
use windows_sys::Win32::System::WindowsProgramming::{
    QueryInterruptTime, QueryUnbiasedInterruptTime,
};

pub(super) use super::recheck::Alarm;

/// Counts suspend.
pub(super) fn boot() -> Boot {
    let mut ticks = 0;
    // SAFETY: it writes one number, and cannot fail.
    unsafe { QueryInterruptTime(&raw mut ticks) };
    Boot(ticks / 10_000)
}

/// Does not.
pub(super) fn awake() -> Duration {
    let mut ticks = 0;
    // SAFETY: it writes one number; it fails only where there is no place to write it.
    unsafe { QueryUnbiasedInterruptTime(&raw mut ticks) };
    Duration::from_nanos(ticks.saturating_mul(100))
}

/// Each process has its own: the system does not say which boot this is.
pub(super) fn boot_id() -> Option<BootId> {
    None
}
