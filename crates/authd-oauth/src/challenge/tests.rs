//! Challenges, one and many, and what is none.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn parsed(field: &str) -> Challenge {
    Challenge::parse(field).unwrap_or_else(|error| panic!("{field}: {error}"))
}

fn words(text: &str) -> Option<ScopeSet> {
    Some(ScopeSet::parse(text))
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let asks = parsed(
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\",\
                          scope=\"files:read\"",
    );
    assert_eq!(
        asks.resource_metadata.as_deref(),
        Some("https://mcp.example.com/.well-known/oauth-protected-resource")
    );
    assert_eq!(asks.scopes, words("files:read"));
    assert!(!asks.is_insufficient_scope());

    let lacks = parsed(
        "Bearer error=\"insufficient_scope\", scope=\"files:write files:read\", \
         error_description=\"File write permission required\"",
    );
    assert!(lacks.is_insufficient_scope());
    assert_eq!(lacks.scopes, words("files:read files:write"));
    assert_eq!(
        lacks.error_description.as_deref(),
        Some("File write permission required")
    );
}

#[test]
fn of_several_challenges_the_bearer_one_that_says_most_counts() {
    let field = "Negotiate abc==, Basic realm=\"a, Bearer scope=x\", bearer , \
                 BEARER scope=one , DPoP algs=\"ES256\", Resource_Metadata = \"https://a.example/m\" , scope=two";
    let found = parsed(field);
    assert_eq!(
        found.resource_metadata.as_deref(),
        Some("https://a.example/m")
    );
    assert_eq!(found.scopes, words("two"));
    assert_eq!(parsed("Basic x, Bearer").scopes, None);

    let mut headers = HeaderMap::new();
    for field in ["Basic realm=\"x\"", "Bearer scope=\"a b\""] {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(field));
    }
    assert_eq!(
        Challenge::of(&headers).and_then(|it| it.scopes),
        words("a b")
    );
    assert_eq!(Challenge::of(&HeaderMap::new()), None);
}

#[test]
fn quoted_strings_may_hold_anything_and_escapes_are_undone() {
    let found = parsed("Bearer error=\"a\\\"b\\\\c, d=e\",scope=\"x\"");
    assert_eq!(found.error.as_deref(), Some("a\"b\\c, d=e"));
    assert_eq!(found.scopes, words("x"));
    let printed = parsed("Bearer error=\"\u{1b}[31mred\", error_description=\"\u{202e}\"");
    assert_eq!(printed.error.as_deref(), Some("[31mred"));
    assert_eq!(printed.error_description, None);
}

#[test]
fn what_is_no_challenge_is_refused_and_what_came_before_it_counts() {
    for none in [
        "",
        ",,,",
        "Basic realm=\"x\"",
        "\"Bearer\"",
        "Bearer scope=\"unclosed",
        "Bearer scope=a b=c",
        // Twice, in whatever case: nobody knows which is meant.
        "Bearer scope=\"a\", SCOPE=\"b\"",
        "Bearerscope=\"a\"",
    ] {
        assert_eq!(
            Challenge::parse(none),
            Err(BadChallenge::NoBearer),
            "{none}"
        );
    }
    assert_eq!(
        parsed("Bearer scope=a, Basic realm=\"unclosed").scopes,
        words("a")
    );
    assert_eq!(
        Challenge::parse(&format!("Bearer scope=\"{}\"", "a".repeat(9000))),
        Err(BadChallenge::TooLong)
    );
}

#[test]
fn scopes_that_cannot_be_asked_for_are_no_scopes() {
    for bad in ["a\\\\b", "ü", "a\\\"b", ""] {
        assert_eq!(
            parsed(&format!("Bearer scope=\"{bad}\"")).scopes,
            None,
            "{bad}"
        );
    }
    let many: Vec<String> = (0..=SCOPES).map(|n| n.to_string()).collect();
    let field = format!("Bearer scope=\"{}\"", many.join(" "));
    assert_eq!(parsed(&field).scopes, None);
    let parameters: Vec<String> = (0..=PARAMETERS).map(|n| format!("p{n}=x")).collect();
    let field = format!("Bearer {}", parameters.join(","));
    assert_eq!(Challenge::parse(&field), Err(BadChallenge::NoBearer));
}

proptest! {
    #[test]
    fn no_field_makes_it_panic(field in ".{0,200}") {
        let _ = Challenge::parse(&field);
    }

    #[test]
    fn near_to_the_grammar_nothing_panics_either(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Bearer"), Just("Basic"), Just(" "), Just(","), Just("="), Just("\""), Just("\\"),
                Just("scope"), Just("resource_metadata"), Just("a"), Just("ü"), Just("\t"),
            ],
            0..40,
        )
    ) {
        let field = pieces.concat();
        if let Ok(found) = Challenge::parse(&field) {
            prop_assert!(field.to_ascii_lowercase().contains("bearer"));
            prop_assert!(found.scopes.is_none_or(|scopes| !scopes.is_empty()));
        }
    }

    #[test]
    fn what_was_quoted_comes_back(value in "[ -~]{1,60}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let found = Challenge::parse(&format!("Basic x, Bearer resource_metadata=\"{quoted}\""));
        prop_assert_eq!(found.unwrap().resource_metadata, Some(value));
    }
}
