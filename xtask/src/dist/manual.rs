//! The two manual pages that `authctl man` does not write: `authd(1)`, out of what `authd --help` prints,
//! and `authd-config(5)`, out of the commented template of the configuration.

use roff::{Inline, Roff, bold, roman};

/// A page for groff, of what a program's `--help` says: a sentence, paragraphs, its usage, and lists under
/// headings whose lines are indented.
pub(crate) fn of_help(name: &str, version: &str, help: &str, see_also: &[(&str, &str)]) -> String {
    let mut blocks = help.split("\n\n").map(str::trim_end);
    let mut roff = Roff::new();
    let sentence = blocks.next().unwrap_or_default().trim_end_matches('.');
    head(&mut roff, name, "1", version, sentence);
    // What is printed has the usage below the description; a manual has it above.
    let (usage, rest): (Vec<&str>, Vec<&str>) =
        blocks.partition(|block| block.starts_with("Usage:"));
    roff.control("SH", ["SYNOPSIS"]);
    for line in usage
        .iter()
        .filter_map(|usage| usage.strip_prefix("Usage:"))
    {
        roff.text([bold(line.trim())]);
    }
    roff.control("SH", ["DESCRIPTION"]);
    for block in rest {
        match block.split_once(":\n") {
            Some((heading, list)) if list.starts_with("  ") => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                entries(&mut roff, list);
            }
            _ => {
                roff.control("PP", []);
                roff.text([roman(filled(block.lines()))]);
            }
        }
    }
    tail(&mut roff, see_also);
    roff.render()
}

/// `  name  what it means`, with further lines of the meaning below it.
fn entries(roff: &mut Roff, list: &str) {
    for line in list.lines().map(str::trim) {
        match line.split_once("  ") {
            Some((name, meaning)) => {
                roff.control("TP", []);
                roff.text([bold(name)]);
                roff.text([roman(meaning.trim())]);
            }
            None => {
                roff.text([roman(line)]);
            }
        }
    }
}

/// A part of a configuration template.
enum Part<'a> {
    /// `[name]`, with the comment above it.
    Table(&'a str, Vec<&'a str>),
    /// `key = default`, once or several times in a row, with the comment above them.
    Keys(Vec<&'a str>, Vec<&'a str>),
    /// A comment that stands by itself.
    Comment(Vec<&'a str>),
}

fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut comment = Vec::new();
    for line in template.lines().map(str::trim_end) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if line.starts_with('[') {
            parts.push(Part::Table(line, std::mem::take(&mut comment)));
        } else if line.is_empty() {
            if !comment.is_empty() {
                parts.push(Part::Comment(std::mem::take(&mut comment)));
            }
        } else if let (Some(Part::Keys(keys, _)), true) = (parts.last_mut(), comment.is_empty()) {
            keys.push(line);
        } else {
            parts.push(Part::Keys(vec![line], std::mem::take(&mut comment)));
        }
    }
    if !comment.is_empty() {
        parts.push(Part::Comment(comment));
    }
    parts
}

