//! What other tools go by in the place of a login that authd renews: their variables, and their own files.
//!
//! Data, and nothing else: a tool is added by a row.

/// A tool, and the variables that it prefers to any login.
pub(super) struct Tool {
    /// What people call it.
    pub(super) name: &'static str,
    /// Any of these, when set, counts before what a login keeps.
    pub(super) variables: &'static [&'static str],
    /// What they override.
    pub(super) overrides: &'static str,
}

/// Variables are secrets: only whether they are set is looked at.
pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "Claude Code",
        variables: &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
        ],
        overrides: "the login that it made itself",
    },
    Tool {
        name: "the Anthropic SDKs",
        variables: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
        overrides: "the token that they are given",
    },
    Tool {
        name: "Codex",
        variables: &["OPENAI_API_KEY", "CODEX_API_KEY"],
        overrides: "the ChatGPT login",
    },
    Tool {
        name: "the OpenAI SDKs",
        variables: &["OPENAI_API_KEY"],
        overrides: "the token that they are given",
    },
    Tool {
        name: "Gemini CLI",
        variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        overrides: "the Google login",
    },
    Tool {
        name: "gcloud",
        variables: &[
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
            "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
        ],
        overrides: "the account of 'gcloud auth login'",
    },
    Tool {
        name: "the Google client libraries",
        variables: &["GOOGLE_APPLICATION_CREDENTIALS"],
        overrides: "the application default credentials",
    },
    Tool {
        name: "Terraform's Google provider",
        variables: &[
            "GOOGLE_CREDENTIALS",
            "GOOGLE_OAUTH_ACCESS_TOKEN",
            "GOOGLE_CLOUD_KEYFILE_JSON",
        ],
        overrides: "the application default credentials",
    },
    Tool {
        name: "gh",
        variables: &[
            "GH_TOKEN",
            "GITHUB_TOKEN",
            "GH_ENTERPRISE_TOKEN",
            "GITHUB_ENTERPRISE_TOKEN",
        ],
        overrides: "the login of 'gh auth login'",
    },
    Tool {
        name: "Terraform's GitHub provider",
        variables: &["GITHUB_TOKEN"],
        overrides: "the token that it is given",
    },
    Tool {
        name: "glab",
        variables: &["GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN", "OAUTH_TOKEN"],
        overrides: "the login of 'glab auth login'",
    },
    Tool {
        name: "the AWS CLI and SDKs",
        variables: &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ],
        overrides: "the profile, and 'aws sso login'",
    },
    Tool {
        name: "the Azure SDKs",
        variables: &[
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_FEDERATED_TOKEN_FILE",
        ],
        overrides: "'az login'",
    },
    Tool {
        name: "Terraform's Azure provider",
        variables: &[
            "ARM_CLIENT_SECRET",
            "ARM_CLIENT_CERTIFICATE_PATH",
            "ARM_OIDC_TOKEN",
        ],
        overrides: "'az login'",
    },
    Tool {
        name: "the Azure DevOps CLI",
        variables: &["AZURE_DEVOPS_EXT_PAT"],
        overrides: "'az login'",
    },
    Tool {
        name: "cargo",
        variables: &["CARGO_REGISTRY_TOKEN"],
        overrides: "'cargo login' and its credential providers",
    },
    Tool {
        name: "npm, by way of .npmrc",
        variables: &["NPM_TOKEN", "NODE_AUTH_TOKEN"],
        overrides: "'npm login'",
    },
    Tool {
        name: "twine and uv",
        variables: &["TWINE_PASSWORD", "UV_PUBLISH_TOKEN"],
        overrides: "the credentials of the index",
    },
    Tool {
        name: "poetry",
        variables: &["POETRY_PYPI_TOKEN_PYPI"],
        overrides: "the credentials of the index",
    },
    Tool {
        name: "huggingface_hub",
        variables: &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"],
        overrides: "'hf auth login'",
    },
    Tool {
        name: "docker",
        variables: &["DOCKER_AUTH_CONFIG"],
        overrides: "'docker login' and its credential helpers",
    },
    Tool {
        name: "podman, skopeo and buildah",
        variables: &["REGISTRY_AUTH_FILE"],
        overrides: "'podman login'",
    },
    Tool {
        name: "vault",
        variables: &["VAULT_TOKEN"],
        overrides: "'vault login'",
    },
    Tool {
        name: "kubectl",
        variables: &["KUBECONFIG"],
        overrides: "the cluster and the user of ~/.kube/config",
    },
    Tool {
        name: "argocd",
        variables: &["ARGOCD_AUTH_TOKEN"],
        overrides: "'argocd login'",
    },
    Tool {
        name: "doctl",
        variables: &["DIGITALOCEAN_ACCESS_TOKEN"],
        overrides: "'doctl auth init'",
    },
    Tool {
        name: "the Heroku CLI",
        variables: &["HEROKU_API_KEY"],
        overrides: "'heroku login'",
    },
    Tool {
        name: "wrangler",
        variables: &["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"],
        overrides: "'wrangler login'",
    },
    Tool {
        name: "flyctl",
        variables: &["FLY_API_TOKEN", "FLY_ACCESS_TOKEN"],
        overrides: "'fly auth login'",
    },
    Tool {
        name: "the Vercel and Netlify CLIs",
        variables: &["VERCEL_TOKEN", "NETLIFY_AUTH_TOKEN"],
        overrides: "the login of the tool",
    },
    Tool {
        name: "the Databricks CLI and SDKs",
        variables: &["DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET"],
        overrides: "'databricks auth login'",
    },
    Tool {
        name: "the Snowflake CLI",
        variables: &["SNOWFLAKE_PASSWORD", "SNOWFLAKE_PRIVATE_KEY_PATH"],
        overrides: "the connection's own login",
    },
    Tool {
        name: "sentry-cli",
        variables: &["SENTRY_AUTH_TOKEN"],
        overrides: "'sentry-cli login'",
    },
    Tool {
        name: "the Stripe CLI",
        variables: &["STRIPE_API_KEY"],
        overrides: "'stripe login'",
    },
    Tool {
        name: "Pulumi",
        variables: &["PULUMI_ACCESS_TOKEN"],
        overrides: "'pulumi login'",
    },
    Tool {
        name: "HCP Terraform",
        variables: &["TF_TOKEN_app_terraform_io"],
        overrides: "'terraform login'",
    },
];

