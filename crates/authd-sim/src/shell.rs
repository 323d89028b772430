//! The modelled shell: what becomes of each effect. It holds the secrets, as the real one does, and
//! the engine never sees them.

use std::{collections::BTreeMap, sync::Arc};

use authd_core::{
    answer::Answer,
    broker::{
        CommitOutcome, Demand, Effect, Event, Exchange, LoginFailure, Notice, Refusal, Served, View,
    },
    grant::Grant,
    id::{Account, AttemptId, LoginId, Ticket},
    lease::LeaseKey,
    planted::{self, Bug},
    time::Stamp,
};

use crate::{
    clock::Ms,
    provider::Granted,
    store::{Done, Row, Secrets, Work},
    story::{Disk, SECOND},
    world::{What, World},
};

/// What is gone when the process dies.
pub(crate) struct Shell {
    pub(crate) vault: Vec<Option<Secrets>>,
    pub(crate) published: Vec<Option<View>>,
    pub(crate) answers: BTreeMap<AttemptId, Granted>,
    pub(crate) committing: BTreeMap<AttemptId, Secrets>,
    pub(crate) unsaved: Vec<Option<AttemptId>>,
    /// Accounts on their way out, with what to restore if the disk keeps them.
    pub(crate) departing: Vec<Option<(Arc<Grant>, Secrets)>>,
    /// Exchanges of logins.
    pub(crate) login_of: BTreeMap<AttemptId, LoginId>,
}

impl Shell {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            vault: vec![None; count],
            published: vec![None; count],
            answers: BTreeMap::new(),
            committing: BTreeMap::new(),
            unsaved: vec![None; count],
            departing: vec![None; count],
            login_of: BTreeMap::new(),
        }
    }
}

/// A login that a person began.
#[derive(Debug)]
pub(crate) struct LoginUnderWay {
    pub(crate) account: usize,
    pub(crate) began: Ms,
    /// When the person says yes on the device.
    pub(crate) approves_at: Ms,
    /// The person says no, or lets it run out.
    pub(crate) is_doomed: bool,
    /// It was cancelled, or another was begun.
    pub(crate) is_spoilt: bool,
}

/// Why a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Demand,
    Report,
    Renew,
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) reader: Option<usize>,
    pub(crate) asked: Asked,
    pub(crate) demand: Demand,
    pub(crate) at: Ms,
    /// It asks for what it was not granted.
    pub(crate) in_vain: bool,
}

/// The number of an account.
pub(crate) fn number_of(account: &Account) -> usize {
    account.as_str()[1..].parse().expect("our own names")
}

