//! ID tokens, signed authorization responses and the keys that they are checked against.
#![no_main]

use authd_oauth::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| fuzzing::signed(data));
