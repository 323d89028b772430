//! How long cached tokens take.

use std::time::{Duration, Instant};

use authd_proto::request::TokenGet;

use crate::instance::{Instance, call};

/// The most that a cached token may take at the 99th percentile, whatever else goes on: far below every
/// trouble that the tests make (seconds), and far above what a busy machine adds. How fast it truly is,
/// `cargo xtask bench` measures.
pub const BOUND: Duration = Duration::from_millis(100);

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
/// # Panics
/// When it is not.
pub fn assert_undelayed(instance: &Instance, account: &str, when: &str) {
    let p99 = p99(instance, account, 2000);
    assert!(p99 < BOUND, "p99 of a cached token {when}: {p99:?}");
}

fn timed(request: impl FnOnce() -> bool) -> Duration {
    let start = Instant::now();
    assert!(!request(), "the token was not cached");
    start.elapsed()
}
