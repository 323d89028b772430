//! One seed from its beginning to its end, and what is left of a story when all that does not matter
//! for its failure is taken away.

use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use crate::{
    coverage::Coverage,
    oracle::{Margin, Violation},
    story::Story,
    world::{Trace, World},
};

/// The last lines of a small story, which are told.
const LINES: usize = 45;

/// How a seed went.
#[derive(Debug)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
    /// What was reached.
    pub coverage: Coverage,
    /// Events and effects.
    pub steps: u64,
    /// Exchanges that brought tokens.
    pub renewals: u64,
    /// Refusals although all was well.
    pub refusals: u64,
    /// The tightest margin.
    pub margin: Margin,
    /// Of all that happened.
    pub hash: u64,
    /// True time that went by, in milliseconds.
    pub elapsed: u64,
}

/// Runs a story. With `trace` its last lines are written there.
#[must_use]
pub fn run(story: &Story, trace: Option<&Trace>) -> Outcome {
    let mut world = None;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(story, trace.cloned()));
        world.run()
    }));
    let violation = ran.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned().or_else(|| {
            panic
                .downcast_ref::<&str>()
                .map(|words| (*words).to_owned())
        });
        Some(Violation {
            invariant: 14,
            at: world.as_ref().map_or(0, |world| world.t),
            what: format!("a panic: {}", words.unwrap_or_default()),
        })
    });
    let Some(world) = world else {
        return Outcome {
            violation,
            coverage: Coverage::default(),
            steps: 0,
            renewals: 0,
            refusals: 0,
            margin: Margin::default(),
            hash: 0,
            elapsed: 0,
        };
    };
    Outcome {
        violation,
        steps: world.steps,
        renewals: world.renewals,
        refusals: world.refusals,
        margin: world.margin,
        hash: world.hash,
        elapsed: world.t,
        coverage: world.coverage,
    }
}

/// The least story that still violates the same invariant, and its last lines, found within about so
/// many steps.
#[must_use]
pub fn minimise(story: &Story, violation: &Violation, most_steps: u64) -> (Story, Vec<String>) {
    let mut story = story.clone();
    story.items.retain(|item| item.at <= violation.at);
    story.longest = story
        .longest
        .min(violation.at.saturating_mul(2).max(60_000));
    let mut steps = 0;
    let mut still = |story: &Story| {
        let outcome = run(story, None);
        steps += outcome.steps;
        let found = outcome.violation;
        let is_same = found.is_some_and(|found| found.invariant == violation.invariant);
        (is_same, steps < most_steps)
    };
    let mut may_go_on = true;
    let mut chunk = story.items.len().div_ceil(2);
    while chunk > 0 && may_go_on {
        let mut at = 0;
        let mut shrank = false;
        while at < story.items.len() && may_go_on {
            let mut fewer = story.clone();
            fewer.items.drain(at..(at + chunk).min(story.items.len()));
            let is_same;
            (is_same, may_go_on) = still(&fewer);
            if is_same {
                story = fewer;
                shrank = true;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && !shrank {
            break;
        }
        chunk = if chunk == 1 { 1 } else { chunk.div_ceil(2) };
    }
    let trace: Trace = Rc::new(RefCell::new(VecDeque::new()));
    let _ = run(&story, Some(&trace));
    let trace = trace.borrow();
    let lines = trace.iter().skip(trace.len().saturating_sub(LINES));
    let lines = lines.cloned().collect();
    (story, lines)
}
