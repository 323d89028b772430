//! Who may have tokens without a question: tiers and standing approvals, which are kept, and the person's
//! answers, which are not.
//!
//! What follows from them is decided by [`authd_core::policy::admit`]; how the person is asked is the
//! business of [`ask`]. An account at the tier `allow` costs one look at a snapshot.

pub(crate) mod ask;
mod kept;
mod questions;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use authd_core::{
    id::Account,
    policy::{self, Approval, CallerName, Extent, Purpose, Tier, Verdict},
    time::Now,
};
use authd_proto::{approval::Answer, audit::Because};

use self::{
    kept::{FILE, Kept},
    questions::Questions,
};
pub(crate) use self::{
    kept::{Grant, NotKept},
    questions::{Asked, LIFE, NotAsked, Question, Standing, Subject, Wish},
};
use crate::caller::Caller;

/// Answers of the person that are remembered for one account at most; the oldest go.
const MOST_ANSWERS: usize = 256;

/// All of it.
pub(crate) struct Approvals {
    state_dir: PathBuf,
    /// What readers of cached tokens see.
    tiers: ArcSwap<Tiers>,
    book: Mutex<Book>,
    /// One change of what is kept at a time.
    changing: tokio::sync::Mutex<()>,
    /// Clients that subscribed in order to answer.
    listeners: Arc<AtomicUsize>,
}

/// Which accounts ask.
#[derive(Default)]
struct Tiers {
    /// Of all that are not named: more than [`Tier::Allow`] where nobody knows what was kept.
    otherwise: Tier,
    of: BTreeMap<Account, Tier>,
}

struct Book {
    kept: Kept,
    /// Why nobody knows what was kept.
    unread: Option<String>,
    answers: BTreeMap<Account, Vec<Answered>>,
    questions: Questions,
}

/// What the person said, and to which request.
struct Answered {
    approval: Approval,
    purpose: Purpose,
    scopes: Vec<String>,
    resource: Option<String>,
}

impl Answered {
    /// Whether it says anything about this request. A yes to one is for the token that was shown then; for proofs
    /// it is all the same, since they are of no use without the token.
    fn is_about(&self, purpose: Purpose, wish: &Wish) -> bool {
        let is_for_one = matches!(self.approval.extent, Extent::OneAnswer { .. });
        let was_shown = self.purpose == Purpose::Token
            && self.scopes == wish.scopes
            && self.resource == wish.resource;
        !is_for_one || purpose == Purpose::Proof || was_shown
    }
}

/// What the policy says to one who asks.
pub(crate) enum Admission {
    /// Hand it out.
    Granted(Because),
    /// The person just said no.
    Denied,
    /// The person is asked.
    Asked(Asked),
    /// The person is not asked.
    NotAsked(NotAsked),
}

