//! The ledger: every token ever issued, every use seen, and what came of it.
//!
//! It knows tokens by their [`Fingerprint`] alone, so no `Debug` output, JSON answer or failed
//! assertion can reveal one. It is also what the server decides by: there is no second truth.

use std::{collections::BTreeMap, fmt, time::Duration};

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::{
    fault::Endpoint,
    settings::{optional_seconds, seconds},
};

/// The first 128 bits of a token's SHA-256, in hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of `token`.
    pub fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        Self(
            digest.as_ref()[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All tokens that descend from one login.
#[derive(Clone, Debug, Serialize)]
pub struct Family {
    /// Its number: its place in [`Ledger::families`].
    pub id: usize,
    /// The client it was issued to.
    pub client_id: String,
    /// Who signed in.
    pub subject: String,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// The resources granted (RFC 8707); empty: not restricted.
    pub resources: Vec<String>,
    /// Why it was revoked, if it was.
    pub revoked: Option<Revocation>,
    /// The key (RFC 7638 thumbprint) that its refresh tokens are bound to (RFC 9449 §5).
    pub jkt: Option<String>,
    #[serde(skip)]
    pub(crate) nonce: Option<String>,
}

/// Why a family is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// A spent refresh token came back.
    RefreshTokenReuse,
    /// A spent authorization code came back (RFC 6749 §4.1.2).
    CodeReuse,
    /// The client asked for it (RFC 7009).
    Client,
    /// The test, playing the administrator.
    Administrator,
}

/// A refresh token.
#[derive(Clone, Debug, Serialize)]
pub struct RefreshToken {
    /// Which token.
    pub fingerprint: Fingerprint,
    /// Its family.
    pub family: usize,
    /// 0 for the login's own, +1 at each rotation.
    pub generation: u32,
    /// When it was issued, since the Unix epoch.
    #[serde(with = "seconds")]
    pub issued_at: Duration,
    /// When a successor took its place.
    #[serde(with = "optional_seconds")]
    pub superseded_at: Option<Duration>,
    /// Every time it was presented at the token endpoint, in order.
    pub uses: Vec<RefreshTokenUse>,
}

/// One presentation of a refresh token.
#[derive(Clone, Debug, Serialize)]
pub struct RefreshTokenUse {
    /// When, since the Unix epoch.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// What came of it at the server (the answer may still have been lost on its way).
    pub outcome: RefreshTokenOutcome,
}

/// What came of a presented refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokenOutcome {
    /// Accepted; a successor took its place.
    Rotated,
    /// Accepted without rotation; it stays in force.
    Kept,
    /// Spent, but accepted within the leeway.
    AcceptedInLeeway,
    /// Spent: refused, and its family revoked.
    ReuseDetected,
    /// Spent: refused, without further consequence.
    Superseded,
    /// Its family was revoked before.
    FamilyRevoked,
    /// Past its lifetime.
    Expired,
    /// Presented by another client.
    WrongClient,
    /// Refused for another reason of the request (scope, resource); it stays in force.
    BadRequest,
    /// A fault answered in the server's place: nothing was done.
    NotProcessed,
}

/// An access token.
#[derive(Clone, Debug, Serialize)]
pub struct AccessToken {
    /// Which token.
    pub fingerprint: Fingerprint,
    /// Its family.
    pub family: usize,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Its resources (RFC 8707).
    pub resources: Vec<String>,
    /// When it was issued, since the Unix epoch.
    #[serde(with = "seconds")]
    pub issued_at: Duration,
    /// When it expires, since the Unix epoch.
    #[serde(with = "seconds")]
    pub expires_at: Duration,
    /// Whether it was revoked before that.
    pub revoked: bool,
    /// The key (RFC 7638 thumbprint) that it is bound to (RFC 9449 §6).
    pub jkt: Option<String>,
    /// How often the demo API accepted it.
    pub accepted: u64,
}

/// Sums over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that arrived, by endpoint, faulted ones included.
    pub requests: BTreeMap<Endpoint, u64>,
    /// Requests that a fault touched, by endpoint.
    pub faulted: BTreeMap<Endpoint, u64>,
    /// Successful exchanges, by grant type as in the request.
    pub exchanges: BTreeMap<String, u64>,
    /// Error answers of the token endpoint, by code; injected ones excluded.
    pub token_errors: BTreeMap<String, u64>,
    /// Authorizations approved at the authorization endpoint.
    pub authorizations: u64,
    /// Spent refresh tokens that came back outside the leeway.
    pub reuse_detected: u64,
    /// Families revoked, for whatever reason.
    pub families_revoked: u64,
    /// Refresh tokens presented that this server never issued.
    pub unknown_refresh_tokens: u64,
    /// Proofs of possession (RFC 9449) that held.
    pub dpop_proofs: u64,
    /// Proofs that came a second time.
    pub dpop_replays: u64,
    /// RFC 7009 requests that revoked something.
    pub revocations: u64,
    /// Demo API calls with a live token.
    pub api_ok: u64,
    /// Demo API calls with an expired token: 401.
    pub api_expired: u64,
    /// Demo API calls with a revoked token or one never issued: 401.
    pub api_unknown: u64,
    /// Demo API calls with a live token that is bound to a key, and no proof of it that holds: 401.
    pub api_unproven: u64,
    /// Demo API calls with no bearer token at all: 401.
    pub api_missing: u64,
}

