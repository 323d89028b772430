//! What the browser opens, and what may come back from it.

use std::sync::LazyLock;

use authd_core::{
    grant::{Endpoints, Provider},
    scope::ScopeSet,
};
use authd_oauth::{
    AuthorizationAttempt, AuthorizationError, AuthorizationRequest, AuthorizationResponse,
    BadAuthorizationRequest, BadEndpoint, BadQuery, ExchangeRequest,
};

use super::random;

fn by_hand() -> Provider {
    Provider {
        client_id: "cli ent".into(),
        issuer: Some("https://idp.example".into()),
        endpoints: Endpoints {
            authorization: Some("https://idp.example/authorize?tenant=t".into()),
            token: "https://idp.example/token".into(),
            ..Endpoints::default()
        },
        ..Provider::default()
    }
}

static RESOURCES: LazyLock<[String; 1]> = LazyLock::new(|| ["https://api.example/".to_owned()]);

fn request<'a>(
    provider: &'a Provider,
    scopes: &'a ScopeSet,
    extra: &'a [(String, String)],
) -> AuthorizationRequest<'a> {
    AuthorizationRequest {
        provider,
        redirect_uri: "http://127.0.0.1:4000/callback",
        scopes,
        resources: &*RESOURCES,
        extra,
        scope_separator: None,
        iss_expected: false,
        dpop_jkt: None,
        jarm: None,
    }
}

#[test]
fn the_authorization_url_has_everything_once() {
    let provider = by_hand();
    let scopes = ScopeSet::parse("openid api");
    let extra = [("prompt".to_owned(), "consent".to_owned())];
    let mut fill = 0;
    let mut counting = |bytes: &mut [u8]| {
        fill += 1;
        bytes.fill(fill);
    };
    let attempt =
        AuthorizationAttempt::begin(request(&provider, &scopes, &extra), &mut counting).unwrap();
    let url = url::Url::parse(attempt.url()).unwrap();
    assert!(
        attempt
            .url()
            .starts_with("https://idp.example/authorize?tenant=t&")
    );
    let mut parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    parameters.sort();
    let of = |byte: &str| byte.repeat(43);
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "nonce",
            "prompt",
            "redirect_uri",
            "resource",
            "response_type",
            "scope",
            "state",
            "tenant",
        ]
    );
    let value = |name: &str| &parameters.iter().find(|(seen, _)| seen == name).unwrap().1;
    assert_eq!(value("client_id"), "cli ent");
    assert_eq!(value("code_challenge_method"), "S256");
    assert_eq!(value("redirect_uri"), "http://127.0.0.1:4000/callback");
    assert_eq!(value("scope"), "api openid");
    assert_eq!(value("resource"), "https://api.example/");
    // 256 bits each, and each its own.
    assert_eq!(value("state").len(), of("x").len());
    assert_eq!(value("nonce").len(), of("x").len());
    assert_ne!(value("state"), value("nonce"));
}

#[test]
fn an_attempt_that_would_be_unsafe_does_not_begin() {
    let mut provider = by_hand();
    let scopes = ScopeSet::default();
    let begin = |provider: &Provider, name: &str| {
        let extra = [(name.to_owned(), "x".to_owned())];
        AuthorizationAttempt::begin(request(provider, &scopes, &extra), &mut random).err()
    };
    for name in [
        "state",
        "redirect_uri",
        "code_challenge_method",
        "response_type",
        "nonce",
    ] {
        let refused = Some(BadAuthorizationRequest::ReservedParameter(name.into()));
        assert_eq!(begin(&provider, name), refused);
    }
    provider.endpoints.authorization = Some("http://idp.example/".into());
    let refused = Some(BadAuthorizationRequest::Endpoint(BadEndpoint::NotHttps));
    assert_eq!(begin(&provider, "prompt"), refused);
    provider.endpoints.authorization = None;
    assert_eq!(
        begin(&provider, "prompt"),
        Some(BadAuthorizationRequest::NoEndpoint)
    );
}

