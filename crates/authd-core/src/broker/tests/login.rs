//! Logins, by code and by device, from any state.

use super::*;
use crate::answer::GrantType;
use crate::flag::LoginReason;
use crate::grant::Registration;

const LOGIN: LoginId = LoginId(1);

fn begin(bench: &mut Bench, method: LoginMethod, change: impl FnOnce(&mut LoginBegun)) {
    let mut begun = LoginBegun {
        login: LOGIN,
        account: work(),
        grant: GrantId(2),
        provider: provider("idp.example"),
        scopes: ScopeSet::parse("api mail"),
        resource: None,
        resources: BTreeSet::new(),
        replace_subject: false,
        method,
        patience: secs(600),
    };
    change(&mut begun);
    bench.happen(Event::LoginBegun(Box::new(begun)));
}

fn by_code(bench: &mut Bench) {
    begin(bench, LoginMethod::Code, |_| {});
    bench.happen(Event::CodeReceived { login: LOGIN });
}

const DEVICE: LoginMethod = LoginMethod::Device {
    interval: Duration::from_secs(5),
};

/// Tokens of the account's owner.
fn anns() -> Received {
    tokens_with(|tokens| tokens.subject = Some(subject("ann")))
}

fn ended(bench: &Bench) -> Option<&Result<Arc<Grant>, LoginFailure>> {
    bench.seen.iter().find_map(|effect| match effect {
        Effect::LoginEnded {
            login: LOGIN,
            result,
        } => Some(result),
        _ => None,
    })
}

fn succeeded(bench: &Bench) -> bool {
    ended(bench).is_some_and(Result::is_ok)
}

fn failed(bench: &Bench) -> &LoginFailure {
    ended(bench)
        .expect("an end")
        .as_ref()
        .expect_err("a failure")
}

#[test]
fn a_code_becomes_the_first_generation() {
    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |_| {});
    assert!(bench.sent.is_empty(), "the person is at the provider");
    bench.happen(Event::CodeReceived { login: LOGIN });
    assert_eq!(bench.out[0].grant_type, GrantType::AuthorizationCode);
    bench.answer(anns());
    assert!(succeeded(&bench));
    let grant = bench.grant();
    assert_eq!((grant.generation, grant.id), (Generation(1), GrantId(2)));
    assert!(grant.renewable && bench.view().next_renewal.is_some());
    let ticket = bench.ask();
    assert!(bench.served(ticket).ttl.is_some());
}

#[test]
fn a_code_that_never_left_is_sent_again_and_a_lost_one_is_not() {
    let mut bench = Bench::empty();
    by_code(&mut bench);
    bench.answer(unreachable());
    bench.pass(secs(2));
    bench.answer(tokens());
    assert!(succeeded(&bench));
    let mut bench = Bench::empty();
    by_code(&mut bench);
    bench.answer(lost());
    assert!(matches!(failed(&bench), LoginFailure::Unreachable(_)));
    let mut bench = Bench::empty();
    bench.server = Server::Says(unreachable());
    by_code(&mut bench);
    bench.pass(secs(60));
    assert_eq!(bench.sent.len(), 3);
    assert!(matches!(failed(&bench), LoginFailure::Unreachable(_)));
}

#[test]
fn a_word_that_is_no_code_may_be_mistyped_three_times_and_the_redirect_still_counts() {
    let refused =
        |bench: &Bench| bench.count(|effect| matches!(effect, Effect::CodeRefused { .. }));
    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |_| {});
    for count in 1..=3 {
        bench.happen(Event::CodeTyped { login: LOGIN });
        bench.answer(error(400, "invalid_grant"));
        assert_eq!((refused(&bench), ended(&bench).is_none()), (count, true));
    }
    bench.happen(Event::CodeReceived { login: LOGIN });
    bench.answer(anns());
    assert!(succeeded(&bench));

    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |_| {});
    for _ in 0..4 {
        bench.happen(Event::CodeTyped { login: LOGIN });
        bench.answer(error(400, "invalid_grant"));
    }
    assert_eq!(refused(&bench), 3);
    assert!(matches!(failed(&bench), LoginFailure::Refused { .. }));

    // A redirect that was checked is no guess.
    let mut bench = Bench::empty();
    by_code(&mut bench);
    bench.answer(error(400, "invalid_grant"));
    assert_eq!(refused(&bench), 0);
    assert!(matches!(failed(&bench), LoginFailure::Refused { .. }));
}

