//! A login by the address of a protected resource: the resource says where to log in and for what
//! (RFC 9728), as the Model Context Protocol has it (revision 2026-07-28).

use authd_core::{policy::LONGEST_RESOURCE, scope::ScopeSet};
use authd_oauth::{
    Challenge, Http, Likeness, Metadata, ProtectedResource, ResourceIndicator, preset::Habits,
    protected_resource,
};
use authd_proto::{WireError, request::LoginStart};

use super::{
    target::{Known, is_by_hand},
    trouble::{bad, resource_failed, resource_too_long},
};
use crate::handler;

/// The scope that asks for a refresh token (OpenID Connect Core §11).
const OFFLINE_ACCESS: &str = "offline_access";

/// What a server refused a token with, as the wish brings it.
pub(super) fn challenge(
    start: &LoginStart,
    account_exists: bool,
) -> Result<Option<Challenge>, WireError> {
    let Some(text) = &start.challenge else {
        return Ok(None);
    };
    let challenge = Challenge::parse(text).map_err(|error| {
        bad(
            &format!("the challenge is of no use: {error}"),
            "give the whole value of the WWW-Authenticate field",
        )
    })?;
    if account_exists && challenge.scopes.is_none() {
        return Err(bad(
            "the challenge names no scope that could be asked for",
            "name what is needed with --scope, beside the scopes that there are",
        ));
    }
    Ok(Some(challenge))
}

/// Asks the resource where to log in, where nobody else says so, and puts it into the wish: the issuer
/// that it names, and its own name for itself.
pub(super) async fn ask(
    http: &Http,
    start: &mut LoginStart,
    challenge: Option<&Challenge>,
    known: Option<&Known>,
) -> Result<Option<ProtectedResource>, WireError> {
    let Some(resource) = start.resource.as_ref().filter(|_| !says_where(start)) else {
        return Ok(None);
    };
    // Another resource than its own is one more at the provider that an account has.
    let is_own = |known: &Known| {
        let own = known.resources.first();
        let likeness = own.and_then(|own| ResourceIndicator::new(resource).likeness(own));
        matches!(likeness, Some(Likeness::Same | Likeness::OfItsHost))
    };
    if !known.is_none_or(is_own) {
        return Ok(None);
    }
    if resource.len() > LONGEST_RESOURCE {
        return Err(resource_too_long(resource));
    }
    let found = protected_resource(http, resource, challenge)
        .await
        .map_err(|error| resource_failed(&error))?;
    let servers = &found.authorization_servers;
    let before = known.and_then(|known| known.provider.issuer.as_ref());
    let before = before.filter(|issuer| servers.contains(issuer));
    start.issuer = before.or(servers.first()).cloned();
    start.resource = Some(found.resource.clone());
    Ok(Some(found))
}

fn says_where(start: &LoginStart) -> bool {
    start.provider.is_some() || start.issuer.is_some() || is_by_hand(start)
}

/// What to ask for: what is named or held, and what the challenge wants beside that. A resource without
/// a challenge is asked for what it lists.
pub(super) fn scopes(
    start: &LoginStart,
    challenge: Option<&Challenge>,
    protected: Option<&ProtectedResource>,
    habits: Option<&Habits>,
    held: Option<&ScopeSet>,
) -> Result<ScopeSet, WireError> {
    let usual = habits.map(|habits| habits.scopes.as_slice());
    let base = match (&start.scopes, held) {
        (Some(named), _) => handler::scopes(Some(named.as_slice()))?,
        (None, Some(held)) => held.clone(),
        (None, None) => handler::scopes(usual)?,
    };
    let of_resource = protected.filter(|_| start.scopes.is_none());
    let listed = of_resource
        .filter(|_| base.is_empty())
        .and_then(|it| it.scopes_supported.as_ref());
    let wanted = challenge
        .and_then(|it| it.scopes.as_ref())
        .or_else(|| of_resource?.challenged.as_ref())
        .or(listed);
    let wanted = wanted.into_iter().flat_map(ScopeSet::iter);
    Ok(base.iter().chain(wanted).collect())
}