#[test]
fn an_answer_can_be_pasted() {
    let provider = by_hand();
    let scopes = ScopeSet::default();
    let attempt =
        AuthorizationAttempt::begin(request(&provider, &scopes, &[]), &mut random).unwrap();
    let state = |attempt: &AuthorizationAttempt| {
        let url = url::Url::parse(attempt.url()).unwrap();
        url.query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned()
    };
    let code = |attempt: &AuthorizationAttempt, text: &str| {
        let grant = attempt.complete_pasted(text)?;
        let ExchangeRequest::Code { code, .. } = grant.exchange_request() else {
            panic!("a code")
        };
        Ok(code.expose().to_owned())
    };
    let query = format!("code=one%2F1234&state={}", state(&attempt));
    for text in [
        format!("http://127.0.0.1:4000/callback?{query}"),
        format!("  http://127.0.0.1:4000/callback?{query}\n"),
        format!("http://127.0.0.1:4000/callback?{query}#_=_"),
        format!("?{query}"),
        query.clone(),
        "one/1234".to_owned(),
    ] {
        assert_eq!(code(&attempt, &text), Ok("one/1234".to_owned()), "{text}");
    }
    for (text, error) in [
        (
            "http://127.0.0.1:4000/callback?code=c&state=x",
            AuthorizationError::WrongState,
        ),
        ("code=c", AuthorizationError::WrongState),
        (
            "http://127.0.0.1:4000/callback",
            AuthorizationError::NoAnswer,
        ),
        ("code=c&code=d", AuthorizationError::Malformed),
        (" ", AuthorizationError::NoAnswer),
        ("hello", AuthorizationError::NoAnswer),
        ("open the page yourself", AuthorizationError::NoAnswer),
        ("un\u{301}code-étrange", AuthorizationError::NoAnswer),
    ] {
        assert_eq!(code(&attempt, text), Err(error), "{text}");
    }

    let mut wanted = request(&provider, &scopes, &[]);
    wanted.iss_expected = true;
    let strict = AuthorizationAttempt::begin(wanted, &mut random).unwrap();
    assert_eq!(
        code(&strict, "one/1234"),
        Err(AuthorizationError::WholeAddressNeeded)
    );
    let whole = format!(
        "code=c&state={}&iss=https%3A%2F%2Fidp.example",
        state(&strict)
    );
    assert_eq!(code(&strict, &whole), Ok("c".to_owned()));
}

#[test]
fn an_answer_of_very_many_parameters_is_none() {
    let query = |number: usize| -> String {
        let names = (0..number).map(|it| format!("p{it}&"));
        names.chain(["code=c".to_owned()]).collect()
    };
    assert!(AuthorizationResponse::from_query(&query(63)).is_ok());
    // A frame's worth of names is not compared each with each: the 65th ends it.
    for number in [64, 30_000] {
        let refused = AuthorizationResponse::from_query(&query(number)).err();
        assert_eq!(refused, Some(BadQuery::TooManyParameters));
    }
    let twice = AuthorizationResponse::from_query("x=1&x=2&code=c").err();
    assert_eq!(twice, Some(BadQuery::DuplicateParameter));

    let (provider, scopes) = (by_hand(), ScopeSet::default());
    let attempt =
        AuthorizationAttempt::begin(request(&provider, &scopes, &[]), &mut random).unwrap();
    let pasted = attempt
        .complete_pasted(&format!("x://?{}", query(64)))
        .err();
    assert_eq!(pasted, Some(AuthorizationError::Malformed));
}

proptest::proptest! {
    #[test]
    fn no_answer_from_the_browser_makes_it_panic_or_succeed(text in ".{0,120}", query in "[a-z=&%0-9?#]{0,80}") {
        let provider = by_hand();
        let scopes = ScopeSet::default();
        let mut wanted = request(&provider, &scopes, &[]);
        wanted.iss_expected = true;
        let attempt = AuthorizationAttempt::begin(wanted, &mut random).unwrap();
        proptest::prop_assert!(attempt.complete_pasted(&text).is_err());
        if let Ok(response) = AuthorizationResponse::from_query(&query) {
            proptest::prop_assert!(attempt.complete(response).is_err());
        }
    }
}
