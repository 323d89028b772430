//! A provider that is not what it was at login.

use super::*;
use crate::metadata::{Change, Document, Found, Stated};

const THERE: &str = "https://idp.example/token";
const ELSEWHERE: &str = "https://elsewhere.example/token";

fn bench() -> Bench {
    let mut bench = Bench::empty();
    let mut grant = grant("work", bench.now);
    grant.provider_mut().issuer = Some("https://idp.example".to_owned());
    bench.happen(Event::Loaded {
        grant: Box::new(grant),
        interrupted: None,
        stale: None,
    });
    bench
}

fn offering(grant_type: &str) -> Stated {
    Stated {
        grant_types: Some([grant_type.to_owned()].into()),
        ..Stated::default()
    }
}

fn see(bench: &mut Bench, token: &str, stated: Stated, asked: bool) {
    let endpoints = Endpoints {
        token: token.to_owned(),
        ..Endpoints::default()
    };
    bench.happen(Event::MetadataSeen {
        account: work(),
        found: Found::Metadata(Box::new(Document { endpoints, stated })),
        asked,
    });
}

fn decided(bench: &Bench) -> Vec<&Decided> {
    let seen = bench.seen.iter();
    seen.filter_map(|effect| match effect {
        Effect::Record(record) => Some(&record.what),
        _ => None,
    })
    .collect()
}

fn kept(bench: &Bench) -> usize {
    bench.count(|effect| matches!(effect, Effect::Keep { .. }))
}

fn moved() -> Change {
    Change::Endpoint {
        name: "token_endpoint".to_owned(),
        from: THERE.to_owned(),
        to: Some(ELSEWHERE.to_owned()),
    }
}

#[test]
fn a_change_is_told_once_kept_and_taken_back_when_it_is_undone() {
    let mut bench = bench();
    see(&mut bench, THERE, offering("refresh_token"), false);
    assert_eq!(bench.flags().metadata_changed, None);
    assert_eq!((decided(&bench).len(), kept(&bench)), (0, 0));

    bench.pass(secs(10));
    see(&mut bench, ELSEWHERE, offering("refresh_token"), false);
    let told = bench.flags().metadata_changed.clone().unwrap();
    assert_eq!((told.reason, told.since), (vec![moved()], bench.now.wall));
    assert_eq!(decided(&bench), [&Decided::MetadataChanged(vec![moved()])]);
    assert_eq!(kept(&bench), 1);
    // Nothing follows from it.
    assert_eq!(bench.grant().provider.endpoints.token, THERE);

    let since = bench.now.wall;
    bench.pass(secs(10));
    see(&mut bench, ELSEWHERE, offering("refresh_token"), false);
    assert_eq!((decided(&bench).len(), kept(&bench)), (1, 1));
    see(&mut bench, ELSEWHERE, offering("password"), false);
    let told = bench.flags().metadata_changed.clone().unwrap();
    assert_eq!((told.reason.len(), told.since), (2, since));

    see(&mut bench, THERE, offering("refresh_token"), false);
    assert_eq!(bench.flags().metadata_changed, None);
    assert_eq!(decided(&bench).last(), Some(&&Decided::MetadataRestored));
    assert_eq!(kept(&bench), 3);
}

#[test]
fn the_first_look_at_an_old_login_is_what_later_ones_are_compared_with() {
    let mut bench = bench();
    see(&mut bench, THERE, offering("refresh_token"), true);
    assert_eq!(
        bench.grant().provider.stated,
        Some(offering("refresh_token"))
    );
    assert_eq!(bench.grant().metadata_seen, Some(bench.now.wall));
    assert_eq!(kept(&bench), 1, "it was fetched for this account's sake");
    see(&mut bench, THERE, offering("password"), false);
    let change = Change::GrantType("refresh_token".to_owned());
    let told = bench.flags().metadata_changed.as_ref().unwrap();
    assert_eq!(told.reason, [change]);
    assert_eq!(
        bench.grant().provider.stated,
        Some(offering("refresh_token"))
    );
}

#[test]
fn what_is_seen_while_an_answer_goes_to_the_disk_is_not_lost_by_it() {
    let mut bench = bench();
    bench.pass(secs(2400));
    bench.disk = Disk::Holds;
    bench.answer(tokens());
    see(&mut bench, ELSEWHERE, Stated::default(), true);
    assert_eq!(kept(&bench), 0, "the record on the disk is being replaced");
    bench.store_one();
    assert_eq!(bench.grant().generation, Generation(2));
    assert!(bench.flags().metadata_changed.is_some());
    assert_eq!(bench.grant().provider.stated, Some(Stated::default()));
    assert_eq!(kept(&bench), 1);
    // Until the answer is published the secrets at hand are those that it replaces.
    let at = |is: fn(&Effect) -> bool| bench.seen.iter().rposition(is);
    let published = at(|effect| matches!(effect, Effect::Publish { .. }));
    assert!(published < at(|effect| matches!(effect, Effect::Keep { .. })));
}
