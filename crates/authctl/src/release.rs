//! Whether the daemon that runs is of this command's release. Within a major version of the protocol they
//! understand each other whatever the answer; a newer method needs a newer daemon.

use std::cmp::Ordering;

/// Of this command, and of the daemon that it starts.
pub(crate) const OWN: &str = env!("CARGO_PKG_VERSION");

/// What mends it when the daemon is of another release; `None` when it is of this one.
pub(crate) fn mend(daemon: &str) -> Option<&'static str> {
    if daemon == OWN {
        return None;
    }
    Some(match numbers(daemon).cmp(&numbers(OWN)) {
        Ordering::Greater => {
            "install the authctl that came with it; is there an older one on the PATH?"
        }
        Ordering::Less | Ordering::Equal => "authctl daemon restart",
    })
}

/// Major, minor, patch; what cannot be read counts as 0.
fn numbers(version: &str) -> [u64; 3] {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_daemon_is_restarted_and_an_older_command_is_not_used() {
        assert_eq!(mend(OWN), None);
        for older in ["0.0.9", "0.0.10", "0.1.0-rc.1", "nonsense"] {
            assert_eq!(mend(older), Some("authctl daemon restart"), "{older}");
        }
        for newer in ["0.1.10", "0.2.0", "1.0.0-rc.1"] {
            assert!(mend(newer).unwrap().starts_with("install"), "{newer}");
        }
    }
}
