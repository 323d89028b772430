//! The tools whose logins can be had as JSON: oidc-agent and ortie.

use authd_proto::WireSecret;
use serde::{Deserialize, Deserializer};

use super::source::{Held, Unreadable};

/// What `oidc-gen --print NAME` shows: an account of oidc-agent. What it has nothing for is an empty text.
#[derive(Deserialize)]
struct OidcAgent {
    #[serde(default, deserialize_with = "said")]
    name: Option<String>,
    #[serde(default, deserialize_with = "said")]
    issuer_url: Option<String>,
    #[serde(default, deserialize_with = "said")]
    issuer: Option<String>,
    #[serde(default, deserialize_with = "said")]
    mytoken_url: Option<String>,
    #[serde(default, deserialize_with = "said")]
    device_authorization_endpoint: Option<String>,
    #[serde(default, deserialize_with = "said")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    client_secret: Option<WireSecret>,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<WireSecret>,
    /// Since version 5; before, `scope`.
    #[serde(default, deserialize_with = "said")]
    auth_scope: Option<String>,
    #[serde(default, deserialize_with = "said")]
    scope: Option<String>,
}

/// What ortie hands to its storage command: a token response (RFC 6749 §5.1), and when it came.
#[derive(Deserialize)]
struct Ortie {
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<WireSecret>,
    #[serde(default, deserialize_with = "said")]
    scope: Option<String>,
}

/// An account of oidc-agent, decrypted.
pub(super) fn oidc_agent(text: &str) -> Result<Held, Unreadable> {
    let account: OidcAgent = match serde_json::from_str(text) {
        Ok(account) => account,
        // Its files are encrypted, line by line; the password is for oidc-agent alone.
        Err(_) if !text.trim_start().starts_with('{') => return Err(Unreadable::Encrypted),
        Err(_) => return Err(Unreadable::NotJson),
    };
    if account.mytoken_url.is_some() {
        return Err(Unreadable::MyToken);
    }
    Ok(Held {
        name: account.name,
        issuer: account.issuer_url.or(account.issuer),
        device_authorization_endpoint: account.device_authorization_endpoint,
        client_id: account.client_id,
        client_secret: account.client_secret,
        scopes: words(account.auth_scope.or(account.scope)),
        ..Held::of(account.refresh_token.ok_or(Unreadable::NoRefreshToken)?)
    })
}

/// A token of ortie's. Where it is from and which client it was given to stands in ortie's configuration.
pub(super) fn ortie(text: &str) -> Result<Held, Unreadable> {
    let token: Ortie = serde_json::from_str(text).map_err(|_| Unreadable::NotJson)?;
    Ok(Held {
        scopes: words(token.scope),
        ..Held::of(token.refresh_token.ok_or(Unreadable::NoRefreshToken)?)
    })
}

fn words(scope: Option<String>) -> Vec<String> {
    let scope = scope.unwrap_or_default();
    scope.split_whitespace().map(str::to_owned).collect()
}

fn said<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Option<WireSecret>, D::Error> {
    let secret = Option::<WireSecret>::deserialize(input)?;
    Ok(secret.filter(|secret| !secret.expose().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_of_oidc_agent_gives_what_is_needed_to_go_on() {
        let held = oidc_agent(include_str!("fixtures/oidc-agent.json")).unwrap();
        assert_eq!(held.name.as_deref(), Some("egi"));
        assert_eq!(
            held.issuer.as_deref(),
            Some("https://idp.example/auth/realms/x")
        );
        assert_eq!(held.client_id.as_deref(), Some("agent-client"));
        assert_eq!(held.refresh_token.expose(), "not-a-real-refresh-token");
        assert_eq!(
            held.client_secret.as_ref().map(WireSecret::expose),
            Some("not-a-real-secret")
        );
        assert_eq!(
            held.device_authorization_endpoint, None,
            "an empty text is nothing"
        );
        assert_eq!(held.scopes, ["openid", "profile", "offline_access"]);
    }

    #[test]
    fn what_oidc_agent_encrypted_is_not_guessed_at() {
        let file = "203\n24:FwUk…\n16:pQ…\nx\nGenerated using version: 5.3.2\n";
        assert!(matches!(oidc_agent(file), Err(Unreadable::Encrypted)));
        assert!(matches!(
            oidc_agent("{\"name\": "),
            Err(Unreadable::NotJson)
        ));
        let without = r#"{"name": "x", "client_id": "y", "refresh_token": ""}"#;
        assert!(matches!(
            oidc_agent(without),
            Err(Unreadable::NoRefreshToken)
        ));
        let mytoken = r#"{"mytoken_url": "https://mytok.example", "refresh_token": "x"}"#;
        assert!(matches!(oidc_agent(mytoken), Err(Unreadable::MyToken)));
    }

    #[test]
    fn a_token_of_orties_gives_its_refresh_token() {
        let held = ortie(include_str!("fixtures/ortie.json")).unwrap();
        assert_eq!(held.refresh_token.expose(), "not-a-real-refresh-token");
        assert_eq!(held.scopes, ["mail.read", "offline_access"]);
        assert!(held.client_id.is_none() && held.token_endpoint.is_none());
        let without = r#"{"access_token": "x", "token_type": "Bearer", "refresh_token": null}"#;
        assert!(matches!(ortie(without), Err(Unreadable::NoRefreshToken)));
        assert!(matches!(ortie("at-alone"), Err(Unreadable::NotJson)));
    }

    #[test]
    fn no_error_shows_what_was_read() {
        for text in [
            r#"{"refresh_token": 7, "x": "hush-hush"}"#,
            "hush-hush",
            "{\"a\": hush-hush",
        ] {
            for error in [oidc_agent(text).err(), ortie(text).err()] {
                let error = error.unwrap();
                assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
            }
        }
    }
}
