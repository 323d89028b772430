//! The rows of the error taxonomy, as bodies and headers.

use std::time::Duration;

use authd_core::{
    answer::{Body, ExpiresIn, RetryAfter, TokenSummary},
    id::Fingerprint,
    scope::ScopeSet,
    secret::Secret,
    time::Wall,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{Parsed, Reading, parse};

/// Stands for the keyed hash: the length tells the tokens of these tests apart.
fn by_length(token: &str) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes[0] = token.len() as u8;
    Fingerprint(bytes)
}

fn parsed(status: u16, content_type: &str, body: &[u8]) -> Parsed {
    let sent = Secret::new("sent-refresh-token");
    let reading = Reading {
        fingerprint: &by_length,
        sent: &[&sent],
        error_pointer: None,
    };
    parse(status, Some(content_type), body, reading)
}

fn body(status: u16, content_type: &str, text: &str) -> Body {
    let parsed = parsed(status, content_type, text.as_bytes());
    let has_tokens = matches!(parsed.body, Body::Tokens(_));
    assert_eq!(
        parsed.tokens.is_some(),
        has_tokens,
        "tokens exactly when the body says so: {text}"
    );
    parsed.body
}

fn json(text: &str) -> Body {
    body(200, "application/json", text)
}

fn summary(body: Body) -> TokenSummary {
    match body {
        Body::Tokens(summary) => *summary,
        other => panic!("no tokens but {other:?}"),
    }
}

fn error(code: &str, description: Option<&str>, detail: Option<&str>) -> Body {
    Body::Error {
        code: code.to_owned(),
        description: description.map(str::to_owned),
        detail: detail.map(str::to_owned),
    }
}

#[test]
fn a_token_response_is_read_whole() {
    let text = r#"{"access_token":"AT","token_type":"bearer","expires_in":3600,"refresh_in":1800,
        "refresh_token":"RT","scope":"b a","id_token":"x.y.z"}"#;
    let Parsed { body, tokens } = parsed(200, "application/json;charset=utf-8", text.as_bytes());
    let tokens = tokens.unwrap();
    assert!(tokens.access_token.matches("AT"));
    assert!(tokens.refresh_token.unwrap().matches("RT"));
    assert!(tokens.id_token.unwrap().matches("x.y.z"));
    assert_eq!(
        summary(body),
        TokenSummary {
            fingerprint: by_length("AT"),
            token_type: "bearer".into(),
            expires_in: ExpiresIn::Stated(Duration::from_secs(3600)),
            jwt_expiry: None,
            refresh_in: Some(Duration::from_secs(1800)),
            scopes: Some(ScopeSet::parse("a b")),
            refresh_token: true,
            subject: None,
        }
    );
}

