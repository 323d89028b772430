//! Answers in the shapes that providers give them, through the real exchange, parser and classifier.
//!
//! Each file of `tests/quirks/` is one answer: whose it is, status, headers and body, the row of the error
//! taxonomy that it stands for, and what is expected of it. No token in them was ever one.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use authd_core::{
    answer::{Body, GrantType, Received, RetryAfter},
    renewal::{Verdict, classify::classify, lifetime::lifetime},
};
use authd_oauth::preset::built_in;
use common::{Server, bounded, http, provider, refresh, response};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quirk {
    provider: String,
    row: String,
    status: u16,
    headers: BTreeMap<String, String>,
    /// A text as it is, or JSON.
    body: Value,
    verdict: String,
    /// The life that the token is given; `null` for none.
    #[serde(default, deserialize_with = "given")]
    lifetime_secs: Option<Option<u64>>,
    scopes: Option<Vec<String>>,
    /// Whether a new refresh token came.
    refresh_token: Option<bool>,
    retry_after_secs: Option<u64>,
    /// What was exchanged, where it is no refresh token.
    grant: Option<String>,
}

fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(value).map(Some)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Transient => "transient",
        Verdict::Offline => "offline",
        Verdict::Throttled => "throttled",
        Verdict::Ambiguous(_) => "ambiguous",
        Verdict::InvalidGrant => "invalid_grant",
        Verdict::InteractionRequired => "interaction_required",
        Verdict::Misconfigured => "misconfigured",
        Verdict::Unproven => "unproven",
        Verdict::EndpointMoved => "endpoint_moved",
        Verdict::Unintelligible => "unintelligible",
        Verdict::AuthorizationPending => "authorization_pending",
        Verdict::SlowDown => "slow_down",
        Verdict::ExpiredToken => "expired_token",
        Verdict::AccessDenied => "access_denied",
    }
}

fn quirks() -> BTreeMap<String, Quirk> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/quirks");
    let files = fs::read_dir(directory).unwrap().map(|file| {
        let path = file.unwrap().path();
        let quirk = serde_json::from_str(&fs::read_to_string(&path).unwrap());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (
            name.clone(),
            quirk.unwrap_or_else(|error| panic!("{name}: {error}")),
        )
    });
    files.collect()
}

#[tokio::test]
async fn every_quirk_is_understood() {
    for (name, quirk) in quirks() {
        let body = match &quirk.body {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let headers: String = quirk
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let answer = response(&quirk.status.to_string(), &headers, &body);
        let server = Server::answering(answer).await;
        let entry = &built_in().find(&quirk.provider).unwrap().entry;
        let mut at = provider(server.url("/token"));
        at.profile = entry.profile(&quirk.provider);
        let (exchanged, _) = bounded(refresh(&http(), &at)).await;
        let grant_type = match quirk.grant.as_deref() {
            Some("authorization_code") => GrantType::AuthorizationCode,
            None => GrantType::RefreshToken,
            other => panic!("{name}: {other:?}"),
        };
        let verdict = classify(&exchanged.answer, grant_type, &at.profile);
        assert_eq!(
            word(verdict),
            quirk.verdict,
            "{name}: {:?}",
            exchanged.answer
        );

        let tokens = match &exchanged.answer.received {
            Received::Response {
                body: Body::Tokens(tokens),
                ..
            } => Some(tokens),
            _ => None,
        };
        assert_eq!(tokens.is_some(), verdict == Verdict::Accepted, "{name}");
        if let Some(expected) = quirk.lifetime_secs {
            let renewable = tokens.unwrap().refresh_token;
            let (life, _) = lifetime(tokens.unwrap(), &at.profile, renewable, common::now().wall);
            assert_eq!(life, expected.map(Duration::from_secs), "{name}");
        }
        if let Some(expected) = quirk.scopes {
            let scopes = tokens.unwrap().scopes.clone().unwrap();
            assert_eq!(
                scopes,
                expected.iter().map(String::as_str).collect(),
                "{name}"
            );
        }
        if let Some(expected) = quirk.refresh_token {
            assert_eq!(tokens.unwrap().refresh_token, expected, "{name}");
        }
        if let Some(secs) = quirk.retry_after_secs {
            let expected = Some(RetryAfter::Delay(Duration::from_secs(secs)));
            assert_eq!(exchanged.answer.retry_after, expected, "{name}");
        }
    }
}

/// What the taxonomy says of answers that a provider gives; what happens on the way to it is in the tests
/// of the transport.
#[test]
fn every_row_of_the_taxonomy_has_a_quirk() {
    let rows = [
        "200/3xx HTML (portal, proxy), wrong certificate",
        "5xx, 408, `server_error`, `temporarily_unavailable`",
        "403 or 400 with HTML or no JSON",
        "anything else",
        "429",
        "`invalid_grant`",
        "Google `invalid_rapt`, Entra interaction/claims codes",
        "`invalid_client`, `unauthorized_client`",
        "`invalid_request`, `invalid_scope`, `invalid_target`",
        "404 on the token endpoint",
        "200 with an `error` member",
        "error text inside `access_token`, empty token",
        "`expires_in` as a string, float",
        "`expires_in` missing",
        "`bearer` in any case",
        "RT omitted, `null` or \"\"",
    ];
    let known: BTreeSet<&str> = rows.into();
    let quirks = quirks();
    let shown: BTreeSet<&str> = quirks.values().map(|quirk| quirk.row.as_str()).collect();
    assert_eq!(shown, known);
    // Every entry that departs from the RFCs has one.
    for (name, known) in built_in().iter() {
        let entry = &known.entry;
        let departs = entry.error_pointer.is_some()
            || !entry.error_codes.is_empty()
            || !entry.quirks.is_empty();
        assert!(
            !departs || quirks.values().any(|quirk| quirk.provider == name),
            "{name} has no fixture"
        );
    }
}
