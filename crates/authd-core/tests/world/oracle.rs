//! What is true, whatever the engine believes; and what the engine may not do in the light of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use authd_core::{
    answer::Received,
    broker::{Broker, Config, Decided, Demand, Effect, Exchange, Record, Refusal, Served, View},
    grant::Grant,
    id::{Account, AttemptId, Fingerprint, Generation, Ticket},
    lease::{LeaseKey, floor_of},
    renewal::Cause,
    time::{Boot, Now},
};

use super::{BOOT, Fault};

/// What the provider and the disk know of one account.
#[derive(Debug, Default)]
struct Truth {
    /// Whether the provider rotates, and revokes the family when an old one comes back.
    rotates: bool,
    /// The refresh token that the provider accepts; `None` once the family is revoked.
    accepted: Option<u64>,
    /// The refresh token that the daemon holds.
    held: u64,
    generation: Generation,
    /// Where each attempt stands.
    attempt: Option<AttemptId>,
    cause: Option<Cause>,
    /// When the latest attempt began, and how many did.
    began: Option<Boot>,
    /// The refresh token that was sent, and of which nobody heard what became of it.
    unresolved: Option<u64>,
    /// The refresh token that each answer on its way to the disk brought.
    brought: BTreeMap<AttemptId, u64>,
    /// Tokens that may be seen, with their true end on the boot clock.
    visible: BTreeMap<Fingerprint, Boot>,
    minted: BTreeMap<AttemptId, Fingerprint>,
    used: BTreeMap<LeaseKey, Boot>,
    false_verdicts: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    truths: BTreeMap<Account, Truth>,
    /// Waits that have no answer yet.
    open: BTreeMap<Ticket, (Demand, Boot)>,
    gone: BTreeSet<Ticket>,
    served: BTreeMap<Ticket, Result<Served, Refusal>>,
    committed: BTreeSet<AttemptId>,
    exchanging: BTreeSet<AttemptId>,
    numbers: u64,
}

impl Oracle {
    pub(crate) fn begin(&mut self, grant: &Grant, rotates: bool) {
        let lease = &grant.leases[&LeaseKey::default()];
        let end = lease
            .issued
            .at
            .boot
            .after(lease.lifetime.unwrap_or_default());
        let truth = Truth {
            rotates,
            accepted: Some(0),
            generation: grant.generation,
            visible: [(lease.fingerprint, end)].into(),
            used: [(LeaseKey::default(), lease.issued.at.boot)].into(),
            ..Truth::default()
        };
        self.truths.insert(grant.account.clone(), truth);
    }

    fn truth(&mut self, account: &Account) -> &mut Truth {
        self.truths
            .get_mut(account)
            .expect("an account of the story")
    }

    pub(crate) fn used(&mut self, account: &Account, key: &LeaseKey, now: Boot) {
        self.truth(account).used.insert(key.clone(), now);
    }

    pub(crate) fn asked(&mut self, demand: &Demand, now: Boot) {
        self.used(&demand.account, &demand.key, now);
        self.open.insert(demand.ticket, (demand.clone(), now));
    }

    pub(crate) fn leave(&mut self, which: &proptest::sample::Index) -> Option<Ticket> {
        let open: Vec<_> = self.open.keys().copied().collect();
        let ticket = *(!open.is_empty()).then(|| which.get(&open))?;
        self.open.remove(&ticket);
        self.gone.insert(ticket);
        Some(ticket)
    }

    /// The provider works on a request. `None`: it refuses.
    pub(crate) fn provider_answers(&mut self, exchange: &Exchange) -> Option<(Fingerprint, bool)> {
        self.numbers += 1;
        let number = self.numbers;
        let truth = self.truth(&exchange.account);
        if truth.accepted != Some(truth.held) {
            // Reuse: the whole family is revoked.
            truth.accepted = None;
            return None;
        }
        if truth.rotates {
            truth.accepted = Some(number);
        }
        let brought = if truth.rotates { number } else { truth.held };
        truth.brought.insert(exchange.attempt, brought);
        let mut fingerprint = Fingerprint::default();
        fingerprint.0[..8].copy_from_slice(&number.to_be_bytes());
        truth.minted.insert(exchange.attempt, fingerprint);
        Some((fingerprint, truth.rotates))
    }

