//! What somebody meant who wrote a name that there is not.

/// How alike two names must be.
const LIKENESS: f64 = 0.7;

/// The one of `known` that is most like `written`, if any is like it at all.
pub(crate) fn meant<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .filter(|(likeness, _)| *likeness > LIKENESS)
        .map(|(_, name)| name)
}
