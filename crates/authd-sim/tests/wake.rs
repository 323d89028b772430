//! Ten thousand accounts on a machine that wakes.

use authd_sim::wake::{Wake, Woken, run};

fn holds(wake: &Wake) -> Woken {
    let woken = run(wake);
    let misses = woken.misses(wake);
    assert!(misses.is_empty(), "{wake:?}: {misses:?}");
    woken
}

#[test]
fn ten_thousand_accounts_wake_and_who_is_waited_for_goes_first() {
    for seed in 0..3 {
        let wake = Wake {
            seed,
            ..Wake::default()
        };
        let woken = holds(&wake);
        // Behind all others of its host a client would wait for minutes.
        assert!(woken.all_served_after * 4 < woken.all_renewed_after);
    }
}

#[test]
fn all_on_one_host_take_longer_and_still_hold() {
    holds(&Wake {
        accounts: 3_000,
        hosts: 1,
        ..Wake::default()
    });
}
