use super::*;

const KEY: &str = include_str!("../../../authd-oauth/src/jws/keys/rsa-pkcs8.pem");

#[test]
fn the_key_file_of_a_service_account_is_read_with_its_key_id() {
    let file = serde_json::json!({
        "type": "service_account", "client_email": "bot@project.example",
        "private_key_id": "abc", "private_key": KEY, "token_uri": "https://idp.example/token",
    });
    let file = Secret::from(file.to_string());
    let kid = |options| {
        let signer = signer(&file, options).ok().unwrap();
        signer.public_jwk()["kid"].clone()
    };
    assert_eq!(kid(SignerOptions::default()), "abc");
    let other = SignerOptions {
        key_id: Some("other".into()),
        ..SignerOptions::default()
    };
    assert_eq!(kid(other), "other");
    assert!(ServiceAccount::read(&Secret::new(KEY)).is_none());
    assert!(ServiceAccount::read(&Secret::new("{}")).is_none());
}

#[test]
fn what_a_command_printed_is_held_until_its_line_changes_and_a_failure_for_a_moment() {
    let credentials = Credentials::default();
    let argv = ["pass".to_owned()];
    let held = |argv: &[String], now| {
        credentials
            .held("work", argv, Wanted::Held, Boot(now))
            .map(|held| held.map_err(|why| why.to_string()))
    };
    assert!(held(&argv, 0).is_none());
    credentials.keep("work", &argv, &Ok(Secret::new("s3")), Boot(0));
    assert!(held(&argv, u64::MAX).unwrap().ok().unwrap().matches("s3"));
    assert!(held(&["other".to_owned()], 0).is_none());
    assert!(
        credentials
            .held("home", &argv, Wanted::Held, Boot(0))
            .is_none()
    );
    credentials.keep("work", &argv, &Err(CredentialTrouble::BrokeOff), Boot(0));
    let Some(Err(why)) = held(&argv, 1) else {
        panic!("it failed a moment ago");
    };
    assert_eq!(why, CredentialTrouble::BrokeOff.to_string());
    let later = Boot(0).after(BETWEEN_FAILURES);
    assert!(
        credentials
            .held("work", &argv, Wanted::Held, later)
            .is_none()
    );
}

#[test]
fn what_was_fetched_while_one_waited_is_new_enough() {
    let credentials = Credentials::default();
    let argv = ["pass".to_owned()];
    let since = |asked| credentials.held("work", &argv, Wanted::Since(Boot(asked)), Boot(9));
    for outcome in [Ok(Secret::new("s3")), Err(CredentialTrouble::BrokeOff)] {
        credentials.keep("work", &argv, &outcome, Boot(5));
        assert_eq!(since(4).unwrap().is_ok(), outcome.is_ok());
        assert!(since(5).is_none(), "then the command runs");
    }
}

#[test]
fn one_client_has_one_turn_and_names_that_were_made_up_are_forgotten() {
    let credentials = Credentials::default();
    let turn = credentials.turn("work");
    let taken = turn.try_lock().unwrap();
    assert!(credentials.turn("work").try_lock().is_err());
    (0..100).for_each(|made_up| drop(credentials.turn(&made_up.to_string())));
    assert!(lock(&credentials.turns).len() <= 2);
    drop(taken);
    assert!(credentials.turn("work").try_lock().is_ok());
}

#[test]
fn only_another_credential_is_worth_a_second_try() {
    let secret = |text: &str| Credential::Secret(Secret::new(text));
    assert!(!differ(&secret("a"), &secret("a")));
    assert!(differ(&secret("a"), &secret("b")));
    assert!(!differ(&Credential::None, &Credential::None));
    assert!(differ(&Credential::None, &secret("a")));
    let key = |id: &str| {
        let options = SignerOptions {
            key_id: Some(id.into()),
            ..SignerOptions::default()
        };
        Credential::Key(Arc::new(signer(&Secret::new(KEY), options).ok().unwrap()))
    };
    assert!(!differ(&key("1"), &key("1")));
    assert!(differ(&key("1"), &key("2")));
}
