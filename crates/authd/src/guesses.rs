//! Whose passphrase is tried next. One at a time is; who guessed wrong comes last, waits longer each time,
//! and is refused untried meanwhile. So guessing delays nobody but the guesser.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use authd_core::{id::ClientId, time::Boot};
use tokio::sync::oneshot;

/// The pause after the first wrong guess; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// It grows no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A process that was quiet for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(15 * 60);
/// Processes that are remembered. Beyond that the ones with the fewest wrong guesses are forgotten.
const REMEMBERED: usize = 1024;

/// Everybody who tries.
#[derive(Default)]
pub(crate) struct Guesses(Mutex<State>);

#[derive(Default)]
struct State {
    /// One is being tried.
    busy: bool,
    /// Who waits for that: first those with the fewest wrong guesses, then in the order they came.
    waiting: BTreeMap<(u32, u64), oneshot::Sender<()>>,
    came: u64,
    processes: BTreeMap<ClientId, Process>,
}

/// One process, for as long as it tries or is known to guess.
#[derive(Clone, Copy)]
struct Process {
    wrong: u32,
    not_before: Boot,
    trying: bool,
}

/// The right to try one passphrase. To be kept until that is done.
pub(crate) struct Turn {
    guesses: Arc<Guesses>,
    process: ClientId,
    /// Whether it has come.
    mine: bool,
}

