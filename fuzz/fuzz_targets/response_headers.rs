//! Challenges (RFC 9110 §11.6.1), nonces for proofs of possession (RFC 9449 §8) and dates, in headers and
//! as a tool repeats them.
#![no_main]

use authd_oauth::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::headers(data));
