//! Clients that ask.

use super::*;

#[test]
fn a_resource_that_the_login_did_not_name_is_not_asked_for() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.key = of("https://other.example"));
    assert_eq!(
        *bench.refusal(ticket),
        Refusal::NotNamed("https://other.example".to_owned())
    );
    assert!(
        bench.sent.is_empty(),
        "it could have spent the refresh token"
    );
}

/// Where the refresh token stays, any resource may be asked for.
fn at_will() -> Bench {
    let mut bench = Bench::with_profile(|profile| profile.rotation = Rotation::None);
    bench.server = Server::Says(lasting(36_000));
    bench
}

fn ask_for(bench: &mut Bench, resource: &str) -> Ticket {
    let ticket = bench.ask_with(|demand| demand.key = of(resource));
    bench.pass(secs(10));
    ticket
}

#[test]
fn a_resource_is_only_so_long() {
    let mut bench = at_will();
    let longest = "r".repeat(crate::policy::LONGEST_RESOURCE);
    let ticket = ask_for(&mut bench, &longest);
    assert!(bench.served(ticket).renewed);
    let ticket = ask_for(&mut bench, &format!("{longest}r"));
    assert_eq!(*bench.refusal(ticket), Refusal::ResourceTooLong);
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(*bench.flags(), Flags::default());
}

#[test]
fn a_login_has_only_so_many_living_leases() {
    let mut bench = at_will();
    // One is the login's own.
    for number in 1..crate::policy::MOST_LEASES {
        let ticket = ask_for(&mut bench, &number.to_string());
        assert!(bench.served(ticket).renewed, "{number}");
    }
    let sent = bench.sent.len();
    let ticket = ask_for(&mut bench, "one more");
    assert_eq!(*bench.refusal(ticket), Refusal::TooManyLeases);
    assert_eq!(bench.sent.len(), sent);
    let ticket = ask_for(&mut bench, "1");
    assert!(!bench.served(ticket).renewed, "what it has is served");
    // Nobody asks for the others any more: they end.
    bench.server = Server::Says(lasting(3600));
    bench.pass(Config::default().idle_after + secs(7200));
    let ticket = ask_for(&mut bench, "one more");
    assert!(bench.served(ticket).renewed);
    assert!(bench.grant().leases.len() < crate::policy::MOST_LEASES);
}

#[test]
fn a_use_that_brings_the_renewal_of_an_idle_login_forward_is_shown() {
    let mut bench = Bench::with(|grant| {
        for lease in grant.leases.values_mut() {
            lease.lifetime = Some(secs(36_000));
        }
    });
    bench.broker.configure(Config {
        idle_after: secs(3600),
        ..Config::default()
    });
    bench.pass(secs(3600));
    bench.happen(Event::Tick);
    bench.happen(Event::NetworkUp);
    let (grant, planned) = (bench.grant().clone(), bench.view().next_renewal);
    bench.happen(Event::Used {
        account: work(),
        key: LeaseKey::default(),
    });
    assert_eq!(*bench.grant(), grant, "nothing else is new");
    assert!(bench.sent.is_empty());
    assert!(bench.view().next_renewal < planned);
}

#[test]
fn a_lease_of_unknown_life_is_dropped_once_nobody_uses_it() {
    let mut bench = Bench::with(|grant| {
        let mut endless = grant.leases[&LeaseKey::default()].clone();
        (endless.lifetime, endless.expiry) = (None, Expiry::Unknown);
        grant.leases.insert(of("https://mail.example"), endless);
    });
    bench.server = Server::Says(tokens());
    bench.pass(secs(3600));
    assert_eq!(bench.grant().leases.len(), 2, "it was in use a while ago");
    bench.pass(Config::default().idle_after);
    let ticket = bench.renew();
    bench.pass(secs(1));
    assert!(bench.served(ticket).renewed);
    assert_eq!(bench.grant().leases.len(), 1);
}