    /// What the engine is told of a request.
    pub(crate) fn told(&mut self, exchange: &Exchange, received: &Received) {
        let truth = self.truth(&exchange.account);
        let silent = match received {
            Received::Nothing { bytes_left, .. } => *bytes_left,
            Received::Unproven { .. } => false,
            Received::Response { status, .. } => truth.rotates && (502..=504).contains(status),
        };
        if silent {
            truth.unresolved = Some(truth.held);
        } else if matches!(received, Received::Response { status: 400, .. }) {
            // The provider spoke about the token.
            truth.unresolved = None;
        }
        if !matches!(received, Received::Response { status: 200, .. }) || silent {
            truth.attempt = None;
            self.exchanging.remove(&exchange.attempt);
        }
    }

    /// An answer is on disk, or in the spill file, or at least the store said what became of it.
    pub(crate) fn committed(&mut self, attempt: AttemptId, grant: &Grant) {
        self.committed.insert(attempt);
        let truth = self.truth(&grant.account);
        assert_eq!(
            grant.generation,
            truth.generation.next(),
            "generations have no gaps"
        );
        truth.generation = grant.generation;
        truth.held = truth.brought.remove(&attempt).expect("an answer came");
        truth.unresolved = None;
        truth.attempt = None;
        let fingerprint = truth.minted.remove(&attempt).expect("an answer came");
        let lease = grant
            .leases
            .values()
            .find(|lease| lease.fingerprint == fingerprint);
        let lease = lease.expect("the lease that came");
        let end = lease
            .issued
            .at
            .boot
            .after(lease.lifetime.unwrap_or_default());
        truth.visible.insert(fingerprint, end);
    }

    pub(crate) fn check(&mut self, effect: &Effect, broker: &Broker, now: Now) {
        match effect {
            Effect::Record(Record {
                account,
                what: Decided::Renewal(cause),
                ..
            }) => {
                self.truth(account).cause = Some(*cause);
            }
            Effect::Intend { exchange } => self.check_intent(exchange, broker, now),
            Effect::Exchange(exchange) => self.check_exchange(exchange, broker),
            Effect::Annul { account, attempt } => {
                let truth = self.truth(account);
                if truth.attempt == Some(*attempt) {
                    truth.attempt = None;
                }
            }
            Effect::Publish { attempt, view } => self.check_view(*attempt, view),
            Effect::Keep { grant } => {
                let truth = self.truth(&grant.account);
                assert_eq!(
                    grant.generation, truth.generation,
                    "a flag over another generation"
                );
            }
            Effect::Reply { ticket, result } => self.check_reply(*ticket, result, broker, now),
            _ => {}
        }
    }

    /// Invariants 2, 3 and 16.
    fn check_intent(&mut self, exchange: &Exchange, broker: &Broker, now: Now) {
        let truth = self.truth(&exchange.account);
        assert_eq!(
            exchange.generation, truth.generation,
            "a stale generation is exchanged"
        );
        if let Some(began) = truth.began {
            assert!(
                now.boot.since(began) >= Duration::from_secs(1),
                "a hot loop"
            );
        }
        truth.began = Some(now.boot);
        truth.attempt = Some(exchange.attempt);
        if truth.unresolved == Some(truth.held) {
            let grant = broker.grant(&exchange.account).expect("the account");
            assert!(grant.flags.ambiguous.is_some(), "sent again without a word");
            let in_use = |key: &LeaseKey| {
                let used = truth.used.get(key);
                used.is_some_and(|used| now.boot.since(*used) < Config::default().idle_after)
            };
            let at_stake = grant.leases.iter().any(|(key, lease)| {
                let left = lease.remaining(now, BOOT).unwrap_or_default();
                let spent = 2 * floor_of(lease.lifetime.unwrap_or_default());
                in_use(key) && !lease.rejected && left > spent + Duration::from_millis(1)
            });
            let insisted = truth.cause == Some(Cause::Asked);
            assert!(
                !truth.rotates || insisted || !at_stake,
                "a retry that could revoke"
            );
        }
    }

