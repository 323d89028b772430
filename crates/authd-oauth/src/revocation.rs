//! Telling the provider that a token shall be worth nothing (RFC 7009).

use authd_core::secret::Secret;

use crate::{
    client::Client,
    http::{Http, TransportFailure},
    request::Form,
    response::{ErrorMember, Members},
};

/// What kind of token is revoked (RFC 7009 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// Revoking it ends the grant; this is the one to send (RFC 7009 §2.1).
    RefreshToken,
    /// For a grant without a refresh token.
    AccessToken,
}

impl TokenTypeHint {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
        }
    }
}

/// What came of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The token is worth nothing now. A provider that never knew it says the same (RFC 7009 §2.2).
    Revoked,
    /// The provider has no revocation, or none for this kind of token. Nobody can mend it.
    Unsupported,
    /// The token may still be worth something: it is kept, and tried again. That holds for a refusal as
    /// well, because nearly every one can be mended: a secret that was rotated, a registration, a
    /// portal that answered in the provider's place.
    Failed(RevocationFailure),
}

/// Why a revocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationFailure {
    /// No whole response came.
    #[error("no answer came: {0}")]
    Transport(TransportFailure),
    /// Our client could not prove itself: the next try looks for its credential anew.
    #[error("the provider did not accept the client (HTTP {0})")]
    Client(u16),
    /// The client's registration or the request is at fault: the user must check the client.
    #[error("the provider refused (HTTP {0})")]
    Refused(u16),
    /// The provider is in trouble, or what answered is not the provider.
    #[error("the provider could not do it (HTTP {0})")]
    Unavailable(u16),
}

/// Revokes `token`. One request; the caller repeats it when told that it may.
pub async fn revoke(
    http: &Http,
    client: Client<'_>,
    token: &Secret,
    hint: TokenTypeHint,
) -> Revocation {
    let Some(endpoint) = &client.provider.endpoints.revocation else {
        return Revocation::Unsupported;
    };
    let answer = async {
        let url = http.endpoint(endpoint).map_err(|error| error.failure)?;
        let outgoing = Form::new()
            .with("token", token.expose())
            .with("token_type_hint", hint.as_str())
            .post(url, client)?;
        http.send(outgoing, &|| ())
            .await
            .map_err(|error| error.failure)
    };
    match answer.await {
        Ok(response) => judge(response.status, &response.body),
        Err(failure) => Revocation::Failed(RevocationFailure::Transport(failure)),
    }
}

fn judge(status: u16, body: &[u8]) -> Revocation {
    let members = Members::from_json(body);
    let error = match members.as_ref().map(Members::error) {
        Some(ErrorMember::Code(code)) => Some(code),
        _ => None,
    };
    match (status, error) {
        // Google and others report a token that is already worth nothing, where RFC 7009 §2.2 asks
        // for 200.
        (200..=299, None) | (_, Some("invalid_token")) => Revocation::Revoked,
        (_, Some("unsupported_token_type")) | (404 | 405 | 501, _) => Revocation::Unsupported,
        (408 | 429 | 500.., _) => unavailable(status),
        (_, Some("server_error" | "temporarily_unavailable")) => unavailable(status),
        (300..=399, _) | (_, None) => unavailable(status),
        (_, Some("invalid_client")) => Revocation::Failed(RevocationFailure::Client(status)),
        (_, Some(_)) => Revocation::Failed(RevocationFailure::Refused(status)),
    }
}

fn unavailable(status: u16) -> Revocation {
    Revocation::Failed(RevocationFailure::Unavailable(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_rfc_7009_and_by_what_providers_do() {
        let refused = |status| Revocation::Failed(RevocationFailure::Refused(status));
        let client = |status| Revocation::Failed(RevocationFailure::Client(status));
        for (status, body, outcome) in [
            (200, "", Revocation::Revoked),
            (200, "{}", Revocation::Revoked),
            (204, "", Revocation::Revoked),
            (400, r#"{"error":"invalid_token"}"#, Revocation::Revoked),
            (
                400,
                r#"{"error":"unsupported_token_type"}"#,
                Revocation::Unsupported,
            ),
            (404, "<html>", Revocation::Unsupported),
            (200, r#"{"error":"invalid_client"}"#, client(200)),
            (401, r#"{"error":"invalid_client"}"#, client(401)),
            (400, r#"{"error":"unauthorized_client"}"#, refused(400)),
            (503, "", unavailable(503)),
            (429, r#"{"error":"invalid_request"}"#, unavailable(429)),
            (302, "", unavailable(302)),
            (403, "<html>", unavailable(403)),
        ] {
            assert_eq!(judge(status, body.as_bytes()), outcome, "{status} {body}");
        }
    }
}
