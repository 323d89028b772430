//! Clients and persons: who reads, asks, reports, logs in, and what else the story does.

use std::time::Duration;

use authd_core::{
    broker::{Demand, Event, LoginBegun, LoginFailure, LoginMethod, Report},
    grant::{Endpoints, Profile, Provider, Rotation},
    id::{ClientId, LoginId, Ticket},
    lease::LeaseKey,
    planted::{self, Bug},
    scope::ScopeSet,
};
use fastrand::Rng;

use crate::{
    clock::Ms,
    fault::Fault,
    provider::{States, Tells, named},
    shell::{Asked, LoginUnderWay, Wait},
    store::Work,
    story::{Disk, Kind, Knows, MINUTE, SECOND},
    world::{What, Window, World},
};

/// How often the engine hears that a lease is in use.
const BETWEEN_USES: Ms = MINUTE;
/// What logins ask for.
pub(crate) const SCOPES: &str = "api mail openid";

impl World<'_> {
    pub(crate) fn key(&self, second: bool) -> LeaseKey {
        LeaseKey {
            resource: None,
            scopes: ScopeSet::parse(if second { "mail" } else { "" }),
        }
    }

    /// A client looks at what is published, and asks if that does not do.
    pub(crate) fn read(&mut self, number: usize) {
        let reader = &self.readers[number];
        let (account, second, every) = (reader.account, reader.second, reader.every);
        let pause = every / 2 + self.rng.u64(..every.max(1));
        let at = self.t + pause.max(50);
        self.schedule(at, What::Read(number));
        let reader = &self.readers[number];
        if self.t < reader.idle_until || self.broker.is_none() {
            return;
        }
        if let Some(ticket) = reader.waits_for {
            return self.check_unanswered(ticket);
        }
        let Some(view) = &self.shell.published[account] else {
            return;
        };
        let key = self.key(second);
        let (now, boot_id) = (self.shown(), self.clocks.boot_id());
        self.coverage.flags(&view.grant.flags);
        let lease = view.grant.leases.get(&key);
        if let Some(lease) = lease {
            let refreshing = view.refreshing.as_deref() == Some(&key);
            self.coverage
                .standing(lease.standing(now, boot_id), refreshing);
        }
        let left = lease.and_then(|lease| lease.remaining(now, boot_id));
        let is_hit = lease.is_some_and(|lease| {
            !lease.rejected && left.is_none_or(|left| !left.is_zero() && left >= lease.floor())
        });
        self.check_late(account, &key);
        self.check_out(account);
        if let Some(token) = self.published_token(account, &key).filter(|_| is_hit) {
            self.coverage.count(crate::coverage::SERVED, 0);
            self.check_served(account, token, left, false, None);
            self.used(account, second);
            if self.t >= self.readers[number].told_used + BETWEEN_USES {
                self.readers[number].told_used = self.t;
                let account = self.accounts[account].clone();
                self.happen(Event::Used { account, key });
            }
            self.use_token(number, token, Asked::Report);
            return;
        }
        let wait = 45 * SECOND + self.rng.u64(..MINUTE);
        self.ask(Some(number), Asked::Demand, account, key, None, wait);
    }

    /// Notes that the account is in use.
    pub(crate) fn used(&mut self, account: usize, second: bool) {
        let t = self.t;
        self.truths[account].used(second, t, Self::IN_USE - MINUTE);
    }

    /// A client turns to the engine.
    pub(crate) fn ask(
        &mut self,
        reader: Option<usize>,
        asked: Asked,
        account: usize,
        key: LeaseKey,
        min_ttl: Option<Duration>,
        wait: Ms,
    ) -> Option<Ticket> {
        self.ask_for(reader, asked, account, key, min_ttl, wait, None)
    }

    #[expect(clippy::too_many_arguments, reason = "a question has so many parts")]
    pub(crate) fn ask_for(
        &mut self,
        reader: Option<usize>,
        asked: Asked,
        account: usize,
        key: LeaseKey,
        min_ttl: Option<Duration>,
        wait: Ms,
        refused: Option<u32>,
    ) -> Option<Ticket> {
        self.broker.as_ref()?;
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let in_vain = key.resource.is_some() || key.scopes.iter().any(|scope| scope == "root");
        if !in_vain {
            // A report is about the token that was refused, whatever else the client may want.
            let reported = refused.and_then(|token| self.key_of(account, token));
            let used = reported.as_ref().unwrap_or(&key);
            self.used(account, !used.scopes.is_empty());
        }
        let demand = Demand {
            ticket,
            account: self.accounts[account].clone(),
            key,
            min_ttl,
            wait: Duration::from_millis(wait),
        };
        self.waits.insert(
            ticket,
            Wait {
                reader,
                asked,
                demand: demand.clone(),
                at: self.t,
                in_vain,
            },
        );
        if let Some(reader) = reader {
            self.readers[reader].waits_for = Some(ticket);
        }
        self.say(|| {
            let min_ttl = min_ttl.map(|min_ttl| min_ttl.as_secs());
            format!(
                "a client of a{account} asks ({asked:?}, min_ttl {min_ttl:?}, waits {} s)",
                wait / 1000
            )
        });
        self.happen(match (asked, refused) {
            (Asked::Report, Some(token)) => Event::Reject {
                report: Report {
                    fingerprint: crate::provider::fingerprint(token),
                    client: ClientId(reader.map_or(0, |reader| reader as u64 + 1)),
                    teaches: !self.readers[reader.unwrap_or(0)].is_restricted,
                },
                demand,
            },
            (Asked::Renew, _) => Event::Renew(demand),
            _ => Event::Demand(demand),
        });
        Some(ticket)
    }

    /// Which of the account's tokens this is, to the engine.
    fn key_of(&self, account: usize, token: u32) -> Option<LeaseKey> {
        let grant = self.broker.as_ref()?.grant(&self.accounts[account])?;
        let fingerprint = crate::provider::fingerprint(token);
        let mut leases = grant.leases.iter();
        leases.find_map(|(key, lease)| (lease.fingerprint == fingerprint).then(|| key.clone()))
    }

    /// A client brings a token to an API; if that refuses it, the client says so, once.
    pub(crate) fn use_token(&mut self, reader: usize, token: u32, after: Asked) {
        let lies = self.t < self.readers[reader].lies_until && after != Asked::Renew;
        if lies || !self.ledger.is_alive(token, self.t) {
            let pause = match (lies, after) {
                // Later than reports must be apart, and while the new token is young.
                (true, _) => 35 * SECOND,
                (false, Asked::Demand) => 50,
                (false, _) => SECOND,
            };
            let at = self.t + pause;
            self.schedule(at, What::Report { reader, token });
        }
    }

    pub(crate) fn report(&mut self, reader: usize, token: u32) {
        let (account, second) = (self.readers[reader].account, self.readers[reader].second);
        if self.readers[reader].waits_for.is_some() || self.shell.published[account].is_none() {
            return;
        }
        if self.ledger.is_alive(token, self.t) {
            self.truths[account].lied_to(self.t);
        } else {
            self.truths[account].reported(self.t);
        }
        let key = self.key(second);
        let wait = 45 * SECOND;
        self.ask_for(
            Some(reader),
            Asked::Report,
            account,
            key,
            None,
            wait,
            Some(token),
        );
    }

    /// The client goes away.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        if let Some(wait) = self.waits.remove(&ticket) {
            if let Some(reader) = wait.reader {
                self.readers[reader].waits_for = None;
            }
            if planted::is(Bug::GoneCancelsExchange) {
                let account = crate::shell::number_of(&wait.demand.account);
                let out = self.truths[account].out.iter().map(|out| out.attempt);
                self.cancelled.extend(out);
            }
            self.happen(Event::Gone { ticket });
        }
    }

    /// The person will log in, in their own time.
    pub(crate) fn plan_login(&mut self, account: usize) {
        if std::mem::replace(&mut self.fates[account].login_planned, true) {
            return;
        }
        let at = self.t + self.story.people[account].reacts_in;
        let device = self.rng.u32(..4) == 0;
        self.schedule(at, What::PersonLogsIn { account, device });
    }

    pub(crate) fn person_logs_in(&mut self, account: usize, device: bool) {
        self.fates[account].login_planned = false;
        if self.broker.is_none() {
            return self.plan_login(account);
        }
        let grant = self.next_grant();
        let login = LoginId(grant.0);
        let provider = self.provider(account);
        let thinks = self.rng.u64(2 * SECOND..40 * SECOND);
        let is_doomed = device && self.rng.u32(..8) == 0;
        for other in self.logins.values_mut() {
            other.is_spoilt |= other.account == account;
        }
        self.logins.insert(
            login,
            LoginUnderWay {
                account,
                began: self.t,
                approves_at: self.t + thinks,
                is_doomed,
                is_spoilt: false,
            },
        );
        let method = if device {
            LoginMethod::Device {
                interval: Duration::from_secs(5),
            }
        } else {
            LoginMethod::Code
        };
        self.say(|| format!("the person of a{account} begins a login ({method:?})"));
        self.happen(Event::LoginBegun(Box::new(LoginBegun {
            login,
            account: self.accounts[account].clone(),
            grant,
            provider,
            scopes: ScopeSet::parse(SCOPES),
            resource: None,
            resources: [].into(),
            replace_subject: false,
            method,
            patience: Duration::from_secs(600),
        })));
        if !device {
            let life = self.life;
            if self.rng.u32(..12) == 0 {
                if let Some(under_way) = self.logins.get_mut(&login) {
                    under_way.is_spoilt = true;
                    let reason = LoginFailure::Cancelled;
                    self.happen(Event::LoginCancelled { login, reason });
                }
            } else {
                self.schedule(self.t + thinks, What::Code { login, life });
            }
        }
    }

    /// What the engine is told of the provider.
    fn provider(&mut self, account: usize) -> Provider {
        let person = &self.story.people[account];
        let habits = &self.story.hosts[person.host];
        let mut profile = Profile::default();
        let secs = |millis: Ms| Duration::from_secs(millis / 1000);
        let knows_all = person.knows == Knows::All;
        if person.knows != Knows::Nothing {
            profile.rotation = match (habits.rotates, habits.detects_reuse) {
                (false, _) => Rotation::None,
                (true, false) => Rotation::Rotates,
                (true, true) => Rotation::ReuseDetected,
            };
            profile.refresh_revokes_access_token = habits.kills_old;
        }
        if knows_all {
            profile.leeway = (habits.leeway > 0).then(|| secs(habits.leeway));
            profile.inactivity_limit = habits.inactivity.map(secs);
        }
        if knows_all || habits.states == States::Nothing {
            profile.lifetime = Some(secs(habits.life)).filter(|life| !life.is_zero());
        }
        Provider {
            issuer: habits
                .is_wordy
                .then(|| format!("https://idp{}.example", person.host)),
            endpoints: Endpoints {
                token: format!("https://idp{}.example/token", person.host),
                introspection: matches!(habits.tells, Some(Tells::Introspection { .. }))
                    .then(|| "https://idp.example/introspect".to_owned()),
                userinfo: (habits.tells == Some(Tells::Userinfo))
                    .then(|| "https://idp.example/userinfo".to_owned()),
                ..Endpoints::default()
            },
            client_id: "sim".to_owned(),
            profile,
            ..Provider::default()
        }
    }

    pub(crate) fn adopt(&mut self, account: usize) {
        let Some(view) = self.shell.published[account].as_ref() else {
            return;
        };
        if view.grant.flags.stale_store.is_none() {
            return;
        }
        let mut grant = authd_core::grant::Grant::clone(&view.grant);
        grant.flags.stale_store = None;
        self.say(|| format!("the person adopts the login of a{account}"));
        if let Some(row) = self.row(account, &std::sync::Arc::new(grant)) {
            self.write(account, Work::Adopt(row));
        }
        self.truths[account].adopted();
        let account = self.accounts[account].clone();
        self.happen(Event::Adopt { account });
    }

    /// What the story has in store.
    pub(crate) fn happens(&mut self, kind: Kind, account: usize, length: Ms, rng: &mut Rng) {
        let t = self.t;
        let host = self.story.people[account].host;
        match kind {
            Kind::Window(fault) => self.open_window(fault, host, length),
            Kind::Once(fault) => {
                let count = 1 + rng.usize(..3) * usize::from(!fault.is_word_on_the_login());
                self.fates[account]
                    .once
                    .extend(std::iter::repeat_n(fault, count));
            }
            Kind::RevokeSession => {
                if let Some(refresh_token) = self.newest(account) {
                    let family = self.ledger.family_of(refresh_token);
                    self.ledger.revoke(family, t);
                }
            }
            Kind::KillToken => {
                let key = self.key(false);
                if let Some(token) = self.published_token(account, &key) {
                    self.ledger.kill(token, t);
                }
            }
            Kind::ScopeChange => self.fates[account].other_scopes = true,
            Kind::SubjectChange => self.fates[account].other_subject = true,
            Kind::OmitRefreshToken => self.fates[account].omits = true,
            Kind::Unrenewable => {
                self.fates[account].unrenewable = true;
                self.plan_login(account);
            }
            Kind::Suspend(tells) if self.asleep_until.is_none() => {
                self.suspend(length.max(10 * SECOND), tells);
            }
            Kind::Suspend(_) => {}
            Kind::WallJump(by) => {
                self.clocks.jump(by);
                self.note_jump();
                self.happen(Event::Tick);
            }
            Kind::Drift(ppm) => self.clocks.drift(t, ppm),
            Kind::Correct => {
                self.clocks.correct(t);
                self.note_jump();
            }
            Kind::Reboot => self.reboot(),
            Kind::Kill(boundary) => {
                if self.broker.is_some() {
                    self.kill_in = Some(boundary);
                }
            }
            Kind::Stop => self.stop(),
            Kind::Store(disk) => self.break_disk(disk, length),
            Kind::Restore => self.restore(account),
            Kind::Clone => {
                self.die();
                for account in 0..self.places.len() {
                    self.places[account].estrange();
                }
            }
            Kind::Rival => self.fates[account].rival = true,
            Kind::NetworkUp => self.happen(Event::NetworkUp),
            Kind::Liar => {
                let token = self.published_token(account, &self.key(false));
                for number in 0..self.readers.len() {
                    let reader = &mut self.readers[number];
                    if reader.account == account {
                        reader.lies_until = t + length.clamp(5 * MINUTE, 30 * MINUTE);
                        if let Some(token) = token {
                            let reader = number;
                            self.schedule(t + SECOND, What::Report { reader, token });
                        }
                    }
                }
            }
            Kind::Renew => {
                let key = self.key(false);
                self.ask(None, Asked::Renew, account, key, None, MINUTE);
            }
            Kind::Login => self.person_logs_in(account, false),
            Kind::DeviceLogin => self.person_logs_in(account, true),
            Kind::Leave(revoke) => self.log_out(account, revoke),
            Kind::Idle => {
                for reader in &mut self.readers {
                    if reader.account == account {
                        reader.idle_until = t + length.max(13 * 60 * MINUTE);
                    }
                }
            }
            Kind::Greedy => {
                let life = self.story.hosts[host].life as f64;
                let min_ttl = Duration::from_millis((life * 1.2 * rng.f64()) as u64);
                let key = self.key(false);
                self.ask(None, Asked::Demand, account, key, Some(min_ttl), MINUTE);
            }
            Kind::Crowd => {
                for _ in 0..8 {
                    let key = self.key(false);
                    self.ask(None, Asked::Demand, account, key, None, MINUTE);
                }
            }
            Kind::Hasty => {
                let key = self.key(false);
                if let Some(ticket) = self.ask(None, Asked::Renew, account, key, None, MINUTE) {
                    self.schedule(t + rng.u64(..200), What::Hasty(ticket));
                }
            }
            Kind::Resource => {
                let mut key = self.key(false);
                key.resource = Some("https://api.example".to_owned());
                self.ask(None, Asked::Demand, account, key, None, MINUTE);
            }
            Kind::Presumptuous => {
                let mut key = self.key(false);
                key.scopes = ScopeSet::parse("root");
                self.ask(None, Asked::Demand, account, key, None, MINUTE);
            }
            Kind::Impatient => {
                let key = self.key(false);
                self.ask(None, Asked::Demand, account, key, None, rng.u64(..300));
            }
        }
    }

    /// The refresh token that the engine holds.
    pub(crate) fn newest(&self, account: usize) -> Option<u32> {
        self.shell.vault[account].as_ref()?.refresh_token
    }

    fn open_window(&mut self, fault: Fault, host: usize, length: Ms) {
        let mut length = length;
        if fault.is_configuration() || fault.is_unintelligible() {
            length = length.min(20 * MINUTE);
        }
        let (t, until) = (self.t, self.t + length);
        self.windows.retain(|window| window.until > t);
        self.windows.push(Window { fault, host, until });
        for (person, truth) in self.story.people.iter().zip(&mut self.truths) {
            if person.host == host {
                truth.troubled(t, until);
            }
        }
    }

    fn stop(&mut self) {
        if self.broker.is_some() && !self.stopping {
            self.stopping = true;
            let life = self.life;
            self.schedule(self.t + crate::world::STOP, What::StopOverdue { life });
            for truth in &mut self.truths {
                truth.exclude(self.t, self.t + crate::world::STOP);
            }
            self.happen(Event::ShuttingDown);
        }
    }

    fn break_disk(&mut self, disk: Disk, length: Ms) {
        let length = length.min(20 * MINUTE);
        self.disk = disk;
        self.disk_number += 1;
        let number = self.disk_number;
        self.schedule(self.t + length, What::DiskWorks(number));
        for truth in &mut self.truths {
            truth.exclude(self.t, self.t + length + 40 * SECOND);
        }
    }

    /// The machine is set back to the copy, if there is one; a copy is made for the next time.
    fn restore(&mut self, account: usize) {
        if self.places[account].yesterday.is_none() {
            return self.places[account].copy();
        }
        self.die();
        let is_older = self.places[account].restore();
        self.say(|| format!("    an older copy of the store is put back: {is_older}"));
        self.places[account].yesterday = None;
        let t = self.t;
        self.truths[account].restored(is_older, t);
        // Its tokens are due when they were at the time of the copy.
        let grant = self.places[account].durable().map(|row| &row.grant);
        for lease in grant.iter().flat_map(|grant| grant.leases.values()) {
            let token = self.ledger.access_token_mut(named(lease.fingerprint));
            token.lead = Some(lease.lead.as_millis() as u64);
        }
    }

    fn log_out(&mut self, account: usize, revoke: bool) {
        let Some(view) = self.shell.published[account].as_ref() else {
            return;
        };
        if self.shell.departing[account].is_some() {
            return;
        }
        let secrets = self.shell.vault[account].clone().unwrap_or_default();
        self.shell.departing[account] = Some((std::sync::Arc::clone(&view.grant), secrets));
        self.truths[account].exclude(self.t, self.t + MINUTE);
        // Who leaves takes back what they began.
        for login in self.logins.values_mut() {
            login.is_spoilt |= login.account == account;
        }
        let whose = self.accounts[account].clone();
        self.plan_login(account);
        self.happen(Event::Leave {
            account: whose,
            revoke,
        });
    }
}