/// A page for groff, of a template in TOML whose comments explain the keys that follow them.
///
/// Keys may be commented out themselves: they are examples, with their meaning behind a `#` on the same
/// line.
pub(crate) fn of_template(version: &str, template: &str, see_also: &[(&str, &str)]) -> String {
    let mut roff = Roff::new();
    let sentence = "the configuration of the authd daemon";
    head(&mut roff, "authd-config", "5", version, sentence);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("~/.config/authd/config.toml")]);
    roff.control("br", []);
    roff.text([bold("$AUTHD_CONFIG_DIR/config.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut in_keys = false;
    for part in parts(template) {
        if !in_keys && !matches!(part, Part::Comment(_)) {
            roff.control("SH", ["KEYS"]);
            in_keys = true;
        }
        match part {
            Part::Table(name, comment) => {
                roff.control("SS", [name]);
                prose(&mut roff, &comment);
            }
            Part::Keys(keys, comment) => {
                for (number, key) in keys.into_iter().enumerate() {
                    roff.control(if number == 0 { "TP" } else { "TQ" }, []);
                    roff.text([bold(key)]);
                }
                explain(&mut roff, &comment);
            }
            Part::Comment(comment) => prose(&mut roff, &comment),
        }
    }
    tail(&mut roff, see_also);
    roff.render()
}

/// Paragraphs, and below them the keys that are commented out, each with its note.
fn prose(roff: &mut Roff, comment: &[&str]) {
    let mut words = Vec::new();
    let end = |roff: &mut Roff, words: &mut Vec<&str>| {
        if !words.is_empty() {
            roff.control("PP", []);
            roff.text([roman(filled(words.drain(..)))]);
        }
    };
    // Keys in a row that need no word stand close together.
    let mut bare = false;
    for &line in comment {
        match example(line) {
            None if line.is_empty() => end(roff, &mut words),
            None => words.push(line),
            Some((key, note)) => {
                end(roff, &mut words);
                roff.control(if bare { "TQ" } else { "TP" }, []);
                roff.text([bold(key)]);
                if !note.is_empty() {
                    roff.text([roman(note)]);
                }
                bare = note.is_empty();
                continue;
            }
        }
        bare = false;
    }
    end(roff, &mut words);
}

/// What a key means, with its examples on lines of their own.
fn explain(roff: &mut Roff, comment: &[&str]) {
    for chunk in comment.chunk_by(|one, next| example(one).is_none() && example(next).is_none()) {
        match chunk.first().and_then(|line| example(line)) {
            Some((key, _)) => {
                roff.control("br", []);
                roff.text([bold(key)]);
                roff.control("br", []);
            }
            None => {
                roff.text([roman(filled(chunk.iter().copied()))]);
            }
        }
    }
}

/// A commented line that is TOML: `[name]`, or a key with its value, and the note behind it.
fn example(line: &str) -> Option<(&str, &str)> {
    let (toml, note) = line.split_once("  #").unwrap_or((line, ""));
    let toml = toml.trim_end();
    let is_entry = toml.starts_with('[') || toml.contains(" = ");
    // A sentence may begin with a key and its value, too.
    (is_entry && toml::from_str::<toml::Table>(toml).is_ok()).then(|| (toml, note.trim()))
}

fn filled<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

fn head(roff: &mut Roff, name: &str, section: &str, version: &str, sentence: &str) {
    let source = format!("authd {version}");
    // The third would be a date, and make each build another page.
    roff.control(
        "TH",
        [name, section, "\"\"", source.as_str(), "authd manual"],
    );
    // No word is torn apart at the end of a line: keys and paths are copied from here.
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff.control("SH", ["NAME"]);
    let mut chars = sentence.chars();
    let sentence: String = chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    });
    roff.text([roman(format!("{name} - {sentence}"))]);
}

fn tail(roff: &mut Roff, see_also: &[(&str, &str)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (name, section) in see_also {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(*name), roman(format!("({section})"))]);
    }
    roff.text(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_becomes_the_sections_of_a_manual() {
        let help = "Does it.\n\nMore of\nit.\n\nUsage: it [--now]\n\nOptions:\n  -h, --help  Print this\n\n\
                    Environment:\n  IT  what it is\n      and was";
        let page = of_help("it", "1.0", help, &[("that", "5")]);
        for wanted in [
            "it \\- does it\n",
            ".SH SYNOPSIS\n\\fBit [\\-\\-now]\\fR\n",
            ".PP\nMore of it.\n",
            ".SH OPTIONS\n.TP\n\\fB\\-h, \\-\\-help\\fR\nPrint this\n",
            ".SH ENVIRONMENT\n.TP\n\\fBIT\\fR\nwhat it is\nand was\n",
            "\\fBthat\\fR(5)\n",
        ] {
            assert!(page.contains(wanted), "{wanted:?} is not in\n{page}");
        }
        assert!(page.find("SYNOPSIS") < page.find("DESCRIPTION"), "{page}");
    }

    #[test]
    fn every_key_of_the_template_is_in_the_manual_with_its_comment() {
        let template = "# Of it.\n\n# Whether, where\n# it = 1, or so.\nallow = false\n\n[part]\n# One, as in\n# one = 1\n# or so.\none = 0\n\
                        two = 0\n\n# Own ones.\n[own]\n# [own.x]\n# Where:\n# at = \"a\"   # the place\n";
        let page = of_template("1.0", template, &[]);
        for wanted in [
            ".SH DESCRIPTION\n.PP\nOf it.\n.SH KEYS\n",
            ".TP\n\\fBallow = false\\fR\nWhether, where it = 1, or so.\n",
            ".SS [part]\n.TP\n\\fBone = 0\\fR\n.TQ\n\\fBtwo = 0\\fR\nOne, as in\n.br\n\\fBone = 1\\fR\n.br\nor so.\n",
            ".SS [own]\n.PP\nOwn ones.\n.TP\n\\fB[own.x]\\fR\n",
            ".PP\nWhere:\n.TP\n\\fBat = \"a\"\\fR\nthe place\n",
        ] {
            assert!(page.contains(wanted), "{wanted:?} is not in\n{page}");
        }
    }
}
