//! `config.toml` and the files of clients: any program of the user's may have written them.
#![no_main]

use authd::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| fuzzing::config(data));
