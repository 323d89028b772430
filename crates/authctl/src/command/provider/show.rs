//! How `provider list` and `provider show` look.

use authd_proto::provider::{
    ProviderFact, ProviderInfo, ProviderOrigin, ProviderShowReply, ProviderVariable,
};
use authd_proto::request::Flow;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use crate::output::{STRONG, clean, styled};

/// A line for each provider.
pub(super) fn table(providers: &[ProviderInfo], columns: u16) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(columns)
        .set_header(["NAME", "PROVIDER", "FLOWS", "VARIABLES"]);
    for provider in providers {
        let own = match provider.origin {
            ProviderOrigin::Config => " (yours)",
            _ => "",
        };
        table.add_row([
            clean(&provider.name).into_owned(),
            format!("{}{own}", clean(&provider.title)),
            flows(&provider.flows),
            variables(&provider.variables),
        ]);
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // What is typed is not broken; only the titles give way.
        if number != 1 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        if number == 0 {
            text.push_str(&styled(STRONG, line));
        } else {
            text.push('\n');
            text.push_str(line);
        }
    }
    text
}

fn flows(flows: &[Flow]) -> String {
    let names: Vec<&str> = flows
        .iter()
        .map(|flow| match flow {
            Flow::Browser => "browser",
            Flow::Device => "device",
            Flow::DeviceOrBrowser => "device or browser",
            Flow::ClientCredentials => "client credentials",
            Flow::JwtBearer => "assertions",
        })
        .collect();
    names.join(", ")
}

/// `name` where a value must be given, `name=default` where it may.
fn variables(variables: &[ProviderVariable]) -> String {
    let shown: Vec<String> = variables
        .iter()
        .map(|variable| match &variable.default {
            Some(default) => format!("{}={}", clean(&variable.name), clean(default)),
            None => clean(&variable.name).into_owned(),
        })
        .collect();
    shown.join(", ")
}

/// Everything known of one provider.
pub(super) fn all(shown: &ProviderShowReply, columns: u16) -> String {
    let info = &shown.info;
    let mut page = Page::new(columns);
    page.line(
        0,
        &styled(
            STRONG,
            format!("{} - {}", clean(&info.name), clean(&info.title)),
        ),
    );
    page.row("flows", &flows(&info.flows));
    for variable in &info.variables {
        let default = match &variable.default {
            Some(default) => format!(" [default: {default}]"),
            None => String::new(),
        };
        let about = format!("--set {}=…  {}{default}", variable.name, variable.about);
        page.row("variable", &about);
    }
    for address in &shown.addresses {
        let name = address.name.replace('_', " ");
        let name = name.strip_suffix(" endpoint").unwrap_or(&name);
        page.row(name, &address.url);
    }
    page.head("To get a client id");
    if let Some(registration) = &shown.registration {
        page.row("where", &registration.url);
        for (number, step) in registration.steps.iter().enumerate() {
            page.row(&format!("{}.", number + 1), step);
        }
    }
    page.row("redirect", &shown.redirect_uri);
    page.head("Then");
    let needed: Vec<String> = info
        .variables
        .iter()
        .filter(|variable| variable.default.is_none())
        .map(|variable| format!(" --set {}=…", variable.name))
        .collect();
    let command = format!(
        "authctl login NAME --provider {}{} --client-id ID",
        info.name,
        needed.concat()
    );
    page.row("", &command);
    if !shown.notes.is_empty() {
        page.head("To know");
        for note in &shown.notes {
            page.row("-", note);
        }
    }
    page.head("What is known of it, and whence");
    for fact in &shown.facts {
        page.fact(fact, info.origin);
    }
    page.text
}

/// A page of rows, each of a name and a text that is wrapped beside it.
struct Page {
    text: String,
    columns: usize,
}

impl Page {
    const NAME: usize = 22;

    fn new(columns: u16) -> Self {
        Self {
            text: String::new(),
            columns: usize::from(columns).max(40),
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(text);
    }

    fn head(&mut self, text: &str) {
        self.line(0, "");
        self.line(0, &styled(STRONG, text));
    }

    /// A short name stands closer to its text.
    fn row(&mut self, name: &str, text: &str) {
        let width = match name.len() {
            0..=2 => 4,
            _ if name.len() > Self::NAME => name.len() + 2,
            _ => Self::NAME,
        };
        let text = clean(text);
        let mut name = format!("{:<1$}", clean(name), width);
        for line in wrapped(&text, self.columns.saturating_sub(width + 2)) {
            let whole = format!("{name}{line}");
            self.line(2, whole.trim_end());
            name = " ".repeat(width);
        }
    }

    fn fact(&mut self, fact: &ProviderFact, origin: ProviderOrigin) {
        let unknown = fact.sources.is_empty() && fact.value.is_none();
        let value = match (&fact.value, unknown) {
            (Some(value), _) => value.as_str(),
            (None, true) => "unknown",
            (None, false) => "as the source says",
        };
        self.row(&fact.fact.replace('_', " "), value);
        for source in &fact.sources {
            self.row("", &format!("{} (read {})", source.url, source.read));
            self.row("", &source.says);
        }
        if fact.sources.is_empty() && fact.value.is_some() {
            let whence = match origin {
                ProviderOrigin::Config => "from your configuration",
                _ => "not checked against the provider's documentation",
            };
            self.row("", whence);
        }
    }
}

/// Lines of at most `columns`; a word that is longer stands whole, so that it can be copied.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words_and_no_word_is_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrapped("https://a.long.address x", 5),
            ["https://a.long.address", "x"]
        );
        assert_eq!(wrapped("", 5), [""]);
    }
}