/// Somebody who subscribed in order to answer, until it is dropped.
pub(crate) struct Listener(Arc<AtomicUsize>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Approvals {
    /// Reads what is kept in the state directory.
    pub(crate) fn open(state_dir: PathBuf) -> Self {
        let (kept, unread) = match Kept::load(&state_dir) {
            Ok(kept) => (kept, None),
            Err(why) => {
                tracing::error!(why, "{FILE} cannot be read: every account asks each time");
                (Kept::default(), Some(why))
            }
        };
        let book = Book {
            kept,
            unread,
            answers: BTreeMap::new(),
            questions: Questions::default(),
        };
        Self {
            state_dir,
            tiers: ArcSwap::from_pointee(book.tiers()),
            book: Mutex::new(book),
            changing: tokio::sync::Mutex::default(),
            listeners: Arc::default(),
        }
    }

    /// The tier of an account.
    pub(crate) fn tier(&self, account: &Account) -> Tier {
        let tiers = self.tiers.load();
        if tiers.of.is_empty() {
            return tiers.otherwise;
        }
        tiers.of.get(account).copied().unwrap_or(tiers.otherwise)
    }

    /// Why nobody knows which tiers were set, where that is so.
    pub(crate) fn unread(&self) -> Option<String> {
        self.book().unread.clone()
    }

    /// Whether the wish is granted. An answer to one request is used up by that; where there is none, the
    /// person is asked.
    pub(crate) fn admit(&self, purpose: Purpose, wish: &Wish, now: Now) -> Admission {
        let tier = self.tier(&wish.account);
        let mut book = self.book();
        let standing = book.kept.of(&wish.account, now).map(Grant::approval);
        let answered = book.answers.get(&wish.account).into_iter().flatten();
        let (places, mut approvals): (Vec<usize>, Vec<Approval>) = answered
            .enumerate()
            .filter(|(_, answered)| answered.is_about(purpose, wish))
            .map(|(place, answered)| (place, answered.approval.clone()))
            .unzip();
        approvals.extend(standing);
        match policy::admit(tier, purpose, wish.caller.names(), &approvals, now) {
            Verdict::Allow(policy::Because::OfTier) => Admission::Granted(Because::Tier),
            Verdict::Allow(policy::Because::OfApproval(place)) => {
                let extent = approvals[place].extent;
                if let Some(place) = places.get(place)
                    && let Some(of_account) = book.answers.get_mut(&wish.account)
                {
                    of_account[*place].approval.extent = extent.after_use(now);
                }
                Admission::Granted(match extent {
                    Extent::Standing { .. } => Because::Grant,
                    Extent::UntilLock { .. } => Because::Approval,
                    Extent::OneAnswer { .. } | Extent::Refused { .. } => Because::Answer,
                })
            }
            Verdict::Deny => Admission::Denied,
            Verdict::AskFirst => self.ask_in(&mut book, wish, tier, now),
        }
    }

    /// Asks the person whether something may be changed.
    pub(crate) fn ask(&self, wish: &Wish, now: Now) -> Admission {
        let tier = self.tier(&wish.account);
        self.ask_in(&mut self.book(), wish, tier, now)
    }

    fn ask_in(&self, book: &mut Book, wish: &Wish, tier: Tier, now: Now) -> Admission {
        match book.questions.ask(wish, tier, now) {
            Ok(asked) => {
                // Somebody may have come to answer since.
                let nobody = *asked.standing.borrow() == Standing::NobodyToAsk;
                if nobody && self.has_listeners() {
                    book.questions.reopen(asked.id, now);
                }
                Admission::Asked(asked)
            }
            Err(why) => Admission::NotAsked(why),
        }
    }

    /// The questions that wait, shown by `show`, the oldest first.
    pub(crate) fn waiting<T>(&self, now: Now, show: impl FnMut(&Question) -> T) -> Vec<T> {
        self.book().questions.waiting(now).map(show).collect()
    }

    /// How many questions wait.
    pub(crate) fn count(&self, now: Now) -> usize {
        self.book().questions.count(now)
    }

    /// Shows one question, as long as it waits.
    pub(crate) fn question<T>(
        &self,
        id: u64,
        now: Now,
        show: impl FnOnce(&Question) -> T,
    ) -> Option<T> {
        self.book().questions.get(id, now).map(show)
    }

    /// Nobody was told of the question.
    pub(crate) fn nobody_to_ask(&self, id: u64, now: Now) {
        if let Some(question) = self.book().questions.get(id, now) {
            question.standing.send_replace(Standing::NobodyToAsk);
        }
    }

    /// Withdraws a question that nobody answered.
    pub(crate) fn expire(&self, id: u64) {
        self.book().questions.settle(id, Standing::Expired);
    }

    /// Takes the person's answer to question `id` and does what follows from it. `None` where no such
    /// question waits; else the question, and the answer as it counts.
    ///
    /// # Errors
    /// What keeps the answer from being kept; the question waits on then.
    pub(crate) async fn answer(
        &self,
        id: u64,
        answer: Answer,
        for_secs: Option<u64>,
        now: Now,
    ) -> Result<Option<(Question, Answer)>, NotKept> {
        let (question, counts, change) = {
            let mut book = self.book();
            let Some(question) = book.questions.take(id, now) else {
                return Ok(None);
            };
            let (counts, change) = outcome(&question, answer, for_secs);
            let Some(change) = change else {
                // At one go: what a lock forgets must not be remembered after it.
                book.remember(&question, counts, now);
                question.tell(counts);
                return Ok(Some((question, counts)));
            };
            (question, counts, change)
        };
        let account = &question.account;
        let changed = match change {
            Change::Tier(tier) => self.set_tier(account, tier, now).await,
            Change::Grant(caller, secs) => self.add(account, caller, secs, now).await.map(drop),
        };
        if let Err(error) = changed {
            self.book().questions.put_back(question);
            return Err(error);
        }
        question.tell(counts);
        Ok(Some((question, counts)))
    }

    /// Changes what is kept: on the disk first, then for everybody.
    ///
    /// # Errors
    /// [`NotKept`]; nothing is changed then.
    pub(crate) async fn change<T>(
        &self,
        now: Now,
        change: impl FnOnce(&mut Kept, u64) -> Result<T, NotKept>,
    ) -> Result<T, NotKept> {
        let _alone = self.changing.lock().await;
        let mut kept = {
            let book = self.book();
            if let Some(why) = &book.unread {
                return Err(NotKept::Unread(why.clone()));
            }
            book.kept.clone()
        };
        let at = u64::try_from(now.wall.unix_secs()).unwrap_or(0);
        let result = change(&mut kept, at)?;
        if kept == self.book().kept {
            return Ok(result);
        }
        let (state_dir, saved) = (self.state_dir.clone(), kept.clone());
        tokio::task::spawn_blocking(move || saved.save(&state_dir))
            .await
            .map_err(std::io::Error::other)??;
        let mut book = self.book();
        book.kept = kept;
        self.tiers.store(Arc::new(book.tiers()));
        Ok(result)
    }

    /// Sets a tier.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(crate) async fn set_tier(
        &self,
        account: &Account,
        tier: Tier,
        now: Now,
    ) -> Result<(), NotKept> {
        self.change(now, |kept, _| kept.set_tier(account.clone(), tier))
            .await
    }

    /// Adds a standing approval, for `secs` or until it is revoked.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(crate) async fn add(
        &self,
        account: &Account,
        caller: CallerName,
        secs: Option<u64>,
        now: Now,
    ) -> Result<Grant, NotKept> {
        self.change(now, |kept, at| {
            let until = secs.map(|secs| at.saturating_add(secs));
            kept.add(account.clone(), caller, at, until)
        })
        .await
    }

    /// Ends standing approvals of an account, and what its callers were answered; how many of the first.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(crate) async fn revoke(
        &self,
        account: &Account,
        id: Option<u64>,
        now: Now,
    ) -> Result<u64, NotKept> {
        let revoked = self
            .change(now, |kept, _| Ok(kept.revoke(account, id)))
            .await?;
        if id.is_none() {
            self.book().answers.remove(account);
        }
        Ok(revoked)
    }

    /// Ends the standing approvals of an account that goes: who has its name later may be somebody else. Its
    /// tier stays.
    pub(crate) async fn end_of(&self, account: &Account, now: Now) {
        if let Err(error) = self.revoke(account, None, now).await {
            tracing::warn!(%error, "standing approvals of an account that goes stay");
        }
    }

    /// The standing approvals of an account that are not over.
    pub(crate) fn grants(&self, account: &Account, now: Now) -> Vec<Grant> {
        self.book().kept.of(account, now).cloned().collect()
    }

    /// Forgets the answers about an account that has gone, and withdraws the questions. What stands, stands.
    pub(crate) fn forget_of(&self, account: &Account) {
        let mut book = self.book();
        book.answers.remove(account);
        book.questions.cancel_of(account);
    }

    /// Forgets every answer that holds until lock, and withdraws every question. What stands, stands.
    pub(crate) fn forget(&self) {
        let mut book = self.book();
        book.answers.clear();
        book.questions.cancel_all();
    }

    /// Counts one who came to answer.
    pub(crate) fn listen(&self) -> Listener {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener(Arc::clone(&self.listeners))
    }

    /// Whether somebody came to answer.
    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // The book is whole after every statement that changes it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn tiers(&self) -> Tiers {
        Tiers {
            otherwise: if self.unread.is_some() {
                Tier::AskEach
            } else {
                Tier::Allow
            },
            of: self.kept.tiers.clone(),
        }
    }

    /// Remembers what was said of the caller who was asked about, where something was to be handed out.
    fn remember(&mut self, question: &Question, answer: Answer, now: Now) {
        let Subject::HandOut(purpose) = question.subject else {
            return;
        };
        let extent = match answer {
            Answer::Once => Extent::OneAnswer {
                given: now.boot,
                used: None,
            },
            Answer::Allow => Extent::UntilLock {
                given: now.boot,
                used: now.boot,
            },
            Answer::Deny => Extent::Refused { at: now.boot },
            // It is kept already.
            Answer::Always => return,
        };
        let caller = question.caller.name().clone();
        let answers = self.answers.entry(question.account.clone()).or_default();
        answers.retain(|Answered { approval, .. }| {
            let same = approval.caller == caller;
            let was_refused = matches!(approval.extent, Extent::Refused { .. });
            // A later word takes the place of an earlier one; what was used still covers its proofs.
            !approval.extent.is_over(now) && !(same && (was_refused || answer == Answer::Deny))
        });
        if answers.len() >= MOST_ANSWERS {
            answers.remove(0);
        }
        answers.push(Answered {
            approval: Approval { caller, extent },
            purpose,
            scopes: question.scopes.clone(),
            resource: question.resource.clone(),
        });
    }
}

