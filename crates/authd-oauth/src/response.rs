//! What a token endpoint said, read from the raw response.
//!
//! Providers depart from RFC 6749 §5 in many ways, and the difference between an error that ends
//! a grant and one that passes is worth a login. So the body is read here by our own rules:
//!
//! - A JSON object is one whatever its content type; then comes HTML, by its look or its type;
//!   then a form (GitHub without `Accept`).
//! - An `error` member is read before anything else, even at status 200. It counts only as a string
//!   within the characters that RFC 6749 §5.2 allows: no other error can end a grant.
//! - Tokens count only at a 2xx status, and only when the access token can be one.

mod headers;

use std::time::Duration;

use authd_core::{
    answer::{Body, ExpiresIn, TokenSummary},
    id::Fingerprint,
    scope::ScopeSet,
    secret::Secret,
    time::Wall,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use zeroize::Zeroize;

pub(crate) use self::headers::{date, retry_after};
use crate::text::cleaned;

/// Longest error code kept, in characters.
pub(crate) const CODE_LEN: usize = 128;
/// Longest description kept, in characters.
pub(crate) const DESCRIPTION_LEN: usize = 512;
/// Ten years: what a stated lifetime is cut to.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a successful exchange brought. No part of it can be printed.
pub struct Tokens {
    /// `access_token`.
    pub access_token: Secret,
    /// `refresh_token`, when a new one came: omitted, `null` and `""` mean "keep the old one".
    pub refresh_token: Option<Secret>,
    /// `id_token` (OpenID Connect Core §3.1.3.3).
    pub id_token: Option<Secret>,
}

/// A response's body, and its tokens apart.
pub(crate) struct Parsed {
    pub(crate) body: Body,
    pub(crate) tokens: Option<Tokens>,
}

impl From<Body> for Parsed {
    fn from(body: Body) -> Self {
        Self { body, tokens: None }
    }
}

/// A JSON object or form whose values are wiped when dropped: those not taken may be secrets.
pub(crate) struct Members(Map<String, Value>);

impl Members {
    /// From JSON, whatever its content type.
    pub(crate) fn from_json(body: &[u8]) -> Option<Self> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Some(Self(members)),
            _ => None,
        }
    }

    /// From a form that looks like an answer. A member that stands twice makes it none: there is
    /// no telling which is meant.
    fn from_form(body: &[u8]) -> Option<Self> {
        let plausible = body
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'<');
        if !plausible || !body.contains(&b'=') {
            return None;
        }
        let mut members = Self(Map::new());
        for (name, value) in url::form_urlencoded::parse(body) {
            if members
                .0
                .insert(name.into_owned(), value.into_owned().into())
                .is_some()
            {
                return None;
            }
        }
        let answers = ["access_token", "error"]
            .iter()
            .any(|name| members.0.contains_key(*name));
        answers.then_some(members)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The string `name`; `None` when it is empty or no string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)?
            .as_str()
            .filter(|text| !text.trim().is_empty())
    }

    /// The same, taken out, so that no second copy stays.
    pub(crate) fn take_secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name)?;
        match self.0.remove(name) {
            Some(Value::String(text)) => Some(Secret::from(text)),
            _ => None,
        }
    }

    /// An OAuth error, when there is one (RFC 6749 §5.2).
    pub(crate) fn error(&self) -> ErrorMember<'_> {
        match self.0.get("error") {
            None | Some(Value::Null | Value::Bool(false)) => ErrorMember::Absent,
            Some(Value::String(code)) if code.is_empty() => ErrorMember::Absent,
            Some(Value::String(code)) if is_error_code(code) => ErrorMember::Code(code),
            Some(_) => ErrorMember::Malformed,
        }
    }

    /// The same where a provider is known to put the code elsewhere. What is found there comes first:
    /// such a provider's `error` may be another thing. Only a text counts there.
    fn error_at(&self, pointer: Option<&str>) -> ErrorMember<'_> {
        let is_answer = self.value("access_token").is_some();
        let elsewhere = pointer.filter(|_| !is_answer).and_then(|pointer| {
            let mut path = pointer.split('/').skip(1);
            let first = self.value(path.next()?)?;
            let found = path.try_fold(first, |value, step| match value {
                Value::Object(members) => members.get(step),
                Value::Array(values) => values.get(step.parse::<usize>().ok()?),
                _ => None,
            })?;
            found
                .as_str()
                .filter(|code| is_error_code(code) && !code.is_empty())
        });
        elsewhere.map_or_else(|| self.error(), ErrorMember::Code)
    }

    pub(crate) fn description(&self) -> Option<&str> {
        ["error_description", "error_message", "message"]
            .iter()
            .find_map(|name| self.text(name))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        fn wipe(value: &mut Value) {
            match value {
                Value::String(text) => text.zeroize(),
                Value::Array(values) => values.iter_mut().for_each(wipe),
                Value::Object(members) => members.values_mut().for_each(wipe),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        self.0.values_mut().for_each(wipe);
    }
}

/// An `error` member.
pub(crate) enum ErrorMember<'a> {
    Absent,
    /// A code within the characters of RFC 6749 §5.2.
    Code(&'a str),
    /// There, but no code.
    Malformed,
}

fn is_error_code(code: &str) -> bool {
    code.len() <= CODE_LEN
        && code
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// What the reading of a response needs beside the response.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// Names the access token.
    pub(crate) fingerprint: &'a dyn Fn(&str) -> Fingerprint,
    /// What the request held: some servers repeat it in an error, and it must not be printed.
    pub(crate) sent: &'a [&'a Secret],
    /// Where this provider puts an error's code ([`authd_core::grant::Profile::error_pointer`]).
    pub(crate) error_pointer: Option<&'a str>,
}

