//! A line as it is typed or pasted, and how it looks: no terminal here, only bytes in and text out.
//!
//! A terminal of Linux in its usual mode cuts lines at 4,095 bytes, and the address that a browser ends at
//! can be longer. So the keys are taken as they come, and what such a mode offers is done here.

use std::borrow::Cow;

use authd_proto::limits::MAX_FRAME;
use zeroize::Zeroizing;

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The line goes on.
    More,
    /// It was ended, with this in it.
    Line(String),
    /// There will be no more: Ctrl-D in an empty line.
    End,
}

/// The line, and where in an escape sequence the keys are.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Zeroizing<Vec<u8>>,
    escape: Escape,
}

/// Arrows and the like come as sequences, which are nothing for a line that is edited at its end.
#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    Outside,
    /// After the escape character.
    Begun,
    /// After `ESC [`: to the first letter or tilde.
    Sequence,
    /// After `ESC O`: one more.
    Single,
}

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const ESCAPE: u8 = 0x1b;

impl Line {
    /// Takes one byte.
    pub(super) fn take(&mut self, byte: u8) -> Typed {
        if self.in_escape(byte) {
            return Typed::More;
        }
        match byte {
            b'\r' | b'\n' => {
                let text = std::mem::take(&mut self.text);
                return Typed::Line(String::from_utf8_lossy(&text).into_owned());
            }
            CTRL_D if self.text.is_empty() => return Typed::End,
            BACKSPACE | DELETE => self.drop_last(),
            CTRL_U => self.text.clear(),
            CTRL_W => self.drop_word(),
            // No more than a frame could carry.
            b' '.. if self.text.len() < MAX_FRAME => self.text.push(byte),
            _ => {}
        }
        Typed::More
    }

    fn in_escape(&mut self, byte: u8) -> bool {
        self.escape = match (&self.escape, byte) {
            (Escape::Outside, ESCAPE) => Escape::Begun,
            (Escape::Outside, _) => return false,
            (Escape::Begun, b'[') => Escape::Sequence,
            (Escape::Begun, b'O') => Escape::Single,
            (Escape::Sequence, b'@'..=b'~') | (Escape::Begun | Escape::Single, _) => {
                Escape::Outside
            }
            (Escape::Sequence, _) => Escape::Sequence,
        };
        true
    }

    /// The last character, of however many bytes.
    fn drop_last(&mut self) {
        while let Some(byte) = self.text.pop() {
            if byte & 0xc0 != 0x80 {
                return;
            }
        }
    }

    fn drop_word(&mut self) {
        let is_space = |last: Option<&u8>| last == Some(&b' ');
        while is_space(self.text.last()) {
            self.text.pop();
        }
        while !self.text.is_empty() && !is_space(self.text.last()) {
            self.drop_last();
        }
    }

    /// What stands there.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }
}

/// The end of `text`, behind an ellipsis where all of it does not fit into so many columns.
pub(super) fn tail(text: &str, columns: usize) -> Cow<'_, str> {
    // What is not ASCII may be two columns wide.
    let width = |c: char| if c.is_ascii() { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= columns {
        return Cow::Borrowed(text);
    }
    let mut left = columns.saturating_sub(2);
    let start = text.char_indices().rev().find_map(|(at, c)| {
        let rest = left.checked_sub(width(c));
        left = rest.unwrap_or(0);
        rest.is_none().then_some(at + c.len_utf8())
    });
    Cow::Owned(format!("\u{2026}{}", &text[start.unwrap_or(0)..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come of `keys`.
    fn typed(keys: &[u8]) -> Vec<String> {
        let mut line = Line::default();
        keys.iter()
            .filter_map(|byte| match line.take(*byte) {
                Typed::Line(text) => Some(text),
                Typed::More | Typed::End => None,
            })
            .collect()
    }

    #[test]
    fn a_line_is_as_long_as_it_is() {
        let long = "x".repeat(20_000);
        assert_eq!(typed(format!("{long}\r").as_bytes()), [long]);
        let endless = "y".repeat(MAX_FRAME + 5);
        assert_eq!(typed(format!("{endless}\n").as_bytes())[0].len(), MAX_FRAME);
    }

    #[test]
    fn keys_edit_the_end_of_the_line() {
        assert_eq!(typed(b"wrok\x7f\x7f\x7fork\r"), ["work"]);
        assert_eq!(typed("zürich\u{8}\u{8}\u{8}\u{8}\u{8}\r".as_bytes()), ["z"]);
        assert_eq!(typed(b"all of it\x15new\r"), ["new"]);
        assert_eq!(typed(b"openid emial \x17email\r"), ["openid email"]);
        assert_eq!(typed(b"\x7f\x17\x15\r"), [""]);
        assert_eq!(typed(b"one\rtwo\r"), ["one", "two"]);
    }

    #[test]
    fn arrows_and_the_marks_of_a_paste_leave_no_trace() {
        assert_eq!(typed(b"a\x1b[D\x1b[1;5Cb\x1bOA\x1b[3~c\r"), ["abc"]);
        assert_eq!(typed(b"\x1b[200~https://x\x1b[201~\r"), ["https://x"]);
        assert_eq!(typed(b"a\x00\x01\x07b\r"), ["ab"]);
    }

    #[test]
    fn the_end_is_ctrl_d_where_nothing_was_typed() {
        assert_eq!(Line::default().take(CTRL_D), Typed::End);
        let mut line = Line::default();
        line.take(b'a');
        assert_eq!(line.take(CTRL_D), Typed::More);
    }

    #[test]
    fn a_long_line_shows_its_end_in_one_row() {
        assert_eq!(tail("abcdefghij", 10), "abcdefghij");
        assert_eq!(tail("abcdefghij", 9), "\u{2026}defghij");
        assert_eq!(tail("abcdefghij日本", 9), "\u{2026}hij日本");
        assert_eq!(tail("abcdefghij日本", 8), "\u{2026}ij日本");
        assert_eq!(tail("日本", 3), "\u{2026}");
        assert_eq!(tail("abc", 0), "\u{2026}");
    }
}
