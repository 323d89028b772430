//! The engine against a small model of the world: a provider's ledger that knows the truth, a store
//! and a network that fail as a random story tells them to. The model shares nothing with the engine
//! but its public types, and checks the invariants of the renewal at every effect.

mod world;

use proptest::{collection::vec, prelude::*};
use world::{Disk, Fault, Step, World};

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        2 => Just(Fault::LostBefore),
        2 => Just(Fault::LostAfter),
        2 => Just(Fault::Unreachable),
        1 => Just(Fault::ServerError),
        1 => Just(Fault::Portal),
        1 => Just(Fault::Firewall),
        1 => (0_u64..600).prop_map(Fault::Throttled),
        1 => Just(Fault::GatewayBefore),
        1 => Just(Fault::GatewayAfter),
        1 => Just(Fault::FalseInvalidGrant),
        1 => Just(Fault::Misconfigured),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let account = 0_usize..3;
    prop_oneof![
        4 => (0_u64..120_000).prop_map(Step::Pass),
        3 => (0.0..3.0).prop_map(Step::PassLives),
        8 => faults().prop_map(Step::Answer),
        5 => (account.clone(), 0_usize..3, prop::option::of(0_u64..5000), 0_u64..90)
            .prop_map(|(account, key, min_ttl, wait)| Step::Demand { account, key, min_ttl, wait }),
        1 => account.clone().prop_map(Step::Renew),
        2 => (account.clone(), any::<bool>()).prop_map(|(account, current)| Step::Reject { account, current }),
        1 => any::<prop::sample::Index>().prop_map(Step::Gone),
        1 => account.prop_map(Step::Used),
        2 => prop_oneof![
            3 => Just(Disk::Works),
            1 => Just(Disk::Refuses),
            1 => Just(Disk::Spills),
            1 => Just(Disk::Forgets),
            1 => Just(Disk::Holds),
        ]
        .prop_map(Step::Disk),
        1 => Just(Step::NetworkUp),
        1 => Just(Step::Suspending),
        1 => Just(Step::Resumed),
        1 => (-400_000_000_000_i64..400_000_000_000).prop_map(Step::WallJump),
        1 => Just(Step::Replay),
    ]
}

fn configured(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(configured(256))]

    /// Whatever happens, every invariant holds at every step; and once the world is well again, every
    /// demand on a grant that is still valid yields a token.
    #[test]
    fn the_engine_keeps_its_promises(
        seed in any::<u64>(),
        life in prop_oneof![1 => Just(1_u64), 6 => 2_u64..60, 8 => 60_u64..4000, 4 => 4000_u64..100_000],
        rotates in prop::array::uniform3(any::<bool>()),
        story in vec(steps(), 1..100),
    ) {
        let mut world = World::new(seed, life, rotates);
        for step in &story {
            world.step(step);
        }
        world.heal_and_demand();
    }
}

proptest! {
    #![proptest_config(configured(32))]

    /// The same seed and the same story make the same trace.
    #[test]
    fn the_same_seed_makes_the_same_trace(
        seed in any::<u64>(),
        life in 20_u64..4000,
        rotates in prop::array::uniform3(any::<bool>()),
        story in vec(steps(), 1..60),
    ) {
        let trace = || {
            let mut world = World::new(seed, life, rotates);
            world.trace = Some(Vec::new());
            for step in &story {
                world.step(step);
            }
            world.heal_and_demand();
            world.trace
        };
        prop_assert_eq!(trace(), trace());
    }
}