#[test]
fn a_device_is_polled_at_the_interval_and_slower_when_told() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(error(400, "authorization_pending"));
    begin(&mut bench, DEVICE, |_| {});
    bench.pass(secs(20));
    assert_eq!(bench.sent.len(), 4);
    bench.server = Server::Says(error(400, "slow_down"));
    bench.pass(secs(5));
    bench.server = Server::Says(error(400, "authorization_pending"));
    bench.pass(secs(20));
    assert_eq!(bench.sent.len(), 7, "every ten seconds now");
    bench.server = Server::Says(tokens());
    bench.pass(secs(10));
    assert!(succeeded(&bench));
}

#[test]
fn a_device_login_survives_a_failing_provider_and_polls_more_slowly() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(plain(503, Body::Html));
    begin(&mut bench, DEVICE, |_| {});
    bench.pass(secs(300));
    assert!(
        (4..=9).contains(&bench.sent.len()),
        "{} polls",
        bench.sent.len()
    );
    bench.server = Server::Says(tokens());
    bench.pass(secs(60));
    assert!(succeeded(&bench));
}

#[test]
fn an_absurd_interval_does_no_harm() {
    let mut bench = Bench::empty();
    bench.server = Server::Says(unreachable());
    let interval = Duration::MAX;
    begin(&mut bench, LoginMethod::Device { interval }, |begun| {
        begun.patience = Duration::MAX;
    });
    bench.pass(secs(86_400));
    begin(
        &mut bench,
        LoginMethod::Device {
            interval: Duration::ZERO,
        },
        |begun| {
            begun.account = account("other");
            begun.login = LoginId(2);
        },
    );
    bench.pass(secs(600));
    assert!(bench.sent.len() < 30);
}

#[test]
fn a_device_login_ends_as_the_provider_says_or_when_time_is_up() {
    for (code, is) in [
        ("access_denied", LoginFailure::Denied),
        ("expired_token", LoginFailure::TimedOut),
    ] {
        let mut bench = Bench::empty();
        bench.server = Server::Says(error(400, code));
        begin(&mut bench, DEVICE, |_| {});
        bench.pass(secs(5));
        assert_eq!(*failed(&bench), is);
    }
    let mut bench = Bench::empty();
    bench.server = Server::Says(error(400, "authorization_pending"));
    begin(&mut bench, DEVICE, |_| {});
    bench.pass(secs(600));
    assert_eq!(*failed(&bench), LoginFailure::TimedOut);
    assert_eq!(bench.broker.poll_timeout(), None);
}

#[test]
fn a_refusal_of_the_code_is_told_in_the_providers_words() {
    for (description, told) in [
        (None, "the provider refused: invalid_grant"),
        (
            Some("too late"),
            "the provider refused: invalid_grant (too late)",
        ),
    ] {
        let mut bench = Bench::empty();
        by_code(&mut bench);
        let body = Body::Error {
            code: "invalid_grant".to_owned(),
            description: description.map(str::to_owned),
            detail: None,
        };
        bench.answer(plain(400, body));
        assert_eq!(failed(&bench).to_string(), told);
    }
}

