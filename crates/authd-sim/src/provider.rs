//! The providers: the truth about every token.

use authd_core::id::Fingerprint;

use crate::clock::Ms;

/// How a provider behaves.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Each refresh brings a new refresh token.
    pub rotates: bool,
    /// Now and then the answer has none, and the old one goes on.
    pub sometimes_omits: bool,
    /// A spent one revokes all that came of the login.
    pub detects_reuse: bool,
    /// A spent one is accepted for so long.
    pub leeway: Ms,
    /// A refresh kills the access token before.
    pub kills_old: bool,
    /// A refresh is refused while more than this share of the access token's life is left.
    pub early: Option<Early>,
    /// The true life of access tokens.
    pub life: Ms,
    /// What it says of that.
    pub states: States,
    /// It hints to refresh after this share of the life.
    pub hint: Option<f64>,
    /// A refresh token dies unused after this.
    pub inactivity: Option<Ms>,
    /// A login ends after this, whatever happens.
    pub absolute: Option<Ms>,
    /// Whether scope and subject are in its answers.
    pub is_wordy: bool,
    /// Whether its answers have a `Date`.
    pub has_date: bool,
    /// How long an answer takes.
    pub latency: Ms,
    /// How it can be asked about a token.
    pub tells: Option<Tells>,
}

/// How a provider can be asked whether a token is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// RFC 7662.
    Introspection {
        /// With the token's end.
        end: bool,
        /// It calls everything dead.
        is_wrong: bool,
    },
    /// OpenID Connect's userinfo.
    Userinfo,
}

/// How a refresh that comes too early is refused.
#[derive(Clone, Copy, Debug)]
pub struct Early {
    /// The share of life from which on it is accepted.
    pub share: f64,
    /// `invalid_request` instead of nothing.
    pub in_words: bool,
}

/// What a provider says of the life of its access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// `expires_in`, as it is.
    Truth,
    /// Nothing; but the token is a JWT with `exp`.
    InToken,
    /// Nothing.
    Nothing,
    /// Twice the truth.
    Twice,
}

impl Habits {
    /// Whether what it says of lives can be relied on.
    #[must_use]
    pub fn is_truthful(&self) -> bool {
        matches!(self.states, States::Truth | States::InToken)
    }
}

/// All that came of one login.
#[derive(Clone, Debug)]
pub struct Family {
    /// Whose.
    pub account: usize,
    created: Ms,
    /// The person or the provider ended it, or reuse was seen.
    pub revoked: bool,
    /// The latest refresh token.
    pub newest: u32,
    latest_access_token: u32,
    /// Who signed in.
    pub subject: u8,
}

#[derive(Clone, Debug)]
struct RefreshToken {
    family: u32,
    spent: Option<Ms>,
    used: Ms,
}

/// One access token.
#[derive(Clone, Debug)]
pub struct AccessToken {
    family: u32,
    /// When the request for it was sent.
    pub sent: Ms,
    /// When it was made.
    pub made: Ms,
    /// Its true life.
    pub end: Ms,
    killed: Option<Ms>,
    /// Whether what was said of its life was true.
    pub is_truthful: bool,
    /// [`crate::clock::Clocks::disturbed`] when it was sent for.
    pub disturbed: u32,
    /// In which boot.
    pub boot: u128,
    /// The lead that was drawn for it.
    pub lead: Option<u64>,
}

/// What a request brought.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// The access token.
    pub access_token: u32,
    /// The refresh token, if a new one.
    pub refresh_token: Option<u32>,
    /// Who signed in.
    pub subject: u8,
    /// The scopes are others than before.
    pub other_scopes: bool,
}

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The login is over, or the token spent.
    InvalidGrant,
    /// Unused for too long.
    Inactive,
    /// Not yet.
    TooEarly,
}

/// The ledger of all providers.
#[derive(Debug, Default)]
pub struct Ledger {
    families: Vec<Family>,
    refresh_tokens: Vec<RefreshToken>,
    access_tokens: Vec<AccessToken>,
}

impl Ledger {
    /// A person logs in.
    pub fn log_in(&mut self, account: usize, subject: u8, habits: &Habits, t: Ms) -> Granted {
        let family = self.families.len() as u32;
        let newest = self.refresh_tokens.len() as u32;
        self.refresh_tokens.push(RefreshToken {
            family,
            spent: None,
            used: t,
        });
        self.families.push(Family {
            account,
            created: t,
            revoked: false,
            newest,
            latest_access_token: 0,
            subject,
        });
        let access_token = self.issue(family, habits, t);
        Granted {
            access_token,
            refresh_token: Some(newest),
            subject,
            other_scopes: false,
        }
    }

    fn issue(&mut self, family: u32, habits: &Habits, t: Ms) -> u32 {
        let number = self.access_tokens.len() as u32;
        let made = t + habits.latency / 2;
        self.access_tokens.push(AccessToken {
            family,
            sent: t,
            made,
            end: made + habits.life,
            killed: None,
            is_truthful: habits.is_truthful(),
            disturbed: 0,
            boot: 0,
            lead: None,
        });
        self.families[family as usize].latest_access_token = number;
        number
    }

