//! What a browser, or a hostile page in it, brings to the loopback redirect; and what is pasted.
#![no_main]

use std::sync::LazyLock;

use authd_fuzz::attempt;
use authd_oauth::{AuthorizationAttempt, AuthorizationResponse};
use libfuzzer_sys::fuzz_target;

static ATTEMPT: LazyLock<AuthorizationAttempt> = LazyLock::new(attempt);

fuzz_target!(|data: &str| {
    if let Ok(response) = AuthorizationResponse::from_query(data) {
        drop(ATTEMPT.complete(response));
    }
    drop(ATTEMPT.complete_pasted(data));
});
