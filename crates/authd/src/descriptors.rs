//! How many files and connections the daemon may have open.
//!
//! Many systems begin with 1,024, for the sake of programs that wait with `select`. Two thousand clients
//! would use them up, and nothing would be left to reach a provider or to write the store with.

/// What is kept free of clients: the store and its mirrors, providers, login pages, commands.
const OWN: u64 = 256;
/// Of one client: its connection, and the hold on its process.
const OF_CLIENT: u64 = 2;
/// As many as are ever of use.
#[cfg(unix)]
const ENOUGH: u64 = 4608;

/// Raises what the system lets the daemon open to what it needs, as far as it may.
pub(crate) fn raise() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};

        let mut limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
        if limit.current.is_some_and(|current| current < wanted) {
            limit.current = Some(wanted);
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::warn!(%error, wanted, "no more descriptors are to be had");
            }
        }
    }
}

/// How many clients there may be: no more than `most`, and no more than leave enough for the rest.
pub(crate) fn for_clients(most: usize) -> usize {
    #[cfg(unix)]
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let limit = None;
    within(limit, most)
}

fn within(limit: Option<u64>, most: usize) -> usize {
    // Where there are few in all, the daemon's own come first all the same.
    let left = limit.map_or(u64::MAX, |limit| {
        limit.saturating_sub(OWN).max(limit * 3 / 8)
    });
    usize::try_from(left / OF_CLIENT).map_or(most, |left| left.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_enough_for_the_rest() {
        for (limit, clients) in [
            (None, 2048),
            (Some(20_000), 2048),
            (Some(ENOUGH), 2048),
            (Some(1024), 384),
            (Some(256), 48),
            (Some(64), 12),
        ] {
            assert_eq!(within(limit, 2048), clients);
        }
    }
}
