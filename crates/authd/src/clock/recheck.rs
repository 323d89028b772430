//! An alarm on the runtime's timer, which may stand still in suspend.

use std::io;

use authd_core::time::Boot;

use super::{system::boot, until_recheck};

/// A timer of the runtime, looked at again every 30 s.
pub(crate) struct Alarm(Option<Boot>);

impl Alarm {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "where the alarm is the system's, it can be refused"
    )]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(None))
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "where the alarm is the system's, it can be refused"
    )]
    pub(super) fn set(&mut self, at: Option<Boot>) -> io::Result<()> {
        self.0 = at;
        Ok(())
    }

    /// Waits until it rings, or until it is time to look at the clock again.
    pub(super) async fn rings(&mut self) -> io::Result<()> {
        match self.0 {
            None => std::future::pending().await,
            Some(at) => {
                tokio::time::sleep(until_recheck(at, boot())).await;
                Ok(())
            }
        }
    }
}
