//! What a server says when it refuses a token, or the lack of one: the challenges of
//! `WWW-Authenticate` (RFC 9110 §11.6.1), and of those the one for bearer tokens (RFC 6750 §3,
//! RFC 9728 §5.1).

use authd_core::scope::ScopeSet;
use http::{HeaderMap, header};

use crate::text::cleaned;

/// Longest field that is read, in bytes.
pub const LONGEST_CHALLENGE: usize = 8 * 1024;
/// Most challenges of one field that are read.
const CHALLENGES: usize = 16;
/// Most parameters of one challenge.
const PARAMETERS: usize = 32;
/// Most scopes that are taken from a server's word.
const SCOPES: usize = 128;
/// Longest code or description kept, in characters.
const TEXT_LEN: usize = 512;

/// A challenge for a bearer token, or for one that is bound to a key (RFC 9449 §7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the resource's metadata is (RFC 9728 §5.1). As it stood: not checked.
    pub resource_metadata: Option<String>,
    /// What the request needs (RFC 6750 §3).
    pub scopes: Option<ScopeSet>,
    /// The error code (RFC 6750 §3.1), made fit to print.
    pub error: Option<String>,
    /// The server's own words, made fit to print.
    pub error_description: Option<String>,
}

/// Why a text is no challenge that a login can act on. Whoever passed it on must give the whole value
/// of the header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChallenge {
    /// It is longer than [`LONGEST_CHALLENGE`].
    #[error("it is longer than {LONGEST_CHALLENGE} bytes")]
    TooLong,
    /// No challenge of the `Bearer` or `DPoP` scheme is in it.
    #[error("there is no Bearer challenge in it")]
    NoBearer,
}

impl Challenge {
    /// Reads the value of a `WWW-Authenticate` field: of several challenges, the one for bearer tokens
    /// that says most.
    ///
    /// # Errors
    /// [`BadChallenge`].
    pub fn parse(field: &str) -> Result<Self, BadChallenge> {
        if field.len() > LONGEST_CHALLENGE {
            return Err(BadChallenge::TooLong);
        }
        Self::most_telling(challenges(field)).ok_or(BadChallenge::NoBearer)
    }

    /// The same of a response, which may have several such fields.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let found = fields
            .filter(|field| field.len() <= LONGEST_CHALLENGE)
            .flat_map(|field| challenges(&String::from_utf8_lossy(field.as_bytes())));
        Self::most_telling(found)
    }

    /// Whether it says that the token lacks a scope (RFC 6750 §3.1).
    #[must_use]
    pub fn is_insufficient_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    fn most_telling(found: impl IntoIterator<Item = Scheme>) -> Option<Self> {
        let mut best: Option<Self> = None;
        for challenge in found.into_iter().filter_map(Scheme::bearer) {
            let says_more = |best: &Self| {
                best.resource_metadata.is_none() && challenge.resource_metadata.is_some()
            };
            if best.as_ref().is_none_or(says_more) {
                best = Some(challenge);
            }
        }
        best
    }
}

/// The scopes in a text of a server's, if each of them can be asked for (RFC 6749 §3.3).
fn scope_words(text: &str) -> Option<ScopeSet> {
    words_of_scopes(text.split_ascii_whitespace())
}

/// The same of a list.
pub(crate) fn words_of_scopes<'a>(words: impl Iterator<Item = &'a str>) -> Option<ScopeSet> {
    let words: Vec<&str> = words.collect();
    let is_token = |word: &str| {
        let is_mark = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        !word.is_empty() && word.bytes().all(is_mark)
    };
    let fits = words.len() <= SCOPES && words.iter().all(|word| is_token(word));
    let scopes: ScopeSet = fits.then(|| words.into_iter().collect())?;
    (!scopes.is_empty()).then_some(scopes)
}