    /// Invariants 2 and 19.
    fn check_exchange(&mut self, exchange: &Exchange, broker: &Broker) {
        let truth = self.truth(&exchange.account);
        assert_eq!(
            truth.attempt,
            Some(exchange.attempt),
            "sent without an intent"
        );
        assert!(self.exchanging.insert(exchange.attempt), "sent twice");
        let account = &exchange.account;
        assert!(
            broker
                .grant(account)
                .is_some_and(|grant| grant.flags.stale_store.is_none()),
            "a stale store exchanges"
        );
    }

    /// Invariant 4.
    fn check_view(&mut self, attempt: Option<AttemptId>, view: &View) {
        if let Some(attempt) = attempt {
            assert!(
                self.committed.contains(&attempt),
                "published before the commit"
            );
        }
        let truth = self.truth(&view.grant.account);
        assert_eq!(view.grant.generation, truth.generation);
        for lease in view.grant.leases.values() {
            assert!(
                truth.visible.contains_key(&lease.fingerprint),
                "a token that is not on disk"
            );
        }
    }

    /// Invariant 1.
    fn check_reply(
        &mut self,
        ticket: Ticket,
        result: &Result<Served, Refusal>,
        broker: &Broker,
        now: Now,
    ) {
        assert!(!self.gone.contains(&ticket), "an answer to nobody");
        let (demand, asked_at) = self
            .open
            .remove(&ticket)
            .expect("one answer to each question");
        assert!(
            now.boot <= asked_at.after(demand.wait),
            "later than the client waits"
        );
        match result {
            Ok(served) => {
                let grant = broker.grant(&served.account).expect("the account");
                let lease = &grant.leases[&served.key];
                let end = self.truth(&served.account).visible[&served.fingerprint];
                let ttl = served.ttl.expect("every life of this story is known");
                assert!(ttl <= end.since(now.boot), "more than the truth");
                assert!(!ttl.is_zero(), "an expired token");
                if served.low {
                    let enough = lease.rejected && demand.min_ttl.is_none_or(|least| ttl >= least);
                    assert!(
                        demand.min_ttl.is_none() || enough,
                        "a low token for one who named a time"
                    );
                    assert!(ttl < lease.floor() || lease.rejected);
                } else {
                    assert!(ttl >= lease.floor().max(demand.min_ttl.unwrap_or_default()));
                    assert!(!lease.rejected);
                }
            }
            Err(Refusal::MaxTtlExceeded { max_ttl }) => {
                assert!(demand.min_ttl.is_some_and(|asked| asked > *max_ttl));
            }
            Err(_) => {}
        }
        self.served.insert(ticket, result.clone());
    }

    /// Invariants 7 and 11.
    pub(crate) fn check_grant(&mut self, grant: &Grant) {
        assert!(
            grant.renewable,
            "the refresh token is kept whatever happens"
        );
        let truth = self.truth(&grant.account);
        let on_its_way = truth.generation == grant.generation.next();
        assert!(truth.generation == grant.generation || on_its_way);
    }

    /// Invariants 7 and 8.
    pub(crate) fn check_after(&mut self, fault: &Fault, before: &Grant, after: &Grant) {
        let passing = !matches!(fault, Fault::None | Fault::FalseInvalidGrant);
        if passing {
            assert_eq!(before.generation, after.generation);
            let reason = |grant: &Grant| {
                let raised = grant.flags.needs_login.as_ref();
                raised.map(|raised| raised.reason.clone())
            };
            let doubtful = Some(authd_core::flag::LoginReason::Unintelligible);
            let unchanged = reason(before) == reason(after);
            assert!(unchanged || (matches!(fault, Fault::Firewall) && reason(after) == doubtful));
        }
        if matches!(fault, Fault::FalseInvalidGrant) {
            self.truth(&after.account).false_verdicts += 1;
        }
    }

    pub(crate) fn expect_all_answered(&self) {
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
    }

    /// Invariant 23.
    pub(crate) fn expect_served_if_valid(
        &mut self,
        grant: &Grant,
        ticket: Ticket,
        recent: &VecDeque<Effect>,
    ) {
        let served = self.served[&ticket].clone();
        let truth = self.truth(&grant.account);
        let valid = truth.accepted == Some(truth.held) && truth.false_verdicts < 2;
        if valid {
            assert!(
                served.is_ok(),
                "{served:?}
{truth:#?}
{recent:#?}"
            );
        }
    }
}
