//! What the disk has not taken: kept in memory, said loudly, tried again.

use std::{sync::Arc, time::Duration};

use super::{Context, Phase, Renewal};
use crate::{
    broker::{Effect, Notice},
    flag::Raised,
    time::Boot,
};

/// Longest distance between two tries to write what the database did not take.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A commit that the database did not take.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// When to try again; `None` while a try is under way.
    pub(super) retry_at: Option<Boot>,
    tries: u32,
}

impl Renewal {
    /// Keeps the flags over a restart. While a newer generation is on its way to the disk, or not
    /// there yet, that one's write carries them: this one's must not come after it.
    pub(super) fn keep(&self, cx: &mut Context<'_>) {
        let committing = matches!(self.phase, Phase::AwaitingCommitted { .. });
        if !committing && self.unsaved.is_none() {
            let grant = Arc::clone(&self.grant);
            cx.effects.push_back(Effect::Keep { grant });
        }
    }

    /// The store cannot be written.
    pub(super) fn degrade(&mut self, reason: String, cx: &mut Context<'_>) {
        if self.grant.flags.store_degraded.is_none() {
            let notice = Notice::StoreDegraded(reason.clone());
            self.notify(notice, cx);
        }
        let since = match &self.grant.flags.store_degraded {
            Some(raised) => raised.since,
            None => cx.now.wall,
        };
        self.grant_mut().flags.store_degraded = Some(Raised { reason, since });
    }

    pub(super) fn notify(&self, notice: Notice, cx: &mut Context<'_>) {
        let account = self.grant.account.clone();
        cx.effects.push_back(Effect::Notify { account, notice });
    }

    /// The answer is in memory, and at best in the spill file.
    pub(crate) fn saved_elsewhere(&mut self, reason: String, cx: &mut Context<'_>) {
        self.degrade(reason, cx);
        self.retry_save(0, cx);
    }

    fn retry_save(&mut self, tries: u32, cx: &Context<'_>) {
        let pause = Duration::from_secs(1 << tries.min(5)).min(LONGEST_PAUSE);
        self.unsaved = Some(Unsaved {
            retry_at: Some(cx.now.boot.after(pause)),
            tries,
        });
    }

    /// Tries again to write what the database did not take, when that is due.
    pub(super) fn save(&mut self, cx: &mut Context<'_>) {
        if let Some(unsaved) = &mut self.unsaved
            && unsaved.retry_at.take_if(|at| *at <= cx.now.boot).is_some()
        {
            let grant = Arc::clone(&self.grant);
            cx.effects.push_back(Effect::Save { grant });
        }
    }

    /// Such a write was tried.
    pub(crate) fn saved(&mut self, result: Result<(), String>, cx: &mut Context<'_>) {
        let Some(unsaved) = self.unsaved.take_if(|unsaved| unsaved.retry_at.is_none()) else {
            return;
        };
        match result {
            Ok(()) => {
                self.grant_mut().flags.store_degraded = None;
                // Flags may have changed since the write began.
                self.keep(cx);
            }
            Err(reason) => {
                self.degrade(reason, cx);
                self.retry_save(unsaved.tries.saturating_add(1), cx);
            }
        }
    }

    /// Whether its latest answer is not in the database yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }
}
