//! The daemon's own process: what it gives up, so that others cannot look into it and so that, once
//! broken into, it is of little use.
//!
//! [`harden`] comes first of all in `main`: nobody of the same user may attach to the process or read its
//! memory, and no core file is written of it. [`confine`] comes when the places are known and before there is
//! a second thread or a secret: from then on nothing can be written but the daemon's own directories, no
//! program can be started, and most of the kernel is out of reach. What the user's commands need is done by
//! the [`launcher`], a process of its own that was started before. [`protections`] tells what of all this is
//! in force.
//!
//! What a system lacks is done without, and told.

#[cfg(target_os = "linux")]
mod files;
pub(crate) mod launcher;
pub(crate) mod protections;
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
mod system_calls;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(windows)]
mod windows;

use std::path::PathBuf;

use authd_ipc::own_process;

/// Keeps others out of this process. To be called before anything else in `main`.
pub fn harden() {
    own_process::hide_panics();
    // What is refused here is looked at, and told, by `protections`.
    let _ = own_process::refuse_debuggers();
    let _ = own_process::refuse_core_files();
    #[cfg(windows)]
    windows::harden();
}

/// Where a confined daemon can write.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "elsewhere nothing is confined to it")
)]
pub(crate) struct Writable {
    /// Directories of its own: whatever it likes.
    pub(crate) own: Vec<PathBuf>,
    /// Directories for sockets: those, and folders for them.
    pub(crate) sockets: Vec<PathBuf>,
}

/// What came of confining the process; for [`protections`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Confinement {
    /// Whether the process is the daemon's own, and was to be confined.
    pub(crate) wanted: bool,
    /// Landlock.
    pub(crate) files: Outcome,
    /// Seccomp.
    pub(crate) system_calls: Outcome,
}

/// What came of one part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "elsewhere nothing is tried")
)]
pub(crate) enum Outcome {
    /// It was not tried: the platform has nothing like it, or the process is not the daemon's own.
    #[default]
    NotTried,
    /// In force. What it lacks, if anything.
    InForce(Option<String>),
    /// Not in force, and why.
    Missing(String),
}

/// Confines this thread, and every one that it starts, for good.
#[cfg(target_os = "linux")]
pub(crate) fn confine(writable: &Writable) -> Confinement {
    // Landlock and seccomp need it anyhow; without them it still counts.
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        tracing::warn!(%error, "the daemon may still gain privileges");
    }
    let confinement = Confinement {
        wanted: true,
        files: files::confine(writable),
        // Last: it takes away what the other needs.
        system_calls: system_calls::confine(),
    };
    for (what, outcome) in [
        ("files", &confinement.files),
        ("system calls", &confinement.system_calls),
    ] {
        if let Outcome::Missing(why) = outcome {
            tracing::warn!(what, why, "the daemon is not confined");
        }
    }
    confinement
}

/// Elsewhere nobody has seen the filter at work.
#[cfg(all(
    target_os = "linux",
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))
))]
mod system_calls {
    pub(super) fn confine() -> super::Outcome {
        super::Outcome::Missing("no filter is known for this kind of processor".to_owned())
    }
}

/// Nothing: this platform has no such thing for a program that is not signed and packaged for it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn confine(_: &Writable) -> Confinement {
    Confinement {
        wanted: true,
        ..Confinement::default()
    }
}