#[test]
fn a_fresh_token_is_served_without_an_exchange() {
    let mut bench = Bench::new();
    let ticket = bench.ask();
    let served = bench.served(ticket);
    assert_eq!(served.ttl, Some(secs(3600)));
    assert!(!served.low && !served.renewed);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_renewal_starts_at_the_renew_point_and_not_before() {
    let mut bench = Bench::new();
    let due = bench.now.boot.after(secs(2400));
    assert_eq!(bench.view().next_renewal, Some(due));
    bench.pass(secs(2399));
    assert!(bench.out.is_empty());
    bench.pass(secs(1));
    assert_eq!(bench.causes(), [Cause::Due]);
    assert_eq!(bench.view().refreshing, Some(LeaseKey::default().into()));
    bench.answer(tokens());
    assert_eq!(bench.grant().generation, Generation(2));
    assert_eq!(bench.grant().renewals, 1);
    assert_eq!(bench.view().refreshing, None);
    assert!(bench.view().next_renewal.unwrap() > bench.now.boot);
}

#[test]
fn the_jitter_is_drawn_once_a_generation() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(tokens());
    let planned = bench.view().next_renewal;
    for _ in 0..50 {
        bench.pass(secs(10));
        bench.ask();
        assert_eq!(bench.view().next_renewal, planned);
    }
}

#[test]
fn inv_02_fifty_waiters_share_one_exchange() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let tickets: Vec<_> = (0..50).map(|_| bench.ask()).collect();
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.broker.waiting(), 50);
    bench.answer(tokens());
    for ticket in tickets {
        assert!(bench.served(ticket).renewed);
        assert_eq!(bench.served(ticket).ttl, Some(secs(3600)));
    }
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.broker.waiting(), 0);
}

#[test]
fn min_ttl_beyond_what_is_left_renews_and_waits() {
    let mut bench = Bench::new();
    bench.pass(secs(1000));
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    assert_eq!(bench.reply(ticket), None);
    assert_eq!(bench.causes(), [Cause::Demanded]);
    bench.answer(tokens());
    assert!(bench.served(ticket).ttl >= Some(secs(3000)));
}

#[test]
fn inv_01_more_than_a_whole_life_is_refused_with_the_maximum() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3601)));
    let max_ttl = secs(3600);
    assert_eq!(*bench.refusal(ticket), Refusal::MaxTtlExceeded { max_ttl });
    assert!(bench.sent.is_empty());
}

#[test]
fn a_life_that_turns_out_shorter_than_asked_for_is_refused_and_not_renewed_again() {
    let mut bench = Bench::new();
    bench.pass(secs(1000));
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3000)));
    bench.answer(lasting(600));
    let max_ttl = secs(600);
    assert_eq!(*bench.refusal(ticket), Refusal::MaxTtlExceeded { max_ttl });
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_demand_that_the_least_distance_forbids_hears_what_there_is() {
    let mut bench = Bench::new();
    bench.pass(secs(60));
    let ticket = bench.ask_with(|demand| demand.min_ttl = Some(secs(3590)));
    let max_ttl = secs(3540);
    assert_eq!(*bench.refusal(ticket), Refusal::MaxTtlExceeded { max_ttl });
    assert!(bench.sent.is_empty(), "5 % of the life is not over");
}

#[test]
fn the_deadline_ends_the_wait_and_not_the_exchange() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let ticket = bench.ask_with(|demand| demand.wait = secs(5));
    bench.pass(Duration::from_millis(4_999));
    assert_eq!(bench.reply(ticket), None);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.why(ticket), Unavailable::Deadline);
    bench.answer(tokens());
    assert_eq!(bench.grant().generation, Generation(2));
}

#[test]
fn inv_05_a_client_that_leaves_cancels_nothing() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3600)));
    let gone = bench.ask();
    let stays = bench.ask();
    bench.happen(Event::Gone { ticket: gone });
    assert_eq!(bench.broker.waiting(), 1);
    bench.answer(tokens());
    assert_eq!(bench.reply(gone), None, "nobody is there to hear");
    assert!(bench.served(stays).renewed);
}

#[test]
fn inv_01_a_low_token_is_served_only_while_the_provider_fails() {
    let mut bench = Bench::new();
    bench.pass(secs(2400));
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(1170));
    let ticket = bench.ask();
    let served = bench.served(ticket);
    assert!(served.low);
    assert_eq!(served.ttl, Some(secs(30)));
    let demanding = bench.ask_with(|demand| demand.min_ttl = Some(secs(31)));
    assert_eq!(
        bench.reply(demanding),
        None,
        "a low token is not what it asked for"
    );
    bench.pass(secs(60));
    assert_eq!(bench.why(demanding), Unavailable::Provider);
    let expired = bench.ask_with(|demand| demand.wait = secs(1));
    bench.pass(secs(1));
    assert_eq!(bench.why(expired), Unavailable::Provider);
}

