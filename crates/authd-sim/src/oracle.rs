//! What is true of each account, whatever the engine believes, and what it may be held to.

use std::collections::{BTreeMap, VecDeque};

use authd_core::{
    grant::Grant,
    id::{AttemptId, Generation, GrantId},
    lease::LeaseKey,
    renewal::Cause,
};

use crate::{
    clock::Ms,
    fault::Fault,
    story::{HOUR, SECOND},
    world::World,
};

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Of which invariant; 0 for the targets and policies that have no number.
    pub invariant: u8,
    /// When, in true time.
    pub at: Ms,
    /// What, in a sentence.
    pub what: String,
}

/// How close late tokens came to what is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Margin {
    /// Milliseconds by which the shortest trouble that made a token late exceeded the bound.
    pub worst: Option<i64>,
    /// Tokens that were late.
    pub late: u64,
    /// The longest trouble, in shares of the bound, that made no token late.
    pub survived: f64,
}

impl Margin {
    /// The tighter of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            worst: [self.worst, other.worst].into_iter().flatten().min(),
            late: self.late + other.late,
            survived: self.survived.max(other.survived),
        }
    }
}

/// A time in which it was not the engine's to choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Ms,
    pub(crate) to: Ms,
    /// Nothing may be expected, however short it was.
    pub(crate) excluded: bool,
}

/// A request that is out.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) attempt: AttemptId,
    pub(crate) grant: GrantId,
    pub(crate) fault: Option<Fault>,
    pub(crate) sent: Ms,
    pub(crate) silent: bool,
    /// The provider said, or would say: no.
    pub(crate) denied: bool,
    pub(crate) too_early: bool,
    /// The same refresh token had been lost before.
    pub(crate) lost_before: bool,
    pub(crate) request_id: Option<String>,
}

/// A refresh token that was sent, and of which nobody heard what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unresolved {
    pub(crate) refresh_token: u32,
    pub(crate) since: Ms,
    pub(crate) resent: u32,
}

/// Continuous use of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) since: Ms,
    pub(crate) last: Ms,
}

/// One account.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) spans: Vec<Span>,
    pub(crate) room: usize,
    /// For how long what was amiss still counts, ...
    pub(crate) remembers: Ms,
    /// ... from when the oldest token that readers see was asked for.
    pub(crate) oldest: Ms,
    pub(crate) uses: [Option<Use>; 2],
    pub(crate) grant: Option<GrantId>,
    pub(crate) generation: Generation,
    /// What the engine was told to be safe on disk.
    pub(crate) secured: Option<(GrantId, Generation)>,
    pub(crate) committing: BTreeMap<AttemptId, (GrantId, Generation)>,
    pub(crate) committed: Option<AttemptId>,
    pub(crate) out: Vec<Out>,
    pub(crate) unresolved: Option<Unresolved>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) cause: Option<Cause>,
    pub(crate) last_start: Option<Ms>,
    pub(crate) starts: VecDeque<Ms>,
    /// The provider asked for patience until then.
    pub(crate) throttled_until: Ms,
    pub(crate) was_throttled: bool,
    /// Until then the engine may hold back for another reason that the provider gave.
    pub(crate) held_until: Ms,
    /// When `invalid_grant` came, of this generation.
    pub(crate) words: Vec<Ms>,
    /// How many of them an earlier life of the daemon has heard, and may have kept from its heirs.
    pub(crate) words_before: usize,
    pub(crate) interaction: bool,
    pub(crate) other_subject: bool,
    pub(crate) unintelligible: u32,
    pub(crate) refused_early: bool,
    pub(crate) stale: bool,
    pub(crate) blocked_since: Option<Ms>,
    pub(crate) needs_login: bool,
    pub(crate) lied_at: Option<Ms>,
    pub(crate) reported_at: Option<Ms>,
    pub(crate) jump: Option<(Ms, u32)>,
    pub(crate) believed: VecDeque<Ms>,
    pub(crate) answered_id: Option<(AttemptId, Option<String>)>,
}

impl Truth {
    fn span(&mut self, from: Ms, to: Ms, excluded: bool) {
        if let Some(last) = self.spans.last_mut()
            && last.excluded == excluded
            && from >= last.from
            && from <= last.to
        {
            last.to = last.to.max(to);
            return;
        }
        let covers = |span: &Span| span.excluded == excluded && span.from <= from && to <= span.to;
        if self.spans.iter().any(covers) {
            return;
        }
        if self.spans.len() >= self.room.max(64) {
            // Of an older time than any token that is still looked at.
            let (oldest, life) = (from.min(self.oldest), self.remembers);
            self.spans.retain(|span| span.to + life > oldest);
            self.room = 2 * self.spans.len();
        }
        self.spans.push(Span { from, to, excluded });
    }

    /// The provider could not be reached, or did not serve.
    pub(crate) fn troubled(&mut self, from: Ms, to: Ms) {
        self.span(from, to, false);
    }

