//! Landlock: what the daemon can do to files from now on.
//!
//! It reads what its user can read: the configuration names files of the user's by any path, in its main
//! file, in a client's and in variables, and they are read when they are needed, as they stand then. It
//! writes nowhere but in its own directories. It executes nothing, makes no device, and sends no signal to
//! anybody else. A landlocked process cannot look into others either (`ptrace`, `/proc/PID/mem`,
//! `/proc/PID/exe`).

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use super::{Outcome, Writable};

/// What is governed: all that the kernel knew to govern by Linux 6.10. Not by the newest kernel there is:
/// then what nobody has tried yet would be forbidden.
const KNOWN: ABI = ABI::V5;

pub(super) fn confine(writable: &Writable) -> Outcome {
    match restrict(writable) {
        Ok(RulesetStatus::FullyEnforced) => Outcome::InForce(None),
        Ok(RulesetStatus::PartiallyEnforced) => Outcome::InForce(Some(
            "in part: this kernel is older than Linux 6.12".to_owned(),
        )),
        Ok(RulesetStatus::NotEnforced) => Outcome::Missing("the kernel has no landlock".to_owned()),
        Err(RulesetError::HandleAccesses(_)) => Outcome::Missing(
            "the kernel has no landlock, or an older one than that of Linux 5.19".to_owned(),
        ),
        Err(error) => Outcome::Missing(error.to_string()),
    }
}

fn restrict(writable: &Writable) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let own = read
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer
        });
    // A restricted socket is made beside its directory, and moved into it.
    let sockets =
        read | make_bitflags!(AccessFs::{ MakeSock | MakeDir | RemoveFile | RemoveDir | Refer });
    let mut ruleset = Ruleset::default()
        // Without it the kernel forbids what the store does: to move a file to another directory.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    let root = std::path::PathBuf::from("/");
    let rules = [(&root, read)]
        .into_iter()
        .chain(writable.own.iter().map(|dir| (dir, own)))
        .chain(writable.sockets.iter().map(|dir| (dir, sockets)));
    for (dir, access) in rules {
        ruleset = allow(ruleset, dir, access)?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Allows it below a directory. One that is not there cannot be allowed anything in: nothing of ours is
/// there either, and what is made later in its place is nobody's that we know.
fn allow(
    ruleset: landlock::RulesetCreated,
    dir: &std::path::Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    match PathFd::new(dir) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, access)),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the daemon cannot write there");
            Ok(ruleset)
        }
    }
}