/// One challenge as it stood.
struct Scheme {
    name: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Scheme {
    /// As a challenge for bearer tokens. One that has a parameter twice is none: there is no telling
    /// which is meant (RFC 6750 §3 forbids it).
    fn bearer(self) -> Option<Challenge> {
        let is_bearer = ["bearer", "dpop"]
            .iter()
            .any(|known| self.name.eq_ignore_ascii_case(known));
        let mut names: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let is_twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        if !is_bearer || is_twice {
            return None;
        }
        let value = |wanted: &str| {
            let mut parameters = self.parameters.iter();
            parameters.find_map(|(name, value)| (name == wanted).then_some(&**value))
        };
        Some(Challenge {
            resource_metadata: value("resource_metadata").map(str::to_owned),
            scopes: value("scope").and_then(scope_words),
            error: value("error").and_then(|text| cleaned(text, TEXT_LEN)),
            error_description: value("error_description").and_then(|text| cleaned(text, TEXT_LEN)),
        })
    }
}

/// The challenges of one field, as far as they are well-formed.
fn challenges(field: &str) -> Vec<Scheme> {
    let mut rest = Rest(field);
    let mut found = Vec::new();
    while found.len() < CHALLENGES {
        rest.skip(|c| matches!(c, ' ' | '\t' | ','));
        let Some(scheme) = rest.challenge() else {
            break;
        };
        found.push(scheme);
    }
    found
}

/// What of a field is still to be read.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// `auth-scheme [ 1*SP ( token68 / #auth-param ) ]`. A comma may end it or stand between its
    /// parameters: what follows it tells.
    fn challenge(&mut self) -> Option<Scheme> {
        let mut challenge = Scheme {
            name: self.token()?.to_owned(),
            parameters: Vec::new(),
        };
        if !self.0.starts_with([' ', '\t']) {
            return self.at_end_of_challenge().then_some(challenge);
        }
        self.blanks();
        if let Some(after) = self.after_token68() {
            *self = after;
            return Some(challenge);
        }
        loop {
            let mut ahead = *self;
            ahead.skip(|c| matches!(c, ' ' | '\t' | ','));
            match ahead.parameter() {
                Parameter::None => break,
                Parameter::Broken => return None,
                Parameter::Read(name, value) => {
                    if challenge.parameters.len() == PARAMETERS {
                        return None;
                    }
                    challenge.parameters.push((name, value));
                    *self = ahead;
                    self.blanks();
                    if !self.at_end_of_challenge() {
                        return None;
                    }
                }
            }
        }
        self.blanks();
        self.at_end_of_challenge().then_some(challenge)
    }

    /// Behind a `token68`, if one stands here as the whole of what the scheme says.
    fn after_token68(self) -> Option<Self> {
        let mut ahead = self;
        let is_mark = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let begins = ahead.0.starts_with(is_mark);
        ahead.skip(is_mark);
        ahead.skip(|c| c == '=');
        ahead.blanks();
        (begins && ahead.at_end_of_challenge()).then_some(ahead)
    }

    /// `token BWS "=" BWS ( token / quoted-string )`.
    fn parameter(&mut self) -> Parameter {
        let Some(name) = self.token() else {
            return Parameter::None;
        };
        self.blanks();
        let Some(after) = self.0.strip_prefix('=') else {
            // The next challenge begins.
            return Parameter::None;
        };
        self.0 = after;
        self.blanks();
        let value = match self.0.strip_prefix('"') {
            Some(after) => {
                self.0 = after;
                self.quoted()
            }
            None => self.token().map(str::to_owned),
        };
        value.map_or(Parameter::Broken, |value| {
            Parameter::Read(name.to_ascii_lowercase(), value)
        })
    }

    /// What stands before the closing quote, which is read as well.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                c => value.push(c),
            }
        }
        None
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_mark = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !is_mark(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    fn blanks(&mut self) {
        self.skip(|c| matches!(c, ' ' | '\t'));
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(is_skipped);
    }

    fn at_end_of_challenge(&self) -> bool {
        self.0.is_empty() || self.0.starts_with(',')
    }
}

/// What stands where a parameter may stand.
enum Parameter {
    /// A parameter.
    Read(String, String),
    /// Something else.
    None,
    /// The beginning of one, and no end.
    Broken,
}

#[cfg(test)]
mod tests;