/// Variables that point programs to an issuer. What is in them is compared with the issuers of the
/// accounts, and never shown.
pub(super) const ISSUERS: &[&str] = &[
    "OIDC_ISSUER",
    "OIDC_ISSUER_URL",
    "OAUTH_ISSUER",
    "OAUTH2_ISSUER",
    "ISSUER_URL",
    "AUTH_ISSUER",
    "AUTH0_ISSUER_BASE_URL",
    "OKTA_OAUTH2_ISSUER",
    "KEYCLOAK_ISSUER",
];

/// A file in which another tool keeps logins of its own.
pub(super) struct Keeper {
    /// What people call the tool.
    pub(super) name: &'static str,
    /// Directories' variables that go before `home`, with the path below them.
    pub(super) moved: Option<(&'static str, &'static str)>,
    /// Where it is below the home directory; a directory stands for the files in it.
    pub(super) home: &'static str,
    /// Words of which one stands in it where it holds a grant.
    pub(super) holds: &'static [&'static str],
    /// The hosts of the issuers whose grants it holds; empty where the file says it by itself.
    pub(super) issuers: &'static [&'static str],
    /// The client that it logs in with, where that is the tool's own and not in the file.
    pub(super) client: Option<&'static str>,
    /// The command that makes it let go.
    pub(super) mend: &'static str,
}