    /// Nothing can be expected of the engine meanwhile.
    pub(crate) fn exclude(&mut self, from: Ms, to: Ms) {
        self.span(from, to, true);
    }

    /// Whether anything was amiss between these moments.
    pub(crate) fn was_troubled(&self, from: Ms, to: Ms) -> bool {
        self.blocked_since.is_some()
            || self.held_until >= from
            || self.throttled_until >= from
            || self
                .spans
                .iter()
                .any(|span| span.from <= to && span.to >= from)
    }

    /// Whether the machine or the process was away between these moments.
    pub(crate) fn was_excluded(&self, from: Ms, to: Ms) -> bool {
        let mut spans = self.spans.iter();
        spans.any(|span| span.excluded && span.from <= to && span.to >= from)
    }

    /// Who uses the lease; those that resources were asked for are not watched.
    pub(crate) fn use_of(&self, key: &LeaseKey) -> Option<Use> {
        let second = !key.scopes.is_empty();
        self.uses[usize::from(second)].filter(|_| key.resource.is_none())
    }

    /// The use of the lease goes on.
    pub(crate) fn used(&mut self, second: bool, t: Ms, gap: Ms) {
        let slot = &mut self.uses[usize::from(second)];
        match slot {
            Some(used) if t < used.last + gap => used.last = t,
            _ => *slot = Some(Use { since: t, last: t }),
        }
    }

    pub(crate) fn died(&mut self, t: Ms, until: Ms) {
        self.exclude(t, until + 60 * SECOND);
        self.out.clear();
        self.attempt = None;
        self.committing.clear();
        self.throttled_until = 0;
        self.was_throttled = false;
        // What was refused in no known form is counted anew; what could not be done before the end
        // stays undone.
        if let Some(since) = self.blocked_since.take() {
            self.exclude(since, t);
        }
        self.jump = None;
        self.believed.clear();
        // What was heard may not have been on disk yet.
        self.words.truncate(1);
        self.words_before = self.words.len();
        // How soon it starts again is the crash's doing.
        self.last_start = None;
    }

    /// Readers see it no more.
    pub(crate) fn gone(&mut self, t: Ms) {
        self.block(true, t);
        self.secured = None;
        self.attempt = None;
    }

    /// It could not go.
    pub(crate) fn back(&mut self, grant: &Grant) {
        // It is loaded anew: what reports brought about before is forgotten.
        self.believed.clear();
        // It is loaded as after a start, and knows no more than that of what it did before.
        self.last_start = None;
        self.secured = Some((grant.id, grant.generation));
        (self.grant, self.generation) = (Some(grant.id), grant.generation);
    }

    /// A client lies about a token.
    pub(crate) fn lied_to(&mut self, t: Ms) {
        self.lied_at = Some(t);
        self.exclude(t, t + 11 * 60 * SECOND);
    }

    /// An API refused a token, and a client says so.
    pub(crate) fn reported(&mut self, t: Ms) {
        self.reported_at = Some(t);
        self.exclude(t, t + 11 * 60 * SECOND);
    }

    pub(crate) fn adopted(&mut self) {
        self.stale = false;
    }

    pub(crate) fn restored(&mut self, is_older: bool, t: Ms) {
        // Its tokens are of another time.
        self.exclude(0, t);
        self.secured = None;
        // What was sent with a newer refresh token says nothing of the older.
        self.unresolved = None;
        self.stale = is_older;
    }

    /// Whether only a person or the disk can go on.
    pub(crate) fn block(&mut self, blocked: bool, t: Ms) {
        match (self.blocked_since, blocked) {
            (None, true) => self.blocked_since = Some(t),
            (Some(since), false) => {
                self.blocked_since = None;
                self.exclude(since, t + 60 * SECOND);
            }
            _ => {}
        }
    }

    /// A new generation is there.
    pub(crate) fn renewed(&mut self, grant: GrantId, generation: Generation) {
        let is_login = self.grant != Some(grant);
        (self.grant, self.generation) = (Some(grant), generation);
        self.words.clear();
        self.words_before = 0;
        self.unresolved = None;
        self.refused_early = false;
        self.was_throttled = false;
        self.unintelligible = 0;
        self.interaction = false;
        if is_login {
            self.stale = false;
            self.other_subject = false;
            self.believed.clear();

            (self.throttled_until, self.held_until) = (0, 0);
            self.last_start = None;
            self.attempt = None;
        }
    }
}

impl World<'_> {
    /// Something is wrong. The first thing counts.
    pub(crate) fn violate(&mut self, invariant: u8, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            self.say(|| format!("!!! invariant {invariant}: {what}"));
            self.violation = Some(Violation {
                invariant,
                at: self.t,
                what,
            });
        }
    }

    /// The calendar was set: at most one exchange more.
    pub(crate) fn note_jump(&mut self) {
        let t = self.t;
        for truth in &mut self.truths {
            truth.jump = Some((t, 0));
        }
    }

    /// How long a lease counts as in use.
    pub(crate) const IN_USE: Ms = 12 * HOUR;
}
