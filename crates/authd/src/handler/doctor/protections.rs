//! What protects the daemon's own process.

use authd_proto::doctor::{DoctorFinding, FindingLevel};

use crate::{daemon::Daemon, process::protections};

pub(super) fn check(daemon: &Daemon) -> Vec<DoctorFinding> {
    let all = protections::all(daemon);
    let missing: Vec<_> = all
        .iter()
        .filter(|protection| !protection.in_force)
        .map(|protection| {
            let (code, level) = match &*protection.name {
                // Something does not work; the others make it less safe.
                "launcher" => ("launcher_gone", FindingLevel::Fail),
                _ => ("not_protected", FindingLevel::Warn),
            };
            let why = protection.detail.as_deref().unwrap_or("no reason given");
            let message = format!("{}: {why}", protection.name);
            DoctorFinding::new("sandbox", code, level, message, protection.fix.clone())
        })
        .collect();
    if !missing.is_empty() {
        return missing;
    }
    let names: Vec<_> = all.iter().map(|one| one.name.replace('_', " ")).collect();
    vec![DoctorFinding::new(
        "sandbox",
        "ok",
        FindingLevel::Ok,
        format!("in force: {}", names.join(", ")),
        None,
    )]
}
