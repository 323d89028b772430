//! What `login` asks on a terminal: whatever it was not told, before anything is done.

use std::fmt::Display;

use authd_client::Client;
use authd_proto::WireSecret;
use authd_proto::provider::{ProviderList, ProviderShow, ProviderVariable};
use authd_proto::request::LoginStart;
use authd_proto::response::AccountInfo;
use url::Url;

use super::LoginArgs;
use super::place::Way;
use super::repeat::Given;
use super::which::host;
use crate::exit::Failure;
use crate::input::Keyboard;
use crate::output::{STRONG, clean, note, styled, tell};
use crate::{daemon, output};

/// What is asked for at an OpenID provider by people who do not say: who they are, and renewal.
const USUAL_SCOPES: &str = "openid offline_access";
/// The answer that leaves the scopes to the provider's entry.
const USUAL: &str = "usual";
/// The answer that has the provider register this client.
const REGISTER: &str = "register";
/// The answer that stands for nothing at all.
const NONE: &str = "none";

/// Asks for what `args` lack, shows what will be done, and asks whether to go on. Asks nothing where they say
/// enough, or where an account that exists knows the rest.
pub(super) fn complete(
    args: &mut LoginArgs,
    client: &mut Client,
    keyboard: &Keyboard,
    way: Way,
) -> Result<(), Failure> {
    let is_told = args.names_server() && args.client.credential.client_id.is_some();
    if is_told || args.client.is_enough() || args.goes_by_resource() {
        return Ok(());
    }
    let accounts = daemon::accounts(client)?;
    let known = |name: &str| accounts.iter().find(|known| known.account == name);
    if args.account.as_deref().and_then(known).is_some() {
        return Ok(());
    }

    let given = Given::by(args);
    let dialog = Dialog { keyboard };
    tell("Answers in [brackets] are taken when you just press Enter; Ctrl-C gives up.\n");
    if args.account.is_none() {
        let proposed = args
            .provider
            .clone()
            .or_else(|| args.server().and_then(|url| host(url)));
        args.account = Some(dialog.account(&accounts, proposed)?);
    }
    let existing = args.account.as_deref().and_then(known);
    if existing.is_none() {
        dialog.provider(args, client)?;
        dialog.client(args, client)?;
    }
    show(args, existing, way, &given);
    if !dialog.agrees("Go on?", true)? {
        return Err(Failure::GivenUp);
    }
    tell("");
    Ok(())
}

/// Whether the login of someone else is to take the account's place. `failure` says who they are.
pub(super) fn replace(keyboard: Option<&Keyboard>, failure: &Failure) -> bool {
    note(clean(&failure.message()));
    let question = "Give the account to them? You sign in once more then.";
    keyboard.is_some_and(|keyboard| Dialog { keyboard }.agrees(question, false).unwrap_or(false))
}

/// Asks who this client is, after the provider did not say. `failure` says why.
pub(super) fn client_id(
    keyboard: &Keyboard,
    failure: &Failure,
    request: &mut LoginStart,
) -> Result<(), Failure> {
    let hint = failure.hint().map(|hint| format!(": {hint}"));
    note(format_args!(
        "{}{}",
        clean(&failure.message()),
        clean(&hint.unwrap_or_default())
    ));
    let dialog = Dialog { keyboard };
    request.client_id = Some(dialog.ask("Client id", None, id)?);
    if request.client_secret.is_none() {
        request.client_secret = dialog.secret()?;
    }
    Ok(())
}

/// Whether an import is to take the place of the login that the account has. `failure` says what it has.
pub(in crate::command) fn replace_login(keyboard: &Keyboard, failure: &Failure) -> bool {
    note(clean(&failure.message()));
    let question = "Let the imported login take its place?";
    Dialog { keyboard }.agrees(question, false).unwrap_or(false)
}

struct Dialog<'a> {
    keyboard: &'a Keyboard,
}

