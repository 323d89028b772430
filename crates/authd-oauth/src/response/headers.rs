//! What the headers of a response say.

use std::time::Duration;

use authd_core::{answer::RetryAfter, time::Wall};
use http::{HeaderMap, header};

use super::Reading;

/// Longest request id kept, in characters.
const REQUEST_ID_LEN: usize = 128;

/// `Date`.
pub(crate) fn date(headers: &HeaderMap) -> Option<Wall> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// `Retry-After` (RFC 9110 §10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let secs = text.parse().unwrap_or(u64::MAX);
        return Some(RetryAfter::Delay(Duration::from_secs(secs)));
    }
    http_date(text).map(RetryAfter::Until)
}

fn http_date(text: &str) -> Option<Wall> {
    let since_epoch = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Some(Wall::default().after(since_epoch))
}

impl Reading<'_> {
    /// The provider's own id of the request, by the names in use.
    pub(crate) fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        const NAMES: [&str; 9] = [
            "x-request-id",
            "x-ms-request-id",
            "request-id",
            "x-github-request-id",
            "x-okta-request-id",
            "x-slack-req-id",
            "x-amzn-requestid",
            "x-correlation-id",
            "cf-ray",
        ];
        NAMES.iter().find_map(|name| {
            let text = String::from_utf8_lossy(headers.get(*name)?.as_bytes());
            self.printable(&text, REQUEST_ID_LEN)
        })
    }
}
