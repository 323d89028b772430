//! The manual pages of the command, one for each verb, out of the grammar of the command line.
//!
//! What `--help` says is all there, in the order of a manual; what concerns every verb (exit statuses,
//! environment, files) is on the first page. A new verb or option needs nothing here.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::cli::Cli;
use crate::exit;

/// Where `man` looks for commands.
const SECTION: &str = "1";

/// The columns of an example on a terminal of 80: the margins of man(1) take the rest.
const EXAMPLE_COLUMNS: usize = 72;

/// What decides about a run beside the command line. What the daemon reads is on its own page.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "AUTHD_SOCKET",
        "Where the daemon listens, as an absolute path. It names a daemon that somebody else started: authctl \
         starts none for it.",
    ),
    (
        "AUTHD_STATE_DIR",
        "The state directory. The socket is then in it too, so that this and the next one make an instance of \
         its own.",
    ),
    ("AUTHD_CONFIG_DIR", "The configuration directory."),
    (
        "XDG_RUNTIME_DIR, XDG_STATE_HOME, XDG_CONFIG_HOME",
        "Where the directories below are.",
    ),
    ("BROWSER", "The browser that 'authctl login' opens."),
    ("NO_COLOR", "No colour, whatever standard output is."),
];

/// What a person may look for. The rest of the state directory is the daemon's.
const FILES: &[(&str, &str)] = &[
    (
        "$XDG_RUNTIME_DIR/authd/authd.sock",
        "Where the daemon listens. Without such a directory /run/user/UID/authd/authd.sock, else run/authd.sock \
         in the state directory.",
    ),
    (
        "~/.config/authd/config.toml",
        "The configuration: authd-config(5).",
    ),
    (
        "~/.local/state/authd",
        "The state directory: the sealed store, events, and the log of a daemon that authctl started, authd.log.",
    ),
];

/// One page.
pub(crate) struct Page {
    /// The command that it is about, by its words without `authctl`: `["provider", "show"]`.
    pub(crate) command: Vec<String>,
    /// As `man` wants it called: `authctl-provider-show.1`.
    pub(crate) file_name: String,
    /// For groff.
    pub(crate) text: Vec<u8>,
}

/// Every page, the one of `authctl` itself first.
///
/// # Errors
/// None in practice: everything is written to memory.
pub(crate) fn pages() -> io::Result<Vec<Page>> {
    let mut root = Cli::command().subcommand_help_heading("COMMANDS");
    root.build();
    let mut pages = Vec::new();
    add(&mut pages, &root, &[])?;
    Ok(pages)
}

fn add(pages: &mut Vec<Page>, command: &Command, words: &[String]) -> io::Result<()> {
    let man = Man::new(command.clone())
        .section(SECTION)
        // An empty argument, as groff wants it: a date would make each build another page.
        .date("\"\"")
        .source(concat!("authd ", env!("CARGO_PKG_VERSION")))
        .manual("authd manual");
    pages.push(Page {
        command: words.to_vec(),
        file_name: man.get_filename(),
        text: page(&man, command, words.is_empty())?,
    });
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        let mut words = words.to_vec();
        words.push(below.get_name().to_owned());
        // The heading is not inherited.
        add(
            pages,
            &below.clone().subcommand_help_heading("COMMANDS"),
            &words,
        )?;
    }
    Ok(())
}

fn page(man: &Man, command: &Command, first: bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    // No word is torn apart at the end of a line: commands and options are copied from here.
    let mut roff = Roff::new();
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff.to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if first {
        everywhere().to_writer(&mut text)?;
    } else if let Some(after) = command.get_after_help() {
        after_options(&after.to_string()).to_writer(&mut text)?;
    }
    see_also(command, first).to_writer(&mut text)?;
    Ok(text)
}

/// As `--help` has it: with all their options, some commands would fill half a page here.
fn synopsis(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    let name = command.get_bin_name().unwrap_or_default();
    for (number, form) in usage.lines().enumerate() {
        if number > 0 {
            roff.control("br", []);
        }
        let form = form.trim();
        let form = form.strip_prefix("Usage:").map_or(form, str::trim_start);
        match form.strip_prefix(name) {
            Some(rest) => roff.text([bold(name), roman(rest)]),
            None => roff.text([roman(form)]),
        };
    }
    roff
}

