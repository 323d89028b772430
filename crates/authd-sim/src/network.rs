//! From the engine's request to the provider's ledger and back, and what gets in between.

use std::time::Duration;

use authd_core::{
    answer::{Answer, Body, ExpiresIn, GrantType, Received, RetryAfter, TokenSummary},
    broker::{Check, Event, Exchange, Finding},
    grant::{Endpoints, Subject},
    id::LoginId,
    metadata::{Document, Found, Stated},
    renewal::classify::{classify, reuse_is_dangerous},
    scope::ScopeSet,
};

use crate::{
    clock::{Clocks, Ms},
    fault::{Fault, invalid_grant},
    provider::{Denied, Granted, Habits, States, Tells, fingerprint, named},
    shell::number_of,
    story::SECOND,
    world::{What, World},
};

impl World<'_> {
    /// What stands between the machine and the host.
    fn obstacle(&mut self, host: usize) -> Option<Fault> {
        if self.t < self.offline_until {
            return Some(Fault::Dns);
        }
        let t = self.t;
        let window = self
            .windows
            .iter()
            .find(|window| window.host == host && t < window.until);
        window.map(|window| window.fault)
    }

    /// How long the provider takes, this time.
    fn pace(&mut self, habits: &Habits) -> Ms {
        habits.latency / 2 + self.rng.u64(..habits.latency + 1)
    }

    /// A refresh leaves.
    pub(crate) fn send(&mut self, account: usize, exchange: &Exchange, refresh_token: u32) {
        let story = self.story;
        let habits = &story.hosts[story.people[account].host];
        let profile = self
            .broker
            .as_ref()
            .and_then(|broker| broker.grant(&exchange.account))
            .map(|grant| reuse_is_dangerous(&grant.provider.profile));
        let is_dangerous = profile.unwrap_or(true);
        self.check_send(account, exchange, refresh_token, is_dangerous);
        let obstacle = self.obstacle(story.people[account].host);
        let fault = obstacle.or_else(|| self.fates[account].once.pop_front());
        let takes = fault
            .and_then(Fault::delay)
            .unwrap_or_else(|| self.pace(habits));
        let t = self.t;
        let mut granted = None;
        if fault.is_none_or(Fault::is_processed) {
            let asked_to = std::mem::take(&mut self.fates[account].omits);
            let omits = asked_to || (habits.sometimes_omits && self.rng.u32(..3) > 0);
            granted = Some(self.ledger.refresh(refresh_token, habits, omits, t));
        }
        let received = match (fault, granted) {
            (Some(fault), _) => {
                self.count_fault(fault);
                fault.received()
            }
            (None, Some(Ok(_))) => Received::Response {
                status: 200,
                body: Body::Empty,
            },
            (None, Some(Err(Denied::TooEarly))) => {
                let in_words = habits.early.is_some_and(|early| early.in_words);
                let fault = match in_words {
                    true => Fault::InvalidRequest,
                    false => Fault::EmptyBadRequest,
                };
                fault.received()
            }
            _ => Received::Response {
                status: 400,
                body: invalid_grant(),
            },
        };
        let mut answer = self.answer(received, habits, fault);
        let mut brought = None;
        if let (None, Some(Ok(mut granted))) = (fault, granted) {
            granted.other_scopes = std::mem::take(&mut self.fates[account].other_scopes);
            if std::mem::take(&mut self.fates[account].other_subject) {
                granted.subject = granted.subject.wrapping_add(100);
            }
            self.note_clocks(granted.access_token);
            let scopes = &exchange.key.scopes;
            let body = tokens(&granted, habits, scopes, t);
            answer.received = Received::Response { status: 200, body };
            brought = Some(granted);
        }
        self.note_sent(
            account,
            exchange,
            refresh_token,
            fault,
            granted,
            takes,
            is_dangerous,
        );
        self.say(|| {
            let outcome = match (fault, granted) {
                (Some(fault), _) => format!("{fault:?}"),
                (None, Some(Ok(granted))) => format!("access token {}", granted.access_token),
                (None, denied) => format!("{denied:?}"),
            };
            format!(
                "    a{account}: a refresh with generation {} leaves -> {outcome} in {takes} ms",
                exchange.generation
            )
        });
        self.deliver(exchange, answer, brought, takes);
    }

    fn note_clocks(&mut self, token: u32) {
        let (disturbed, boot) = (self.clocks.disturbed, self.clocks.boot_id().0);
        let token = self.ledger.access_token_mut(token);
        (token.disturbed, token.boot) = (disturbed, boot);
    }

    /// Whether the machine can know how old a token is, and what its life is.
    pub(crate) fn is_known(&self, token: u32) -> bool {
        let token = self.ledger.access_token(token);
        let same_boot = token.boot == self.clocks.boot_id().0;
        token.is_truthful
            && token.disturbed == self.clocks.disturbed
            && (same_boot || !self.clocks.is_drifting())
    }

    fn deliver(
        &mut self,
        exchange: &Exchange,
        answer: Answer,
        granted: Option<Granted>,
        takes: Ms,
    ) {
        let (life, at) = (self.life, self.t + takes);
        self.schedule(
            at,
            What::Arrive {
                life,
                attempt: exchange.attempt,
                answer: Box::new(answer),
                granted,
            },
        );
    }

    fn answer(&mut self, received: Received, habits: &Habits, fault: Option<Fault>) -> Answer {
        let date = habits.has_date.then(|| Clocks::calendar(self.t));
        let secs = self.rng.u64(1..900) * if self.rng.u32(..20) == 0 { 10 } else { 1 };
        let retry_after = match fault {
            Some(Fault::ThrottledSecs) => Some(RetryAfter::Delay(Duration::from_secs(secs))),
            Some(Fault::ThrottledDate) => {
                let until = Clocks::calendar(self.t + secs * SECOND);
                Some(RetryAfter::Until(until))
            }
            _ => None,
        };
        let request_id = habits.is_wordy.then(|| self.t.to_string());
        Answer {
            sent_at: self.shown(),
            received,
            date,
            retry_after,
            request_id,
        }
    }

    /// The provider is asked whether a token is alive.
    pub(crate) fn validate(&mut self, check: Check) {
        let account = number_of(&check.account);
        let host = self.story.people[account].host;
        let habits = &self.story.hosts[host];
        let token = named(check.fingerprint);
        let is_alive = self.ledger.is_alive(token, self.t);
        let left = self.ledger.access_token(token).end.saturating_sub(self.t);
        let finding = match (self.obstacle(host), habits.tells) {
            (None, Some(Tells::Introspection { is_wrong: true, .. })) => Finding::Inactive,
            (None, Some(Tells::Introspection { end, .. })) if is_alive => Finding::Active {
                expires_in: end.then(|| Duration::from_millis(left)),
            },
            (None, Some(Tells::Userinfo)) if is_alive => Finding::Active { expires_in: None },
            (None, Some(_)) => Finding::Inactive,
            _ => Finding::Unknown,
        };
        let (life, at) = (self.life, self.t + self.pace(habits));
        self.coverage.finding(finding);
        self.say(|| format!("    a{account}: is access token {token} alive? {finding:?}"));
        let check = Box::new(check);
        self.schedule(
            at,
            What::Validated {
                life,
                check,
                finding,
            },
        );
    }

    /// The provider's metadata says where its token endpoint is: where it was, elsewhere on the same
    /// host, or with somebody else.
    pub(crate) fn rediscovered(&mut self, account: usize) {
        let host = self.story.people[account].host;
        let token = match self.rng.u32(..6) {
            0 => None,
            1 => Some("https://elsewhere.example/token".to_owned()),
            2 => Some(format!("https://idp{host}.example/moved")),
            _ => Some(format!("https://idp{host}.example/token")),
        };
        let reachable = self
            .obstacle(host)
            .is_none_or(|fault| fault == Fault::NotFound);
        let endpoints = token.filter(|_| reachable).map(|token| Endpoints {
            token,
            ..Endpoints::default()
        });
        let account = self.accounts[account].clone();
        let found = endpoints
            .clone()
            .map(|endpoints| self.found(host, endpoints));
        self.happen(Event::Rediscovered {
            account: account.clone(),
            endpoints,
        });
        if let Some(found) = found {
            let asked = self.rng.bool();
            self.happen(Event::MetadataSeen {
                account,
                found,
                asked,
            });
        }
    }

    /// What else is there: a provider that offers what it did, one that takes something back, or one of
    /// another name.
    fn found(&mut self, host: usize, endpoints: Endpoints) -> Found {
        let stated = match self.rng.u32(..6) {
            0 => return Found::OtherIssuer(format!("https://idp{host}.example/other")),
            1 => Stated {
                grant_types: Some(["authorization_code".to_owned()].into()),
                ..Stated::default()
            },
            _ => Stated {
                grant_types: Some(["refresh_token".to_owned()].into()),
                ..Stated::default()
            },
        };
        Found::Metadata(Box::new(Document { endpoints, stated }))
    }

    /// A code is exchanged, or a device asks whether the person has decided.
    pub(crate) fn send_for_login(&mut self, exchange: &Exchange, login: LoginId) {
        let account = number_of(&exchange.account);
        let story = self.story;
        let host = story.people[account].host;
        let habits = &story.hosts[host];
        let fault = self.obstacle(host);
        let Some(under_way) = self.logins.get(&login) else {
            return;
        };
        let (approves_at, is_doomed) = (under_way.approves_at, under_way.is_doomed);
        let is_device = exchange.grant_type == GrantType::DeviceCode;
        let takes = fault
            .and_then(Fault::delay)
            .unwrap_or_else(|| self.pace(habits));
        let code = |code: &str| Received::Response {
            status: 400,
            body: Body::Error {
                code: code.to_owned(),
                description: None,
                detail: None,
            },
        };
        let mut brought = None;
        let received = match fault {
            Some(fault) => fault.received(),
            None if is_device && self.t < approves_at => match self.rng.u32(..6) {
                0 => code("slow_down"),
                _ => code("authorization_pending"),
            },
            None if is_doomed => match self.rng.bool() {
                true => code("access_denied"),
                false => code("expired_token"),
            },
            None => {
                let subject = self.fates[account].subject;
                let mut granted = self.ledger.log_in(account, subject, habits, self.t);
                if std::mem::take(&mut self.fates[account].unrenewable) {
                    granted.refresh_token = None;
                }
                self.note_clocks(granted.access_token);
                brought = Some(granted);
                Received::Response {
                    status: 200,
                    body: tokens(&granted, habits, &ScopeSet::default(), self.t),
                }
            }
        };
        let answer = self.answer(received, habits, fault);
        self.coverage
            .verdict(classify(&answer, exchange.grant_type, &exchange_profile()));
        self.say(|| format!("    a{account}: a login's exchange leaves -> {fault:?}"));
        self.deliver(exchange, answer, brought, takes);
    }
}

