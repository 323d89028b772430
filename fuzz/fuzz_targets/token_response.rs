//! What a token endpoint answers: its status, its headers, and a body in whatever shape.
#![no_main]

use authd_oauth::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&status, rest)) = data.split_first() else {
        return;
    };
    // A head of lines, an empty one, and the body; or the body alone.
    let gap = rest.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = gap.map_or((&[][..], rest), |at| (&rest[..at], &rest[at + 2..]));
    let html = (status & 1 == 1).then_some("text/html; charset=utf-8");
    for status in [200, 400, 200 + u16::from(status) * 2] {
        fuzzing::token_response(status, html, head, body);
    }
});
