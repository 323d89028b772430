//! An address as a picture that a telephone reads from the terminal.

use anstyle::AnsiColor;
use fast_qr::{ECL, QRBuilder, QRCode};
use std::io::{self, IsTerminal as _};

use crate::output::styled;

/// Light modules all around (ISO/IEC 18004 §5.3.8): many cameras find no code without them.
const QUIET_ZONE: usize = 4;

/// `url` as a picture, where the terminal can show it whole.
pub(super) fn picture(url: &str) -> Option<String> {
    if !io::stderr().is_terminal() || !io::stdout().is_terminal() || !utf8() {
        return None;
    }
    let code = QRBuilder::new(url).ecl(ECL::L).build().ok()?;
    let (width, _) = terminal_size::terminal_size_of(io::stderr())?;
    let lines = lines(&code);
    (side(&code) <= usize::from(width.0)).then(|| {
        // The blocks are the light modules, whatever the terminal's colours are.
        let white_on_black = AnsiColor::BrightWhite.on(AnsiColor::Black);
        let styled: Vec<_> = lines
            .iter()
            .map(|line| styled(white_on_black, line))
            .collect();
        styled.join("\n")
    })
}

/// Modules from edge to edge, the quiet zone included: one column each.
fn side(code: &QRCode) -> usize {
    code.size + 2 * QUIET_ZONE
}

/// Two rows of modules a line: a cell of a terminal is about twice as high as it is wide.
fn lines(code: &QRCode) -> Vec<String> {
    let side = side(code);
    let within = QUIET_ZONE..QUIET_ZONE + code.size;
    let light = |row: usize, column: usize| {
        let dark = within.contains(&row)
            && within.contains(&column)
            && code[row - QUIET_ZONE][column - QUIET_ZONE].value();
        // Below the last line there is nothing to see.
        !dark && row < side
    };
    let cell = |row: usize, column: usize| match (light(row, column), light(row + 1, column)) {
        (true, true) => '\u{2588}',
        (true, false) => '\u{2580}',
        (false, true) => '\u{2584}',
        (false, false) => ' ',
    };
    (0..side)
        .step_by(2)
        .map(|row| (0..side).map(|column| cell(row, column)).collect())
        .collect()
}

/// Whether the terminal's text is UTF-8, as far as the locale says.
fn utf8() -> bool {
    cfg!(not(unix)) || {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.ends_with("utf-8") || locale.ends_with("utf8")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://idp.example.com/device?user_code=WDJB-MJHT";

    /// The modules as a camera sees them: dark is true.
    fn seen(lines: &[String]) -> Vec<Vec<bool>> {
        lines
            .iter()
            .flat_map(|line| {
                let upper = line.chars().map(|c| !matches!(c, '\u{2588}' | '\u{2580}'));
                let lower = line.chars().map(|c| !matches!(c, '\u{2588}' | '\u{2584}'));
                [upper.collect(), lower.collect()]
            })
            .collect()
    }

    #[test]
    fn a_reader_finds_the_address_in_what_is_drawn() {
        let code = QRBuilder::new(URL).ecl(ECL::L).build().unwrap();
        let modules = seen(&lines(&code));
        // As from a camera: eight pixels a module.
        let side = side(&code) * 8;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
            if modules[y / 8][x / 8] { 0 } else { 255 }
        });
        let grids = image.detect_grids();
        let (_, text) = grids[0].decode().unwrap();
        assert_eq!(text, URL);
    }

    #[test]
    fn the_quiet_zone_is_four_modules_wide_on_every_side() {
        let code = QRBuilder::new(URL).ecl(ECL::L).build().unwrap();
        let modules = seen(&lines(&code));
        let side = side(&code);
        for (row, cells) in modules.iter().take(side).enumerate() {
            assert_eq!(cells.len(), side);
            for (column, dark) in cells.iter().enumerate() {
                let margin = |at: usize| at < QUIET_ZONE || at >= side - QUIET_ZONE;
                assert!(!(margin(row) || margin(column)) || !dark, "{row}, {column}");
            }
        }
        // The corner of a finder pattern stands right within.
        assert!(modules[QUIET_ZONE][QUIET_ZONE]);
    }
}
