//! The authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636, RFC 9207).
//!
//! An [`AuthorizationAttempt`] is one attempt to log in: it makes the URL for the browser, knows
//! what must come back, and yields the code. The `oauth2` crate builds the URL and the challenge.

use authd_core::{grant::Provider, scope::ScopeSet, secret::Secret};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{
    AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    basic::BasicClient,
};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    error::Refusal,
    exchange::ExchangeRequest,
    http::{BadEndpoint, PrivateAddresses, endpoint},
    jarm::{Jarm, JarmError},
    preset::is_issuer,
    text::clean,
};

/// Bytes of randomness in `state`, in `nonce` and in the code verifier: 256 bits each.
const RANDOM_BYTES: usize = 32;

/// Parameters of an authorization response looked at. Each is compared with all before it, and whoever
/// sends them may be anybody; providers send half a dozen.
const MOST_PARAMETERS: usize = 64;
/// A code that is pasted alone has so many bytes at least, ...
const SHORTEST_CODE: usize = 8;
/// ... and so many at most: those that are signed or encrypted tokens have some thousands.
const LONGEST_CODE: usize = 16 * 1024;

/// What the browser is sent to the provider with.
pub struct AuthorizationRequest<'a> {
    /// The provider; its authorization endpoint, client id and issuer are used.
    pub provider: &'a Provider,
    /// Byte for byte as registered, with the port of the listener where that is ephemeral.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a ScopeSet,
    /// RFC 8707 §2: every resource that tokens of this login are to be for. The first token is for
    /// the first.
    pub resources: &'a [String],
    /// Further parameters (`prompt`, `access_type`, …). Those that this module sets itself are
    /// refused.
    pub extra: &'a [(String, String)],
    /// What stands between scopes; `None` for the blank of RFC 6749 §3.3.
    pub scope_separator: Option<&'a str>,
    /// Whether the metadata promises `iss` in every response (RFC 9207 §3).
    pub iss_expected: bool,
    /// RFC 9449 §10: the thumbprint of the key that the code is to be bound to.
    pub dpop_jkt: Option<&'a str>,
    /// To ask for a signed response and to take no other, where the provider insists on them.
    pub jarm: Option<Jarm>,
}

/// Why no attempt can begin. The user must mend the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthorizationRequest {
    /// The provider has no authorization endpoint.
    #[error("the provider has no authorization endpoint")]
    NoEndpoint,
    /// The authorization endpoint must not be spoken to.
    #[error("the authorization endpoint is refused: {0}")]
    Endpoint(#[from] BadEndpoint),
    /// The redirect URI is none.
    #[error("the redirect URI is not an absolute URI")]
    RedirectUri,
    /// An extra parameter would change what keeps the login safe.
    #[error("the parameter {0:?} is set by authd itself")]
    ReservedParameter(String),
}

/// One attempt to log in. It cannot be printed: it holds the code verifier.
pub struct AuthorizationAttempt {
    url: Url,
    /// The authorization endpoint itself.
    endpoint: Url,
    state: Secret,
    nonce: Option<Secret>,
    code_verifier: Secret,
    redirect_uri: String,
    resource: Option<String>,
    issuer: Option<String>,
    issuer_template: Option<String>,
    iss_expected: bool,
    client_id: String,
    jarm: Option<Jarm>,
}

/// What an attempt yielded, for one exchange. It cannot be printed.
pub struct AuthorizationGrant {
    code: Secret,
    code_verifier: Secret,
    redirect_uri: String,
    resource: Option<String>,
    nonce: Option<Secret>,
    typed: bool,
}

impl AuthorizationGrant {
    /// Whether a person brought the code alone: nothing but their word says that it is this attempt's, or
    /// that it is a code.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.typed
    }

    /// The exchange for tokens.
    #[must_use]
    pub fn exchange_request(&self) -> ExchangeRequest<'_> {
        ExchangeRequest::Code {
            code: &self.code,
            redirect_uri: &self.redirect_uri,
            code_verifier: &self.code_verifier,
            resource: self.resource.as_deref(),
            nonce: self.nonce.as_ref(),
        }
    }
}

