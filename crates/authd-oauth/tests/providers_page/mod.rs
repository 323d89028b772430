//! docs/providers.md, written from the presets: a section for each provider.

use std::{fmt::Write as _, path::PathBuf};

use authd_oauth::{
    DEFAULT_REDIRECT_URI,
    preset::{Entry, Fact, Redirect, built_in},
};

const HEAD: &str = "# Providers

How to log in to each provider that authd knows by name. This page is written from the data that authd
itself uses (`crates/authd-oauth/presets/`): `cargo run -p authd-oauth --example write_providers` writes it
anew, and a test holds the two equal. `authctl provider show NAME` tells the same, and with every fact where
it was read; what no source was found for is called unknown.

Every login needs a **client id of your own**: authd comes with none, and uses nobody else's. Registering one
takes a few minutes, once. Enter the redirect to the letter. Where it has no port, any port will do, and
authd takes a free one; where it has one, free that port, or register another and give it with
`--redirect-uri`.

Some providers keep the logins of their own programs to those programs, and let nobody register a client for
them: the consumer logins of Anthropic (Claude) and OpenAI (ChatGPT) are such. There is no preset for them,
and authd does not borrow the client ids of their programs; use an API key of theirs instead.

A provider that is not here: `authctl login NAME --issuer URL --client-id ID` wherever it has OAuth or OpenID
metadata, or an entry of your own in the configuration ([config.toml](config.toml), `[providers.NAME]`), of
the same shape as those here.
";

pub(crate) fn path() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/providers.md"
    ))
}

pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| Name | Provider | On another device | Needs |\n|---|---|---|---|\n");
    for (name, known) in built_in().iter() {
        let entry = &known.entry;
        let device = match entry.device {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        let variables: Vec<String> = entry
            .variables
            .iter()
            .map(|(name, variable)| match &variable.default {
                Some(default) => format!("`{name}` ({default})"),
                None => format!("`{name}`"),
            })
            .collect();
        let _ = writeln!(
            page,
            "| [{name}](#{name}) | {} | {device} | {} |",
            title(name, entry),
            variables.join(", ")
        );
    }
    for (name, known) in built_in().iter() {
        section(&mut page, name, &known.entry);
    }
    page
}

fn title(name: &str, entry: &Entry) -> String {
    entry.title.clone().unwrap_or_else(|| name.to_owned())
}

fn section(page: &mut String, name: &str, entry: &Entry) {
    let _ = writeln!(page, "\n## {name}\n\n{}.", title(name, entry));
    let registration = entry.registration.as_ref().expect("a test holds that");
    let _ = writeln!(page, "\nRegister a client at <{}>:\n", registration.url);
    for (number, step) in registration.steps.iter().enumerate() {
        let _ = writeln!(page, "{}. {step}", number + 1);
    }
    if entry.unknown.contains(&Fact::Registration) {
        let _ = writeln!(
            page,
            "\nThese steps were not checked against the provider's documentation."
        );
    }
    let redirect = match entry.redirect {
        Some(Redirect::AnyPort) => DEFAULT_REDIRECT_URI,
        _ => entry
            .redirect_uri
            .as_deref()
            .unwrap_or(DEFAULT_REDIRECT_URI),
    };
    let _ = writeln!(page, "\nRedirect: `{redirect}`");
    let mut command = format!("authctl login {name} --provider {name}");
    for (variable, known) in &entry.variables {
        let _ = match &known.default {
            None => write!(command, " --set {variable}={}", variable.to_uppercase()),
            Some(_) => Ok(()),
        };
    }
    command.push_str(" --client-id ID");
    let public = entry.client_auth.is_empty() || entry.client_auth.contains(&PUBLIC);
    if !public {
        command.push_str(" --client-secret-stdin < secret-file");
    }
    let _ = writeln!(page, "\n```\n{command}\n```");
    for (variable, known) in &entry.variables {
        let default = known.default.as_ref().map_or_else(String::new, |default| {
            format!("; `{default}` if you do not say")
        });
        let _ = writeln!(page, "\n`--set {variable}=…`: {}{default}.", known.about);
    }
    for note in &entry.notes {
        let _ = writeln!(page, "\n{note}");
    }
}

const PUBLIC: authd_oauth::preset::AuthMethod = authd_oauth::preset::AuthMethod::None;
