//! The presets that come with authd hold what their schema promises, and a user's go over them.

use std::{collections::BTreeSet, time::Duration};

use authd_core::grant::{AssertionAudience, FurtherResources, Rotation};

use super::{
    resolve::{BadEntry, BadKey},
    template::names,
    *,
};

fn entries(text: &str) -> BTreeMap<String, Entry> {
    #[derive(serde::Deserialize)]
    struct File {
        providers: BTreeMap<String, Entry>,
    }
    toml::from_str::<File>(text).unwrap().providers
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn with(text: &str) -> Result<Presets, BadEntryAt> {
    built_in().with(&entries(text))
}

/// What a test of sources has to say against an entry.
fn complaints(name: &str, entry: &Entry) -> Vec<String> {
    let mut complaints = Vec::new();
    for fact in Fact::ALL {
        let sourced = entry
            .sources
            .iter()
            .any(|source| source.facts.contains(fact));
        let unknown = entry.unknown.contains(fact);
        let complaint = match (sourced, unknown, fact.stated(entry)) {
            (false, false, _) => "has neither a source nor is it called unknown",
            (true, true, _) => "has a source and is called unknown",
            (_, true, Some(_)) if *fact != Fact::Registration => {
                "is called unknown and has a value"
            }
            _ => continue,
        };
        complaints.push(format!("{name}: `{}` {complaint}", fact.name()));
    }
    for source in &entry.sources {
        let date = source.read.split('-').map(str::len).eq([4, 2, 2])
            && source.read.chars().all(|c| c.is_ascii_digit() || c == '-');
        if !source.url.starts_with("https://") || !date || source.says.len() < 40 {
            complaints.push(format!("{name}: the source {source:?} is none"));
        }
    }
    complaints
}

#[test]
fn every_fact_has_a_source_or_is_called_unknown() {
    let complaints: Vec<String> = built_in()
        .iter()
        .flat_map(|(name, known)| complaints(name, &known.entry))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_fact_without_either_is_refused() {
    let mut entry = built_in().find("gitlab").unwrap().entry.clone();
    assert!(complaints("gitlab", &entry).is_empty());
    entry.leeway_secs = Some(5);
    assert_eq!(
        complaints("gitlab", &entry),
        ["gitlab: `leeway` is called unknown and has a value"]
    );
    entry.unknown.retain(|fact| *fact != Fact::Leeway);
    assert_eq!(
        complaints("gitlab", &entry),
        ["gitlab: `leeway` has neither a source nor is it called unknown"]
    );
    entry.sources[0].url = "a book".to_owned();
    assert_eq!(complaints("gitlab", &entry).len(), 2);
}

#[test]
fn there_are_many_and_none_has_anybodys_client() {
    let names: BTreeSet<&str> = built_in().iter().map(|(name, _)| name).collect();
    assert!(names.len() >= 20, "{names:?}");
    for (name, known) in built_in().iter() {
        let entry = &known.entry;
        assert_eq!(entry.client_id, None, "{name}");
        // No group of facts has these: whoever states one for a provider adds the group with its source.
        let unsourced = (entry.dpop, entry.jarm, entry.assertion_audience);
        assert_eq!(unsourced, (None, None, None), "{name}");
        assert_eq!(entry.further_resources, None, "{name}");
        assert!(!known.from_config);
        assert!(entry.title.is_some(), "{name} has a title");
        let registration = entry.registration.as_ref();
        assert!(
            registration.is_some_and(|registration| registration.steps.len() >= 2),
            "{name} says how to register"
        );
        // No house that keeps its logins to its own programs.
        for kept in ["anthropic", "openai", "claude", "chatgpt"] {
            assert!(!name.contains(kept));
        }
    }
    // No text is left out of the list of files.
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/presets")).unwrap();
    assert_eq!(on_disk.count(), built_in::FILES.len());
}

#[test]
fn an_entry_says_how_its_logins_are_protected_and_how_further_tokens_are_got() {
    let presets = with(
        r#"
        [providers.base]
        issuer = "https://idp.example"
        dpop = true
        jarm = true
        assertion_audience = "token_endpoint"
        further_resources = "token_exchange"
        end_session_endpoint = "https://idp.example/logout"

        [providers.own]
        extends = "base"
        jarm = false
        "#,
    )
    .unwrap();
    let own = presets.choose("own", &values(&[])).unwrap();
    let profile = &own.habits.profile;
    assert_eq!((profile.dpop, profile.jarm), (true, false));
    assert_eq!(profile.assertion_audience, AssertionAudience::TokenEndpoint);
    assert_eq!(profile.further_resources, FurtherResources::TokenExchange);
    let page = own.endpoints.end_session.as_deref();
    assert_eq!(page, Some("https://idp.example/logout"));
    let unknown = presets
        .choose("gitlab", &values(&[]))
        .unwrap()
        .habits
        .profile;
    assert_eq!((unknown.dpop, unknown.jarm), (false, false));
    assert_eq!(unknown.assertion_audience, AssertionAudience::default());
}

#[test]
fn every_variable_is_used_and_explained() {
    for (name, known) in built_in().iter() {
        let entry = &known.entry;
        let texts = [
            &entry.issuer,
            &entry.authorization_endpoint,
            &entry.token_endpoint,
        ];
        let used: BTreeSet<&str> = texts
            .into_iter()
            .flatten()
            .flat_map(|text| names(text))
            .collect();
        let declared: BTreeSet<&str> = entry.variables.keys().map(String::as_str).collect();
        assert_eq!(used, declared, "{name}");
        assert!(entry.variables.values().all(|one| !one.about.is_empty()));
    }
}

#[test]
fn every_preset_can_be_logged_in_to() {
    for (name, known) in built_in().iter() {
        let given: BTreeMap<String, String> = known
            .entry
            .variables
            .iter()
            .filter(|(_, variable)| variable.default.is_none())
            .map(|(variable, _)| (variable.clone(), "x.example.com".to_owned()))
            .collect();
        let preset = built_in().choose(name, &given).unwrap();
        assert!(
            preset.issuer.is_some() || preset.endpoints.token.starts_with("https://"),
            "{name}"
        );
        assert_eq!(preset.habits.profile.name.as_deref(), Some(name));
        for address in preset.issuer.iter().chain([&preset.endpoints.token]) {
            assert!(!address.contains('{'), "{name}: {address}");
        }
    }
}

#[test]
fn variables_have_defaults_or_must_be_given() {
    let choose = |name, given: &[(&str, &str)]| built_in().choose(name, &values(given));
    let gitlab = choose("gitlab", &[]).unwrap();
    assert_eq!(gitlab.issuer.as_deref(), Some("https://gitlab.com"));
    let own = choose("gitlab", &[("host", "git.example.org:8443/x")]).unwrap();
    assert_eq!(
        own.endpoints.token,
        "https://git.example.org:8443/x/oauth/token"
    );
    assert!(matches!(
        choose("keycloak", &[("host", "sso.example.org")]),
        Err(Unresolved::Missing { variable, .. }) if variable == "realm"
    ));
    assert!(matches!(
        choose("gitlab", &[("hots", "x")]),
        Err(Unresolved::NoSuchVariable { known, .. }) if known == ["host"]
    ));
    for bad in [
        "https://git.example.org",
        "",
        "a b",
        "x/",
        "/x",
        "a/../b",
        "u@h",
        "h?q",
        "h#f",
    ] {
        assert!(
            matches!(
                choose("gitlab", &[("host", bad)]),
                Err(Unresolved::BadValue { .. })
            ),
            "{bad}"
        );
    }
    assert!(matches!(choose("gitlub", &[]), Err(Unresolved::Unknown(_))));
}

#[test]
fn an_issuer_is_known_by_its_provider() {
    let name = |issuer: &str| built_in().recognise(issuer).and_then(|found| found.name);
    for (issuer, expected) in [
        ("https://accounts.google.com", Some("google")),
        ("https://gitlab.com", Some("gitlab")),
        (
            "https://login.microsoftonline.com/common/v2.0",
            Some("microsoft"),
        ),
        (
            "https://login.microsoftonline.com/organizations/v2.0",
            Some("microsoft-work"),
        ),
        (
            "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0",
            Some("microsoft"),
        ),
        ("https://dev-1.okta.com/oauth2/default", Some("okta")),
        ("https://dev-1.okta.com", Some("okta-org")),
        ("https://acme.eu.auth0.com/", Some("auth0")),
        (
            "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_x",
            Some("cognito"),
        ),
        ("https://accounts.google.com/", None),
        ("https://git.example.org", None),
        ("https://gitlab.com.evil.example", None),
        ("https://evil.example/.okta.com", None),
    ] {
        assert_eq!(name(issuer).as_deref(), expected, "{issuer}");
    }
}

#[test]
fn a_users_entry_goes_over_one_of_ours_or_stands_alone() {
    let presets = with(
        r#"
        [providers.gitlab]
        lifetime_secs = 60
        [providers.work]
        extends = "gitlab"
        client_id = "app-1"
        rotation = "reuse_detected"
        leeway_secs = 5
        variables.host.default = "git.example.org"
        [providers.lab]
        token_endpoint = "http://127.0.0.1:9/token"
        "#,
    )
    .unwrap();
    let choose = |name| presets.choose(name, &BTreeMap::new()).unwrap();
    let (gitlab, work, lab) = (choose("gitlab"), choose("work"), choose("lab"));
    assert_eq!(
        gitlab.habits.profile.lifetime,
        Some(Duration::from_secs(60))
    );
    assert_eq!(gitlab.habits.profile.rotation, Rotation::Rotates);
    assert_eq!(work.issuer.as_deref(), Some("https://git.example.org"));
    assert_eq!(work.habits.client_id.as_deref(), Some("app-1"));
    assert_eq!(work.habits.profile.name.as_deref(), Some("work"));
    assert_eq!(work.habits.profile.rotation, Rotation::ReuseDetected);
    assert_eq!(work.habits.profile.leeway, Some(Duration::from_secs(5)));
    // `work` extends the user's own `gitlab`, not only ours.
    assert_eq!(work.habits.profile.lifetime, Some(Duration::from_secs(60)));
    assert_eq!(lab.issuer, None);
    assert!(presets.find("work").unwrap().from_config);
    assert!(!presets.find("slack").unwrap().from_config);
    assert_eq!(
        presets.recognise("https://git.example.org").unwrap().name,
        Some("work".to_owned())
    );
}

#[test]
fn an_entry_that_does_not_hold_together_is_refused() {
    use BadEntry::{Circle, ExtendsUnknown, Key, Name, Nowhere};
    let refused = |text: &str| with(text).unwrap_err().why;
    let key = |text: &str| match refused(text) {
        Key { key, why } => (key, why),
        other => panic!("{other}"),
    };
    assert_eq!(refused("[providers.\"A b\"]\nissuer = \"https://x\""), Name);
    assert_eq!(refused("[providers.x]\ntitle = \"X\""), Nowhere);
    assert_eq!(
        refused("[providers.x]\nextends = \"nothing\""),
        ExtendsUnknown("nothing".to_owned())
    );
    let circle = "[providers.x]\nextends = \"y\"\n[providers.y]\nextends = \"x\"";
    assert!(matches!(refused(circle), Circle(_)));
    let itself = "[providers.x]\nextends = \"x\"";
    assert_eq!(refused(itself), Circle("x".to_owned()));
    assert!(with("[providers.gitlab]\nextends = \"gitlab\"").is_ok());
    for (text, expected) in [
        ("issuer = \"ftp://x\"", ("issuer", BadKey::NotWeb)),
        (
            "issuer = \"https://{h}\"",
            ("issuer", BadKey::NoVariable("h".to_owned())),
        ),
        (
            "issuer = \"https://x\"\nparams.a = \"{b}\"",
            ("params", BadKey::NoVariable("b".to_owned())),
        ),
        (
            "issuer = \"https://x\"\nissuer_template = \"https://x\"",
            ("issuer_template", BadKey::NotOneTenant),
        ),
        (
            "issuer = \"https://x\"\nerror_pointer = \"status\"",
            ("error_pointer", BadKey::NoPointer),
        ),
        (
            "issuer = \"https://x\"\nscope_separator = \"\"",
            ("scope_separator", BadKey::Empty),
        ),
        (
            "issuer = \"https://x\"\nlifetime_secs = 0",
            ("lifetime_secs", BadKey::Zero),
        ),
    ] {
        assert_eq!(key(&format!("[providers.x]\n{text}")), expected);
    }
}