impl World<'_> {
    /// Something happens, and everything that the engine then wants is done.
    pub(crate) fn happen(&mut self, event: Event) {
        let now = self.shown();
        let Some(broker) = &mut self.broker else {
            return;
        };
        self.coverage.event(&event);
        self.steps += 1;
        broker.handle(event, now);
        while let Some(effect) = self.broker.as_mut().and_then(|broker| broker.poll_effect()) {
            self.steps += 1;
            let row = self.coverage.effect(&effect);
            self.hash = (self.hash ^ self.t ^ (row << 56)).wrapping_mul(0x0100_0000_01b3);
            if self.boundary() {
                return;
            }
            self.perform(effect);
            if self.violation.is_some() {
                return;
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Intend { exchange } => {
                let account = number_of(&exchange.account);
                self.check_intend(account, &exchange);
                let refresh_token = self.shell.vault[account]
                    .as_ref()
                    .and_then(|secrets| secrets.refresh_token);
                let at = Stamp {
                    boot_id: self.clocks.boot_id(),
                    at: self.clocks.now(self.t),
                };
                match refresh_token {
                    Some(refresh_token) => {
                        self.write(account, Work::Intend(exchange, refresh_token, at))
                    }
                    None => self.happen(Event::Intended {
                        attempt: exchange.attempt,
                        result: Err("no refresh token is held".to_owned()),
                    }),
                }
            }
            Effect::Exchange(exchange) => self.exchange(&exchange),
            Effect::Commit { attempt, grant } => self.commit(attempt, &grant),
            Effect::Annul { account, attempt } => {
                self.write(number_of(&account), Work::Annul(attempt));
            }
            Effect::Keep { grant } => {
                let account = number_of(&grant.account);
                self.check_keep(account, &grant);
                if let Some(row) = self.row(account, &grant) {
                    self.write(account, Work::Keep(row));
                }
            }
            Effect::Save { grant } => {
                let account = number_of(&grant.account);
                let attempt = self.shell.unsaved[account];
                if let Some(row) = self.row(account, &grant).filter(|_| attempt.is_some()) {
                    self.write(account, Work::Save(Row { attempt, ..row }));
                }
            }
            // Simulated people bring no refresh tokens along, and mistype nothing.
            Effect::TakeOver { .. } | Effect::CodeRefused { .. } => {}
            Effect::Publish { attempt, view } => self.publish(attempt, view),
            Effect::Withdraw { account } => {
                let account = number_of(&account);
                self.shell.published[account] = None;
                self.truths[account].gone(self.t);
            }
            Effect::Reply { ticket, result } => self.reply(ticket, result),
            Effect::Notify { account, notice } => {
                self.say(|| format!("    told the person of {account}: {notice:?}"));
                if let Notice::LoginNeeded(_) = notice {
                    self.plan_login(number_of(&account));
                }
            }
            Effect::LoginEnded { login, result } => self.login_ended(login, result),
            Effect::Erase { account, revoke } => self.erase(number_of(&account), revoke),
            Effect::Revoke { id } => {
                let (life, at) = (self.life, self.t + self.rng.u64(50..2000));
                self.schedule(at, What::RevocationTried { id, life });
            }
            Effect::Validate(check) => self.validate(check),
            Effect::Rediscover { account } => {
                let (life, at) = (self.life, self.t + self.rng.u64(50..2000));
                let account = number_of(&account);
                self.schedule(at, What::Rediscovered { account, life });
            }
            Effect::Record(record) => self.check_record(&record),
            Effect::Note(note) => self.say(|| format!("    noted: {note:?}")),
        }
    }

    /// A record of the grant with the secrets that are held.
    pub(crate) fn row(&self, account: usize, grant: &Arc<Grant>) -> Option<Row> {
        Some(Row {
            grant: Arc::clone(grant),
            secrets: self.shell.vault[account].clone()?,
            attempt: None,
            ordinal: 0,
            is_foreign: false,
        })
    }

    /// Over to the store's thread.
    pub(crate) fn write(&mut self, account: usize, mut work: Work) {
        if let Work::Commit(row) | Work::Keep(row) | Work::Save(row) | Work::Adopt(row) = &mut work
        {
            self.ordinal += 1;
            row.ordinal = self.ordinal;
        }
        let takes = match self.disk {
            Disk::Slow => self.rng.u64(500..5 * SECOND),
            _ => self.rng.u64(1..8),
        };
        let at = self.store_free_at.max(self.t) + takes;
        self.store_free_at = at;
        self.store_queue.push_back((account, work));
        let life = self.life;
        self.schedule(at, What::StoreDone { life });
    }

    pub(crate) fn store_done(&mut self) {
        let Some((account, work)) = self.store_queue.pop_front() else {
            return;
        };
        let told: Option<Told> = match &work {
            Work::Intend(exchange, ..) => Some(Told::Intended(exchange.attempt)),
            Work::Commit(row) => row.attempt.map(Told::Committed),
            Work::Save(_) => Some(Told::Saved),
            Work::Erase(_) => Some(Told::Erased),
            _ => None,
        };
        // What is left of a login that another has replaced is dropped by the store.
        let is_keep = matches!(&work, Work::Keep(row) if self.places[account].holds(row.grant.id));
        let is_refresh = matches!(&work, Work::Commit(row) if row.grant.renewals > 0);
        if is_refresh && std::mem::take(&mut self.fates[account].rival) {
            self.places[account].overtake();
            self.truths[account].stale = true;
            let (life, at) = (self.life, self.t + self.story.people[account].reacts_in);
            self.schedule(at, What::PersonAdopts { account, life });
        }
        for (account, row) in std::mem::take(&mut self.unsynced) {
            self.places[account].apply(Work::Commit(row), Disk::Works);
        }
        let done = match work {
            Work::Commit(row) if planted::is(Bug::CommitNotSynced) => {
                self.unsynced.push((account, row));
                Done::Durable
            }
            work => self.places[account].apply(work, self.disk),
        };
        if is_keep && done == Done::Superseded && !self.truths[account].stale {
            self.violate(11, || {
                "flags of an older generation were to be written over a newer".into()
            });
        }
        if self.boundary() {
            return;
        }
        let failed = || "the disk refuses".to_owned();
        match told {
            Some(Told::Intended(attempt)) => {
                let is_in = done == Done::Durable;
                let result = if is_in { Ok(()) } else { Err(failed()) };
                self.happen(Event::Intended { attempt, result });
                if !is_in {
                    self.conclude(attempt);
                }
            }
            Some(Told::Committed(attempt)) => {
                let outcome = match done {
                    Done::Durable => CommitOutcome::Durable,
                    Done::Elsewhere(outcome) => outcome,
                    Done::Refused | Done::Superseded => CommitOutcome::Superseded,
                };
                self.say(|| format!("    a{account}: the answer is on disk: {outcome:?}"));
                self.note_committed(account, attempt, &outcome);
                self.happen(Event::Committed { attempt, outcome });
                self.conclude(attempt);
            }
            Some(Told::Saved) => {
                let result = if done == Done::Durable {
                    Ok(())
                } else {
                    Err(failed())
                };
                let whose = self.accounts[account].clone();
                self.note_saved(account, result.is_ok());
                self.happen(Event::Saved {
                    account: whose,
                    result,
                });
            }
            Some(Told::Erased) => self.erased(account, done == Done::Durable),
            None => {}
        }
    }

    fn conclude(&mut self, attempt: AttemptId) {
        self.shell.answers.remove(&attempt);
        self.shell.committing.remove(&attempt);
        self.shell.login_of.remove(&attempt);
    }

    fn exchange(&mut self, exchange: &Exchange) {
        if let Some(login) = exchange.login {
            self.shell.login_of.insert(exchange.attempt, login);
            return self.send_for_login(exchange, login);
        }
        let account = number_of(&exchange.account);
        let refresh_token = self.shell.vault[account]
            .as_ref()
            .and_then(|secrets| secrets.refresh_token);
        if let Some(refresh_token) = refresh_token {
            self.send(account, exchange, refresh_token);
        }
    }

    /// An answer comes.
    pub(crate) fn arrive(
        &mut self,
        attempt: AttemptId,
        answer: Box<Answer>,
        granted: Option<Granted>,
    ) {
        if self.cancelled.contains(&attempt) {
            return;
        }
        if let Some(granted) = granted {
            self.shell.answers.insert(attempt, granted);
        }
        let known = self.note_arrival(attempt, &answer, granted);
        let life = self.life;
        self.happen(Event::Answered { attempt, answer });
        if self.life != life {
            return;
        }
        if let Some(known) = known {
            self.check_arrival(attempt, &known);
        }
        if !self.shell.committing.contains_key(&attempt) {
            self.conclude(attempt);
        }
    }

    fn commit(&mut self, attempt: AttemptId, grant: &Arc<Grant>) {
        let account = number_of(&grant.account);
        let Some(granted) = self.shell.answers.remove(&attempt) else {
            return;
        };
        self.check_commit(account, attempt, grant, granted);
        let mut secrets = if self.shell.login_of.contains_key(&attempt) {
            Secrets::default()
        } else {
            self.shell.vault[account].clone().unwrap_or_default()
        };
        if granted.refresh_token.is_some() {
            secrets.refresh_token = granted.refresh_token;
        }
        secrets
            .access_tokens
            .retain(|(key, _)| grant.leases.contains_key(key));
        let newest = grant
            .leases
            .iter()
            .find(|(_, lease)| lease.generation == grant.generation);
        if let Some((key, _)) = newest {
            secrets.access_tokens.retain(|(other, _)| other != key);
            secrets
                .access_tokens
                .push((key.clone(), granted.access_token));
        }
        self.shell.committing.insert(attempt, secrets.clone());
        self.shell.unsaved[account] = Some(attempt);
        let row = Row {
            grant: Arc::clone(grant),
            secrets,
            attempt: Some(attempt),
            ordinal: 0,
            is_foreign: false,
        };
        self.write(account, Work::Commit(row));
    }

    fn publish(&mut self, attempt: Option<AttemptId>, view: View) {
        let account = number_of(&view.grant.account);
        let secrets = attempt.and_then(|attempt| self.shell.committing.remove(&attempt));
        if secrets.is_some() {
            self.shell.vault[account] = secrets;
        }
        self.check_view(account, attempt, &view);
        if let Some((grant, _)) = &mut self.shell.departing[account] {
            grant.clone_from(&view.grant);
        }
        self.shell.published[account] = Some(view);
    }

    /// What readers see of a lease: its token.
    pub(crate) fn published_token(&self, account: usize, key: &LeaseKey) -> Option<u32> {
        let view = self.shell.published[account].as_ref()?;
        view.grant.leases.get(key)?;
        self.shell.vault[account].as_ref()?.access_token(key)
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Served, Refusal>) {
        let Some(wait) = self.waits.remove(&ticket) else {
            return self.violate(1, || "an answer to nobody, or a second one".into());
        };
        if let Some(reader) = wait.reader {
            self.readers[reader].waits_for = None;
        }
        self.check_reply(&wait, &result);
        if let (Some(reader), Ok(served)) = (wait.reader, &result) {
            self.use_token(
                reader,
                crate::provider::named(served.fingerprint),
                wait.asked,
            );
        }
    }

    fn erase(&mut self, account: usize, revoke: bool) {
        let secrets = self.shell.vault[account].take();
        let Some((grant, held)) = &mut self.shell.departing[account] else {
            return;
        };
        if let Some(secrets) = secrets {
            *held = secrets;
        }
        let id = grant.id;
        if let Some(refresh_token) = held.refresh_token.filter(|_| revoke) {
            let family = self.ledger.family_of(refresh_token);
            let number = self.last_ticket;
            self.last_ticket += 1;
            self.owed.insert(number, family);
        }
        self.write(account, Work::Erase(id));
    }

    fn erased(&mut self, account: usize, is_gone: bool) {
        let Some((grant, secrets)) = self.shell.departing[account].take() else {
            return;
        };
        if is_gone {
            for id in self.owed.keys().copied().collect::<Vec<_>>() {
                self.happen(Event::RevocationOwed { id });
            }
        } else if self.shell.published[account].is_none() {
            self.shell.vault[account] = Some(secrets);
            self.truths[account].back(&grant);
            self.happen(Event::Loaded {
                grant: Box::new(Grant::clone(&grant)),
                interrupted: None,
                stale: None,
            });
        }
    }

    pub(crate) fn revocation_tried(&mut self, id: u64) {
        let settled = self.rng.f64() < 0.7;
        if let Some(family) = self.owed.get(&id).copied().filter(|_| settled) {
            let t = self.t;
            self.ledger.revoke(family, t);
            self.owed.remove(&id);
        }
        self.happen(Event::RevocationTried { id, settled });
    }

    /// What the disk has of an account comes to the engine.
    pub(crate) fn load(&mut self, account: usize) {
        let Some(found) = self.places[account].open() else {
            return;
        };
        let mut grant = Grant::clone(&found.row.grant);
        grant.flags = grant.flags.standing().into();
        let secrets = found.row.secrets.clone();
        grant
            .leases
            .retain(|key, _| secrets.access_token(key).is_some());
        grant.renewable = secrets.refresh_token.is_some();
        self.shell.vault[account] = Some(secrets);
        self.check_found(account, &found);
        let interrupted = found.interrupted.as_ref().map(|intent| intent.at);
        if found.stale.is_some() {
            let (life, at) = (self.life, self.t + self.story.people[account].reacts_in);
            self.schedule(at, What::PersonAdopts { account, life });
        }
        if grant.flags.needs_login.is_some() {
            self.plan_login(account);
        }
        self.say(|| {
            format!(
                "    a{account}: found generation {}, interrupted: {}, stale: {:?}",
                grant.generation,
                found.interrupted.is_some(),
                found.stale
            )
        });
        self.happen(Event::Loaded {
            grant: Box::new(grant),
            interrupted,
            stale: found.stale,
        });
        self.check_loaded(account, &found);
    }

    fn login_ended(&mut self, login: LoginId, result: Result<Arc<Grant>, LoginFailure>) {
        let Some(under_way) = self.logins.remove(&login) else {
            return;
        };
        self.say(|| {
            let end = result.as_ref().map(|grant| grant.generation);
            format!("    a{}: the login ended: {end:?}", under_way.account)
        });
        self.check_login(&under_way, &result);
        if result.is_err() {
            self.plan_login(under_way.account);
        }
    }
}

enum Told {
    Intended(AttemptId),
    Committed(AttemptId),
    Saved,
    Erased,
}
