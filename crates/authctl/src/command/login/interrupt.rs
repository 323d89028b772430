//! Ctrl-C while somebody logs in: whatever is under way at the daemon is cancelled, and the terminal is left
//! as it was.

use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};

use authd_proto::ErrorCode;
use authd_proto::request::LoginCancel;

use crate::exit::Failure;
use crate::{daemon, input, output};

/// What an interrupt ends.
enum Stage {
    /// This process alone: nothing was asked of the daemon yet.
    Asking,
    /// An attempt that has no name yet, so that it can only be cancelled once it has.
    Starting { interrupted: bool },
    /// This attempt.
    UnderWay(String),
    /// Nothing more: the attempt is cancelled, and its end is waited for.
    Cancelled,
}

/// Where the login is, for the handler to see.
#[derive(Clone)]
pub(super) struct Interrupts(Arc<Mutex<Stage>>);

impl Interrupts {
    /// From now on an interrupt does as this module says.
    pub(super) fn listen() -> Result<Self, Failure> {
        let interrupts = Self(Arc::new(Mutex::new(Stage::Asking)));
        let handler = interrupts.clone();
        ctrlc::set_handler(move || handler.interrupted())
            .map_err(|source| Failure::Interrupts { source })?;
        Ok(interrupts)
    }

    /// The daemon is being asked to begin.
    pub(super) fn starting(&self) {
        self.set(Stage::Starting { interrupted: false });
    }

    /// It has begun, or it has not.
    pub(super) fn started(&self, login_id: Option<&str>) {
        let stage = login_id.map_or(Stage::Asking, |id| Stage::UnderWay(id.to_owned()));
        if let (Stage::Starting { interrupted: true }, Some(id)) = (self.set(stage), login_id) {
            self.set(Stage::Cancelled);
            cancel(id);
        }
    }

    /// Returns the stage before.
    fn set(&self, stage: Stage) -> Stage {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut now, stage)
    }

    /// The first one cancels the attempt, and its end is waited for; the second ends this process.
    fn interrupted(&self) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *now, Stage::Cancelled) {
            Stage::Starting { interrupted: false } => {
                *now = Stage::Starting { interrupted: true };
                output::note(
                    "giving up as soon as the login has begun; Ctrl-C again leaves at once",
                );
            }
            Stage::UnderWay(login_id) => {
                // Not here: a second interrupt has to get through.
                std::thread::spawn(move || cancel(&login_id));
            }
            Stage::Asking | Stage::Starting { interrupted: true } | Stage::Cancelled => {
                input::release();
                exit(ErrorCode::LoginCancelled.exit_status() as i32);
            }
        }
    }
}

/// At best: when it fails, the attempt ends by its own expiry.
pub(super) fn cancel(login_id: &str) {
    let request = LoginCancel {
        login_id: login_id.to_owned(),
    };
    let _ = daemon::running().and_then(|mut client| daemon::ask(&mut client, &request));
}
