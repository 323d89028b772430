//! Asking the provider whether a token is alive (RFC 7662).

use authd_core::{scope::ScopeSet, secret::Secret, time::Wall};
use serde_json::Value;

use crate::{
    client::Client,
    error::{EndpointError, Refusal},
    http::{Http, Incoming},
    request::Form,
    response::{ErrorMember, Members, date, moment, scopes},
    revocation::TokenTypeHint,
    text::cleaned,
};

/// What the provider says of a token (RFC 7662 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// Whether it is alive.
    pub active: bool,
    /// Until when.
    pub expires_at: Option<Wall>,
    /// Its scopes.
    pub scopes: Option<ScopeSet>,
    /// Whose it is.
    pub sub: Option<String>,
    /// The server's `Date`: what `expires_at` is to be read against.
    pub date: Option<Wall>,
}

/// Introspects `token`.
///
/// # Errors
/// [`EndpointError`] when the provider has no introspection, refuses it, or gives no answer. None of
/// these says anything of the token.
pub async fn introspect(
    http: &Http,
    client: Client<'_>,
    token: &Secret,
    hint: TokenTypeHint,
) -> Result<Introspection, EndpointError> {
    let Some(endpoint) = &client.provider.endpoints.introspection else {
        return Err(EndpointError::NotOffered);
    };
    let outgoing = Form::new()
        .with("token", token.expose())
        .with("token_type_hint", hint.as_str())
        .post(http.endpoint(endpoint)?, client)?;
    let response = http.send(outgoing, &|| ()).await?;
    let sent: Vec<&Secret> = client
        .credential
        .sent()
        .into_iter()
        .chain([token])
        .collect();
    let members = object(&response, &sent)?;
    let Some(Value::Bool(active)) = members.value("active") else {
        return Err(EndpointError::Unintelligible {
            status: response.status,
        });
    };
    Ok(Introspection {
        active: *active,
        expires_at: members.value("exp").and_then(moment),
        scopes: scopes(members.value("scope")),
        sub: members.text("sub").and_then(|sub| cleaned(sub, 255)),
        date: date(&response.headers),
    })
}

/// The JSON object of a success, or the error of anything else.
pub(crate) fn object(response: &Incoming, sent: &[&Secret]) -> Result<Members, EndpointError> {
    let status = response.status;
    let members = Members::from_json(&response.body);
    if let Some(members) = &members
        && let ErrorMember::Code(code) = members.error()
    {
        let refusal = Refusal::new(code, members.description(), sent);
        return Err(EndpointError::Refused { status, refusal });
    }
    match members {
        Some(members) if (200..300).contains(&status) => Ok(members),
        _ => Err(EndpointError::Unintelligible { status }),
    }
}
