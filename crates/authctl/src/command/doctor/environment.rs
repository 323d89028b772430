//! What surrounds this process: its clock, and variables that override credentials (invariant 20).

use super::Finding;

/// 2025-01-01: no release of authd is older.
const EARLIEST: u64 = 1_735_689_600;

/// Variables that tools prefer to any login, with the tools that do. Their values are secrets: only
/// whether they are set is looked at.
const OVERRIDES: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "Claude Code and the Anthropic SDKs"),
    ("ANTHROPIC_AUTH_TOKEN", "Claude Code and the Anthropic SDKs"),
    ("CLAUDE_CODE_OAUTH_TOKEN", "Claude Code"),
    ("OPENAI_API_KEY", "Codex and the OpenAI SDKs"),
    ("GEMINI_API_KEY", "Gemini CLI"),
    ("GOOGLE_API_KEY", "Gemini CLI and the Google SDKs"),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "gcloud and the Google SDKs",
    ),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN", "gcloud"),
    ("GITHUB_TOKEN", "gh and many tools for GitHub"),
    ("GH_TOKEN", "gh"),
    ("GITLAB_TOKEN", "glab"),
    ("AWS_ACCESS_KEY_ID", "the AWS CLI and SDKs"),
    ("AWS_SECRET_ACCESS_KEY", "the AWS CLI and SDKs"),
    ("AWS_SESSION_TOKEN", "the AWS CLI and SDKs"),
    ("AZURE_CLIENT_SECRET", "the Azure SDKs"),
    ("HF_TOKEN", "huggingface_hub"),
    ("NPM_TOKEN", "npm, by way of many .npmrc files"),
    ("NODE_AUTH_TOKEN", "npm, by way of many .npmrc files"),
    ("CARGO_REGISTRY_TOKEN", "cargo"),
    ("DIGITALOCEAN_ACCESS_TOKEN", "doctl"),
    ("HEROKU_API_KEY", "the Heroku CLI"),
    ("VAULT_TOKEN", "vault"),
];

/// The variables that are set, as `is_set` says.
pub(super) fn overrides(is_set: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = OVERRIDES
        .iter()
        .filter(|(name, _)| is_set(name))
        .map(|(name, tools)| {
            Finding::warn(
                "environment",
                format!("{name} is set: {tools} use it and not the login that authd renews"),
                format!("unset {name}"),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            "environment",
            "no variable overrides the credentials of a known tool",
        ));
    }
    findings
}

/// Whether the clock can be right. `now` is in Unix seconds.
pub(super) fn clock(now: u64) -> Finding {
    if now < EARLIEST {
        Finding::fail(
            "clock",
            "the clock is years behind; certificates and tokens look wrong by it",
            "set the clock, or let the system do it: timedatectl set-ntp true",
        )
    } else {
        Finding::ok("clock", "its date is plausible")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::Level;

    #[test]
    fn each_variable_that_is_set_is_named_with_its_tools_and_its_cure() {
        let found = overrides(|name| ["GH_TOKEN", "HF_TOKEN"].contains(&name));
        let fixes: Vec<_> = found.iter().map(|f| f.fix.as_deref()).collect();
        assert_eq!(fixes, [Some("unset GH_TOKEN"), Some("unset HF_TOKEN")]);
        assert!(found.iter().all(|finding| finding.level == Level::Warn));
        assert_eq!(overrides(|_| false)[0].level, Level::Ok);
    }

    #[test]
    fn a_clock_that_was_never_set_fails() {
        assert_eq!(clock(0).level, Level::Fail);
        assert_eq!(clock(EARLIEST).level, Level::Ok);
    }
}
