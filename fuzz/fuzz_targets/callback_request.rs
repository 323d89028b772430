//! What anything on this machine sends to the listener of a login: the HTTP request, and what becomes of it.
#![no_main]

use std::sync::LazyLock;

use authd_fuzz::{STATE, attempt};
use authd_oauth::{AuthorizationAttempt, fuzzing};
use libfuzzer_sys::fuzz_target;

static ATTEMPT: LazyLock<AuthorizationAttempt> = LazyLock::new(attempt);

fuzz_target!(|data: &[u8]| fuzzing::callback(&ATTEMPT, &STATE, data));
