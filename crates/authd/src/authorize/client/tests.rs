use authd_core::{
    grant::{Endpoints, Profile},
    scope::ScopeSet,
};
use authd_proto::WireSecret;

use super::*;

const TOKEN: &str = "https://idp.example/token";
const EVIL: &str = "https://evil.example/x";

/// An account of a confidential client, its secret in the store.
fn known() -> Known {
    Known {
        provider: Provider {
            issuer: Some("https://idp.example".to_owned()),
            endpoints: Endpoints {
                token: TOKEN.to_owned(),
                revocation: Some("https://idp.example/revoke".to_owned()),
                ..Endpoints::default()
            },
            client_id: "us".to_owned(),
            client_auth: ClientAuth::Post,
            credential: CredentialPlace::Store,
            profile: Profile::default(),
        },
        client_secret: Some(Secret::new("hush")),
        renewed_by: RenewedBy::RefreshToken,
        scopes: ScopeSet::default(),
        resources: Vec::new(),
        is_bound: false,
    }
}

type Chosen = Result<Option<Secret>, WireError>;

fn chosen(
    start: &LoginStart,
    metadata: Option<&Metadata>,
    change: impl FnOnce(&mut Provider),
) -> (Chosen, Provider) {
    let known = known();
    let mut provider = known.provider.clone();
    change(&mut provider);
    let secret = choose(&mut provider, start, metadata, None, Some(&known), None);
    (secret, provider)
}

fn is_used(chosen: &Chosen) -> bool {
    matches!(chosen, Ok(Some(secret)) if secret.matches("hush"))
}

const CHANGES: [(&str, fn(&mut Endpoints)); 4] = [
    ("device_authorization_endpoint", |it| {
        it.device_authorization = Some(EVIL.to_owned());
    }),
    ("revocation_endpoint", |it| {
        it.revocation = Some(EVIL.to_owned());
    }),
    ("introspection_endpoint", |it| {
        it.introspection = Some(EVIL.to_owned());
    }),
    ("pushed_authorization_request_endpoint", |it| {
        it.pushed_authorization_request = Some(EVIL.to_owned());
    }),
];

#[test]
fn the_stored_secret_goes_nowhere_but_to_where_it_was_given_for() {
    let plain = LoginStart::default();
    let (secret, provider) = chosen(&plain, None, |_| {});
    assert!(is_used(&secret));
    assert_eq!(provider.client_auth, ClientAuth::Post);
    for (name, change) in CHANGES {
        let (secret, _) = chosen(&plain, None, |it| change(&mut it.endpoints));
        let error = secret.err().expect(name);
        assert_eq!(error.code, ErrorCode::BadRequest, "{name}");
        assert!(error.message.contains(name), "{}", error.message);

        // Another issuer's word is worth no more than the client's.
        let mut evil = Metadata {
            issuer: "https://evil.example".to_owned(),
            endpoints: known().provider.endpoints,
            ..Metadata::default()
        };
        change(&mut evil.endpoints);
        let (secret, _) = chosen(&plain, Some(&evil), |it| {
            it.issuer = Some(evil.issuer.clone());
            change(&mut it.endpoints);
        });
        assert!(secret.is_err(), "{name}, by metadata");

        // The account's own issuer may move what it likes.
        let own = Metadata {
            issuer: "https://idp.example".to_owned(),
            ..evil
        };
        let (secret, _) = chosen(&plain, Some(&own), |it| change(&mut it.endpoints));
        assert!(is_used(&secret), "{name}, by its own issuer");

        // Who gives the secret anew says where it goes.
        let given = LoginStart {
            client_secret: Some(WireSecret::new("hush")),
            ..LoginStart::default()
        };
        let (secret, provider) = chosen(&given, None, |it| change(&mut it.endpoints));
        assert!(is_used(&secret), "{name}, given anew");
        assert_eq!(provider.client_auth, ClientAuth::Post);

        // Without one there is nothing to send.
        let public = LoginStart {
            client_auth: Some(WireAuth::None),
            ..LoginStart::default()
        };
        let (secret, _) = chosen(&public, None, |it| change(&mut it.endpoints));
        assert!(matches!(secret, Ok(None)), "{name}, without a secret");
    }
}

#[test]
fn another_token_endpoint_or_client_has_no_part_in_the_stored_secret() {
    let changes: [fn(&mut Provider); 3] = [
        |it| it.endpoints.token = EVIL.to_owned(),
        |it| it.client_id = "them".to_owned(),
        |it| {
            it.endpoints.token = EVIL.to_owned();
            it.issuer = Some("https://evil.example".to_owned());
        },
    ];
    for change in changes {
        let (secret, provider) = chosen(&LoginStart::default(), None, change);
        assert!(matches!(secret, Ok(None)));
        assert_eq!(provider.client_auth, ClientAuth::None);
    }
}

#[test]
fn what_is_no_longer_named_takes_nothing_from_the_client() {
    let (secret, _) = chosen(&LoginStart::default(), None, |it| {
        it.endpoints.revocation = None;
    });
    assert!(is_used(&secret));
}
