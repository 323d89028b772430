//! Named boundaries of an exchange or a logout at which a test build can be made to die or to stall.
//!
//! Without the feature `failpoints` nothing of this exists but an empty inline function. With it,
//! `AUTHD_FAILPOINT=NAME=ACTION@N` does ACTION when NAME is reached for the Nth time: `kill` is a
//! real SIGKILL to the daemon's own process, `stall:MILLIS` blocks the thread that got there, and
//! `escape:DIRECTORY` does there what somebody would do who had broken in, and logs what came of it: it
//! writes a file in that directory and runs a program.

use authd_store::key::Step;

/// The boundaries, in the order in which one exchange passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// The engine wants an intent; nothing is on disk yet.
    BeforeIntent,
    /// The intent is on disk; nothing has left.
    AfterIntent,
    /// The first byte of the request is about to leave.
    BytesSent,
    /// The whole answer is in memory.
    AnswerReceived,
    /// The store's sync for the answer has returned.
    CommitSynced,
    /// Readers see the new token.
    Published,
    /// What a logout owes the provider is on disk; the account still is, too.
    RevocationsOwed,
    /// The store's key moves or is replaced: it is noted where to.
    KeyNoted,
    /// It is written there, and was read back.
    KeyWritten,
    /// Everything is sealed under the new key, beside the old.
    KeyResealed,
    /// The new place or key counts.
    KeyCommitted,
    /// The old one is gone.
    KeyRemoved,
}

/// The boundary at which a key has come so far.
pub(crate) fn of_key(step: Step) -> Boundary {
    match step {
        Step::Noted => Boundary::KeyNoted,
        Step::Written => Boundary::KeyWritten,
        Step::Resealed => Boundary::KeyResealed,
        Step::Committed => Boundary::KeyCommitted,
        Step::Removed => Boundary::KeyRemoved,
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reach(_: Boundary) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::reach;

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        io,
        path::{Path, PathBuf},
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use super::Boundary;

    impl Boundary {
        fn name(self) -> &'static str {
            match self {
                Self::BeforeIntent => "before_intent",
                Self::AfterIntent => "after_intent",
                Self::BytesSent => "bytes_sent",
                Self::AnswerReceived => "answer_received",
                Self::CommitSynced => "commit_synced",
                Self::Published => "published",
                Self::RevocationsOwed => "revocations_owed",
                Self::KeyNoted => "key_noted",
                Self::KeyWritten => "key_written",
                Self::KeyResealed => "key_resealed",
                Self::KeyCommitted => "key_committed",
                Self::KeyRemoved => "key_removed",
            }
        }
    }

    enum Action {
        Kill,
        Stall(Duration),
        Escape(PathBuf),
    }

    struct Order {
        name: String,
        action: Action,
        at: u32,
        reached: AtomicU32,
    }

    static ORDER: OnceLock<Option<Order>> = OnceLock::new();

    fn read() -> Option<Order> {
        let text = std::env::var("AUTHD_FAILPOINT").ok()?;
        let (name, rest) = text.split_once('=')?;
        let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
        let action = match action.split_once(':') {
            Some(("stall", millis)) => Action::Stall(Duration::from_millis(millis.parse().ok()?)),
            Some(("escape", directory)) => Action::Escape(directory.into()),
            _ if action == "kill" => Action::Kill,
            _ => return None,
        };
        let (name, at, reached) = (name.to_owned(), at.parse().ok()?, AtomicU32::new(0));
        Some(Order {
            name,
            action,
            at,
            reached,
        })
    }

    pub(crate) fn reach(boundary: Boundary) {
        let Some(order) = ORDER.get_or_init(read) else {
            return;
        };
        if order.name != boundary.name()
            || order.reached.fetch_add(1, Ordering::SeqCst) + 1 != order.at
        {
            return;
        }
        match &order.action {
            Action::Stall(stall) => std::thread::sleep(*stall),
            Action::Kill => die(),
            Action::Escape(directory) => escape(boundary, directory),
        }
    }

    fn escape(boundary: Boundary, directory: &Path) {
        let word = |result: io::Result<()>| match result {
            Ok(()) => "yes".to_owned(),
            Err(error) => error.kind().to_string(),
        };
        let wrote = std::fs::write(directory.join(boundary.name()), "escaped");
        let ran = std::process::Command::new("true").status();
        tracing::info!(
            wrote = word(wrote),
            ran = word(ran.map(drop)),
            "escape at {}",
            boundary.name()
        );
    }

    #[cfg(unix)]
    fn die() {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }

    #[cfg(not(unix))]
    fn die() {
        std::process::abort();
    }
}
