//! The variables that the daemon goes by, by fingerprint: so that a shell can be told that it has others,
//! without a word of what is in them.

use std::env;

use authd_proto::doctor::{DoctorVariable, fingerprint};

use crate::config::Config;

/// Those that decide where the daemon lives and how it reaches providers.
const NAMES: &[&str] = &[
    "AUTHD_CONFIG_DIR",
    "AUTHD_STATE_DIR",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Where the configuration decides about proxies, their variables count for nothing.
pub(super) fn fingerprints(config: &Config, salt: &str) -> Vec<DoctorVariable> {
    let proxies_count = config.network.proxy == "environment";
    NAMES
        .iter()
        .filter(|name| proxies_count || !name.ends_with("_PROXY"))
        .map(|name| DoctorVariable {
            name: (*name).to_owned(),
            fingerprint: value(name).map(|value| fingerprint(salt, &value)),
        })
        .collect()
}

/// Of a proxy the spelling in lower case counts first.
fn value(name: &str) -> Option<String> {
    let lower = name.ends_with("_PROXY").then(|| name.to_ascii_lowercase());
    let spellings = lower.iter().map(String::as_str).chain([name]);
    spellings
        .filter_map(|name| env::var(name).ok())
        .find(|value| !value.is_empty())
}