fn exchange_profile() -> authd_core::grant::Profile {
    authd_core::grant::Profile::default()
}

fn tokens(granted: &Granted, habits: &Habits, asked: &ScopeSet, t: Ms) -> Body {
    let life = Duration::from_millis(habits.life);
    let expires_in = match habits.states {
        States::Truth => ExpiresIn::Stated(life),
        States::Twice => ExpiresIn::Stated(2 * life),
        States::InToken | States::Nothing => ExpiresIn::Missing,
    };
    let all = || ScopeSet::parse(crate::people::SCOPES);
    let scopes = if granted.other_scopes {
        Some(ScopeSet::parse("api admin"))
    } else {
        habits.is_wordy.then(|| match asked.is_empty() {
            true => all(),
            false => asked.clone(),
        })
    };
    Body::Tokens(Box::new(TokenSummary {
        fingerprint: fingerprint(granted.access_token),
        token_type: "Bearer".to_owned(),
        expires_in,
        jwt_expiry: (habits.states == States::InToken).then(|| Clocks::calendar(t + habits.life)),
        refresh_in: habits.hint.map(|share| life.mul_f64(share)),
        scopes,
        refresh_token: granted.refresh_token.is_some(),
        subject: (habits.is_wordy || granted.subject >= 100).then(|| Subject {
            sub: format!("person {}", granted.subject),
            name: None,
        }),
    }))
}
