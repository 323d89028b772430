//! Issuing tokens, and rendering the answer that carries them (RFC 6749 §5.1).

use serde_json::{Map, Value, json};

use super::world::World;
use crate::{
    client::ClientAuthentication,
    ledger::{AccessToken, Family, Fingerprint, RefreshToken},
    settings::{AccessTokenFormat, ExpiresIn, RefreshTokenOnRefresh, RefreshTokens, lay_over},
};

/// A login, approved: what the first token response is made from.
pub(super) struct Approved {
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) nonce: Option<String>,
    /// `dpop_jkt` (RFC 9449 §10): the key that the code is bound to.
    pub(super) jkt: Option<String>,
}

impl World {
    /// Of the requested scopes, those that the absent person grants.
    pub(super) fn granted(&self, requested: Vec<String>) -> Vec<String> {
        match &self.settings.grant_only {
            None => requested,
            Some(only) => requested
                .into_iter()
                .filter(|scope| only.contains(scope))
                .collect(),
        }
    }

    /// Starts a family. The subject is the one that the settings name at this moment.
    pub(super) fn found_family(&mut self, approved: Approved) -> usize {
        let id = self.ledger.families.len();
        // RFC 9449 §5: a confidential client's refresh token is bound to the client instead.
        let public = self
            .client(&approved.client_id)
            .is_some_and(|client| matches!(client.authentication, ClientAuthentication::None));
        let jkt = self.proven.clone().filter(|_| public);
        self.ledger.families.push(Family {
            id,
            client_id: approved.client_id,
            subject: self.settings.subject.clone(),
            scopes: approved.scopes,
            resources: approved.resources,
            revoked: None,
            jkt,
            nonce: approved.nonce,
        });
        id
    }

    /// The token response to a login; `resources` narrow the access token.
    pub(super) fn first_response(&mut self, family: usize, resources: Vec<String>) -> Value {
        let scopes = self.ledger.families[family].scopes.clone();
        let mut response = self.response(family, &scopes, resources);
        let with_refresh_token = match self.settings.refresh_tokens {
            RefreshTokens::Always => true,
            RefreshTokens::WithOfflineAccess => scopes.iter().any(|s| s == "offline_access"),
            RefreshTokens::Never => false,
        };
        if with_refresh_token {
            let token = self.issue_refresh_token(family, 0);
            response.insert("refresh_token".to_owned(), token.into());
        }
        if scopes.iter().any(|scope| scope == "openid") {
            let subject = self.ledger.families[family].subject.clone();
            let token = self.id_token(family, &subject);
            response.insert("id_token".to_owned(), token.into());
        }
        Value::Object(response)
    }

    /// The token response to a refresh. `rotated` is the new refresh token; without one, the
    /// response repeats `presented` or says what the settings say.
    pub(super) fn refresh_response(
        &mut self,
        family: usize,
        scopes: Vec<String>,
        resources: Vec<String>,
        presented: &str,
        rotated: Option<String>,
    ) -> Value {
        let scopes = self.settings.scope_on_refresh.clone().unwrap_or(scopes);
        let mut response = self.response(family, &scopes, resources);
        let refresh_token = match self.settings.refresh_token_on_refresh {
            RefreshTokenOnRefresh::Rendered => {
                Some(rotated.unwrap_or_else(|| presented.to_owned()).into())
            }
            RefreshTokenOnRefresh::Omitted => None,
            RefreshTokenOnRefresh::Null => Some(Value::Null),
            RefreshTokenOnRefresh::Empty => Some("".into()),
        };
        if let Some(refresh_token) = refresh_token {
            response.insert("refresh_token".to_owned(), refresh_token);
        }
        if self.settings.id_token_on_refresh {
            let subject = self.settings.subject.clone();
            let token = self.id_token(family, &subject);
            response.insert("id_token".to_owned(), token.into());
        }
        Value::Object(response)
    }

    /// A new refresh token of `family`.
    pub(super) fn issue_refresh_token(&mut self, family: usize, generation: u32) -> String {
        let token = self.signer.token(&self.settings.refresh_token_prefix);
        self.ledger.record_refresh_token(RefreshToken {
            fingerprint: Fingerprint::of(&token),
            family,
            generation,
            issued_at: self.clock.now(),
            superseded_at: None,
            uses: Vec::new(),
        });
        token
    }

    /// The members that every token response has.
    pub(super) fn response(
        &mut self,
        family: usize,
        scopes: &[String],
        resources: Vec<String>,
    ) -> Map<String, Value> {
        let mut response = Map::new();
        let ttl = self.settings.access_token_ttl;
        let token = self.issue_access_token(family, scopes, resources);
        response.insert("access_token".to_owned(), token.into());
        response.insert(
            "token_type".to_owned(),
            match self.proven {
                Some(_) => "DPoP".into(),
                None => self.settings.token_type.clone().into(),
            },
        );
        let expires_in = match self.settings.expires_in {
            ExpiresIn::Number => Some(ttl.as_secs().into()),
            ExpiresIn::String => Some(ttl.as_secs().to_string().into()),
            ExpiresIn::Float => Some(ttl.as_secs_f64().into()),
            ExpiresIn::Missing => None,
            ExpiresIn::Null => Some(Value::Null),
            ExpiresIn::Fixed(seconds) => Some(seconds.into()),
        };
        if let Some(expires_in) = expires_in {
            response.insert("expires_in".to_owned(), expires_in);
        }
        if let Some(hint) = self.settings.refresh_in {
            response.insert("refresh_in".to_owned(), hint.into());
        }
        if !scopes.is_empty() {
            response.insert("scope".to_owned(), scopes.join(" ").into());
        }
        response
    }

    fn issue_access_token(
        &mut self,
        family: usize,
        scopes: &[String],
        resources: Vec<String>,
    ) -> String {
        let now = self.clock.now();
        let expires_at = now.saturating_add(self.settings.access_token_ttl);
        let token = match self.settings.access_token_format {
            AccessTokenFormat::Opaque => self.signer.token(&self.settings.access_token_prefix),
            AccessTokenFormat::Jwt => {
                let of = &self.ledger.families[family];
                let claims = json!({
                    "iss": self.issuer,
                    "sub": of.subject,
                    "client_id": of.client_id,
                    "aud": resources,
                    "scope": scopes.join(" "),
                    "iat": now.as_secs(),
                    "exp": expires_at.as_secs(),
                    "jti": self.signer.token(""),
                });
                self.signer.sign("at+jwt", &claims)
            }
        };
        self.ledger.record_access_token(AccessToken {
            fingerprint: Fingerprint::of(&token),
            family,
            scopes: scopes.to_vec(),
            resources,
            issued_at: now,
            expires_at,
            revoked: false,
            jkt: self.proven.clone(),
            accepted: 0,
        });
        token
    }

    /// An ID token (OIDC Core §2) for the family's client.
    fn id_token(&self, family: usize, subject: &str) -> String {
        let family = &self.ledger.families[family];
        let now = self.clock.now().as_secs();
        let mut claims = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": family.client_id,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "email": format!("{subject}@example.test"),
        });
        if let Some(nonce) = &family.nonce {
            claims["nonce"] = nonce.clone().into();
        }
        lay_over(&mut claims, &self.settings.id_token_claims);
        self.signer.sign("JWT", &claims)
    }
}
