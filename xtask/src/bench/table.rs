//! The table that the benches end with.

use std::fmt;
use std::time::Duration;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub(super) struct Table(Vec<Row>);

struct Row {
    what: String,
    measured: String,
    ratio: String,
    aim: String,
    met: Option<bool>,
}

impl Table {
    /// Something to compare with.
    pub(super) fn time(&mut self, what: &str, measured: Duration) {
        self.push(what, micros(measured), String::new(), String::new(), None);
    }

    /// A time as a multiple of another, which should not exceed `most`.
    pub(super) fn ratio(
        &mut self,
        what: &str,
        measured: Duration,
        of: Duration,
        most: Option<f64>,
    ) {
        let ratio = measured.as_secs_f64() / of.as_secs_f64();
        self.push(
            what,
            micros(measured),
            format!("{ratio:.2} x"),
            most.map(|most| format!("<= {most} x")).unwrap_or_default(),
            most.map(|most| ratio <= most),
        );
    }

    /// A time that must not exceed another.
    pub(super) fn limit(&mut self, what: &str, measured: Duration, most: Duration) {
        let aim = format!("<= {}", micros(most));
        self.push(
            what,
            micros(measured),
            String::new(),
            aim,
            Some(measured <= most),
        );
    }

    /// Requests a second.
    pub(super) fn rate(&mut self, what: &str, measured: f64, least: f64) {
        let thousands = |rate: f64| format!("{:.0} k", rate / 1000.0);
        let aim = format!(">= {}", thousands(least));
        self.push(
            what,
            thousands(measured),
            String::new(),
            aim,
            Some(measured >= least),
        );
    }

    /// Bytes.
    pub(super) fn size(&mut self, what: &str, measured: u64, most: u64) {
        let megabytes = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
        let aim = format!("<= {}", megabytes(most));
        self.push(
            what,
            megabytes(measured),
            String::new(),
            aim,
            Some(measured <= most),
        );
    }

    /// A number of events.
    pub(super) fn count(&mut self, what: &str, measured: u64, most: u64) {
        let aim = format!("<= {most}");
        self.push(
            what,
            measured.to_string(),
            String::new(),
            aim,
            Some(measured <= most),
        );
    }

    fn push(
        &mut self,
        what: &str,
        measured: String,
        ratio: String,
        aim: String,
        met: Option<bool>,
    ) {
        self.0.push(Row {
            what: what.to_owned(),
            measured,
            ratio,
            aim,
            met,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            let verdict = match row.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            writeln!(
                f,
                "{:<42} {:>10} {:>8} {:>10}  {verdict}",
                row.what, row.measured, row.ratio, row.aim
            )?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> String {
    format!("{:.1} us", duration.as_secs_f64() * 1e6)
}
