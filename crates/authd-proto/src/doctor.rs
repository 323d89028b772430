//! `doctor.check`: what the daemon alone can look at (PROTOCOL.md, section 9).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `doctor.check`: looks at providers, at the files of the configuration, and at the daemon's variables.
/// Nothing is exchanged for it, and nothing of an account leaves the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// The provider of this account alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How long providers may take for their answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
}

/// Of `doctor.check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorCheckReply {
    /// What was found.
    pub findings: Vec<DoctorFinding>,
    /// The variables that the daemon goes by, by fingerprint.
    pub variables: Vec<DoctorVariable>,
    /// What the [`fingerprint`]s were made with. Another one each time.
    pub salt: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingLevel {
    /// It is as it should be.
    Ok,
    /// Nothing is wrong, and it is worth knowing.
    Note,
    /// It works, but not as well or as safely as it could.
    Warn,
    /// Something does not work.
    Fail,
    /// Another, of a newer version.
    #[serde(other)]
    Unknown,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// What was looked at: `provider`, `client`, `network`, …
    pub check: String,
    /// What was found, in one stable word.
    pub code: String,
    /// How bad it is.
    pub level: FindingLevel,
    /// What was found, for people.
    pub message: String,
    /// The command that mends it, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Which provider it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Which accounts it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl DoctorFinding {
    /// A finding about nobody in particular.
    #[must_use]
    pub fn new(
        check: &str,
        code: &str,
        level: FindingLevel,
        message: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        Self {
            check: check.to_owned(),
            code: code.to_owned(),
            level,
            message: message.into(),
            fix,
            provider: None,
            accounts: Vec::new(),
        }
    }
}

/// A variable of the daemon's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorVariable {
    /// Its name, in upper case.
    pub name: String,
    /// Names its value without revealing it; nil where it is not set.
    pub fingerprint: Option<String>,
}

/// Names a value without revealing it: the first 32 hexadecimal digits of SHA-256(salt ‖ value), both as
/// UTF-8.
#[must_use]
pub fn fingerprint(salt: &str, value: &str) -> String {
    let hash = Sha256::new()
        .chain_update(salt)
        .chain_update(value)
        .finalize();
    let mut text = String::with_capacity(32);
    for byte in &hash[..16] {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn a_fingerprint_is_of_salt_and_value() {
        // printf '%s' saltvalue | sha256sum
        assert_eq!(
            fingerprint("salt", "value"),
            "d430a1da30afe1a9d07b3b36042151eb"
        );
        assert_ne!(fingerprint("salt", "value"), fingerprint("sale", "value"));
    }
}