#[test]
fn a_login_for_a_resource_has_its_token_there() {
    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.resource = Some("https://mail.example".to_owned());
    });
    bench.happen(Event::CodeReceived { login: LOGIN });
    let key = of("https://mail.example");
    assert_eq!(bench.out[0].key, key);
    bench.answer(tokens());
    assert!(bench.grant().leases.keys().eq([&key]));
    let ticket = bench.ask_with(|demand| demand.key = key.clone());
    assert!(!bench.served(ticket).renewed);
}

#[test]
fn inv_13_someone_else_signing_in_changes_nothing() {
    let bob = || tokens_with(|tokens| tokens.subject = Some(subject("bob")));
    let mut bench = Bench::new();
    by_code(&mut bench);
    bench.answer(bob());
    assert!(matches!(
        failed(&bench),
        LoginFailure::SubjectMismatch { .. }
    ));
    assert_eq!(bench.grant().id, GrantId(1));
    let mut bench = Bench::new();
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.replace_subject = true
    });
    bench.happen(Event::CodeReceived { login: LOGIN });
    bench.answer(bob());
    assert!(succeeded(&bench));
}

#[test]
fn inv_13_a_known_owner_is_not_replaced_by_nobody() {
    let mut bench = Bench::new();
    by_code(&mut bench);
    bench.answer(tokens());
    let nobody = LoginFailure::SubjectMismatch {
        expected: Box::new(subject("ann")),
        found: None,
    };
    assert_eq!(*failed(&bench), nobody);
    assert_eq!(bench.grant().id, GrantId(1));
    // Where nobody was known before, nobody is missed.
    let mut bench = Bench::with(|grant| grant.subject = None);
    by_code(&mut bench);
    bench.answer(tokens());
    assert!(succeeded(&bench));
}

#[test]
fn inv_13_the_same_subject_of_another_issuer_is_somebody_else() {
    let at = |issuer: &str, host: &str| Provider {
        issuer: Some(issuer.to_owned()).filter(|issuer| !issuer.is_empty()),
        ..provider(host)
    };
    for (before, now, same) in [
        (at("https://a", "a"), at("https://b", "a"), false),
        (at("https://a", "a"), at("https://a", "b"), true),
        (at("", "a"), at("", "b"), false),
        (at("", "a"), at("https://a", "a"), true),
    ] {
        let mut bench = Bench::with(|grant| grant.provider = before.clone().into());
        begin(&mut bench, LoginMethod::Code, |begun| {
            begun.provider = now.clone()
        });
        bench.happen(Event::CodeReceived { login: LOGIN });
        bench.answer(anns());
        let refused = matches!(
            ended(&bench),
            Some(Err(LoginFailure::IssuerMismatch { .. }))
        );
        assert_eq!((succeeded(&bench), refused), (same, !same), "{now:?}");
    }
}

#[test]
fn inv_13_where_no_owner_is_known_another_provider_or_client_is_somebody_else() {
    let provider = |host: &str, client: &str| Provider {
        client_id: client.to_owned(),
        ..provider(host)
    };
    type Is = fn(&LoginFailure) -> bool;
    let registered = |client: &str| Provider {
        registration: Some(Box::new(Registration {
            redirect_uri: None,
            scopes: None,
            secret_expires_at: None,
        })),
        ..provider("a", client)
    };
    let at_another: Is = |it| matches!(it, LoginFailure::IssuerMismatch { .. });
    let by_another: Is = |it| matches!(it, LoginFailure::ClientMismatch { .. });
    for (before, now, refused) in [
        (provider("a", "us"), provider("a", "us"), None),
        (provider("a", "us"), provider("b", "us"), Some(at_another)),
        (provider("a", "us"), provider("a", "them"), Some(by_another)),
        (registered("us"), provider("a", "them"), Some(by_another)),
        (registered("us"), registered("us-anew"), None),
    ] {
        for replace_subject in [false, true] {
            let mut bench = Bench::with(|grant| {
                grant.subject = None;
                grant.provider = before.clone().into();
            });
            begin(&mut bench, LoginMethod::Code, |begun| {
                begun.provider = now.clone();
                begun.replace_subject = replace_subject;
            });
            bench.happen(Event::CodeReceived { login: LOGIN });
            // Whether somebody is known now makes no difference.
            bench.answer(if replace_subject { anns() } else { tokens() });
            match refused.filter(|_| !replace_subject) {
                None => assert!(succeeded(&bench), "{now:?}"),
                Some(refused) => {
                    assert!(refused(failed(&bench)), "{now:?}");
                    assert_eq!(bench.grant().id, GrantId(1));
                }
            }
        }
    }
    // Ann is Ann, whatever client she comes by.
    let mut bench = Bench::with(|grant| grant.provider = provider("a", "us").into());
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.provider = provider("a", "them");
    });
    bench.happen(Event::CodeReceived { login: LOGIN });
    bench.answer(anns());
    assert!(succeeded(&bench));
}

