//! What readers see: a snapshot of all accounts, replaced as a whole.
//!
//! A cached token is answered from here alone. No reader waits for the driver, the disk, a provider,
//! another account or another client.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use authd_core::{
    broker::View,
    grant::Grant,
    id::{Account, Fingerprint},
    lease::{Expiry, Lease, LeaseKey},
    map::SmallMap,
    time::{Boot, BootId, Now},
};
use authd_oauth::{Likeness, ResourceIndicator};
use authd_proto::{
    WireSecret,
    encode::EncodedToken,
    response::{Dpop as WireDpop, Expiry as WireExpiry, RenewReply, TokenReply},
};
use authd_store::Secrets;

use crate::perform::is_bound;

/// How often the engine hears that a lease is in use.
const BETWEEN_USES: u64 = 60_000;

/// All accounts, for readers.
pub(crate) struct Published {
    accounts: ArcSwap<Accounts>,
    /// The boot that the leases' clocks belong to.
    pub(crate) boot_id: BootId,
}

/// One state of all accounts. Looked up by name, never iterated in this order: lists are sorted.
pub(crate) type Accounts = HashMap<Account, Arc<Snapshot>>;

/// One account.
pub(crate) struct Snapshot {
    /// The account as the engine sees it.
    pub(crate) view: View,
    /// Whether a key is held that the tokens are asked to be bound to (RFC 9449).
    pub(crate) holds_key: bool,
    tokens: SmallMap<LeaseKey, Arc<Token>>,
}

/// How well a resource of an account is what a client means; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fit {
    /// It is only what the login was made for, and that the host of what is meant.
    of_host: bool,
    /// There is a token for it, but the login did not name it.
    unnamed: bool,
    likeness: Likeness,
}

/// One access token, ready to be sent.
pub(crate) struct Token {
    /// What goes over the wire.
    pub(crate) encoded: EncodedToken,
    /// Names it.
    pub(crate) fingerprint: Fingerprint,
    used_at: AtomicU64,
}

impl Published {
    pub(crate) fn new(boot_id: BootId) -> Self {
        Self {
            accounts: ArcSwap::default(),
            boot_id,
        }
    }

    /// All accounts as they are now.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Accounts>> {
        self.accounts.load()
    }

    /// Replaces what readers see by `accounts`.
    pub(crate) fn store(&self, accounts: Accounts) {
        self.accounts.store(Arc::new(accounts));
    }
}

impl Snapshot {
    /// Joins what the engine publishes with the secrets that belong to it. Tokens that `before` had
    /// already are taken over as they are.
    pub(crate) fn new(view: View, secrets: &Secrets, before: Option<&Self>) -> Self {
        let leases = view.grant.leases.iter();
        let tokens = leases
            .filter_map(|(key, lease)| {
                let kept = before
                    .filter(|before| before.view.grant.leases.get(key) == Some(lease))
                    .and_then(|before| before.tokens.get(key));
                if let Some(token) = kept {
                    return Some((key.clone(), Arc::clone(token)));
                }
                let access_token = secrets.access_tokens.get(key)?;
                let about = about(&view.grant, key, lease);
                let token = Token::new(about, lease.fingerprint, access_token.expose());
                Some((key.clone(), Arc::new(token)))
            })
            .collect();
        Self {
            view,
            holds_key: secrets.dpop_key.is_some(),
            tokens,
        }
    }

    /// The token of a lease, if it is the one that the engine means.
    pub(crate) fn token(&self, key: &LeaseKey, fingerprint: Fingerprint) -> Option<&Arc<Token>> {
        let lease = self.view.grant.leases.get(key)?;
        let token = self.tokens.get(key)?;
        (lease.fingerprint == fingerprint).then_some(token)
    }

    /// What goes over the wire about a lease, without its token.
    pub(crate) fn about(&self, key: &LeaseKey) -> Option<RenewReply> {
        let lease = self.view.grant.leases.get(key)?;
        Some(about(&self.view.grant, key, lease))
    }

