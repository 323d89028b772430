//! Text from outside, made fit for a terminal and a log.

/// `text` without control characters (C0, DEL, C1) and without the invisible ones that reorder or
/// hide what a terminal shows, runs of blanks made one, cut to `max` characters.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::new();
    let visible = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c });
    for c in visible.filter(|c| !c.is_control() && !is_invisible(*c)) {
        if !(c == ' ' && (cleaned.is_empty() || cleaned.ends_with(' '))) {
            cleaned.push(c);
        }
    }
    match cleaned.char_indices().nth(max) {
        Some((end, _)) => cleaned.truncate(end),
        None => cleaned.truncate(cleaned.trim_end().len()),
    }
    cleaned
}

/// Zero-width characters, bidirectional controls and tags.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// [`clean`], and nothing when nothing is left.
pub(crate) fn cleaned(text: &str, max: usize) -> Option<String> {
    Some(clean(text, max)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{clean, cleaned};

    #[test]
    fn control_characters_go_and_lengths_are_cut() {
        assert_eq!(
            clean("\u{1b}[31mred\u{7}\u{9b}2J\n  next\t", 100),
            "[31mred2J next"
        );
        assert_eq!(clean("safe\u{202e}txet\u{200b}", 100), "safetxet");
        assert_eq!(clean("äöü", 2), "äö");
        assert_eq!(cleaned(" \u{0}\n", 10), None);
    }
}
