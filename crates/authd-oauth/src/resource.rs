//! Whether two resource indicators (RFC 8707) name the same resource.
//!
//! What goes to a provider is always the spelling that the login was made with: a provider compares as it
//! likes. This is for telling what a client means that writes it otherwise, as RFC 3986 §6.2.2 and §6.2.3
//! allow: the case of scheme and host, a default port, a path that is empty or a slash.

use url::Url;

/// How alike two are; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// The same, perhaps in another spelling.
    Same,
    /// The same but for one slash at the end of the path. By RFC 3986 that is another resource; in practice
    /// it is seldom meant, and people write both.
    ButForASlash,
    /// What is known is the host of what is asked for, all of it: a server may say that what protects it is
    /// its host's (RFC 9728 §3), and RFC 8707 §2 has clients name the base of an API.
    OfItsHost,
}

/// A resource that is asked for.
#[derive(Clone, Debug)]
pub struct ResourceIndicator<'a> {
    text: &'a str,
    canonical: Option<String>,
}

impl<'a> ResourceIndicator<'a> {
    /// Of this text, whatever it is: what is no absolute URI without a fragment is like itself alone.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            canonical: canonical(text),
        }
    }

    /// How alike the two are; `None`: they are different resources.
    #[must_use]
    pub fn likeness(&self, known: &str) -> Option<Likeness> {
        if self.text == known {
            return Some(Likeness::Same);
        }
        let (asked, known) = (self.canonical.as_deref()?, canonical(known)?);
        if asked == known {
            return Some(Likeness::Same);
        }
        if without_slash(asked) == without_slash(&known) {
            return Some(Likeness::ButForASlash);
        }
        let host = host_of(asked)?;
        (host == known).then_some(Likeness::OfItsHost)
    }
}

fn canonical(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    // Neither is part of what a token can be for.
    let is_plain =
        url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    is_plain.then(|| url.into())
}

fn host_of(canonical: &str) -> Option<String> {
    let mut url = Url::parse(canonical).ok()?;
    url.has_host().then(|| {
        url.set_path("");
        url.set_query(None);
        url.into()
    })
}

/// A slash within a query is no end of a path.
fn without_slash(canonical: &str) -> &str {
    match canonical.strip_suffix('/') {
        Some(shorter) if !canonical.contains('?') => shorter,
        _ => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(asked: &str, known: &str) -> Option<Likeness> {
        let there = ResourceIndicator::new(asked).likeness(known);
        let back = ResourceIndicator::new(known).likeness(asked);
        assert_eq!(there, back, "{asked} and {known}");
        there
    }

    #[test]
    fn spellings_of_one_resource_are_the_same() {
        for (asked, known) in [
            ("https://mcp.example/mcp", "https://mcp.example/mcp"),
            ("HTTPS://MCP.Example/mcp", "https://mcp.example/mcp"),
            ("https://mcp.example:443/mcp", "https://mcp.example/mcp"),
            ("https://mcp.example", "https://mcp.example/"),
            ("https://mcp.example/a/../mcp", "https://mcp.example/mcp"),
            ("URN:example:api", "urn:example:api"),
            // Not what RFC 8707 allows, but what some providers take.
            ("just-a-word", "just-a-word"),
        ] {
            assert_eq!(likeness(asked, known), Some(Likeness::Same), "{asked}");
        }
    }

    #[test]
    fn a_slash_at_the_end_is_nearly_the_same() {
        for (asked, known) in [
            ("https://mcp.example/mcp/", "https://mcp.example/mcp"),
            ("https://MCP.example/mcp", "https://mcp.example/mcp/"),
        ] {
            assert_eq!(
                likeness(asked, known),
                Some(Likeness::ButForASlash),
                "{asked}"
            );
        }
        assert!(Likeness::Same < Likeness::ButForASlash);
    }

    #[test]
    fn what_protects_a_host_protects_what_is_under_it_and_not_the_other_way_round() {
        for known in ["https://mcp.example", "https://MCP.example:443/"] {
            let under = ResourceIndicator::new("https://mcp.example/a/mcp?x");
            assert_eq!(under.likeness(known), Some(Likeness::OfItsHost), "{known}");
            let host = ResourceIndicator::new(known);
            assert_eq!(host.likeness("https://mcp.example/a/mcp?x"), None);
        }
        let under = ResourceIndicator::new("https://mcp.example/mcp");
        for other in [
            "http://mcp.example",
            "https://mcp.example:8443",
            "https://mcp.example.evil",
            "https://mcp.example/other",
            "urn:mcp.example",
        ] {
            assert_eq!(under.likeness(other), None, "{other}");
        }
    }

    #[test]
    fn other_resources_are_others() {
        for (asked, known) in [
            ("https://mcp.example/mcp", "https://mcp.example/MCP"),
            ("https://mcp.example/mcp", "http://mcp.example/mcp"),
            ("https://mcp.example/mcp", "https://mcp.example:8443/mcp"),
            ("https://mcp.example/mcp", "https://mcp.example/mcp/v2"),
            ("https://mcp.example/mcp", "https://mcp.example/mcp//"),
            ("https://mcp.example/mcp", "https://mcp.example.evil/mcp"),
            ("https://mcp.example/mcp", "https://mcp.example/mcp#x"),
            ("https://mcp.example/mcp", "https://me@mcp.example/mcp"),
            ("https://mcp.example/?a", "https://mcp.example/?a/"),
            ("https://mcp.example/mcp", "https://mcp.example/mcp?a"),
            ("just-a-word", "just-a-Word"),
            ("just-a-word", "just-a-word/"),
        ] {
            assert_eq!(likeness(asked, known), None, "{asked} and {known}");
        }
    }
}