/// Why a response yields no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// The response is not to this attempt. Nothing has happened: wait on for the one that is.
    #[error("this answer belongs to another login attempt")]
    WrongState,
    /// A bare code was given where the response says more that must be checked. The user must give
    /// the whole address.
    #[error("paste the whole address that the browser was sent to, not the code alone")]
    WholeAddressNeeded,
    /// What the user gave is neither an address nor a code. The user must give the address.
    #[error("that is neither a code nor an address with one")]
    NoAnswer,
    /// Another authorization server answered than was asked (RFC 9207). The attempt is over; the
    /// user may be under attack.
    #[error(
        "the answer comes from {found:?} and not from {expected:?}: stop, and check the issuer"
    )]
    IssuerMismatch {
        /// Who was asked.
        expected: String,
        /// Who answered, made fit to print; empty when it does not say, though it promised to.
        found: String,
    },
    /// The user or the provider said no (RFC 6749 §4.1.2.1 `access_denied`).
    #[error("the login was denied: {0}")]
    Denied(Refusal),
    /// The provider refused the request; its code says who must act.
    #[error("the provider refused the login: {0}")]
    Refused(Refusal),
    /// The signed response does not hold. The attempt is over; the provider must act, or the user is
    /// under attack.
    #[error("the provider's signed answer does not count: {0}")]
    Signed(#[from] JarmError),
    /// The provider's response has neither a code nor an error, or both.
    #[error("the provider's answer has neither a code nor an error, or both")]
    Malformed,
}

/// The parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207 §2). It cannot be
/// printed.
#[derive(Default)]
pub struct AuthorizationResponse {
    code: Option<Secret>,
    state: Option<Secret>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    /// All of these, signed (JARM §2.3.1).
    response: Option<Secret>,
}

/// Why a query is no authorization response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// RFC 6749 §3.1.
    #[error("a parameter stands twice in the answer")]
    DuplicateParameter,
    /// Far beyond what a provider sends: no work is done for it.
    #[error("the answer has more than {MOST_PARAMETERS} parameters")]
    TooManyParameters,
}

impl AuthorizationResponse {
    /// Whether it says neither yes nor no.
    fn is_empty(&self) -> bool {
        self.code.is_none() && self.error.is_none() && self.response.is_none()
    }

    /// Reads a query string.
    ///
    /// # Errors
    /// [`BadQuery`]; even because of a parameter that nobody asks for.
    pub fn from_query(query: &str) -> Result<Self, BadQuery> {
        let mut seen: Vec<String> = Vec::new();
        let mut response = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.len() == MOST_PARAMETERS {
                return Err(BadQuery::TooManyParameters);
            }
            if seen.iter().any(|earlier| *earlier == name) {
                return Err(BadQuery::DuplicateParameter);
            }
            response.take(&name, value.into_owned());
            seen.push(name.into_owned());
        }
        Ok(response)
    }

    /// Takes one parameter, if it is one that counts.
    pub(crate) fn take(&mut self, name: &str, value: String) {
        match name {
            "code" => self.code = Some(Secret::from(value)),
            "state" => self.state = Some(Secret::from(value)),
            "iss" => self.iss = Some(value),
            "error" => self.error = Some(value),
            "error_description" => self.error_description = Some(value),
            "response" => self.response = Some(Secret::from(value)),
            _ => {}
        }
    }
}