/// Asks for a refresh token too, where the provider lists the scope for it and gives such tokens;
/// whether it was not asked for already.
pub(super) fn ask_offline(metadata: Option<&Metadata>, scopes: &mut ScopeSet) -> bool {
    let is_listed = |metadata: &Metadata| {
        let listed = metadata.scopes_supported.iter().flatten();
        listed.into_iter().any(|scope| scope == OFFLINE_ACCESS)
            && !metadata.rules_out("refresh_token")
    };
    if !metadata.is_some_and(is_listed) || scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
        return false;
    }
    *scopes = scopes.iter().chain([OFFLINE_ACCESS]).collect();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> ScopeSet {
        ScopeSet::parse(text)
    }

    fn resource(challenged: Option<&str>, listed: Option<&str>) -> ProtectedResource {
        ProtectedResource {
            resource: "https://mcp.example/mcp".into(),
            authorization_servers: vec!["https://as.example".into()],
            scopes_supported: listed.map(words),
            challenged: challenged.map(words),
        }
    }

    fn asked(
        named: Option<&[&str]>,
        challenge: Option<&str>,
        protected: Option<&ProtectedResource>,
        held: Option<&str>,
    ) -> String {
        let start = LoginStart {
            scopes: named.map(|named| named.iter().map(|&scope| scope.to_owned()).collect()),
            ..LoginStart::default()
        };
        let challenge = challenge.map(|scopes| Challenge {
            scopes: Some(words(scopes)),
            ..Challenge::default()
        });
        let held = held.map(words);
        let asked = scopes(&start, challenge.as_ref(), protected, None, held.as_ref());
        asked.unwrap().to_string()
    }

    #[test]
    fn the_challenge_comes_before_the_list_and_the_list_before_nothing() {
        let both = resource(Some("c"), Some("l m"));
        assert_eq!(asked(None, None, Some(&both), None), "c");
        let listing = resource(None, Some("l m"));
        assert_eq!(asked(None, None, Some(&listing), None), "l m");
        assert_eq!(asked(None, None, Some(&resource(None, None)), None), "");
        assert_eq!(asked(Some(&["n"]), None, Some(&both), None), "n");
    }

    #[test]
    fn stepping_up_keeps_what_is_held() {
        assert_eq!(asked(None, Some("w"), None, Some("r")), "r w");
        let own = resource(Some("c"), Some("l"));
        assert_eq!(asked(None, None, Some(&own), Some("r")), "c r");
        assert_eq!(
            asked(None, None, Some(&resource(None, Some("l"))), Some("r")),
            "r"
        );
        assert_eq!(asked(None, Some("w"), Some(&own), Some("r")), "r w");
        assert_eq!(asked(Some(&["n"]), Some("w"), None, Some("r")), "n w");
    }

    #[test]
    fn offline_access_is_asked_for_where_it_is_to_be_had() {
        let listing = |scopes: &[&str], grants: Option<&[&str]>| Metadata {
            scopes_supported: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
            grant_types_supported: grants
                .map(|grants| grants.iter().map(|&grant| grant.to_owned()).collect()),
            ..Metadata::default()
        };
        let after = |metadata: Option<&Metadata>, scopes: &str| {
            let mut scopes = words(scopes);
            let added = ask_offline(metadata, &mut scopes);
            (added, scopes.to_string())
        };
        let offers = listing(&["openid", "offline_access"], None);
        assert_eq!(after(Some(&offers), "a"), (true, "a offline_access".into()));
        let held = (false, "offline_access".to_owned());
        assert_eq!(after(Some(&offers), "offline_access"), held);
        let never = listing(&["offline_access"], Some(&["authorization_code"]));
        for metadata in [None, Some(&Metadata::default()), Some(&never)] {
            assert_eq!(after(metadata, "a"), (false, "a".into()));
        }
    }

    #[test]
    fn a_challenge_without_a_scope_adds_nothing_to_an_account() {
        let with = |challenge: &str, exists| {
            let start = LoginStart {
                challenge: Some(challenge.to_owned()),
                ..LoginStart::default()
            };
            super::challenge(&start, exists)
        };
        assert!(with("Bearer", false).unwrap().is_some());
        assert!(with("Bearer error=\"invalid_token\"", true).is_err());
        assert!(with("Basic realm=\"x\"", false).is_err());
        assert!(with("Bearer scope=\"a\"", true).unwrap().is_some());
    }
}
