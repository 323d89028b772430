//! Where a person ends the session of their browser (OpenID Connect RP-Initiated Logout 1.0).

use url::Url;

/// The address of the page, with the client's id in it so that the provider knows who asks. `id_token_hint`
/// is left out: an ID token says who signed in, and an address is seen by histories, logs and neighbours.
///
/// `None` where the endpoint is no address for a browser.
#[must_use]
pub fn end_session_url(endpoint: &str, client_id: &str) -> Option<String> {
    let mut url = Url::parse(endpoint).ok()?;
    if !matches!(url.scheme(), "https" | "http") {
        return None;
    }
    url.query_pairs_mut().append_pair("client_id", client_id);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_who_it_is_and_nobody_else_is_named() {
        for (endpoint, url) in [
            (
                "https://idp.example/logout",
                "https://idp.example/logout?client_id=a+b%26c",
            ),
            (
                "https://idp.example/logout?tenant=x",
                "https://idp.example/logout?tenant=x&client_id=a+b%26c",
            ),
        ] {
            assert_eq!(end_session_url(endpoint, "a b&c").as_deref(), Some(url));
        }
        assert_eq!(end_session_url("javascript:alert(1)", "x"), None);
        assert_eq!(end_session_url("no address", "x"), None);
    }
}