/// Read-only, and within bounds: see [`super::forks`].
pub(super) const KEEPERS: &[Keeper] = &[
    Keeper {
        name: "gh",
        moved: Some(("GH_CONFIG_DIR", "hosts.yml")),
        home: ".config/gh/hosts.yml",
        holds: &["oauth_token", "users:"],
        issuers: &["github.com"],
        client: Some("178c6fc778ccc68e1d6a"),
        mend: "gh auth logout",
    },
    Keeper {
        name: "hub",
        moved: None,
        home: ".config/hub",
        holds: &["oauth_token"],
        issuers: &["github.com"],
        client: None,
        mend: "rm ~/.config/hub",
    },
    Keeper {
        name: "glab",
        moved: Some(("GLAB_CONFIG_DIR", "config.yml")),
        home: ".config/glab-cli/config.yml",
        holds: &["oauth2_refresh_token", "is_oauth2"],
        issuers: &[],
        client: None,
        mend: "glab auth logout",
    },
    Keeper {
        name: "gcloud (application default credentials)",
        moved: Some(("CLOUDSDK_CONFIG", "application_default_credentials.json")),
        home: ".config/gcloud/application_default_credentials.json",
        holds: &["\"refresh_token\""],
        issuers: &["accounts.google.com", "oauth2.googleapis.com"],
        client: None,
        mend: "gcloud auth application-default revoke",
    },
    Keeper {
        name: "gcloud (earlier credentials)",
        moved: Some(("CLOUDSDK_CONFIG", "legacy_credentials")),
        home: ".config/gcloud/legacy_credentials",
        holds: &["\"refresh_token\""],
        issuers: &["accounts.google.com", "oauth2.googleapis.com"],
        client: None,
        mend: "gcloud auth revoke",
    },
    Keeper {
        name: "az",
        moved: Some(("AZURE_CONFIG_DIR", "msal_token_cache.json")),
        home: ".azure/msal_token_cache.json",
        holds: &["\"RefreshToken\""],
        issuers: &["login.microsoftonline.com"],
        client: Some("04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
        mend: "az logout",
    },
    Keeper {
        name: "Claude Code",
        moved: Some(("CLAUDE_CONFIG_DIR", ".credentials.json")),
        home: ".claude/.credentials.json",
        holds: &["\"refreshToken\""],
        issuers: &["console.anthropic.com", "claude.ai"],
        client: Some("9d1c250a-e61b-44d9-88ed-5944d1962f5e"),
        mend: "claude /logout",
    },
    Keeper {
        name: "Codex",
        moved: Some(("CODEX_HOME", "auth.json")),
        home: ".codex/auth.json",
        holds: &["\"refresh_token\""],
        issuers: &["auth.openai.com"],
        client: Some("app_EMoamEEZ73f0CkXaXp7hrann"),
        mend: "codex logout",
    },
    Keeper {
        name: "Gemini CLI",
        moved: None,
        home: ".gemini/oauth_creds.json",
        holds: &["\"refresh_token\""],
        issuers: &["accounts.google.com", "oauth2.googleapis.com"],
        client: None,
        mend: "rm ~/.gemini/oauth_creds.json",
    },
    Keeper {
        name: "oidc-agent",
        moved: Some(("OIDC_CONFIG_DIR", "")),
        home: ".config/oidc-agent",
        // Its accounts are sealed; the list of its issuers is not.
        holds: &["https://"],
        issuers: &[],
        client: None,
        mend: "oidc-gen --delete SHORTNAME (oidc-gen --accounts lists them)",
    },
    Keeper {
        name: "oidc-agent",
        moved: None,
        home: ".oidc-agent",
        holds: &["https://"],
        issuers: &[],
        client: None,
        mend: "oidc-gen --delete SHORTNAME (oidc-gen --accounts lists them)",
    },
    Keeper {
        name: "pizauth",
        moved: None,
        home: ".config/pizauth.conf",
        // Its tokens are in its memory; what it is configured for is in this file.
        holds: &["token_uri"],
        issuers: &[],
        client: None,
        mend: "pizauth shutdown, and take the account out of ~/.config/pizauth.conf",
    },
    Keeper {
        name: "rclone",
        moved: None,
        home: ".config/rclone/rclone.conf",
        holds: &["refresh_token"],
        issuers: &[],
        client: None,
        mend: "rclone config disconnect REMOTE:",
    },
    Keeper {
        name: "kubelogin",
        moved: None,
        home: ".kube/cache/oidc-login",
        holds: &["refresh_token"],
        issuers: &[],
        client: None,
        mend: "kubectl oidc-login clean",
    },
    Keeper {
        name: "the AWS CLI (sso)",
        moved: None,
        home: ".aws/sso/cache",
        holds: &["\"refreshToken\""],
        issuers: &["amazonaws.com"],
        client: None,
        mend: "aws sso logout",
    },
    Keeper {
        name: "wrangler",
        moved: None,
        home: ".config/.wrangler/config/default.toml",
        holds: &["refresh_token"],
        issuers: &["dash.cloudflare.com"],
        client: None,
        mend: "wrangler logout",
    },
    Keeper {
        name: "mcp-remote",
        moved: Some(("MCP_REMOTE_CONFIG_DIR", "")),
        home: ".mcp-auth",
        holds: &["refresh_token"],
        issuers: &[],
        client: None,
        mend: "rm -r ~/.mcp-auth",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_says_what_it_is_for_once() {
        let names: BTreeSet<_> = TOOLS.iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), TOOLS.len(), "a tool stands twice");
        for tool in TOOLS {
            assert!(!tool.variables.is_empty() && !tool.overrides.is_empty());
            let once: BTreeSet<_> = tool.variables.iter().collect();
            assert_eq!(once.len(), tool.variables.len(), "{}", tool.name);
        }
        for keeper in KEEPERS {
            assert!(!keeper.home.starts_with('/') && !keeper.mend.is_empty());
            assert!(!keeper.holds.is_empty(), "{}", keeper.name);
        }
    }
}