impl Dialog<'_> {
    /// Asks until `accept` takes the answer; what it says against one is shown. An empty answer is `default`.
    fn ask<T, E: Display>(
        &self,
        question: &str,
        default: Option<&str>,
        accept: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Failure> {
        let prompt = match default {
            Some(default) => format!("{question} [{}]: ", clean(default)),
            None => format!("{question}: "),
        };
        loop {
            let answer = self.keyboard.line(&prompt).ok_or(Failure::GivenUp)?;
            let answer = match (answer.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            match accept(answer) {
                Ok(accepted) => return Ok(accepted),
                Err(objection) => tell(format_args!("  {objection}")),
            }
        }
    }

    fn agrees(&self, question: &str, default: bool) -> Result<bool, Failure> {
        let answers = if default { "Y/n" } else { "y/N" };
        let prompt = format!("{question} [{answers}]: ");
        loop {
            let answer = self.keyboard.line(&prompt).ok_or(Failure::GivenUp)?;
            match answer.trim().to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => tell("  answer y or n"),
            }
        }
    }

    /// One that exists, or the name of a new one.
    fn account(&self, known: &[AccountInfo], proposed: Option<String>) -> Result<String, Failure> {
        if !known.is_empty() {
            let names: Vec<_> = known.iter().map(|known| &*known.account).collect();
            tell(format_args!(
                "Accounts there are: {}. Name one to log in to it again, or name a new one.",
                clean(&names.join(", "))
            ));
        }
        let default = match known {
            [only] => Some(only.account.clone()),
            [] => proposed.or(Some("work".to_owned())),
            _ => proposed,
        };
        self.ask("Account", default.as_deref(), account_name)
    }

    /// Where a new account is: at a provider that has a name, or at an issuer's address.
    fn provider(&self, args: &mut LoginArgs, client: &mut Client) -> Result<(), Failure> {
        if args.names_server() {
            return Ok(());
        }
        // A daemon that knows none by name is no reason to give up.
        let named = daemon::pages(client, |cursor| ProviderList {
            limit: None,
            cursor,
        })
        .unwrap_or_default();
        let names: Vec<&str> = named.iter().map(|known| &*known.name).collect();
        if !names.is_empty() {
            tell("Providers that authd knows by name:");
            tell(rows(&names, usize::from(output::columns().min(80))));
        }
        let question = if names.is_empty() {
            "Provider (its address, the issuer)"
        } else {
            "Provider (a name, or its address, the issuer)"
        };
        let answer = self.ask(question, None, |text| match names.contains(&text) {
            true => Ok(text.to_owned()),
            false => issuer(text),
        })?;
        match named.into_iter().find(|known| known.name == answer) {
            Some(known) => {
                args.provider = Some(known.name);
                self.variables(args, &known.variables)
            }
            None => {
                args.issuer = Some(answer);
                Ok(())
            }
        }
    }

    /// What a provider has to be told, where nobody else knows.
    fn variables(
        &self,
        args: &mut LoginArgs,
        variables: &[ProviderVariable],
    ) -> Result<(), Failure> {
        for variable in variables {
            tell(format_args!(
                "{}: {}",
                clean(&variable.name),
                clean(&variable.about)
            ));
            let default = variable.default.as_deref();
            let value = self.ask(&clean(&variable.name), default, |text| match text {
                "" => Err("the provider's addresses need it"),
                text => Ok(text.to_owned()),
            })?;
            if default != Some(&value) {
                args.variables.push((variable.name.clone(), value));
            }
        }
        Ok(())
    }

    /// What proves the client, if there is anything.
    fn secret(&self) -> Result<Option<WireSecret>, Failure> {
        let prompt = "Client secret, if it has one (not shown): ";
        let secret = self.keyboard.secret(prompt).ok_or(Failure::GivenUp)?;
        Ok((!secret.is_empty()).then(|| WireSecret::new(secret)))
    }

    /// As which client a new account is, and what for.
    fn client(&self, args: &mut LoginArgs, client: &mut Client) -> Result<(), Failure> {
        if args.client.credential.client_id.is_none() {
            tell(format_args!(
                "A provider knows programs by a client id. Register one there for a native app,\n\
                 with the redirect {}.",
                clean(&registered_redirect(args, client))
            ));
            args.client.credential.client_id = match args.provider {
                Some(_) => Some(self.ask("Client id", None, id)?),
                None => {
                    tell("Some register programs by themselves: then press Enter.");
                    let answer = self.ask("Client id", Some(REGISTER), id)?;
                    (answer != REGISTER).then_some(answer)
                }
            };
            if args.client.credential.client_id.is_some() && !args.client.names_credential() {
                args.client.credential.typed_secret = self.secret()?;
            }
        }
        if args.scope.is_empty() {
            let (question, default) = match args.provider {
                Some(_) => ("Scopes, or 'usual' for those usual there", USUAL),
                None => ("Scopes, or 'none'", USUAL_SCOPES),
            };
            let scope: String = self.ask(question, Some(default), |text| {
                Ok::<_, &str>(text.to_owned())
            })?;
            if scope != NONE && scope != USUAL {
                args.scope = vec![scope];
            }
        }
        Ok(())
    }
}

