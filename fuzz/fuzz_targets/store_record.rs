//! What is under a seal in the store.
#![no_main]

use authd_store::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::record(data));
