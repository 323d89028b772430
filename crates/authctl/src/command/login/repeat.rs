//! The command line that does without questions what the answers to them came to.

use super::LoginArgs;

/// What the command line said before anything was asked.
pub(super) struct Given {
    account: bool,
    provider: bool,
    variables: usize,
    issuer: bool,
    client_id: bool,
    scopes: usize,
}

impl Given {
    pub(super) fn by(args: &LoginArgs) -> Self {
        Self {
            account: args.account.is_some(),
            provider: args.provider.is_some(),
            variables: args.variables.len(),
            issuer: args.issuer.is_some(),
            client_id: args.client.credential.client_id.is_some(),
            scopes: args.scope.len(),
        }
    }

    /// The same without questions: `words` as they were, and what was answered. A secret is no part of a
    /// command.
    pub(super) fn completed(
        &self,
        args: &LoginArgs,
        words: impl Iterator<Item = String>,
    ) -> String {
        let mut command = vec!["authctl".to_owned()];
        command.extend(words.map(|word| quoted(&word)));
        if !self.account
            && let Some(account) = &args.account
        {
            let after = command.iter().position(|word| word == "login");
            command.insert(after.map_or(command.len(), |at| at + 1), quoted(account));
        }
        let mut option = |name: &str, value: &str| command.extend([name.to_owned(), quoted(value)]);
        if let Some(provider) = args.provider.as_ref().filter(|_| !self.provider) {
            option("--provider", provider);
        }
        for (name, value) in args.variables.iter().skip(self.variables) {
            option("--set", &format!("{name}={value}"));
        }
        if let Some(issuer) = args.issuer.as_ref().filter(|_| !self.issuer) {
            option("--issuer", issuer);
        }
        let client_id = args.client.credential.client_id.as_ref();
        if let Some(client_id) = client_id.filter(|_| !self.client_id) {
            option("--client-id", client_id);
        }
        for scope in args.scope.iter().skip(self.scopes) {
            option("--scope", scope);
        }
        if args.client.credential.typed_secret.is_some() {
            command.push("--client-secret-stdin".to_owned());
        }
        command.join(" ")
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        assert_eq!(
            quoted("https://idp.example.com:8443/x"),
            "https://idp.example.com:8443/x"
        );
        assert_eq!(quoted("openid email"), "'openid email'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