impl Reading<'_> {
    fn printable(&self, text: &str, max: usize) -> Option<String> {
        printable(text, max, self.sent)
    }
}

/// `text` fit to print, and nothing of it when it repeats what was sent.
pub(crate) fn printable(text: &str, max: usize, sent: &[&Secret]) -> Option<String> {
    if repeats(text, sent) {
        return Some("[removed, for it repeated a secret]".to_owned());
    }
    cleaned(text, max)
}

fn repeats(text: &str, sent: &[&Secret]) -> bool {
    sent.iter()
        .any(|secret| !secret.is_empty() && text.contains(secret.expose()))
}

/// Reads a token endpoint's response body.
pub(crate) fn parse(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
    reading: Reading<'_>,
) -> Parsed {
    let body = body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii();
    if body.is_empty() {
        return Body::Empty.into();
    }
    if let Some(members) = Members::from_json(body) {
        return read(status, members, reading);
    }
    if looks_like_html(body) {
        return Body::Html.into();
    }
    if let Some(members) = Members::from_form(body) {
        return read(status, members, reading);
    }
    if content_type.is_some_and(is_html) {
        Body::Html.into()
    } else {
        Body::Unintelligible.into()
    }
}

fn is_html(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"]
        .iter()
        .any(|html| essence.eq_ignore_ascii_case(html))
}

pub(crate) fn looks_like_html(body: &[u8]) -> bool {
    const STARTS: [&str; 10] = [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<script",
        "<title",
        "<meta",
        "<h1",
        "<center",
        "<!--",
    ];
    STARTS.iter().any(|start| {
        body.get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    })
}

fn read(status: u16, members: Members, reading: Reading<'_>) -> Parsed {
    match members.error_at(reading.error_pointer) {
        ErrorMember::Code(code) if !repeats(code, reading.sent) => Body::Error {
            code: code.to_owned(),
            description: members
                .description()
                .and_then(|text| reading.printable(text, DESCRIPTION_LEN)),
            detail: detail(&members, reading),
        }
        .into(),
        ErrorMember::Code(_) | ErrorMember::Malformed => Body::Unintelligible.into(),
        ErrorMember::Absent if !(200..300).contains(&status) => Body::Unintelligible.into(),
        // Slack says so without an `error`.
        ErrorMember::Absent if members.value("ok") == Some(&Value::Bool(false)) => {
            Body::Unintelligible.into()
        }
        ErrorMember::Absent => tokens(members, reading),
    }
}