impl Counts {
    /// Successful exchanges of `grant_type`.
    pub fn exchanges(&self, grant_type: &str) -> u64 {
        self.exchanges.get(grant_type).copied().unwrap_or(0)
    }

    /// Successful refreshes.
    pub fn refreshes(&self) -> u64 {
        self.exchanges("refresh_token")
    }

    /// Requests that arrived at `endpoint`.
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.requests.get(&endpoint).copied().unwrap_or(0)
    }
}

/// Everything the server issued and saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// One for each login.
    pub families: Vec<Family>,
    /// In order of issue.
    pub refresh_tokens: Vec<RefreshToken>,
    /// In order of issue.
    pub access_tokens: Vec<AccessToken>,
    /// The sums.
    pub counts: Counts,
    #[serde(skip)]
    refresh_index: BTreeMap<Fingerprint, usize>,
    #[serde(skip)]
    access_index: BTreeMap<Fingerprint, usize>,
}

impl Ledger {
    /// The refresh token with this fingerprint.
    pub fn refresh_token(&self, fingerprint: &Fingerprint) -> Option<&RefreshToken> {
        self.refresh_index
            .get(fingerprint)
            .map(|&at| &self.refresh_tokens[at])
    }

    /// The access token with this fingerprint.
    pub fn access_token(&self, fingerprint: &Fingerprint) -> Option<&AccessToken> {
        self.access_index
            .get(fingerprint)
            .map(|&at| &self.access_tokens[at])
    }

    /// Refresh tokens that were presented more than once.
    pub fn presented_twice(&self) -> impl Iterator<Item = &RefreshToken> {
        self.refresh_tokens
            .iter()
            .filter(|token| token.uses.len() > 1)
    }

    /// The newest refresh token of a family.
    pub fn current_refresh_token(&self, family: usize) -> Option<&RefreshToken> {
        self.refresh_tokens
            .iter()
            .rev()
            .find(|token| token.family == family)
    }

    pub(crate) fn refresh_token_mut(&mut self, of: &Fingerprint) -> Option<&mut RefreshToken> {
        self.refresh_index
            .get(of)
            .map(|&at| &mut self.refresh_tokens[at])
    }

    pub(crate) fn access_token_mut(&mut self, of: &Fingerprint) -> Option<&mut AccessToken> {
        self.access_index
            .get(of)
            .map(|&at| &mut self.access_tokens[at])
    }

    pub(crate) fn record_refresh_token(&mut self, token: RefreshToken) {
        self.refresh_index
            .insert(token.fingerprint.clone(), self.refresh_tokens.len());
        self.refresh_tokens.push(token);
    }

    pub(crate) fn record_access_token(&mut self, token: AccessToken) {
        self.access_index
            .insert(token.fingerprint.clone(), self.access_tokens.len());
        self.access_tokens.push(token);
    }

    /// Writes down that a refresh token was presented; one never issued is only counted.
    pub(crate) fn record_use(
        &mut self,
        of: &Fingerprint,
        at: Duration,
        outcome: RefreshTokenOutcome,
    ) {
        match self.refresh_token_mut(of) {
            Some(token) => token.uses.push(RefreshTokenUse { at, outcome }),
            None => self.counts.unknown_refresh_tokens += 1,
        }
    }

    /// Kills a family; its access tokens too when `with_access_tokens`. A dead one stays as it is.
    pub(crate) fn revoke_family(&mut self, id: usize, why: Revocation, with_access_tokens: bool) {
        if self.families[id].revoked.is_none() {
            self.families[id].revoked = Some(why);
            self.counts.families_revoked += 1;
        }
        if with_access_tokens {
            self.revoke_access_tokens(|token| token.family == id);
        }
    }

    pub(crate) fn revoke_access_tokens(&mut self, which: impl Fn(&AccessToken) -> bool) {
        for token in &mut self.access_tokens {
            token.revoked |= which(token);
        }
    }
}
