//! The machine's clocks, which need not agree with each other or with the truth.

use authd_core::time::{Boot, BootId, Now, Wall};

/// True time, in milliseconds since the seed's story began.
pub type Ms = u64;

/// What the calendar shows when a story begins.
pub const EPOCH: i64 = 1_700_000_000_000;
/// What the boot clock shows when the daemon starts after a boot.
const BOOTED: u64 = 20_000;

/// Boot clock and calendar.
#[derive(Clone, Debug)]
pub struct Clocks {
    boot: u128,
    booted_at: Ms,
    offset: i64,
    drift_ppm: i64,
    drift_from: Ms,
    /// How often the calendar was set, or ran at another pace: what it says across such a change
    /// need not be true.
    pub disturbed: u32,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            boot: 1,
            booted_at: 0,
            offset: 0,
            drift_ppm: 0,
            drift_from: 0,
            disturbed: 0,
        }
    }
}

impl Clocks {
    /// Which boot this is.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        BootId(self.boot)
    }

    /// What both clocks show at `t`.
    #[must_use]
    pub fn now(&self, t: Ms) -> Now {
        let drifted = i64::try_from(t.saturating_sub(self.drift_from)).unwrap_or(0) / 1000
            * self.drift_ppm
            / 1000;
        Now {
            boot: Boot(t.saturating_sub(self.booted_at) + BOOTED),
            wall: Wall(EPOCH + t as i64 + self.offset + drifted),
        }
    }

    /// The true calendar, which providers go by.
    #[must_use]
    pub fn calendar(t: Ms) -> Wall {
        Wall(EPOCH + t as i64)
    }

    /// When the boot clock shows `boot`.
    #[must_use]
    pub fn when(&self, boot: Boot) -> Ms {
        boot.0.saturating_sub(BOOTED).saturating_add(self.booted_at)
    }

    /// The calendar is set.
    pub fn jump(&mut self, by: i64) {
        self.offset += by;
        self.disturbed += 1;
    }

    /// The calendar is set right.
    pub fn correct(&mut self, t: Ms) {
        (self.offset, self.drift_ppm, self.drift_from) = (0, 0, t);
        self.disturbed += 1;
    }

    /// The calendar runs at another pace from now on.
    pub fn drift(&mut self, t: Ms, ppm: i64) {
        let before = self.now(t).wall.0;
        (self.drift_ppm, self.drift_from) = (ppm, t);
        self.offset = before - EPOCH - t as i64;
        self.disturbed += 1;
    }

    /// Whether the calendar runs at another pace than the truth.
    #[must_use]
    pub fn is_drifting(&self) -> bool {
        self.drift_ppm != 0
    }

    /// The machine starts anew.
    pub fn reboot(&mut self, t: Ms) {
        self.boot += 1;
        self.booted_at = t;
    }
}

/// `day 3 04:12:07.250`
#[must_use]
pub fn told(t: Ms) -> String {
    let secs = t / 1000;
    format!(
        "day {} {:02}:{:02}:{:02}.{:03}",
        secs / 86_400,
        secs / 3600 % 24,
        secs / 60 % 60,
        secs % 60,
        t % 1000
    )
}