/// The finer codes that some providers add, as words: `error_subtype` (Google), `suberror` and the
/// `AADSTS` number (Entra).
fn detail(members: &Members, reading: Reading<'_>) -> Option<String> {
    let mut words: Vec<String> = ["error_subtype", "suberror"]
        .iter()
        .filter_map(|name| reading.printable(members.text(name)?, CODE_LEN))
        .collect();
    let numbered = members
        .value("error_codes")
        .and_then(|codes| codes.get(0)?.as_u64());
    let worded = members.description().and_then(|text| {
        let digits = &text[text.find("AADSTS")? + "AADSTS".len()..];
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        digits[..end].parse().ok()
    });
    words.extend(worded.or(numbered).map(|number| format!("AADSTS{number}")));
    (!words.is_empty()).then(|| words.join(" "))
}

fn tokens(mut members: Members, reading: Reading<'_>) -> Parsed {
    let Some(access_token) = members.take_secret("access_token") else {
        return Body::Unintelligible.into();
    };
    if !can_be_a_token(access_token.expose()) {
        return Body::Unintelligible.into();
    }
    let refresh_token = members.take_secret("refresh_token");
    let id_token = members.take_secret("id_token");
    let summary = TokenSummary {
        fingerprint: (reading.fingerprint)(access_token.expose()),
        token_type: members
            .text("token_type")
            .and_then(|text| cleaned(text, 64))
            .unwrap_or_else(|| "Bearer".to_owned()),
        expires_in: duration(members.value("expires_in"))
            .map_or(ExpiresIn::Missing, ExpiresIn::Stated),
        jwt_expiry: jwt_expiry(access_token.expose()),
        refresh_in: duration(members.value("refresh_in")),
        scopes: scopes(members.value("scope")),
        refresh_token: refresh_token.is_some(),
        subject: None,
    };
    Parsed {
        body: Body::Tokens(Box::new(summary)),
        tokens: Some(Tokens {
            access_token,
            refresh_token,
            id_token,
        }),
    }
}

/// Whether `text` can be an access token and is not an error that stands in its place. RFC 6749
/// A.12 allows every printable character; one with a blank could not be sent (RFC 6750 §2.1), and
/// none of the words below is worth sending.
fn can_be_a_token(text: &str) -> bool {
    const WORDS: [&str; 14] = [
        "null",
        "nil",
        "none",
        "undefined",
        "true",
        "false",
        "error",
        "failed",
        "invalid_grant",
        "invalid_client",
        "invalid_request",
        "invalid_token",
        "access_denied",
        "expired",
    ];
    let lower = text.to_ascii_lowercase();
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'<')
        && !WORDS.contains(&lower.as_str())
        && !["error:", "error=", "{", "["]
            .iter()
            .any(|start| lower.starts_with(start))
}

/// A positive number of seconds, however it was written, cut to ten years.
pub(crate) fn duration(value: Option<&Value>) -> Option<Duration> {
    let secs = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if secs.is_nan() || secs <= 0.0 {
        return None;
    }
    Some(Duration::from_secs_f64(secs.min(LONGEST.as_secs_f64())))
}

/// `scope` as words between blanks; some write a list, and some (GitHub, Slack) put commas, which
/// are taken for separators only when there is no blank: RFC 6749 allows them within a scope.
pub(crate) fn scopes(value: Option<&Value>) -> Option<ScopeSet> {
    let scopes: ScopeSet = match value? {
        Value::String(text) if text.trim().contains(char::is_whitespace) => ScopeSet::parse(text),
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|scope| !scope.is_empty())
            .collect(),
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .filter(|scope| !scope.is_empty())
            .collect(),
        _ => return None,
    };
    Some(scopes).filter(|scopes| !scopes.is_empty())
}

/// `exp` of a JWT (RFC 9068, or a provider's own), unverified: it serves to know when to renew.
fn jwt_expiry(token: &str) -> Option<Wall> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = Members::from_json(&URL_SAFE_NO_PAD.decode(payload).ok()?)?;
    moment(claims.value("exp")?)
}

/// A NumericDate (RFC 7519 §2).
pub(crate) fn moment(value: &Value) -> Option<Wall> {
    let secs = value.as_f64().filter(|secs| *secs > 0.0)?;
    // The cast saturates.
    Some(Wall::from_unix_secs(secs as i64))
}

#[cfg(test)]
mod tests;