#[test]
fn row_expires_in_is_accepted_however_it_is_written() {
    const TEN_YEARS: u64 = 10 * 365 * 86_400;
    for (written, secs) in [
        ("3600", Some(3600.0)),
        ("\"3600\"", Some(3600.0)),
        ("\" 3599.5 \"", Some(3599.5)),
        ("3599.999", Some(3599.999)),
        ("1e3", Some(1000.0)),
        ("1", Some(1.0)),
        ("0", None),
        ("-1", None),
        ("-1e99", None),
        ("\"0\"", None),
        ("\"soon\"", None),
        ("\"\"", None),
        ("\"NaN\"", None),
        ("\"inf\"", Some(TEN_YEARS as f64)),
        ("null", None),
        ("true", None),
        ("[3600]", None),
        ("99999999999999999999999", Some(TEN_YEARS as f64)),
        ("9223372036854775807", Some(TEN_YEARS as f64)),
    ] {
        let text = format!(r#"{{"access_token":"AT","expires_in":{written}}}"#);
        let expected = secs.map_or(ExpiresIn::Missing, |secs| {
            ExpiresIn::Stated(Duration::from_secs_f64(secs))
        });
        assert_eq!(summary(json(&text)).expires_in, expected, "{written}");
    }
    assert_eq!(
        summary(json(r#"{"access_token":"AT"}"#)).expires_in,
        ExpiresIn::Missing
    );
}

#[test]
fn row_refresh_token_omitted_null_or_empty_means_keep_the_old() {
    for member in [
        "",
        r#","refresh_token":null"#,
        r#","refresh_token":"""#,
        r#","refresh_token":" ""#,
        r#","refresh_token":7"#,
    ] {
        let text = format!(r#"{{"access_token":"AT"{member}}}"#);
        let parsed = parsed(200, "application/json", text.as_bytes());
        assert!(!summary(parsed.body).refresh_token, "{text}");
        assert!(parsed.tokens.unwrap().refresh_token.is_none(), "{text}");
    }
}

#[test]
fn token_types_stay_as_written_and_scopes_are_words_however_written() {
    for (members, token_type, scopes) in [
        ("", "Bearer", None),
        (
            r#","token_type":"BEARER","scope":"a  b""#,
            "BEARER",
            Some("a b"),
        ),
        (
            r#","token_type":"bot","scope":"repo,gist""#,
            "bot",
            Some("gist repo"),
        ),
        (r#","scope":"a,b c""#, "Bearer", Some("a,b c")),
        (r#","scope":["a","b"]"#, "Bearer", Some("a b")),
        (r#","scope":"""#, "Bearer", None),
        (r#","scope":null"#, "Bearer", None),
    ] {
        let summary = summary(json(&format!(r#"{{"access_token":"AT"{members}}}"#)));
        assert_eq!(summary.token_type, token_type, "{members}");
        assert_eq!(summary.scopes, scopes.map(ScopeSet::parse), "{members}");
    }
}

#[test]
fn the_expiry_inside_a_jwt_is_seen() {
    let jwt = |payload: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload));
    for (token, expiry) in [
        (
            jwt(r#"{"exp":1700000000}"#),
            Some(Wall::from_unix_secs(1_700_000_000)),
        ),
        (
            jwt(r#"{"exp":1700000000.5}"#),
            Some(Wall::from_unix_secs(1_700_000_000)),
        ),
        (jwt(r#"{"exp":"1700000000"}"#), None),
        (jwt(r#"{"exp":-5}"#), None),
        (jwt("{}"), None),
        (jwt("no json"), None),
        ("a.b.c.d".into(), None),
        ("opaque".into(), None),
    ] {
        let body = json(&format!(r#"{{"access_token":"{token}"}}"#));
        assert_eq!(summary(body).jwt_expiry, expiry, "{token}");
    }
}

#[test]
fn row_an_error_member_is_read_first_whatever_the_status() {
    for status in [200, 400, 401, 403, 500, 503] {
        let text = r#"{"error":"invalid_grant","error_description":"gone","access_token":"AT"}"#;
        assert_eq!(
            body(status, "application/json", text),
            error("invalid_grant", Some("gone"), None),
            "{status}"
        );
    }
    // Slack.
    assert_eq!(
        json(r#"{"ok":false,"error":"invalid_refresh_token"}"#),
        error("invalid_refresh_token", None, None)
    );
    // GitHub, without Accept.
    assert_eq!(
        body(
            200,
            "application/x-www-form-urlencoded",
            "error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect&error_uri=x"
        ),
        error(
            "bad_refresh_token",
            Some("The refresh token passed is incorrect"),
            None
        )
    );
    // The content type may say anything.
    assert_eq!(
        body(400, "text/html", r#"{"error":"invalid_grant"}"#),
        error("invalid_grant", None, None)
    );
    assert_eq!(
        body(
            400,
            "application/json",
            "\u{feff} {\"error\":\"invalid_grant\"}\n"
        ),
        error("invalid_grant", None, None)
    );
}

#[test]
fn finer_codes_are_kept() {
    for (text, detail) in [
        (
            r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
            "invalid_rapt",
        ),
        (
            r#"{"error":"invalid_grant","suberror":"bad_token","error_description":"AADSTS70000: no","error_codes":[70000]}"#,
            "bad_token AADSTS70000",
        ),
        (
            r#"{"error":"invalid_grant","error_description":"AADSTS50196: loop"}"#,
            "AADSTS50196",
        ),
        (
            r#"{"error":"invalid_grant","error_codes":[50196]}"#,
            "AADSTS50196",
        ),
    ] {
        let Body::Error { detail: found, .. } = json(text) else {
            panic!("{text}")
        };
        assert_eq!(found.as_deref(), Some(detail), "{text}");
    }
}

#[test]
fn row_error_texts_and_empty_tokens_in_the_place_of_a_token_are_none() {
    for (status, text) in [
        (200, r#"{"access_token":""}"#),
        (200, r#"{"access_token":null}"#),
        (200, r#"{"access_token":7}"#),
        (200, r#"{"access_token":"error: no such user"}"#),
        (200, r#"{"access_token":"Error=500"}"#),
        (200, r#"{"access_token":"invalid_grant"}"#),
        (200, r#"{"access_token":"undefined"}"#),
        (200, r#"{"access_token":"The token could not be made"}"#),
        (200, r#"{"access_token":"<html>"}"#),
        (200, r#"{"access_token":"a\u0000b"}"#),
        (200, r#"{"ok":false,"access_token":"AT"}"#),
        (200, r#"{"token_type":"Bearer"}"#),
        (200, "{}"),
        (200, "[]"),
        (200, "null"),
        (200, "\"access_token\""),
        (200, r#"{"access_token":"AT""#),
        (200, "<?xml version='1.0'?><error/>"),
        (200, "<HTTP"),
        (200, "a=b"),
        (200, "access_token=AT&access_token=AT2"),
        (502, "bad gateway"),
        // Only 2xx brings tokens.
        (302, r#"{"access_token":"AT"}"#),
        (400, r#"{"access_token":"AT"}"#),
        (500, r#"{"access_token":"AT"}"#),
        // An error that is no OAuth error can end nothing.
        (400, r#"{"error":{"code":"invalid_grant","message":"no"}}"#),
        (400, r#"{"error":true}"#),
        (400, r#"{"error":"invalid\u001b_grant"}"#),
        (400, r#"{"error":"invalid_grant\n"}"#),
        (400, r#"{"error":"é"}"#),
        (400, r#"{"error":""}"#),
        (400, r#"{"message":"invalid_grant"}"#),
        // Nor one that repeats what was sent.
        (400, r#"{"error":"no sent-refresh-token"}"#),
    ] {
        assert_eq!(
            body(status, "application/json", text),
            Body::Unintelligible,
            "{text}"
        );
    }
    let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(129));
    assert_eq!(body(400, "application/json", &long), Body::Unintelligible);
}

#[test]
fn a_null_error_is_none() {
    for member in ["null", "false", "\"\""] {
        let text = format!(r#"{{"error":{member},"access_token":"AT"}}"#);
        assert!(matches!(json(&text), Body::Tokens(_)), "{member}");
    }
}

#[test]
fn form_encoded_tokens_are_read() {
    let body = body(
        200,
        "application/x-www-form-urlencoded",
        "access_token=gho_16C7&expires_in=28800&refresh_token=ghr_1B&scope=repo%2Cgist&token_type=bearer",
    );
    let summary = summary(body);
    assert_eq!(
        summary.expires_in,
        ExpiresIn::Stated(Duration::from_secs(28_800))
    );
    assert_eq!(summary.scopes, Some(ScopeSet::parse("repo gist")));
    assert!(summary.refresh_token);
}

#[test]
fn html_is_known_by_its_look_or_its_type() {
    for (content_type, text) in [
        ("text/html", "<!DOCTYPE html><title>Log in</title>"),
        (
            "application/json",
            "  \n<html><body>error=invalid_grant</body>",
        ),
        ("text/plain", "<!-- portal --><html>"),
        ("text/html; charset=utf-8", "Service Unavailable"),
        ("application/xhtml+xml", "x"),
    ] {
        for status in [200, 302, 400, 403, 503] {
            assert_eq!(
                body(status, content_type, text),
                Body::Html,
                "{status} {text}"
            );
        }
    }
    assert_eq!(body(400, "text/html", ""), Body::Empty);
    assert_eq!(body(200, "application/json", " \n"), Body::Empty);
}

#[test]
fn descriptions_are_cleaned_cut_and_repeat_no_secret() {
    let escape = r#"{"error":"x","error_description":"\u001b[2J\u202enope\r\n now"}"#;
    assert_eq!(json(escape), error("x", Some("[2Jnope now"), None));

    let long = format!(
        r#"{{"error":"x","error_description":"{}"}}"#,
        "ä".repeat(600)
    );
    let Body::Error { description, .. } = json(&long) else {
        panic!("an error")
    };
    assert_eq!(description.unwrap().chars().count(), 512);

    let tail = "y".repeat(500);
    let echo = format!(r#"{{"error":"x","error_description":"{tail} sent-refresh-token gone"}}"#);
    assert_eq!(
        json(&echo),
        error("x", Some("[removed, for it repeated a secret]"), None)
    );
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    HeaderMap::from_iter([(HeaderName::from_static(name), value)])
}

#[test]
fn retry_after_comes_in_two_forms() {
    for (written, read) in [
        ("120", Some(RetryAfter::Delay(Duration::from_secs(120)))),
        (" 0 ", Some(RetryAfter::Delay(Duration::ZERO))),
        (
            "99999999999999999999999",
            Some(RetryAfter::Delay(Duration::from_secs(u64::MAX))),
        ),
        (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            Some(RetryAfter::Until(Wall::from_unix_secs(784_111_777))),
        ),
        (
            "Sunday, 06-Nov-94 08:49:37 GMT",
            Some(RetryAfter::Until(Wall::from_unix_secs(784_111_777))),
        ),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(
            super::retry_after(&headers("retry-after", written)),
            read,
            "{written}"
        );
    }
    assert_eq!(
        super::date(&headers("date", "Sun, 06 Nov 1994 08:49:37 GMT")),
        Some(Wall::from_unix_secs(784_111_777))
    );
    assert_eq!(super::date(&headers("date", "yesterday")), None);
}

#[test]
fn request_ids_are_known_by_many_names_and_repeat_no_secret() {
    let sent = Secret::new("sent-refresh-token");
    let reading = Reading {
        fingerprint: &by_length,
        sent: &[&sent],
        error_pointer: None,
    };
    for name in [
        "x-request-id",
        "x-ms-request-id",
        "x-github-request-id",
        "cf-ray",
    ] {
        assert_eq!(
            reading.request_id(&headers(name, "abc-1")).as_deref(),
            Some("abc-1")
        );
    }
    assert_eq!(
        reading
            .request_id(&headers("x-request-id", "r sent-refresh-token"))
            .as_deref(),
        Some("[removed, for it repeated a secret]")
    );
    assert_eq!(reading.request_id(&headers("x-other", "abc")), None);
}

/// Bodies that look like answers, so that chance reaches past the first check.
fn nearly_an_answer() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "access_token",
        "error",
        "error_description",
        "expires_in",
        "refresh_token",
        "scope",
        "error_codes",
        "ok",
        "id_token",
        "refresh_in",
        "suberror",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        prop::sample::select(vec![
            "null",
            "true",
            "{}",
            "[]",
            "\"a.b.c\"",
            "\"AADSTS\"",
            "[1,\"x\"]"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    })
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(
        status in 100u16..600,
        content_type in ".{0,40}",
        body in prop_oneof![any::<Vec<u8>>(), nearly_an_answer()],
    ) {
        let parsed = parsed(status, &content_type, &body);
        prop_assert_eq!(parsed.tokens.is_some(), matches!(parsed.body, Body::Tokens(_)));
        if let Body::Error { code, description, .. } = &parsed.body {
            prop_assert!(code.len() <= super::CODE_LEN && !code.chars().any(char::is_control));
            prop_assert!(description.iter().all(|text| !text.chars().any(char::is_control)));
        }
    }

    #[test]
    fn no_header_makes_it_panic(value in any::<Vec<u8>>()) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for name in ["date", "retry-after", "x-request-id"] {
                let map = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
                let reading = Reading { fingerprint: &by_length, sent: &[], error_pointer: None };
                let _ = (super::date(&map), super::retry_after(&map), reading.request_id(&map));
            }
        }
    }
}