#[test]
fn below_the_floor_a_healthy_provider_is_waited_for() {
    let mut bench = Bench::new();
    bench.move_to(bench.now.boot.after(secs(3541)));
    let ticket = bench.ask();
    assert_eq!(bench.reply(ticket), None);
    bench.answer(tokens());
    assert!(!bench.served(ticket).low);
}

#[test]
fn leases_stand_side_by_side_for_each_resource_and_scopes() {
    let mut bench = Bench::new();
    for (position, key) in [key("api"), of("https://mail.example"), key("mail")]
        .into_iter()
        .enumerate()
    {
        bench.pass(secs(2));
        let ticket = bench.ask_with(|demand| demand.key = key.clone());
        assert_eq!(bench.reply(ticket), None);
        assert_eq!(bench.out[0].key, key);
        bench.answer(tokens());
        assert_eq!(bench.served(ticket).key, key);
        assert_eq!(bench.grant().leases.len(), position + 2);
        let again = bench.ask_with(|demand| demand.key = key);
        assert!(!bench.served(again).renewed);
    }
    assert_eq!(
        bench.lease().generation,
        Generation(1),
        "the login's own is untouched"
    );
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn scopes_that_were_not_granted_are_refused_without_an_exchange() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.key = key("api admin"));
    let missing = ScopeSet::parse("admin");
    assert_eq!(*bench.refusal(ticket), Refusal::NotGranted(missing));
    assert!(bench.sent.is_empty());
}

#[test]
fn an_unknown_account_is_refused() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.account = account("nobody"));
    assert_eq!(*bench.refusal(ticket), Refusal::UnknownAccount);
}

#[test]
fn one_clients_wrong_resource_troubles_nobody_else() {
    let mut bench = Bench::new();
    let ticket = bench.ask_with(|demand| demand.key = of("https://typo.example"));
    bench.answer(error(400, "invalid_target"));
    assert!(matches!(bench.refusal(ticket), Refusal::Misconfigured(_)));
    assert_eq!(bench.flags().misconfigured, None);
    let again = bench.ask_with(|demand| demand.key = of("https://typo.example"));
    assert!(matches!(bench.refusal(again), Refusal::Misconfigured(_)));
    assert_eq!(bench.sent.len(), 1, "it is not tried again for a while");
    bench.pass(secs(2400));
    assert_eq!(
        bench.out[0].key,
        LeaseKey::default(),
        "the login's own is renewed in time"
    );
}

#[test]
fn a_lease_that_always_fails_starves_no_other() {
    let mut bench = Bench::new();
    bench.ask_with(|demand| demand.key = key("api"));
    bench.answer(tokens());
    bench.move_to(bench.now.boot.after(secs(3600)));
    bench.happen(Event::Tick);
    for _ in 0..8 {
        bench.pass(secs(120));
        if let Some(exchange) = bench.out.front() {
            let fails = exchange.key == key("api") || exchange.key == LeaseKey::default();
            assert!(fails);
            bench.answer(unreachable());
        }
    }
    let tried: BTreeSet<_> = bench
        .sent
        .iter()
        .skip(1)
        .map(|(_, sent)| &sent.key)
        .collect();
    assert_eq!(tried.len(), 2);
}

#[test]
fn a_persons_renewal_is_made_although_nothing_is_due_and_once() {
    let mut bench = Bench::new();
    bench.pass(secs(10));
    let ticket = bench.renew();
    assert_eq!(bench.causes(), [Cause::Asked]);
    bench.answer(unreachable());
    bench.server = Server::Says(unreachable());
    bench.pass(secs(60));
    assert_eq!(bench.why(ticket), Unavailable::Provider);
    let tries = bench.sent.len();
    assert!(
        tries < 12,
        "the backoff holds after the first failure: {tries} tries"
    );
}

#[test]
fn an_unused_login_is_kept_alive_and_no_more() {
    let mut bench = Bench::with_profile(|profile| profile.rotation = Rotation::None);
    bench.server = Server::Says(tokens());
    bench.pass(secs(10 * 86_400));
    let late: Vec<_> = bench
        .sent
        .iter()
        .filter(|(at, _)| at.since(Boot(1_000_000)) > secs(86_400))
        .collect();
    assert_eq!(late.len(), 9, "once a day when nobody uses it");
    let mut used = Bench::new();
    used.server = Server::Says(tokens());
    for _ in 0..10 * 24 {
        used.pass(secs(3600));
        let (account, key) = (work(), LeaseKey::default());
        used.happen(Event::Used { account, key });
    }
    assert!(used.sent.len() > 10 * 24);
}

