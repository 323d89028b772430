//! What a protected resource says of itself (RFC 9728), found from nothing but its address, as the
//! Model Context Protocol has it (revision 2026-07-28, "Authorization Server Location"):
//!
//! 1. The resource is asked without a token. Its refusal may say where its metadata is (§5.1), and
//!    what a token has to be good for.
//! 2. Where it does not, the metadata is at the well-known address of its path, else at the one of
//!    its host (§3.1).
//!
//! The document counts only when it names the very resource that was asked (§3.3).

use authd_core::scope::ScopeSet;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    challenge::{Challenge, words_of_scopes},
    document::{fetch, list, named_by},
    http::{BadEndpoint, Http, Outgoing, TOKEN_CAP, TransportError, endpoint},
    response::Members,
    text::clean,
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Most authorization servers that are read.
const SERVERS: usize = 16;
/// The revision of the Model Context Protocol that a server is greeted in.
const MCP_VERSION: &str = "2025-11-25";

/// A protected resource, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    /// Its identifier: what tokens for it are asked for by (RFC 8707).
    pub resource: String,
    /// The issuers of those that give tokens for it; one at least.
    pub authorization_servers: Vec<String>,
    /// What a token can be good for; `None` when not stated.
    pub scopes_supported: Option<ScopeSet>,
    /// What it said that a token has to be good for.
    pub challenged: Option<ScopeSet>,
}