    /// The token of a lease and what is left of it, if it may be handed out without asking the engine:
    /// not rejected, and at least the floor and `min_ttl` left. `None` inside means that nobody knows.
    pub(crate) fn servable(
        &self,
        key: &LeaseKey,
        min_ttl: Duration,
        now: Now,
        boot_id: BootId,
    ) -> Option<(&Arc<Token>, Option<Duration>)> {
        let lease = self.view.grant.leases.get(key)?;
        let token = self.tokens.get(key)?;
        let left = lease.remaining(now, boot_id);
        let enough = left.is_none_or(|left| !left.is_zero() && left >= min_ttl.max(lease.floor()));
        (enough && !lease.rejected).then_some((token, left))
    }

    /// The lease that a client means by these scopes and this resource: naming all scopes of the
    /// login is naming none.
    pub(crate) fn key(&self, mut key: LeaseKey) -> LeaseKey {
        if key.scopes == self.view.grant.scopes {
            key.scopes = authd_core::scope::ScopeSet::default();
        }
        match &mut key.resource {
            None => key.resource.clone_from(&self.view.grant.resource),
            Some(resource) => {
                if let Some((_, known)) = self.known_as(&ResourceIndicator::new(resource)) {
                    known.clone_into(resource);
                }
            }
        }
        key
    }

    /// The resource of this account that is meant, as the account spells it: one that the login named before
    /// one that there is merely a token for, and the one most alike.
    pub(crate) fn known_as(&self, asked: &ResourceIndicator<'_>) -> Option<(Fit, &str)> {
        let grant = &self.view.grant;
        let named = grant.resource.iter().chain(&grant.resources);
        let leased = grant.leases.keys().filter_map(|key| key.resource.as_ref());
        named
            .map(|known| (true, known))
            .chain(leased.map(|known| (false, known)))
            .filter_map(|(is_named, known)| {
                let likeness = asked.likeness(known)?;
                let fit = Fit {
                    of_host: likeness == Likeness::OfItsHost,
                    unnamed: !is_named,
                    likeness,
                };
                let is_own = grant.resource.as_ref() == Some(known);
                (!fit.of_host || is_own).then_some((fit, known.as_str()))
            })
            .min_by_key(|(fit, _)| *fit)
    }
}

impl Token {
    fn new(about: RenewReply, fingerprint: Fingerprint, access_token: &str) -> Self {
        let reply = TokenReply {
            access_token: WireSecret::new(access_token),
            renewal: about,
        };
        Self {
            encoded: EncodedToken::new(&reply),
            fingerprint,
            used_at: AtomicU64::new(0),
        }
    }

    /// Whether the engine has not heard for a while that it is in use. Says so once.
    pub(crate) fn use_is_news(&self, now: Boot) -> bool {
        let before = self.used_at.load(Ordering::Relaxed);
        let news = before == 0 || now.0.saturating_sub(before) >= BETWEEN_USES;
        if news {
            self.used_at.store(now.0.max(1), Ordering::Relaxed);
        }
        news
    }
}

fn about(grant: &Grant, key: &LeaseKey, lease: &Lease) -> RenewReply {
    RenewReply {
        token_type: spelled(&lease.token_type),
        expires_at: lease
            .expires_at()
            .map(|at| u64::try_from(at.unix_secs()).unwrap_or(0)),
        expiry: expiry(lease.expiry),
        scopes: lease.scopes.iter().map(str::to_owned).collect(),
        resource: key.resource.clone(),
        account: grant.account.to_string(),
        subject: grant.subject.as_ref().map(|subject| subject.sub.clone()),
        generation: lease.generation.0,
        fingerprint: lease.fingerprint.to_string(),
        ttl_secs: None,
        low: false,
        renewed: false,
    }
}

/// RFC 6749 §5.1: the type is compared without regard to case; clients get one spelling of the usual one.
fn spelled(token_type: &str) -> String {
    if token_type.eq_ignore_ascii_case("bearer") {
        "Bearer"
    } else if is_bound(token_type) {
        "DPoP"
    } else {
        token_type
    }
    .to_owned()
}

/// Whether a token of that type is bound to a key, where it was asked to be.
pub(crate) fn dpop(token_type: &str) -> WireDpop {
    if is_bound(token_type) {
        WireDpop::Bound
    } else {
        WireDpop::Bearer
    }
}

/// The engine's word in the wire's.
pub(crate) fn expiry(expiry: Expiry) -> WireExpiry {
    match expiry {
        Expiry::Exact => WireExpiry::Exact,
        Expiry::Assumed => WireExpiry::Assumed,
        Expiry::Unknown => WireExpiry::Unknown,
    }
}