impl AuthorizationAttempt {
    /// Begins an attempt: a fresh `state`, `nonce` (when `openid` is asked for) and code verifier
    /// out of `random`, which must fill the slice from the system's source.
    ///
    /// # Errors
    /// [`BadAuthorizationRequest`].
    pub fn begin(
        request: AuthorizationRequest<'_>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, BadAuthorizationRequest> {
        let AuthorizationRequest {
            provider,
            redirect_uri,
            scopes,
            resources,
            extra,
            scope_separator,
            iss_expected,
            dpop_jkt,
            jarm,
        } = request;
        let authorization = provider
            .endpoints
            .authorization
            .as_deref()
            .ok_or(BadAuthorizationRequest::NoEndpoint)?;
        // authd never speaks to it, the browser does; so a private address does no harm here.
        let endpoint = endpoint(authorization, &PrivateAddresses::Allowed)?;
        let authorization = AuthUrl::from_url(endpoint.clone());
        let redirect = RedirectUrl::new(redirect_uri.to_owned())
            .map_err(|_| BadAuthorizationRequest::RedirectUri)?;
        if let Some((name, _)) = extra.iter().find(|(name, _)| is_reserved(name)) {
            return Err(BadAuthorizationRequest::ReservedParameter(clean(name, 64)));
        }

        let state = random_text(random);
        let nonce = scopes
            .iter()
            .any(|scope| scope == "openid")
            .then(|| random_text(random));
        let code_verifier = PkceCodeVerifier::new(random_text(random));
        let client = BasicClient::new(ClientId::new(provider.client_id.clone()))
            .set_auth_uri(authorization)
            .set_redirect_uri(redirect);
        let mut authorize = client
            .authorize_url(|| CsrfToken::new(state.clone()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&code_verifier));
        authorize = match scope_separator.filter(|_| !scopes.is_empty()) {
            Some(separator) => {
                let scopes: Vec<&str> = scopes.iter().collect();
                authorize.add_extra_param("scope", scopes.join(separator))
            }
            None => authorize.add_scopes(scopes.iter().map(|scope| Scope::new(scope.to_owned()))),
        };
        if let Some(nonce) = &nonce {
            authorize = authorize.add_extra_param("nonce", nonce);
        }
        for resource in resources {
            authorize = authorize.add_extra_param("resource", resource);
        }
        if let Some(jkt) = dpop_jkt {
            authorize = authorize.add_extra_param("dpop_jkt", jkt);
        }
        if jarm.is_some() {
            authorize = authorize.add_extra_param("response_mode", "query.jwt");
        }
        for (name, value) in extra {
            authorize = authorize.add_extra_param(name, value);
        }
        let (url, _) = authorize.url();
        Ok(Self {
            url,
            endpoint,
            state: Secret::from(state),
            nonce: nonce.map(Secret::from),
            code_verifier: Secret::from(code_verifier.into_secret()),
            redirect_uri: redirect_uri.to_owned(),
            resource: resources.first().cloned(),
            issuer: provider.issuer.clone(),
            issuer_template: provider.profile.issuer_template.clone(),
            iss_expected,
            client_id: provider.client_id.clone(),
            jarm,
        })
    }

    /// The parameters of the request, but for `client_id`, as they are pushed (RFC 9126 §2.1).
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let own = self.endpoint.query_pairs().count();
        self.url
            .query_pairs()
            .skip(own)
            .filter(|(name, _)| name != "client_id")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    /// What of the request must not come back in a text that is printed.
    pub(crate) fn secrets(&self) -> Vec<&Secret> {
        [&self.state].into_iter().chain(&self.nonce).collect()
    }

    /// The request was pushed: the browser carries its name alone (RFC 9126 §4).
    pub(crate) fn pushed(&mut self, client_id: &str, request_uri: &str) {
        self.url = self.endpoint.clone();
        self.url
            .query_pairs_mut()
            .append_pair("client_id", client_id)
            .append_pair("request_uri", request_uri);
    }

    /// What the browser shall open. It holds `state` and `nonce`, so it is for the user alone.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Judges a response: `state` first and in constant time, then the issuer, on errors too
    /// (RFC 9207 §2.4), then the rest. Of a signed response the `state` is looked at before the
    /// signature: a page that does not know it can end no attempt.
    ///
    /// # Errors
    /// [`AuthorizationError`]. After [`AuthorizationError::WrongState`] the attempt goes on as if
    /// nothing had come; any other outcome ends it, and it must not be asked again.
    pub fn complete(
        &self,
        response: AuthorizationResponse,
    ) -> Result<AuthorizationGrant, AuthorizationError> {
        let signed = response.response.as_ref().filter(|_| self.jarm.is_some());
        let claimed = signed.and_then(Jarm::claimed_state);
        let state = claimed.as_ref().or(response.state.as_ref());
        if !self.state.matches(state.map_or("", Secret::expose)) {
            return Err(AuthorizationError::WrongState);
        }
        let response = match (&self.jarm, signed) {
            (Some(jarm), Some(signed)) => jarm.open(signed, &self.client_id)?,
            (Some(_), None) => return Err(JarmError::NotSigned.into()),
            (None, _) => response,
        };
        self.check_issuer(response.iss.as_deref())?;
        match (response.code, response.error) {
            (Some(code), None) if !code.is_empty() => Ok(self.grant(code)),
            (None, Some(code)) if !code.is_empty() => {
                let refusal =
                    Refusal::new(&code, response.error_description.as_deref(), &[&self.state]);
                Err(if refusal.code == "access_denied" {
                    AuthorizationError::Denied(refusal)
                } else {
                    AuthorizationError::Refused(refusal)
                })
            }
            _ => Err(AuthorizationError::Malformed),
        }
    }

