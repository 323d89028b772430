//! macOS: `mach_continuous_time`, and the runtime's timer.
#![expect(unsafe_code, reason = "the clocks of Mach have no other door")]

use std::{sync::OnceLock, time::Duration};

use authd_core::time::{Boot, BootId};

pub(super) use super::recheck::Alarm;

/// `mach/mach_time.h`
#[repr(C)]
#[derive(Clone, Copy)]
struct Timebase {
    numerator: u32,
    denominator: u32,
}

unsafe extern "C" {
    safe fn mach_continuous_time() -> u64;
    safe fn mach_absolute_time() -> u64;
    fn mach_timebase_info(timebase: *mut Timebase) -> i32;
}

/// Counts suspend.
pub(super) fn boot() -> Boot {
    let millis = duration(mach_continuous_time()).as_millis();
    Boot(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Does not.
pub(super) fn awake() -> Duration {
    duration(mach_absolute_time())
}

/// Each process has its own: Mach does not say which boot this is.
pub(super) fn boot_id() -> Option<BootId> {
    None
}

fn duration(ticks: u64) -> Duration {
    static TIMEBASE: OnceLock<Timebase> = OnceLock::new();
    let timebase = TIMEBASE.get_or_init(|| {
        let mut timebase = Timebase {
            numerator: 0,
            denominator: 0,
        };
        // SAFETY: it writes the two numbers of a structure that is as its header declares it.
        let result = unsafe { mach_timebase_info(&raw mut timebase) };
        if result != 0 || timebase.denominator == 0 {
            // Nanoseconds, as on every Mac with an Intel processor.
            timebase = Timebase {
                numerator: 1,
                denominator: 1,
            };
        }
        timebase
    });
    let nanos =
        u128::from(ticks) * u128::from(timebase.numerator) / u128::from(timebase.denominator);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
