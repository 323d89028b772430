//! A look at a provider that costs nothing: whether it is reached, whether it is itself, and what time
//! it has. Nothing of ours is in the requests: no token, no credential, no name of a client.

use authd_core::time::{Now, Wall};
use http::header;
use url::Url;

use crate::{
    client::Ambient,
    document::look,
    http::{Http, Incoming, TransportError, TransportFailure},
    metadata::places,
    response::{date, looks_like_html},
};

/// What a look at a provider showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The host that was asked, or why it could not be.
    pub reached: Result<(), TransportFailure>,
    /// What seems to answer in its place.
    pub portal: Option<Portal>,
    /// How far this machine's clock is ahead of the host's `Date`, in seconds; negative when it is
    /// behind. `None` without an answer, or a date in it.
    pub clock_ahead: Option<i64>,
}

/// By what a captive portal, or another thing in the host's place, gives itself away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portal {
    /// Status 511 (RFC 6585 §6).
    Says,
    /// A redirect to this host.
    Redirects(String),
    /// A web page where metadata is.
    Page,
}

/// Looks at the provider of `issuer`, where its metadata is; without an issuer, at `token_endpoint`,
/// by a GET, which is no token request.
pub async fn probe(
    http: &Http,
    issuer: Option<&str>,
    token_endpoint: &str,
    ambient: &dyn Ambient,
) -> Probed {
    let endpoint = match http.endpoint(issuer.unwrap_or(token_endpoint)) {
        Ok(endpoint) => endpoint,
        Err(error) => return Probed::failed(error.failure),
    };
    let has_metadata = issuer.is_some();
    let places = match has_metadata {
        true => places(&endpoint),
        false => vec![endpoint],
    };
    let mut seen = Probed::failed(TransportFailure::Timeout);
    for place in places {
        let asked_at = ambient.now();
        let response = match look(http, &place).await {
            Ok(response) => response,
            Err(TransportError { failure, .. }) => return Probed::failed(failure),
        };
        let portal = portal(&response, &place, has_metadata);
        seen = Probed {
            reached: Ok(()),
            clock_ahead: date(&response.headers)
                .map(|date| clock_ahead(date, asked_at, ambient.now())),
            portal: portal.or(seen.portal),
        };
        if response.status == 200 && seen.portal.is_none() {
            break;
        }
    }
    seen
}

impl Probed {
    fn failed(failure: TransportFailure) -> Self {
        Self {
            reached: Err(failure),
            portal: None,
            clock_ahead: None,
        }
    }
}

fn portal(response: &Incoming, place: &Url, has_metadata: bool) -> Option<Portal> {
    match response.status {
        511 => Some(Portal::Says),
        301 | 302 | 303 | 307 | 308 => {
            let location = response.headers.get(header::LOCATION)?;
            let target = place.join(location.to_str().ok()?).ok()?;
            let host = target.host_str()?;
            (place.host_str() != Some(host)).then(|| Portal::Redirects(host.to_owned()))
        }
        // An endpoint may show a page to whoever has no business there.
        200 if has_metadata && looks_like_html(response.body.trim_ascii()) => Some(Portal::Page),
        _ => None,
    }
}

/// How far a clock that went from `asked_at` to `now` while a server said `date` is ahead of it, in
/// seconds. The server's clock says whole seconds, and said them at some moment in between: what that
/// explains is no difference.
#[must_use]
pub fn clock_ahead(date: Wall, asked_at: Now, now: Now) -> i64 {
    let (earliest, latest) = (asked_at.wall.unix_secs() - 1, now.wall.unix_secs());
    let date = date.unix_secs();
    if date < earliest {
        earliest - date
    } else if date > latest {
        latest - date
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: i64) -> Now {
        Now {
            wall: Wall::from_unix_secs(secs),
            ..Now::default()
        }
    }

    #[test]
    fn what_the_way_explains_is_no_difference() {
        let date = Wall::from_unix_secs(1_000);
        for (asked, now, ahead) in [
            (1_000, 1_000, 0),
            (1_001, 1_001, 0),
            (995, 1_005, 0),
            (1_011, 1_012, 10),
            (980, 990, -10),
            (4_600, 4_600, 3_599),
        ] {
            assert_eq!(
                clock_ahead(date, at(asked), at(now)),
                ahead,
                "{asked} {now}"
            );
        }
        let decade = Duration::from_secs(10 * 365 * 86_400);
        assert!(clock_ahead(date.after(decade), at(1_000), at(1_000)) < -300_000_000);
    }
}
