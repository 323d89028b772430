//! What the listener that a connection came in at lets it ask for.
//!
//! Privilege comes from the listener and from nothing that a client says. [`Access::admit`] is asked once,
//! at the top of dispatch; it matches on every method, so that a new one does not compile before somebody
//! has decided who may call it. What else a restricted socket narrows (scopes, resources, the words of
//! errors) goes through the same value.

use std::sync::Arc;

use authd_core::{
    id::Account,
    lease::LeaseKey,
    time::{BootId, Now},
};
use authd_proto::{Call, WireError};

use crate::{clock::Clock, published::Snapshot, restricted::Restricted};

/// What a connection may ask for.
#[derive(Clone, Default)]
pub(crate) enum Access {
    /// Everything: it came in at the owner's own socket.
    #[default]
    Owner,
    /// The token of one account: it came in at this one.
    Restricted(Arc<Restricted>),
}

impl Access {
    /// Whether the call may be made here at all.
    pub(crate) fn admit(
        &self,
        call: &Call<'_>,
        clock: &Clock,
        boot_id: BootId,
    ) -> Result<(), WireError> {
        let Self::Restricted(socket) = self else {
            return Ok(());
        };
        let admitted = admit(socket, call, clock.now(), boot_id);
        if admitted.is_err() {
            socket.count_refusal();
        }
        admitted
    }

    /// What is said to a request that cannot be read.
    pub(crate) fn unread(&self, error: WireError, clock: &Clock, boot_id: BootId) -> WireError {
        let Self::Restricted(socket) = self else {
            return error;
        };
        socket.count_refusal();
        let taken = socket.take_request(clock.now(), boot_id);
        taken.err().unwrap_or_else(|| socket.denied())
    }

    /// The lease that a client means, if it may have a token of it.
    pub(crate) fn key(&self, snapshot: &Snapshot, asked: LeaseKey) -> Result<LeaseKey, WireError> {
        match self {
            Self::Owner => Ok(snapshot.key(asked)),
            Self::Restricted(socket) => socket.key(snapshot, asked),
        }
    }

    /// Whether this token, which may have more scopes than were asked for, may be handed out.
    pub(crate) fn check_token(&self, snapshot: &Snapshot, key: &LeaseKey) -> Result<(), WireError> {
        match self {
            Self::Owner => Ok(()),
            Self::Restricted(socket) => socket.check_token(snapshot, key),
        }
    }

    /// An account's name where the client gave none: that of the one which it is for.
    pub(crate) fn account<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Owner => asked,
            Self::Restricted(socket) => Some(socket.account()),
        }
    }

    /// The name of the socket that it came in at, where that is not the owner's.
    pub(crate) fn socket(&self) -> Option<&str> {
        match self {
            Self::Owner => None,
            Self::Restricted(socket) => Some(&socket.terms.name),
        }
    }

    /// The only account there is for whoever came in here; `None` where all of them are.
    pub(crate) fn restricted_to(&self) -> Option<&Account> {
        match self {
            Self::Owner => None,
            Self::Restricted(socket) => Some(&socket.terms.account),
        }
    }

    /// Whether it is still open: to be asked again before something leaves that was waited for.
    pub(crate) fn check_time(&self, clock: &Clock, boot_id: BootId) -> Result<(), WireError> {
        match self {
            Self::Owner => Ok(()),
            Self::Restricted(socket) => socket.check_time(clock.now(), boot_id),
        }
    }

    /// Whether a report of a refused token teaches us anything.
    pub(crate) fn teaches(&self) -> bool {
        matches!(self, Self::Owner)
    }

    /// A token was handed out.
    pub(crate) fn count_served(&self) {
        if let Self::Restricted(socket) = self {
            socket.count_served();
        }
    }

    /// The error in words that say nothing of what the client has no part in.
    pub(crate) fn shield(&self, error: WireError) -> WireError {
        match self {
            Self::Owner => error,
            Self::Restricted(socket) => {
                socket.count_refusal();
                socket.shield(&error)
            }
        }
    }
}

/// The table of what a restricted socket answers, after its time and its limits.
fn admit(socket: &Restricted, call: &Call<'_>, now: Now, boot_id: BootId) -> Result<(), WireError> {
    socket.take_request(now, boot_id)?;
    match call {
        Call::Hello(_) => Ok(()),
        Call::TokenGet(get) => match get.account {
            None => Ok(()),
            Some(account) => socket.is_for(account),
        },
        Call::TokenReject(reject) => {
            socket.is_for(reject.account)?;
            socket.take_report(now)
        }
        Call::DpopProof(_)
        | Call::AccountList(_)
        | Call::AccountGet(_)
        | Call::AccountCheck(_)
        | Call::AccountForget(_)
        | Call::AccountAdopt(_)
        | Call::AccountImport(_)
        | Call::LoginStart(_)
        | Call::LoginWait(_)
        | Call::LoginComplete(_)
        | Call::LoginCancel(_)
        | Call::ProviderList(_)
        | Call::ProviderShow(_)
        | Call::Logout(_)
        | Call::Renew(_)
        | Call::Subscribe(_)
        | Call::Unsubscribe(_)
        | Call::EventsQuery(_)
        | Call::SocketCreate(_)
        | Call::SocketList(_)
        | Call::SocketRevoke(_)
        | Call::DoctorCheck(_)
        | Call::ApprovalList(_)
        | Call::ApprovalAnswer(_)
        | Call::GrantList(_)
        | Call::GrantTier(_)
        | Call::GrantAdd(_)
        | Call::GrantRevoke(_)
        | Call::AuditQuery(_)
        | Call::DaemonStatus(_)
        | Call::DaemonReload(_)
        | Call::DaemonStop(_)
        | Call::DaemonLock(_)
        | Call::DaemonUnlock(_)
        | Call::KeyStatus(_)
        | Call::KeyRotate(_)
        | Call::KeyMove(_) => Err(socket.denied()),
    }
}

#[cfg(test)]
mod tests;
