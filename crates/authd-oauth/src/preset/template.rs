//! Texts with `{name}` in them: filled in, or matched.

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// The names in a template.
pub(crate) fn names(template: &str) -> Vec<&str> {
    let names = pieces(template)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        });
    names.collect()
}

/// The template with `value` in the place of each name; the first name without one is the error.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, &str> {
    let mut filled = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => filled.push_str(&value(name).ok_or(name)?),
        }
    }
    Ok(filled)
}

/// What stands in `text` in the places of the template's names, in order; `None` when it does not fit.
/// A name stands for one label of a host or one segment of a path: it never spans a `/` or a `.`, so
/// that no other host fits. In a path a tenant may have dots; there only `/` ends it.
pub(crate) fn matched<'t>(template: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let pieces = pieces(template);
    let mut found = Vec::new();
    let mut rest = text;
    let mut in_path = false;
    let mut seen = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(expected) => {
                rest = rest.strip_prefix(expected)?;
                seen.push_str(expected);
            }
            Piece::Name(_) => {
                let after_scheme = seen.split_once("://").map_or("", |(_, after)| after);
                in_path = in_path || after_scheme.contains('/');
                let belongs = |c: char| {
                    c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (in_path && c == '.')
                };
                let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                found.push(&rest[..end]);
                seen.push('x');
                rest = &rest[end..];
            }
        }
    }
    rest.is_empty().then_some(found)
}

/// Whether a document or a token of an issuer that was asked for as `asked` may name itself `found`:
/// byte for byte, or as the template of a multi-tenant provider allows, whose metadata for all tenants
/// has the template itself there.
pub(crate) fn is_issuer(found: &str, asked: &str, template: Option<&str>) -> bool {
    found == asked
        || template.is_some_and(|template| found == template || matched(template, found).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_with_values() {
        let value = |name: &str| (name == "host").then(|| "git.example".to_owned());
        assert_eq!(
            fill("https://{host}/oauth", value),
            Ok("https://git.example/oauth".to_owned())
        );
        assert_eq!(fill("https://{host}/{realm}", value), Err("realm"));
        assert_eq!(
            fill("no name, {open", value),
            Ok("no name, {open".to_owned())
        );
        assert_eq!(names("https://{a}.x/{b}"), ["a", "b"]);
    }

    #[test]
    fn a_name_stands_for_a_label_or_a_segment_and_for_no_more() {
        let okta = "https://{org}.okta.com";
        assert_eq!(matched(okta, "https://dev-1.okta.com"), Some(vec!["dev-1"]));
        for no in [
            "https://a.b.okta.com",
            "https://.okta.com",
            "https://dev-1.okta.com/",
            "https://evil.example/x.okta.com",
            "https://evil.example#.okta.com",
            "https://dev-1.okta.com.evil.example",
            "http://dev-1.okta.com",
        ] {
            assert_eq!(matched(okta, no), None, "{no}");
        }
        let realm = "https://sso.example/realms/{realm}";
        assert_eq!(
            matched(realm, "https://sso.example/realms/a.b"),
            Some(vec!["a.b"])
        );
        assert_eq!(matched(realm, "https://sso.example/realms/a/b"), None);
    }

    #[test]
    fn only_a_template_makes_two_issuers_one() {
        let asked = "https://login.example/common/v2.0";
        let template = "https://login.example/{tenantid}/v2.0";
        let tenant = "https://login.example/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0";
        for (found, template, fits) in [
            (asked, None, true),
            (tenant, None, false),
            (template, None, false),
            (tenant, Some(template), true),
            (template, Some(template), true),
            ("https://evil.example/common/v2.0", Some(template), false),
            ("https://login.example/a/b/v2.0", Some(template), false),
            ("https://login.example/common/v2.0/", Some(template), false),
        ] {
            assert_eq!(is_issuer(found, asked, template), fits, "{found}");
        }
    }
}