#[test]
fn inv_22_a_login_mends_every_broken_state() {
    type Breaks = fn(&mut Bench);
    let broken: [(&str, Breaks); 9] = [
        ("offline", |bench| {
            bench.pass(secs(2400));
            bench.answer(plain(500, Body::Html));
        }),
        ("provider rejects", |bench| {
            bench.pass(secs(600));
            for _ in 0..2 {
                let current = bench.lease().fingerprint;
                bench.reject(current);
                if bench.sent.len() == 1 && bench.flags().provider_rejects.is_none() {
                    bench.answer(tokens());
                }
                bench.pass(secs(31));
            }
        }),
        ("needs login", |bench| {
            bench.pass(secs(2400));
            bench.answer(error(400, "interaction_required"));
        }),
        ("suspect", |bench| {
            bench.pass(secs(2400));
            bench.answer(error(400, "invalid_grant"));
        }),
        ("ambiguous", |bench| {
            bench.pass(secs(2400));
            bench.answer(lost());
        }),
        ("misconfigured", |bench| {
            bench.pass(secs(2400));
            bench.answer(error(401, "invalid_client"));
        }),
        ("throttled", |bench| {
            bench.pass(secs(2400));
            bench.answer(plain(429, Body::Empty));
        }),
        ("unsaved", |bench| {
            bench.pass(secs(2400));
            bench.disk = Disk::Forgets;
            bench.answer(tokens());
            bench.disk = Disk::Works;
        }),
        ("stale", |bench| {
            *bench = Bench::empty();
            let grant = Box::new(grant("work", bench.now));
            bench.happen(Event::Loaded {
                grant,
                interrupted: None,
                stale: Some(crate::flag::StaleStore::OlderGeneration),
            });
        }),
    ];
    for (name, breaks) in broken {
        let mut bench = Bench::new();
        breaks(&mut bench);
        assert_ne!(*bench.flags(), Flags::default(), "{name} is no such state");
        by_code(&mut bench);
        bench.answer(anns());
        assert!(succeeded(&bench), "{name}");
        assert_eq!(*bench.flags(), Flags::default(), "{name}");
        let ticket = bench.ask_with(|demand| demand.key = key("api"));
        bench.pass(secs(1));
        bench.answer(tokens());
        assert!(bench.served(ticket).renewed, "{name}");
    }
}

#[test]
fn a_login_while_an_exchange_is_in_flight_takes_its_waiters_over() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let ticket = bench.ask();
    let old = bench.out.pop_front().unwrap();
    let widened = bench.ask_with(|demand| demand.key = key("mail"));
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.scopes = ScopeSet::parse("api")
    });
    bench.happen(Event::CodeReceived { login: LOGIN });
    bench.answer(anns());
    assert!(bench.served(ticket).renewed);
    assert!(matches!(bench.refusal(widened), Refusal::NotGranted(_)));
    assert_eq!(bench.broker.in_flight(), 0);
    let late = bench.answered(&old, lasting(60), bench.now);
    bench.happen(late);
    assert_eq!(bench.grant().id, GrantId(2));
    assert_eq!(
        bench.grant().generation,
        Generation(1),
        "the old grant's answer is nobody's"
    );
    bench.pass(secs(3600));
    assert_eq!(
        bench.sent.len(),
        3,
        "and the new one is renewed in its time"
    );
}

