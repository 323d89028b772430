//! What an issuer says of itself (RFC 8414), and what a resource says of its issuers (RFC 9728).
#![no_main]

use authd_oauth::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzzing::metadata(data);
    fuzzing::resource(data);
});
