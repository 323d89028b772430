//! What the command reads of other tools: their logins, in each tool's own form.
#![no_main]

use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Nonce, aead::AeadInPlace as _};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/authctl/src/command/import/json.rs"]
mod json;
#[path = "../../crates/authctl/src/command/import/pizauth.rs"]
mod pizauth;
#[path = "../../crates/authctl/src/command/import/source.rs"]
#[expect(dead_code, reason = "the command uses it all")]
mod source;

use source::Tool;

fuzz_target!(|data: &[u8]| {
    for tool in [Tool::Pizauth, Tool::OidcAgent, Tool::Ortie] {
        for is_asked in [false, true] {
            read(tool, data, is_asked);
        }
    }
    // A dump is sealed by a key that everybody knows: what is inside is as anybody's as the rest.
    let mut dump = data.to_vec();
    let cipher = ChaCha20Poly1305::new(Key::from_slice(&pizauth::KEY));
    let nonce = [7; 12];
    let tag = cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), b"", &mut dump);
    let dump = [&nonce[..], &dump, &tag.expect("it is small")].concat();
    read(Tool::Pizauth, &dump, false);
});

fn read(tool: Tool, data: &[u8], is_asked: bool) {
    match tool.read(data, "work", is_asked) {
        Ok(held) => assert!(!held.refresh_token.expose().is_empty() || held.name.is_some()),
        Err(trouble) => {
            let hint = tool.hint(&trouble);
            assert!(!hint.contains(char::is_control));
        }
    }
}