    /// The same for what a user pasted: the whole address the browser was sent to, its query, or
    /// the code alone. A bare code has no `state`: the user brought it, and PKCE binds it to this
    /// attempt; but it has no `iss` either, so it is not taken where that is promised.
    ///
    /// # Errors
    /// As [`AuthorizationAttempt::complete`]. Only the provider's own word,
    /// [`AuthorizationError::Denied`] or [`AuthorizationError::Refused`], ends the attempt: after any
    /// other the user may paste again. So they may when a code that was typed turns out to be none.
    /// [`AuthorizationError::Malformed`] is also a parameter that stands twice, or one too many, found before
    /// `state` is looked at.
    pub fn complete_pasted(&self, text: &str) -> Result<AuthorizationGrant, AuthorizationError> {
        let text = text.trim();
        // Some providers end the address with a fragment of no meaning.
        let text = text.split('#').next().unwrap_or_default();
        let query = if text.contains("://") {
            Some(text.split_once('?').map_or("", |(_, query)| query))
        } else if ["code=", "error=", "response="]
            .iter()
            .any(|name| text.contains(name))
        {
            Some(text.trim_start_matches('?'))
        } else {
            None
        };
        match query {
            Some(query) => {
                let response = AuthorizationResponse::from_query(query)
                    .map_err(|_| AuthorizationError::Malformed)?;
                // As the address to open, which knows the state.
                if response.is_empty() {
                    return Err(AuthorizationError::NoAnswer);
                }
                self.complete(response)
            }
            None if !looks_like_a_code(text) => Err(AuthorizationError::NoAnswer),
            None if self.iss_expected || self.jarm.is_some() => {
                Err(AuthorizationError::WholeAddressNeeded)
            }
            None => Ok(AuthorizationGrant {
                typed: true,
                ..self.grant(Secret::new(text))
            }),
        }
    }

    fn check_issuer(&self, iss: Option<&str>) -> Result<(), AuthorizationError> {
        let expected = self.issuer.as_deref();
        let wrong = match iss {
            Some(iss) => expected
                .is_some_and(|expected| !is_issuer(iss, expected, self.issuer_template.as_deref())),
            None => self.iss_expected,
        };
        if !wrong {
            return Ok(());
        }
        Err(AuthorizationError::IssuerMismatch {
            expected: clean(expected.unwrap_or_default(), 512),
            found: clean(iss.unwrap_or_default(), 512),
        })
    }

    fn grant(&self, code: Secret) -> AuthorizationGrant {
        AuthorizationGrant {
            code,
            code_verifier: self.code_verifier.clone(),
            redirect_uri: self.redirect_uri.clone(),
            resource: self.resource.clone(),
            nonce: self.nonce.clone(),
            typed: false,
        }
    }
}

/// RFC 6749 §A.11 allows any printable ASCII; but nobody guesses a code (§10.10), so that a short word is
/// none, and one with spaces is a sentence.
fn looks_like_a_code(text: &str) -> bool {
    (SHORTEST_CODE..=LONGEST_CODE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 14] = [
        "response_type",
        "response_mode",
        "client_id",
        "client_secret",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "resource",
        "dpop_jkt",
        "request",
        "request_uri",
    ];
    RESERVED.contains(&name)
}

fn random_text(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    random(bytes.as_mut_slice());
    URL_SAFE_NO_PAD.encode(bytes.as_slice())
}