#[test]
fn a_newer_login_takes_the_place_of_one_that_waits() {
    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |_| {});
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.login = LoginId(2)
    });
    assert_eq!(*failed(&bench), LoginFailure::Replaced);
    bench.happen(Event::CodeReceived { login: LoginId(2) });
    bench.answer(tokens());
    assert_eq!(bench.grant().generation, Generation(1));
}

#[test]
fn a_login_that_cannot_be_stored_is_none() {
    let mut bench = Bench::empty();
    bench.disk = Disk::Forgets;
    by_code(&mut bench);
    bench.answer(tokens());
    assert!(matches!(failed(&bench), LoginFailure::Store(_)));
    assert!(bench.broker.grant(&work()).is_none());
    let mut bench = Bench::empty();
    bench.disk = Disk::Spills;
    by_code(&mut bench);
    bench.answer(tokens());
    assert!(succeeded(&bench), "the spill file holds it");
    assert!(bench.flags().store_degraded.is_some());
    bench.disk = Disk::Works;
    bench.pass(secs(31));
    assert_eq!(bench.flags().store_degraded, None);
}

#[test]
fn a_cancelled_login_ends_unless_tokens_have_come() {
    let cancel = |bench: &mut Bench| {
        let reason = LoginFailure::Cancelled;
        bench.happen(Event::LoginCancelled {
            login: LOGIN,
            reason,
        });
    };
    let mut bench = Bench::empty();
    begin(&mut bench, LoginMethod::Code, |_| {});
    cancel(&mut bench);
    assert_eq!(*failed(&bench), LoginFailure::Cancelled);
    let mut bench = Bench::empty();
    begin(&mut bench, DEVICE, |_| {});
    bench.pass(secs(5));
    cancel(&mut bench);
    bench.answer(error(400, "authorization_pending"));
    assert_eq!(*failed(&bench), LoginFailure::Cancelled, "no further poll");
    assert_eq!(bench.broker.poll_timeout(), None);
    let mut bench = Bench::empty();
    bench.disk = Disk::Holds;
    by_code(&mut bench);
    bench.answer(tokens());
    cancel(&mut bench);
    bench.store_one();
    assert!(succeeded(&bench), "what is on disk is known here too");
}

#[test]
fn shutdown_ends_logins_and_starts_none() {
    let mut bench = Bench::empty();
    begin(&mut bench, DEVICE, |_| {});
    bench.pass(secs(5));
    bench.happen(Event::ShuttingDown);
    bench.answer(error(400, "authorization_pending"));
    assert_eq!(*failed(&bench), LoginFailure::ShuttingDown);
    begin(&mut bench, LoginMethod::Code, |begun| {
        begun.login = LoginId(2)
    });
    assert_eq!(
        bench.count(|effect| matches!(effect, Effect::LoginEnded { .. })),
        2
    );
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn no_poll_leaves_a_machine_that_is_about_to_sleep() {
    let mut bench = Bench::empty();
    begin(&mut bench, DEVICE, |_| {});
    bench.happen(Event::Suspending);
    bench.pass(secs(20));
    assert!(bench.sent.is_empty());
    bench.happen(Event::Resumed);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_login_without_a_refresh_token_says_so_in_time() {
    let mut bench = Bench::empty();
    by_code(&mut bench);
    bench.answer(tokens_with(|tokens| tokens.refresh_token = false));
    assert!(!bench.grant().renewable);
    bench.pass(secs(3600));
    let needed = Notice::LoginNeeded(LoginReason::NotRenewable);
    assert_eq!(bench.notices(), [&needed]);
}
