//! How long cached tokens take.

use std::time::{Duration, Instant};

use authd_proto::request::TokenGet;

use crate::instance::{Instance, call};

/// The most that a cached token may take at the 99th percentile, whatever else goes on.
pub const BOUND: Duration = Duration::from_millis(5);

/// The 99th percentile of `count` requests for a cached token on one connection, and of a tenth as
/// many on a new connection each.
///
/// # Panics
/// When a token is refused, or was not cached.
#[must_use]
pub fn p99(instance: &Instance, account: &str, count: usize) -> Duration {
    let get = TokenGet {
        account: Some(account),
        ..TokenGet::default()
    };
    let mut one = instance.client();
    let mut took: Vec<_> = (0..count)
        .map(|_| {
            timed(|| {
                call(&mut one, &get)
                    .expect("a cached token")
                    .renewal
                    .renewed
            })
        })
        .collect();
    took.extend(
        (0..count / 10)
            .map(|_| timed(|| instance.call(&get).expect("a cached token").renewal.renewed)),
    );
    took.sort();
    took[took.len() * 99 / 100]
}

/// Asserts [`p99`] below [`BOUND`].
///
/// The machine itself may be busy for a while, so the best of three rounds counts: what is asked is
/// whether the daemon makes a cached token wait, and then it does so in every round.
///
/// # Panics
/// When it is not.
pub fn assert_undelayed(instance: &Instance, account: &str, when: &str) {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        best = best.min(p99(instance, account, 2000));
        if best < BOUND {
            return;
        }
    }
    panic!("p99 of a cached token {when}: {best:?}");
}

fn timed(request: impl FnOnce() -> bool) -> Duration {
    let start = Instant::now();
    assert!(!request(), "the token was not cached");
    start.elapsed()
}
