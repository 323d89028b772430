//! The store's files as somebody else wrote them: rows, mirrors, slots, anchors and the file in the clear.
#![no_main]

use authd_store::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::directory(data));
