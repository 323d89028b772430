//! The pages that the browser shows at the end. Static: nothing from the request is in them.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// Contrast is 4.5 to 1 at least in either scheme. Nothing moves, so there is nothing to calm down.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#eef1f5;--card:#fff;--edge:#d5dbe3;--text:#1b2330;--soft:#4f5b6b;\
--good:#17753a;--no:#8a5300;--bad:#b3261e}\
@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1c222b;--edge:#343d4a;--text:#e8ecf2;\
--soft:#a9b4c2;--good:#6fd08c;--no:#f2b65c;--bad:#ff8a80}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1.5rem;\
background:var(--page);color:var(--text);font:1.0625rem/1.55 system-ui,sans-serif}\
main{width:100%;max-width:30rem;padding:2.25rem;background:var(--card);border:1px solid var(--edge);\
border-radius:1rem;overflow-wrap:break-word}\
svg{display:block;width:3rem;height:3rem;margin-bottom:1.25rem;fill:none;stroke:currentColor;\
stroke-width:2;stroke-linecap:round;stroke-linejoin:round}\
.good svg{color:var(--good)}.no svg{color:var(--no)}.bad svg{color:var(--bad)}\
h1{margin:0 0 .75rem;font-size:1.625rem;line-height:1.2;letter-spacing:-.01em;text-wrap:balance}\
p{margin:0}\
footer{margin-top:1.75rem;padding-top:1.25rem;border-top:1px solid var(--edge);font-size:.875rem;\
color:var(--soft)}\
@media (max-width:24rem){body{padding:.75rem}main{padding:1.5rem}}";

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
                "You are signed in",
                "authd is finishing the login. You can close this window: the place where you \
                 started says how it ended.",
            ),
            Self::Denied => (
                "The sign-in was denied",
                "Nothing was changed. You can close this window, and start again whenever you like.",
            ),
            Self::Failed => (
                "The sign-in failed",
                "The provider’s answer could not be used. You can close this window: the place \
                 where you started says why.",
            ),
            Self::Strange => (
                "Not part of this sign-in",
                "This address belongs to another sign-in, or to none. The one that is waiting goes \
                 on: use the newest link you were given.",
            ),
            Self::NotFound => (
                "Nothing here",
                "authd waits here for a sign-in, at another address.",
            ),
            Self::MethodNotAllowed => ("Not allowed", "authd answers here to the browser alone."),
        }
    }

    /// The colour of the sign, by its class in the style, and what is drawn in its circle.
    fn sign(self) -> (&'static str, &'static str) {
        match self {
            Self::Received => ("good", "m7.5 12.5 3 3 6-6.5"),
            Self::Denied => ("no", "M8 12h8"),
            Self::Failed => ("bad", "m9 9 6 6m0-6-6 6"),
            Self::Strange | Self::NotFound | Self::MethodNotAllowed => {
                ("no", "M12 7.5v5.5m0 3.2v.1")
            }
        }
    }

    fn html(self) -> String {
        let (title, text) = self.words();
        let (colour, drawing) = self.sign();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} – authd</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <main class=\"{colour}\">\n\
             <svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"10.5\"/>\
             <path d=\"{drawing}\"/></svg>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n\
             <footer>This page comes from authd, not from the provider.</footer>\n\
             </main>\n</body>\n</html>\n"
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
