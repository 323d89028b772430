//! What a person pasted: the redirect of a browser elsewhere, or the code alone.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use authd_core::id::LoginId;
use authd_oauth::AuthorizationError;
use authd_proto::{ErrorCode, WireError, response::LoginDone};

use super::{Login, Logins};
use crate::daemon::Shared;

/// What to do about something pasted that is of no use.
const WHOLE_ADDRESS: &str = "paste the whole address that the browser ended at";

impl Logins {
    /// Takes the redirect that a browser elsewhere ended at, and waits as [`wait`](Self::wait) does; or until
    /// a code that was typed in turns out to be none.
    pub(crate) async fn complete(
        &self,
        daemon: &Shared,
        id: LoginId,
        pasted: &str,
        wait: Duration,
    ) -> Result<Option<Arc<LoginDone>>, WireError> {
        let Some(login) = self.find(id) else {
            // There is none, or it has ended: its answer stands.
            return self.wait(id, wait).await;
        };
        let mut mistyped = login.mistyped.subscribe();
        mistyped.mark_unchanged();
        login.take(daemon, id, pasted)?;
        tokio::select! {
            biased;
            done = self.wait(id, wait) => done,
            Ok(()) = mistyped.changed() => Err(WireError::new(
                ErrorCode::BadRequest,
                "the provider does not know that as a code of this login",
            )
            .with_hint(WHOLE_ADDRESS)),
        }
    }

    /// The code that was typed in is none of this login's.
    pub(crate) fn code_refused(&self, daemon: &Shared, id: LoginId) {
        let Some(login) = self.find(id) else { return };
        *login.proof.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let late = login
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match late {
            Some(redirected) => login.redirected(daemon, id, redirected),
            None => login.mistyped.send_modify(|count| *count += 1),
        }
    }
}

impl Login {
    fn take(&self, daemon: &Shared, id: LoginId, pasted: &str) -> Result<(), WireError> {
        let Some(attempt) = &self.attempt else {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "a device login is finished at the provider; there is nothing to paste",
            ));
        };
        let proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if proof.is_some() {
            // The redirect has come before.
            return Ok(());
        }
        drop(proof);
        match attempt.complete_pasted(pasted) {
            // What is no answer to this attempt changes nothing.
            Err(error @ AuthorizationError::WholeAddressNeeded) => {
                Err(WireError::new(ErrorCode::BadRequest, error.to_string()))
            }
            Err(
                error @ (AuthorizationError::WrongState
                | AuthorizationError::NoAnswer
                | AuthorizationError::Malformed),
            ) => {
                Err(WireError::new(ErrorCode::BadRequest, error.to_string())
                    .with_hint(WHOLE_ADDRESS))
            }
            Err(error @ AuthorizationError::IssuerMismatch { .. }) => {
                Err(WireError::new(ErrorCode::BadRequest, error.to_string())
                    .with_hint("log in again if you do not know that server"))
            }
            result => {
                // Where it is not certain that this was it, the redirect may still come.
                if !matches!(&result, Ok(grant) if grant.is_typed()) {
                    self.close_listener();
                }
                self.redirected(daemon, id, result);
                Ok(())
            }
        }
    }
}