    /// Why `refresh_token` would be refused at `t`, if it would.
    #[must_use]
    pub fn denial(&self, refresh_token: u32, habits: &Habits, t: Ms) -> Option<Denied> {
        let token = &self.refresh_tokens[refresh_token as usize];
        let family = &self.families[token.family as usize];
        let too_old = habits
            .absolute
            .is_some_and(|limit| t > family.created + limit);
        if family.revoked || too_old {
            return Some(Denied::InvalidGrant);
        }
        if token
            .spent
            .is_some_and(|spent| t > spent + habits.leeway || habits.leeway == 0)
        {
            return Some(Denied::InvalidGrant);
        }
        if habits
            .inactivity
            .is_some_and(|limit| t > token.used + limit)
        {
            return Some(Denied::Inactive);
        }
        None
    }

    /// Whether the provider holds that it is too early for a refresh: by the newest access token, which
    /// the client need not have got.
    #[must_use]
    pub fn is_too_early(&self, refresh_token: u32, habits: &Habits, t: Ms) -> bool {
        let family = &self.families[self.refresh_tokens[refresh_token as usize].family as usize];
        let latest = family.latest_access_token;
        habits.early.is_some_and(|early| {
            let left = self.access_tokens[latest as usize].end.saturating_sub(t);
            self.is_alive(latest, t) && left as f64 > early.share * habits.life as f64
        })
    }

    /// A refresh token comes in.
    pub fn refresh(
        &mut self,
        refresh_token: u32,
        habits: &Habits,
        omits: bool,
        t: Ms,
    ) -> Result<Granted, Denied> {
        let number = self.refresh_tokens[refresh_token as usize].family;
        if let Some(denied) = self.denial(refresh_token, habits, t) {
            let is_spent = self.refresh_tokens[refresh_token as usize].spent.is_some();
            if is_spent && habits.detects_reuse {
                self.revoke(number, t);
            }
            return Err(denied);
        }
        let before = self.families[number as usize].latest_access_token;
        if self.is_too_early(refresh_token, habits, t) {
            return Err(Denied::TooEarly);
        }
        if habits.kills_old {
            self.access_tokens[before as usize].killed.get_or_insert(t);
        }
        self.refresh_tokens[refresh_token as usize].used = t;
        let new = (habits.rotates && !omits).then(|| {
            self.refresh_tokens[refresh_token as usize]
                .spent
                .get_or_insert(t);
            self.refresh_tokens.push(RefreshToken {
                family: number,
                spent: None,
                used: t,
            });
            self.refresh_tokens.len() as u32 - 1
        });
        let access_token = self.issue(number, habits, t);
        let family = &mut self.families[number as usize];
        if let Some(new) = new {
            family.newest = new;
        }
        Ok(Granted {
            access_token,
            refresh_token: new,
            subject: family.subject,
            other_scopes: false,
        })
    }

    /// Everything of a login is over.
    pub fn revoke(&mut self, family: u32, t: Ms) {
        let entry = &mut self.families[family as usize];
        entry.revoked = true;
        let latest = entry.latest_access_token;
        self.access_tokens[latest as usize].killed.get_or_insert(t);
    }

    /// The family of a refresh token.
    #[must_use]
    pub fn family_of(&self, refresh_token: u32) -> u32 {
        self.refresh_tokens[refresh_token as usize].family
    }

    /// All that came of a login.
    #[must_use]
    pub fn family(&self, number: u32) -> &Family {
        &self.families[number as usize]
    }

    /// An access token.
    #[must_use]
    pub fn access_token(&self, number: u32) -> &AccessToken {
        &self.access_tokens[number as usize]
    }

    /// The same, to note something.
    pub fn access_token_mut(&mut self, number: u32) -> &mut AccessToken {
        &mut self.access_tokens[number as usize]
    }

    /// Whether an API would take it.
    #[must_use]
    pub fn is_alive(&self, number: u32, t: Ms) -> bool {
        let token = &self.access_tokens[number as usize];
        let family = &self.families[token.family as usize];
        t < token.end && token.killed.is_none_or(|killed| t < killed) && !family.revoked
    }

    /// Whether it ended before its time.
    #[must_use]
    pub fn was_killed(&self, number: u32) -> bool {
        let token = &self.access_tokens[number as usize];
        token.killed.is_some() || self.families[token.family as usize].revoked
    }

    /// The access token ends now.
    pub fn kill(&mut self, number: u32, t: Ms) {
        self.access_tokens[number as usize].killed.get_or_insert(t);
    }
}

/// Names an access token to the engine.
#[must_use]
pub fn fingerprint(access_token: u32) -> Fingerprint {
    let mut bytes = [0xa7; 16];
    bytes[..4].copy_from_slice(&access_token.to_be_bytes());
    Fingerprint(bytes)
}

/// The access token that the engine calls so.
#[must_use]
pub fn named(fingerprint: Fingerprint) -> u32 {
    let bytes = fingerprint.0;
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
