//! `authctl provider`: what people and programs see of it.

use authd_proto::call::Call;
use authd_proto::provider::{
    ProviderAddress, ProviderFact, ProviderInfo, ProviderListReply, ProviderOrigin,
    ProviderRegistration, ProviderShowReply, ProviderSource, ProviderVariable,
};
use authd_proto::request::Flow;
use authd_proto::{ErrorCode, WireError};

use crate::daemon::{FakeDaemon, Reply, run};

fn info(name: &str) -> ProviderInfo {
    let own = name == "work";
    let variable = |name: &str, default: Option<&str>| ProviderVariable {
        name: name.to_owned(),
        about: format!("the {name} of the instance"),
        default: default.map(str::to_owned),
    };
    ProviderInfo {
        name: name.to_owned(),
        title: if own { "Our GitLab" } else { "GitLab\x1b[2J" }.to_owned(),
        flows: match own {
            true => vec![Flow::Browser],
            false => vec![Flow::Browser, Flow::Device],
        },
        variables: match own {
            true => vec![variable("host", None), variable("realm", Some("main"))],
            false => vec![variable("host", Some("gitlab.com"))],
        },
        origin: match own {
            true => ProviderOrigin::Config,
            false => ProviderOrigin::BuiltIn,
        },
    }
}

fn shown(name: &str) -> ProviderShowReply {
    let fact = |fact: &str, value: Option<&str>, sources| ProviderFact {
        fact: fact.to_owned(),
        value: value.map(str::to_owned),
        sources,
    };
    let source = ProviderSource {
        url: "https://docs.example.com/api/oauth2".to_owned(),
        read: "2026-11-26".to_owned(),
        says: "Access tokens live for two hours, and a refresh ends the one before, at once \
               and without leave."
            .to_owned(),
    };
    ProviderShowReply {
        info: info(name),
        addresses: vec![ProviderAddress {
            name: "device_authorization_endpoint".to_owned(),
            url: "https://{host}/oauth/authorize_device".to_owned(),
        }],
        redirect_uri: "http://127.0.0.1:8976/callback".to_owned(),
        registration: Some(ProviderRegistration {
            url: "https://gitlab.com/applications".to_owned(),
            steps: vec![
                "Make an application, and enter a name for it and the redirect below, to the \
                 letter."
                    .to_owned(),
                "Copy its id.".to_owned(),
            ],
        }),
        notes: vec!["The device flow needs version 17.3.".to_owned()],
        facts: vec![
            fact("lifetime", Some("7200 seconds"), vec![source.clone()]),
            fact("revocation", None, vec![source]),
            fact("leeway", None, vec![]),
            fact("rotation", Some("rotates"), vec![]),
        ],
    }
}

fn answering(call: Call<'_>, reply: &mut Reply<'_>) {
    match call {
        // In two pages.
        Call::ProviderList(list) => reply.ok(&match list.cursor.as_deref() {
            None => ProviderListReply {
                providers: vec![info("gitlab")],
                cursor: Some("gitlab".to_owned()),
            },
            cursor => {
                assert_eq!(cursor, Some("gitlab"));
                ProviderListReply {
                    providers: vec![info("work")],
                    cursor: None,
                }
            }
        }),
        Call::ProviderShow(show) if show.provider == "gitlub" => {
            let error = WireError::new(ErrorCode::BadRequest, "there is no provider 'gitlub'");
            reply.error(&error.with_hint("did you mean 'gitlab'?"));
        }
        Call::ProviderShow(show) => reply.ok(&shown(&show.provider)),
        call => panic!("not expected: {}", call.method().as_str()),
    }
}

fn told(args: &[&str]) -> String {
    let daemon = FakeDaemon::start(answering);
    let args = ["provider"].iter().chain(args).copied();
    let (out, errors, status) = run(&mut daemon.authctl(args));
    assert_eq!((errors.as_str(), status), ("", Some(0)));
    assert!(!out.contains('\x1b'), "{out:?}");
    for line in out.lines().filter(|line| !line.starts_with('{')) {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
    out
}

#[test]
fn a_list_says_how_to_log_in_and_what_each_needs() {
    insta::assert_snapshot!("list", told(&["list"]));
    insta::assert_snapshot!("list_json", told(&["list", "--json"]));
}

#[test]
fn one_is_shown_with_its_facts_and_their_sources() {
    insta::assert_snapshot!("show", told(&["show", "gitlab"]));
    insta::assert_snapshot!("show_own", told(&["show", "work"]));
    insta::assert_snapshot!("show_json", told(&["show", "gitlab", "--json"]));
}

#[test]
fn a_name_that_there_is_not_gets_a_suggestion() {
    let daemon = FakeDaemon::start(answering);
    let (out, errors, status) = run(&mut daemon.authctl(["provider", "show", "gitlub"]));
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert_eq!(
        errors,
        "authctl: there is no provider 'gitlub': did you mean 'gitlab'?\n"
    );
}