impl Guesses {
    /// Waits for the turn of a process.
    ///
    /// # Errors
    /// When the process tries one already, or guessed wrong a moment ago: how long it is to wait.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        process: ClientId,
        now: Boot,
    ) -> Result<Turn, Duration> {
        let (mut turn, waits) = self.queue(process, now)?;
        if let Some(waits) = waits {
            // The sender is dropped by nobody but a turn that passes it on.
            let _ = waits.await;
        }
        turn.mine = true;
        Ok(turn)
    }

    fn queue(
        self: &Arc<Self>,
        process: ClientId,
        now: Boot,
    ) -> Result<(Turn, Option<oneshot::Receiver<()>>), Duration> {
        let mut state = self.state();
        state.forget(now);
        let known = state.processes.entry(process).or_insert(Process {
            wrong: 0,
            not_before: now,
            trying: false,
        });
        if known.trying {
            return Err(pause(known.wrong + 1));
        }
        if now < known.not_before {
            return Err(known.not_before.since(now));
        }
        known.trying = true;
        let wrong = known.wrong;
        let turn = Turn {
            guesses: Arc::clone(self),
            process,
            mine: false,
        };
        if !state.busy {
            state.busy = true;
            return Ok((turn, None));
        }
        let (tell, told) = oneshot::channel();
        state.came += 1;
        let came = state.came;
        state.waiting.insert((wrong, came), tell);
        Ok((turn, Some(told)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// It was wrong: the process is to wait for so long.
    pub(crate) fn was_wrong(&self, now: Boot) -> Duration {
        let mut state = self.guesses.state();
        let Some(process) = state.processes.get_mut(&self.process) else {
            return FIRST_PAUSE;
        };
        process.wrong = process.wrong.saturating_add(1);
        let pause = pause(process.wrong);
        process.not_before = now.after(pause);
        pause
    }

    /// It was right: what went before is forgiven.
    pub(crate) fn was_right(&self) {
        if let Some(process) = self.guesses.state().processes.get_mut(&self.process) {
            process.wrong = 0;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.guesses.state();
        if let Some(process) = state.processes.get_mut(&self.process) {
            process.trying = false;
            if process.wrong == 0 {
                state.processes.remove(&self.process);
            }
        }
        // Whoever went away before its turn came is passed over, also when it is told just now.
        if self.mine {
            state.pass_on();
        } else {
            state.waiting.retain(|_, waits| !waits.is_closed());
        }
    }
}

impl State {
    fn pass_on(&mut self) {
        self.busy = false;
        while let Some((_, next)) = self.waiting.pop_first() {
            if next.send(()).is_ok() {
                self.busy = true;
                return;
            }
        }
    }

    fn forget(&mut self, now: Boot) {
        self.processes
            .retain(|_, process| process.trying || now.since(process.not_before) < FORGIVEN);
        while self.processes.len() > REMEMBERED {
            let idle = self.processes.iter().filter(|(_, process)| !process.trying);
            let least = idle.min_by_key(|(_, process)| process.wrong);
            let Some(least) = least.map(|(id, _)| *id) else {
                return;
            };
            self.processes.remove(&least);
        }
    }
}

fn pause(wrong: u32) -> Duration {
    let doubled = FIRST_PAUSE.checked_mul(1 << wrong.saturating_sub(1).min(16));
    doubled.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Boot = Boot(1_000_000);

    async fn enter(guesses: &Arc<Guesses>, process: u64, now: Boot) -> Result<Turn, Duration> {
        guesses.enter(ClientId(process), now).await
    }

    fn waiting(guesses: &Arc<Guesses>, process: u64) -> (Turn, oneshot::Receiver<()>) {
        let (turn, waits) = guesses
            .queue(ClientId(process), NOW)
            .unwrap_or_else(|_| panic!());
        (turn, waits.expect("somebody else tries"))
    }

    #[tokio::test]
    async fn each_wrong_guess_delays_the_guesser_longer_and_nobody_else() {
        let guesses = Arc::new(Guesses::default());
        let mut now = NOW;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let turn = enter(&guesses, 1, now).await.unwrap_or_else(|_| panic!());
            assert_eq!(turn.was_wrong(now), Duration::from_secs(expected));
            drop(turn);
            let refused = enter(&guesses, 1, now).await.err();
            assert_eq!(refused, Some(Duration::from_secs(expected)));
            assert!(
                enter(&guesses, 2, now).await.is_ok(),
                "another is not delayed"
            );
            now = now.after(Duration::from_secs(expected));
        }
        let turn = enter(&guesses, 1, now).await.unwrap_or_else(|_| panic!());
        turn.was_right();
        drop(turn);
        assert!(enter(&guesses, 1, now).await.is_ok(), "forgiven");
    }

    #[tokio::test]
    async fn a_process_tries_one_at_a_time_and_guessers_come_last() {
        let guesses = Arc::new(Guesses::default());
        let guesser = enter(&guesses, 1, NOW).await.unwrap_or_else(|_| panic!());
        guesser.was_wrong(NOW);
        drop(guesser);
        let later = NOW.after(Duration::from_secs(1));
        let first = enter(&guesses, 9, NOW).await.unwrap_or_else(|_| panic!());
        assert!(enter(&guesses, 9, NOW).await.is_err(), "one at a time");
        let (guesser, guessed) = guesses
            .queue(ClientId(1), later)
            .unwrap_or_else(|_| panic!());
        let mut guessed = guessed.expect("it waits");
        let (gone, went) = waiting(&guesses, 2);
        let (mut honest, mut honestly) = waiting(&guesses, 3);
        drop((went, gone));
        drop(first);
        assert!(honestly.try_recv().is_ok(), "it never guessed wrong");
        assert!(guessed.try_recv().is_err());
        honest.mine = true;
        drop(honest);
        assert!(guessed.try_recv().is_ok());
        drop(guesser);
    }

    #[tokio::test]
    async fn processes_are_remembered_within_a_bound_and_not_for_ever() {
        let guesses = Arc::new(Guesses::default());
        for process in 0..3 * REMEMBERED as u64 {
            let turn = enter(&guesses, process, NOW)
                .await
                .unwrap_or_else(|_| panic!());
            turn.was_wrong(NOW);
        }
        assert!(guesses.state().processes.len() <= REMEMBERED + 1);
        let later = NOW.after(FORGIVEN + LONGEST_PAUSE);
        drop(enter(&guesses, 0, later).await);
        assert!(guesses.state().processes.is_empty());
    }
}