#[test]
fn no_refresh_token_dies_of_inactivity_even_under_long_tokens() {
    let limit = secs(9 * 3600);
    let mut bench = Bench::with(|grant| {
        grant.provider_mut().profile.inactivity_limit = Some(limit);
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        lease.lifetime = Some(secs(30 * 86_400));
        lease.lead = secs(12 * 3600);
    });
    bench.server = Server::Says(lasting(30 * 86_400));
    bench.pass(secs(5 * 86_400));
    let mut last = Boot(1_000_000);
    for (at, _) in &bench.sent {
        assert!(at.since(last) <= limit / 3 + secs(1));
        last = *at;
    }
    assert!(bench.sent.len() >= 39);
}

#[test]
fn inv_16_short_tokens_make_no_hot_loop() {
    for (lifetime, most) in [(1, 600), (2, 600), (4, 600), (20, 90)] {
        let mut bench = Bench::new();
        bench.server = Server::Says(lasting(lifetime));
        bench.renew();
        bench.pass(secs(600));
        let made = bench.sent.len();
        assert!(
            made <= most + 1,
            "{made} exchanges of {lifetime} s tokens in 600 s"
        );
        assert!(made as u64 >= 600 / lifetime.max(2) / 2);
    }
}

#[test]
fn a_login_that_cannot_be_renewed_asks_for_another_in_time() {
    let mut bench = Bench::with(|grant| grant.renewable = false);
    bench.pass(secs(3500));
    let ticket = bench.ask();
    assert!(!bench.served(ticket).low);
    bench.pass(secs(40));
    let needed = Notice::LoginNeeded(crate::flag::LoginReason::NotRenewable);
    assert_eq!(bench.notices(), [&needed]);
    let ticket = bench.ask();
    assert!(
        bench.served(ticket).ttl > Some(Duration::ZERO),
        "what lives is served"
    );
    bench.pass(secs(60));
    let ticket = bench.ask();
    assert!(matches!(bench.refusal(ticket), Refusal::LoginRequired(_)));
    assert!(bench.sent.is_empty());
}

#[test]
fn a_token_of_unknown_life_is_served_until_it_is_rejected() {
    let mut bench = Bench::with(|grant| {
        grant.renewable = false;
        let lease = grant.leases.get_mut(&LeaseKey::default()).unwrap();
        (lease.lifetime, lease.expiry) = (None, Expiry::Unknown);
    });
    bench.pass(secs(400 * 86_400));
    let ticket = bench.ask();
    assert_eq!(bench.served(ticket).ttl, None);
    let fingerprint = bench.lease().fingerprint;
    for _ in 0..3 {
        let ticket = bench.reject(fingerprint);
        assert!(matches!(bench.refusal(ticket), Refusal::LoginRequired(_)));
        bench.pass(secs(60));
    }
    assert_eq!(bench.notices(), [&Notice::ProviderRejects]);
    let other = bench.ask();
    assert!(
        bench.reply(other).unwrap().is_ok(),
        "the word of one is not enough"
    );
    let report = |client, teaches| Report {
        fingerprint,
        client: ClientId(client),
        teaches,
    };
    bench.report(report(2, false));
    let other = bench.ask();
    assert!(bench.reply(other).unwrap().is_ok(), "nor is hearsay");
    bench.report(report(2, true));
    let other = bench.ask();
    assert!(matches!(bench.refusal(other), Refusal::LoginRequired(_)));
    assert_eq!(bench.notices().len(), 2);
}

#[test]
fn a_lease_whose_asker_is_gone_begins_its_life_in_use() {
    let mut bench = Bench::new();
    bench.ask_with(|demand| (demand.key, demand.wait) = (key("api"), secs(1)));
    bench.pass(secs(5));
    bench.answer(tokens());
    bench.server = Server::Says(tokens());
    bench.pass(secs(3600));
    let renewed = bench.sent.iter().filter(|(_, sent)| sent.key == key("api"));
    assert_eq!(renewed.count(), 2);
}
