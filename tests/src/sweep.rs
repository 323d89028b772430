//! Looks for secrets where none may be.
//!
//! Every secret of a test that sweeps holds [`MARK`], so that what other tests do at the same time is no
//! concern of it. It is looked for as it is, and in the forms in which it might be passed on: base64,
//! hexadecimal, percent-encoded, escaped.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// In every secret that is looked for.
pub const MARK: &str = "sweepmark";

/// How every private key of a DPoP account begins, as the store holds it (PKCS #8 of P-256).
const KEY: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04";

/// The forms of the mark, the authorization codes of the fake server, and the key in base64.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut texts = forms(MARK);
    texts.push("canary-code-".to_owned());
    texts.push("AgEAMBMGByqGSM49AgEGCCqGSM49AwEH".to_owned());
    texts
});

/// `secret` as it is, and in each form that hides it from a mere search.
fn forms(secret: &str) -> Vec<String> {
    let each = |form: fn(u8) -> String| secret.bytes().map(form).collect::<String>();
    let mut forms = vec![
        secret.to_owned(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("\\u{byte:04x}")),
        each(|byte| format!("\\x{byte:02x}")),
    ];
    // Wherever it begins among what else is encoded: of the first and the last group only what is its own.
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&b"   "[..before], secret.as_bytes()].concat());
        let first = (before * 8).div_ceil(6);
        let last = (before + secret.len()) * 8 / 6;
        forms.push(text[first..last].to_owned());
    }
    forms
}

/// Whether there is a secret in it: a token, a code, a client's secret, a private key.
#[must_use]
pub fn holds_secret(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    TEXTS.iter().any(|secret| text.contains(secret)) || holds_key(bytes)
}

/// Whether there is a private key in it.
#[must_use]
pub fn holds_key(bytes: &[u8]) -> bool {
    holds(bytes, KEY)
}

/// Whether these bytes are in it, which begin with one that is rare: it is looked for first.
#[must_use]
pub fn holds(bytes: &[u8], sought: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == sought[0]) {
        if rest[at..].starts_with(sought) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// The files below a directory with a secret in them or in their names, but for what is below `given`: what
/// the person put there.
///
/// # Panics
/// When a directory cannot be read.
#[must_use]
pub fn leaks_below(dir: &Path, given: Option<&Path>) -> Vec<PathBuf> {
    let mut leaks = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory that can be read") {
        let path = entry.expect("an entry").path();
        if given == Some(&path) {
            continue;
        }
        let kind = path.symlink_metadata().expect("an entry").file_type();
        if kind.is_dir() {
            leaks.append(&mut leaks_below(&path, given));
        }
        let content = || fs::read(&path).expect("a file that can be read");
        let is_named = path
            .file_name()
            .is_some_and(|name| holds_secret(name.as_encoded_bytes()));
        if is_named || kind.is_file() && holds_secret(&content()) {
            leaks.push(path);
        }
    }
    leaks
}

/// What the system shows of processes to others of the same user: command lines, environments, the names of
/// what is mapped and of what is open. Those with a secret in them.
///
/// # Panics
/// When there is no `/proc`.
#[must_use]
pub fn leaks_of_processes() -> Vec<PathBuf> {
    fs::read_dir("/proc")
        .expect("a /proc")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| process.join("stat").exists())
        .flat_map(|process| {
            let open = fs::read_dir(process.join("fd")).into_iter().flatten();
            let links: Vec<PathBuf> = open.filter_map(|fd| Some(fd.ok()?.path())).collect();
            ["cmdline", "environ", "maps", "comm"]
                .map(|name| process.join(name))
                .into_iter()
                .chain(links)
        })
        // No process, or gone already, or another user's.
        .filter(|path| match fs::read_link(path) {
            Ok(target) => holds_secret(target.as_os_str().as_encoded_bytes()),
            Err(_) => fs::read(path).is_ok_and(|bytes| holds_secret(&bytes)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_secret_is_found_in_each_of_its_forms_wherever_it_begins() {
        for before in ["", "a", "ab", "abc", "client:"] {
            let secret = format!("{before}canary-{MARK}-1");
            for form in [
                secret.clone(),
                STANDARD.encode(&secret),
                URL_SAFE_NO_PAD.encode(&secret),
                secret.bytes().map(|byte| format!("%{byte:02x}")).collect(),
                secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
                secret
                    .bytes()
                    .map(|byte| format!("\\u{byte:04x}"))
                    .collect(),
                serde_json::json!({ "quoted": format!("\"{secret}\n") }).to_string(),
                url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            ] {
                assert!(holds_secret(format!("…{form}…").as_bytes()), "{form}");
            }
        }
        assert!(!holds_secret(b"canary-sweep"));
        assert!(!holds_secret(
            STANDARD.encode("canary-sweep-mark").as_bytes()
        ));
    }
}