/// The text after the options: commands to try, line by line, and whatever else is said there.
fn after_options(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (examples, notes): (Vec<&str>, Vec<&str>) = text
        .split("\n\n")
        .partition(|block| block.starts_with("Example"));
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
    }
    for note in notes {
        roff.control("PP", []);
        roff.text([roman(note)]);
    }
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for block in examples {
        // "Example: one", or "Examples:" above several.
        let commands = block
            .split_once(':')
            .map_or(block, |(_, commands)| commands);
        roff.control("EX", []);
        for line in commands
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            for part in folded(line) {
                roff.text([roman(part)]);
            }
        }
        roff.control("EE", []);
    }
    roff
}

/// A command as the shell takes it on several lines, where it is too long for one.
fn folded(line: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = line.to_owned();
    while rest.chars().count() > EXAMPLE_COLUMNS {
        // Room for the backslash. What has no blank there stays as long as it is.
        let end = rest
            .char_indices()
            .take(EXAMPLE_COLUMNS - 2)
            .filter(|(at, char)| *char == ' ' && !rest[..*at].trim().is_empty())
            .last();
        let Some((at, _)) = end else { break };
        let next = format!("    {}", rest[at..].trim_start());
        rest.truncate(at);
        parts.push(format!("{} \\", rest.trim_end()));
        rest = next;
    }
    parts.push(rest);
    parts
}

/// What holds for every verb.
fn everywhere() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning, remedy) in exit::STATUSES {
        let number = (*status as u8).to_string();
        entry(&mut roff, &number, &sentence(meaning, remedy));
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        entry(&mut roff, name, meaning);
    }
    roff.control("SH", ["FILES"]);
    for (path, meaning) in FILES {
        entry(&mut roff, path, meaning);
    }
    roff
}

fn sentence(meaning: &str, remedy: &str) -> String {
    let mut chars = meaning.chars();
    let meaning: String = chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    });
    if remedy.is_empty() {
        format!("{meaning}.")
    } else {
        format!("{meaning}: {remedy}.")
    }
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(text)]);
}

fn see_also(command: &Command, first: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut names = Vec::new();
    if !first {
        // The pages above it: authctl-provider-show is below authctl-provider, and that below authctl.
        let name = command.get_display_name().unwrap_or_default();
        names.extend(name.match_indices('-').map(|(at, _)| &name[..at]));
    }
    let mut line: Vec<Inline> = Vec::new();
    for (name, section) in names
        .into_iter()
        .map(|name| (name, SECTION))
        .chain([("authd", "1"), ("authd-config", "5")])
    {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(format!("({section})"))]);
    }
    roff.text(line);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_every_option_is_on_it() {
        fn count(command: &Command) -> usize {
            1 + command.get_subcommands().map(count).sum::<usize>()
        }
        let mut root = Cli::command();
        root.build();
        let pages = pages().expect("memory takes it");
        assert_eq!(pages.len(), count(&root), "a verb is without a page");
        for page in &pages {
            let mut command = &root;
            for word in &page.command {
                command = command.find_subcommand(word).expect("it has a page");
            }
            let text = String::from_utf8(page.text.clone()).expect("it is text");
            let options = command
                .get_arguments()
                .filter(|option| !option.is_hide_set());
            for long in options.filter_map(|option| option.get_long()) {
                let written = format!(r"\fB\-\-{}\fR", long.replace('-', r"\-"));
                assert!(text.contains(&written), "{}: no --{long}", page.file_name);
            }
        }
    }

    #[test]
    fn an_example_that_is_too_long_is_folded_as_a_shell_takes_it() {
        assert_eq!(folded("authctl token work"), ["authctl token work"]);
        let long = format!("authctl {}end", "login work ".repeat(12));
        let parts = folded(&long);
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.chars().count() <= EXAMPLE_COLUMNS, "{part}");
        }
        let whole: Vec<_> = parts
            .iter()
            .map(|part| part.trim_end_matches('\\').trim())
            .collect();
        assert_eq!(whole.join(" "), long);
        let one_word = "x".repeat(200);
        assert_eq!(folded(&one_word), [one_word.as_str()]);
    }
}