/// What to register, as the provider's entry says, with the command that says more.
fn registered_redirect(args: &LoginArgs, client: &mut Client) -> String {
    let shown = args.provider.as_ref().and_then(|provider| {
        let provider = provider.clone();
        daemon::ask(client, &ProviderShow { provider }).ok()
    });
    match shown {
        Some(shown) => format!(
            "{} ('authctl provider show {}' says how)",
            shown.redirect_uri, shown.info.name
        ),
        None => "http://127.0.0.1/callback".to_owned(),
    }
}

/// Words in as few rows of so many columns as they fit.
fn rows(words: &[&str], columns: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        let word = clean(word);
        if column > 0 && column + 1 + word.len() < columns {
            text.push(' ');
            column += 1 + word.len();
        } else {
            text.push_str(if column > 0 { "\n  " } else { "  " });
            column = 2 + word.len();
        }
        text.push_str(&word);
    }
    text
}

/// What will be done, and the command that does it without questions.
fn show(args: &LoginArgs, existing: Option<&AccountInfo>, way: Way, given: &Given) {
    let account = args.account.as_deref().unwrap_or_default();
    let mut text = format!(
        "\n{} to '{}'{}:\n",
        styled(STRONG, "Log in"),
        clean(account),
        if existing.is_some() { " again" } else { "" }
    );
    let mut row = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<12}{}\n", clean(value)));
    };
    let provider = existing
        .map(|known| &known.issuer)
        .or(args.provider.as_ref())
        .or(args.server())
        .map_or("", |server| server);
    row("provider", provider);
    let client_id =
        existing
            .map(|known| &known.client_id)
            .or(args.client.credential.client_id.as_ref());
    row(
        "client id",
        client_id.map_or("one that the provider registers", |id| id),
    );
    if args.client.credential.typed_secret.is_some() {
        row("secret", "as you typed it; kept sealed");
    }
    let scopes = match existing {
        Some(known) if args.scope.is_empty() => known.scopes.join(" "),
        _ => args.scope.join(" "),
    };
    let otherwise = match args.provider {
        Some(_) => "those usual there",
        None => NONE,
    };
    row(
        "scopes",
        if scopes.is_empty() {
            otherwise
        } else {
            &scopes
        },
    );
    row(
        "how",
        match way {
            Way::Browser | Way::WindowsBrowser(_) => "in your browser",
            Way::Paste => "you open the page, and paste the address where it ends",
            Way::Device => "with a code, on any device",
            Way::Elsewhere(_) => "with a code on any device, or in a browser elsewhere",
        },
    );
    let command = clean(&given.completed(args, std::env::args().skip(1))).into_owned();
    text.push_str(&format!("\nThe same without questions:\n  {command}\n"));
    tell(text);
}

/// As PROTOCOL.md has it, so that the daemon does not object at the very end.
fn account_name(text: &str) -> Result<String, &'static str> {
    let mark = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= 64 && text.chars().all(mark) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits and . _ @ + -, and begins with a letter or digit")
    }
}

/// A host alone means https.
fn issuer(text: &str) -> Result<String, &'static str> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => Ok(text),
        _ => Err("that is no address: one looks like https://idp.example.com"),
    }
}

fn id(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        Err("without one, the provider lets nobody in")
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_is_an_issuer_and_a_word_with_spaces_is_none() {
        assert_eq!(
            issuer("idp.example.com/realms/x").as_deref(),
            Ok("https://idp.example.com/realms/x")
        );
        assert_eq!(
            issuer("http://127.0.0.1:8080").as_deref(),
            Ok("http://127.0.0.1:8080")
        );
        for wrong in ["", "my provider", "ftp://idp.example.com", "https://"] {
            assert!(issuer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_that_the_daemon_takes() {
        for right in ["work", "a", "me@example.com", "0-9_x+y"] {
            assert!(account_name(right).is_ok(), "{right}");
        }
        for wrong in ["", "-x", "my account", "ü", &"x".repeat(65)] {
            assert!(account_name(wrong).is_err(), "{wrong}");
        }
    }
}
