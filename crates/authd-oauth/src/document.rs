//! Documents in which a server tells about itself: metadata of whatever kind.

use http::{HeaderMap, Method, header};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    http::{
        BadEndpoint, Http, Incoming, METADATA_CAP, Outgoing, PrivateAddresses, TransportError,
        endpoint, is_loopback,
    },
    response::Members,
};

/// Most redirects followed to one document.
const REDIRECTS: usize = 3;

/// One GET that holds nothing of ours.
pub(crate) async fn look(http: &Http, place: &Url) -> Result<Incoming, TransportError> {
    let outgoing = Outgoing {
        method: Method::GET,
        url: place.clone(),
        headers: HeaderMap::new(),
        body: Zeroizing::default(),
        cap: METADATA_CAP,
        certificate: None,
    };
    http.send(outgoing, &|| ()).await
}

/// Fetches one. A redirect is followed within the same scheme, host and port alone.
pub(crate) async fn fetch(http: &Http, place: Url) -> Result<Incoming, TransportError> {
    let mut place = place;
    let mut redirects = 0;
    loop {
        let response = look(http, &place).await?;
        let target = match response.status {
            301 | 302 | 303 | 307 | 308 if redirects < REDIRECTS => response
                .headers
                .get(header::LOCATION)
                .and_then(|location| place.join(location.to_str().ok()?).ok())
                .filter(|target| target.origin() == place.origin()),
            _ => None,
        };
        let Some(target) = target else {
            return Ok(response);
        };
        place = target;
        redirects += 1;
    }
}

/// Reads a URL that the server at `author` names. A server elsewhere has no business on this machine.
pub(crate) fn named_by(
    author: &Url,
    text: &str,
    private: &PrivateAddresses,
) -> Result<Url, BadEndpoint> {
    let url = endpoint(text, private)?;
    let is_here = |url: &Url| url.host().is_some_and(|host| is_loopback(&host));
    if is_here(&url) && !is_here(author) {
        return Err(BadEndpoint::Loopback);
    }
    Ok(url)
}

/// The texts of the array `member`; `None` when there is no such array.
pub(crate) fn list(document: &Members, member: &str) -> Option<Vec<String>> {
    let values = document.value(member)?.as_array()?;
    let texts = values.iter().filter_map(Value::as_str);
    Some(texts.map(str::to_owned).collect())
}
