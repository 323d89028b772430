//! The pages that the browser shows at the end. Static: nothing from the request is in them.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

const STYLE: &str = ":root{color-scheme:light dark}\
body{font:1.125rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}\
h1{font-size:1.75rem;line-height:1.2}";

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// A code came.
    Received,
    /// The user or the provider said no.
    Denied,
    /// The provider's answer is of no use.
    Failed,
    /// Not for us: another attempt's answer, or no answer at all.
    Strange,
    /// No such page.
    NotFound,
    /// Not a GET.
    MethodNotAllowed,
}

impl Page {
    fn status(self) -> StatusCode {
        match self {
            Self::Received | Self::Denied => StatusCode::OK,
            Self::Failed | Self::Strange => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Received => (
                "Sign-in received",
                "authd is finishing it now. You can close this tab and go back to where you started.",
            ),
            Self::Denied => (
                "Sign-in denied",
                "Nothing was changed. You can close this tab, and start again whenever you like.",
            ),
            Self::Failed => (
                "Sign-in failed",
                "The provider’s answer could not be used. The place where you started says why.",
            ),
            Self::Strange => (
                "Not part of this sign-in",
                "This address belongs to another sign-in, or to none. The one that is waiting goes \
                 on. Use the newest link you were given.",
            ),
            Self::NotFound => (
                "Nothing here",
                "authd waits here for a sign-in, at another address.",
            ),
            Self::MethodNotAllowed => ("Not allowed", "authd answers here to the browser alone."),
        }
    }

    fn html(self) -> String {
        let (title, text) = self.words();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} – authd</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n</main>\n</body>\n</html>\n"
        )
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.html()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(header::CONTENT_SECURITY_POLICY, content_security_policy());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if self == Self::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// Nothing may load or run; the one style is allowed by its hash.
fn content_security_policy() -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_the_very_style_that_the_page_has() {
        let html = Page::Received.html();
        let (_, after) = html.split_once("<style>").unwrap();
        let (style, _) = after.split_once("</style>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        let policy = content_security_policy();
        assert!(
            policy
                .to_str()
                .unwrap()
                .contains(&format!("style-src 'sha256-{hash}'"))
        );
    }
}
