//! Request parameters, client authentication and error answers (RFC 6749 §2.3, §3, §5.2).

use axum::{
    Json,
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use url::form_urlencoded;

use super::world::World;
use crate::client::ClientAuthentication;

/// An OAuth error answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn new(error: &str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error: error.to_owned(),
            description: description.into(),
        }
    }

    pub(super) fn invalid_client(description: &str) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::new("invalid_client", description)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                axum::http::HeaderValue::from_static("Basic realm=\"fake-as\""),
            );
        }
        response
    }
}

/// The parameters of a request; a duplicate is an error (RFC 6749 §3.1), but for `resource`.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of_query(query: &str) -> Result<Self, Refusal> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        for (at, (name, _)) in pairs.iter().enumerate() {
            if name != "resource" && pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refusal::new(
                    "invalid_request",
                    format!("the parameter {name} is repeated"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn of_form(headers: &HeaderMap, body: &str) -> Result<Self, Refusal> {
        let is_form = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| {
                value
                    .trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        if !is_form {
            return Err(Refusal::new(
                "invalid_request",
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        Self::of_query(body)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// With `client_id`, which a client that authenticated by a header may have left out.
    pub(super) fn with_client(mut self, client_id: &str) -> Self {
        if self.optional("client_id").is_none() {
            self.0.push(("client_id".to_owned(), client_id.to_owned()));
        }
        self
    }

    /// A parameter; one sent without a value counts as absent (RFC 6749 §3.1).
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, value)| given == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.optional(name)
            .ok_or_else(|| Refusal::new("invalid_request", format!("{name} is missing")))
    }

    /// A space-separated list; `None` when absent.
    pub(super) fn scopes(&self) -> Option<Vec<String>> {
        self.optional("scope")
            .map(|scope| scope.split(' ').map(str::to_owned).collect())
    }

    /// The resource indicators, each checked to be one that the server knows (RFC 8707 §2).
    pub(super) fn resources(&self, known: Option<&[String]>) -> Result<Vec<String>, Refusal> {
        self.0
            .iter()
            .filter(|(name, _)| name == "resource")
            .map(|(_, resource)| {
                let valid = match known {
                    Some(known) => known.contains(resource),
                    None => url::Url::parse(resource).is_ok_and(|url| url.fragment().is_none()),
                };
                if valid {
                    Ok(resource.clone())
                } else {
                    Err(Refusal::new("invalid_target", "no such resource"))
                }
            })
            .collect()
    }
}

/// The client that a form request comes from, authenticated by its registered method and no other.
pub(super) fn authenticate(
    world: &mut World,
    headers: &HeaderMap,
    params: &Params,
) -> Result<String, Refusal> {
    let basic = match headers.get(AUTHORIZATION) {
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(basic_credentials)
                .ok_or_else(|| Refusal::invalid_client("the Authorization header is not Basic"))?,
        ),
        None => None,
    };
    let asserted = super::assertion::client(world, params)?;
    let posted = params.optional("client_secret");
    let id = match (&basic, params.optional("client_id")) {
        (Some((id, _)), None) => id.clone(),
        (Some((id, _)), Some(also)) if id == also => id.clone(),
        (None, Some(id)) => id.to_owned(),
        (None, None) if asserted.is_some() => asserted.clone().unwrap_or_default(),
        _ => return Err(Refusal::invalid_client("one client_id is needed")),
    };
    let client = world
        .client(&id)
        .ok_or_else(|| Refusal::invalid_client("no such client"))?;
    let asserted = asserted.is_some();
    let authentic = match (&client.authentication, &basic, posted) {
        (ClientAuthentication::PrivateKeyJwt, None, None) => asserted,
        _ if asserted => false,
        (ClientAuthentication::None, None, None) => true,
        (ClientAuthentication::Basic(secret), Some((_, given)), None) => secret == given,
        (ClientAuthentication::Post(secret), None, Some(given)) => secret == given,
        _ => false,
    };
    if authentic {
        Ok(id)
    } else {
        Err(Refusal::invalid_client(
            "wrong secret, or not the method this client is registered with",
        ))
    }
}

/// Identifier and secret, each form-encoded inside the header (RFC 6749 §2.3.1).
fn basic_credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // `name=` turns one value into a pair that the form parser understands; `&` and `=` cannot
    // stand in a form-encoded value.
    form_urlencoded::parse(format!("v={text}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Scheme and token of an `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1).
pub(super) fn presented(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    ["Bearer", "DPoP"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(scheme))
        .map(|known| (known, token.trim()))
}