/// What an answer changes of what is kept.
enum Change {
    Tier(Tier),
    Grant(CallerName, Option<u64>),
}

/// As what an answer counts, and what it changes.
fn outcome(question: &Question, answer: Answer, for_secs: Option<u64>) -> (Answer, Option<Change>) {
    let name = question.caller.name();
    match (&question.subject, answer) {
        (_, Answer::Deny) => (Answer::Deny, None),
        (Subject::HandOut(_), Answer::Always) if name.lasts() => {
            (answer, Some(Change::Grant(name.clone(), for_secs)))
        }
        // Whom nobody knows now, nobody would know again.
        (Subject::HandOut(_), Answer::Allow | Answer::Always)
            if !name.is_unidentified() && question.tier == Tier::AskOnce =>
        {
            (Answer::Allow, None)
        }
        // Of a socket, whoever waits for the answer opens it.
        (Subject::HandOut(_) | Subject::Socket(_), _) => (Answer::Once, None),
        (Subject::Tier(tier), _) => (Answer::Once, Some(Change::Tier(*tier))),
        (Subject::Grant(caller, secs), _) => {
            (Answer::Once, Some(Change::Grant(caller.clone(), *secs)))
        }
    }
}

/// Whether `caller`, a descendant of those processes, may answer the question. This keeps a program from answering
/// itself by the plainest means, and no more than that: programs of one user can have each other run.
pub(crate) fn may_answer(
    caller: &Caller,
    ancestors: &[u32],
    question: &Question,
) -> Result<(), &'static str> {
    let (name, asker) = (caller.name(), question.caller.name());
    if name.is_unidentified() || !caller.is_alive() {
        return Err("nobody knows which process answers");
    }
    if name.is_sandboxed() {
        return Err("a sandboxed application answers no questions");
    }
    if caller.descends_from(ancestors, &question.caller) {
        return Err("the process that asks, and what it started, does not answer");
    }
    let in_unit = matches!(name, CallerName::Unit(_));
    if in_unit && name == asker && caller.facts().terminal.is_none() {
        return Err("the service that asks does not answer");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