/// Why a resource does not say where to log in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The user must give another address.
    #[error("the resource's address is refused: {0}")]
    BadAddress(#[source] BadEndpoint),
    /// Usually passing: try again later.
    #[error("the resource cannot be asked: {0}")]
    Transport(#[from] TransportError),
    /// The resource must act: it says that its metadata is where nothing may be asked.
    #[error("the resource says that its metadata is at an address that is refused: {0}")]
    BadMetadataAddress(#[source] BadEndpoint),
    /// There is no metadata: the user must check the address, or say where to log in.
    #[error("the resource publishes no metadata (HTTP {status})")]
    NotFound {
        /// The status of the last place that was asked.
        status: u16,
    },
    /// The document is another resource's. The user must give the resource as it names itself, or is
    /// being deceived.
    #[error("the metadata is for the resource {found:?}, and {asked:?} was asked for")]
    ResourceMismatch {
        /// What was asked for.
        asked: String,
        /// What the document says, made fit to print.
        found: String,
    },
    /// The resource must act: it does not say who gives tokens for it.
    #[error("the resource's metadata names no authorization server")]
    NoAuthorizationServer,
    /// The resource must act: who gives tokens for it must not be spoken to.
    #[error("the authorization server that the resource names is refused: {0}")]
    BadAuthorizationServer(#[source] BadEndpoint),
}

/// Asks the resource at `address`. A `challenge` that it has given to somebody else already serves as
/// well as one that it gives now.
///
/// # Errors
/// [`ResourceError`].
pub async fn protected_resource(
    http: &Http,
    address: &str,
    challenge: Option<&Challenge>,
) -> Result<ProtectedResource, ResourceError> {
    let asked = Asked {
        text: address,
        url: endpoint(address, http.private_addresses()).map_err(ResourceError::BadAddress)?,
    };
    let given = match challenge {
        Some(given) => Some(given.clone()),
        None => refusal(http, &asked.url).await?,
    };
    let given = given.unwrap_or_default();
    let mut status = 404;
    for place in asked.places(http, given.resource_metadata.as_deref())? {
        let response = fetch(http, place.url).await?;
        status = response.status;
        if status != 200 {
            continue;
        }
        let Some(document) = Members::from_json(&response.body) else {
            continue;
        };
        return Ok(ProtectedResource {
            challenged: given.scopes,
            ..read(http, &asked, place.is_of_host, &document)?
        });
    }
    Err(ResourceError::NotFound { status })
}

/// The resource as it was asked for.
struct Asked<'a> {
    text: &'a str,
    url: Url,
}

/// Where metadata may be.
struct Place {
    url: Url,
    /// Whether what is there is about the host as a whole.
    is_of_host: bool,
}

impl Asked<'_> {
    /// Where to look: where the resource says, and nowhere else; else at the well-known addresses.
    fn places(&self, http: &Http, stated: Option<&str>) -> Result<Vec<Place>, ResourceError> {
        if let Some(stated) = stated {
            let url = named_by(&self.url, stated, http.private_addresses())
                .map_err(ResourceError::BadMetadataAddress)?;
            let is_of_host = false;
            return Ok(vec![Place { url, is_of_host }]);
        }
        let path = self.url.path().trim_end_matches('/');
        let mut of_path = self.url.clone();
        of_path.set_path(&format!("{WELL_KNOWN}{path}"));
        let mut of_host = self.host();
        of_host.set_path(WELL_KNOWN);
        let is_host = of_path == of_host;
        let places = [(of_path, is_host), (of_host, true)];
        let places = places.into_iter().take(if is_host { 1 } else { 2 });
        Ok(places
            .map(|(url, is_of_host)| Place { url, is_of_host })
            .collect())
    }

    fn host(&self) -> Url {
        let mut host = self.url.clone();
        host.set_path("");
        host.set_query(None);
        host
    }

    /// Whether `found` is this resource (§3.3): byte for byte as the address was given, or as it was
    /// sent. The metadata of a host may be about the host.
    fn is_named(&self, found: &str, is_of_host: bool) -> bool {
        found == self.text || spells(&self.url, found) || is_of_host && spells(&self.host(), found)
    }
}

/// Whether `text` is `url` to the letter, but for the `/` that stands for an empty path.
fn spells(url: &Url, text: &str) -> bool {
    let sent = url.as_str();
    text == sent
        || url.path() == "/" && url.query().is_none() && sent.strip_suffix('/') == Some(text)
}

/// What the resource says to a request without a token. Where it has no answer to a GET, it is greeted
/// in the words of the Model Context Protocol.
async fn refusal(http: &Http, url: &Url) -> Result<Option<Challenge>, TransportError> {
    let get = Outgoing {
        method: Method::GET,
        url: url.clone(),
        headers: HeaderMap::new(),
        body: Zeroizing::default(),
        cap: TOKEN_CAP,
        certificate: None,
    };
    for outgoing in [get, greeting(url)] {
        let response = match http.send(outgoing, &|| ()).await {
            Ok(response) => response,
            // Nobody is there.
            Err(error) if !error.bytes_left => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the resource gives no whole answer without a token");
                return Ok(None);
            }
        };
        match response.status {
            401 => return Ok(Challenge::of(&response.headers)),
            // Not by this method, or not so.
            400 | 404 | 405 | 406 | 415 => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// `initialize`, which a server of the Model Context Protocol expects first and which changes nothing.
fn greeting(url: &Url) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    let initialize = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": MCP_VERSION,
            "capabilities": {},
            "clientInfo": { "name": "authd", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    Outgoing {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Zeroizing::new(initialize.to_string().into_bytes()),
        cap: TOKEN_CAP,
        certificate: None,
    }
}

fn read(
    http: &Http,
    asked: &Asked<'_>,
    is_of_host: bool,
    document: &Members,
) -> Result<ProtectedResource, ResourceError> {
    let found = document.text("resource").unwrap_or_default();
    if !asked.is_named(found, is_of_host) {
        return Err(ResourceError::ResourceMismatch {
            asked: clean(asked.text, 512),
            found: clean(found, 512),
        });
    }
    let servers = list(document, "authorization_servers").unwrap_or_default();
    let mut refused = None;
    let servers: Vec<String> = servers
        .into_iter()
        .take(SERVERS)
        .filter(
            |server| match named_by(&asked.url, server, http.private_addresses()) {
                Ok(_) => true,
                Err(why) => {
                    refused.get_or_insert(why);
                    false
                }
            },
        )
        .collect();
    if servers.is_empty() {
        return Err(refused.map_or(
            ResourceError::NoAuthorizationServer,
            ResourceError::BadAuthorizationServer,
        ));
    }
    let scopes = list(document, "scopes_supported");
    Ok(ProtectedResource {
        resource: found.to_owned(),
        authorization_servers: servers,
        scopes_supported: scopes
            .and_then(|scopes| words_of_scopes(scopes.iter().map(String::as_str))),
        challenged: None,
    })
}

/// Reads a document as one about `address`, for a fuzz target.
#[cfg(fuzzing)]
pub(crate) fn read_for(
    address: &str,
    http: &Http,
    is_of_host: bool,
    document: &Members,
) -> Result<ProtectedResource, ResourceError> {
    let asked = Asked {
        text: address,
        url: endpoint(address, http.private_addresses()).map_err(ResourceError::BadAddress)?,
    };
    read(http, &asked, is_of_host, document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HttpConfig, ProxyConfig};

    fn http() -> Http {
        Http::new(HttpConfig {
            proxy: ProxyConfig::Off,
            ..HttpConfig::default()
        })
        .unwrap()
    }

    fn asked(text: &str) -> Asked<'_> {
        Asked {
            text,
            url: Url::parse(text).unwrap(),
        }
    }

    #[test]
    fn the_well_known_places_are_those_of_the_path_and_of_the_host() {
        let of = |text: &str| -> Vec<String> {
            let places = asked(text).places(&http(), None).unwrap();
            places.into_iter().map(|place| place.url.into()).collect()
        };
        assert_eq!(
            of("https://example.com/public/mcp"),
            [
                "https://example.com/.well-known/oauth-protected-resource/public/mcp",
                "https://example.com/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(
            of("https://example.com:8443/"),
            ["https://example.com:8443/.well-known/oauth-protected-resource"]
        );
        assert_eq!(
            of("https://example.com/mcp?tenant=a"),
            [
                "https://example.com/.well-known/oauth-protected-resource/mcp?tenant=a",
                "https://example.com/.well-known/oauth-protected-resource",
            ]
        );
    }

    #[test]
    fn a_stated_place_is_the_only_one_and_must_be_one_that_may_be_asked() {
        let places = |stated: &str| asked("https://example.com/mcp").places(&http(), Some(stated));
        let stated = "https://meta.example.net/mcp.json";
        let found = places(stated).unwrap_or_default();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].url.as_str(), stated);
        for (bad, why) in [
            ("http://example.com/m", BadEndpoint::NotHttps),
            ("https://10.0.0.1/m", BadEndpoint::Private),
            ("http://127.0.0.1/m", BadEndpoint::Loopback),
            ("file:///etc/passwd", BadEndpoint::NotAUrl),
        ] {
            let refused = places(bad).err();
            assert_eq!(
                refused,
                Some(ResourceError::BadMetadataAddress(why)),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_resource_is_the_one_that_was_asked_to_the_letter() {
        for (text, found, of_host) in [
            ("https://a.example/mcp", "https://a.example/mcp", false),
            // As it was sent.
            ("https://A.example:443/mcp", "https://a.example/mcp", false),
            ("https://a.example", "https://a.example/", false),
            ("https://a.example/", "https://a.example", false),
            // The host speaks for itself, from its own place alone.
            ("https://a.example/mcp", "https://a.example", true),
            ("https://a.example/mcp", "https://a.example/", true),
        ] {
            assert!(asked(text).is_named(found, of_host), "{text} {found}");
        }
        for (text, found, of_host) in [
            ("https://a.example/mcp", "https://b.example/mcp", true),
            ("https://a.example/mcp", "https://a.example/mcp/", true),
            ("https://a.example/mcp", "https://A.example/mcp", true),
            ("https://a.example/mcp", "https://a.example", false),
            ("https://a.example/mcp", "https://a.example/", false),
            ("https://a.example/mcp", "https://a.example/other", true),
            ("https://a.example/mcp", "http://a.example/mcp", true),
            ("https://a.example/mcp", "", true),
        ] {
            assert!(!asked(text).is_named(found, of_host), "{text} {found}");
        }
    }
}
