use super::*;

const START: u64 = 1_000_000;

fn at(secs: u64) -> Now {
    Now {
        boot: Boot(START + secs * 1000),
        wall: Wall(1_800_000_000_000 + i64::try_from(secs).unwrap() * 1000),
    }
}

fn boot(secs: u64) -> Boot {
    at(secs).boot
}

fn git() -> CallerName {
    "exe:/usr/bin/git".parse().unwrap()
}

fn session() -> CallerName {
    CallerName::Session("17.4711".into())
}

fn of(caller: CallerName, extent: Extent) -> Approval {
    Approval { caller, extent }
}

const ONE: Extent = Extent::OneAnswer {
    given: Boot(START),
    used: None,
};
const UNTIL_LOCK: Extent = Extent::UntilLock {
    given: Boot(START),
    used: Boot(START),
};
const REFUSED: Extent = Extent::Refused { at: Boot(START) };
const FOREVER: Extent = Extent::Standing { until: None };

#[test]
fn who_gets_what_at_which_tier() {
    use Purpose::{Proof, Token};
    use Tier::{Allow, AskEach, AskOnce};
    use Verdict::{AskFirst, Deny};
    const OF_TIER: Verdict = Verdict::Allow(Because::OfTier);
    const FIRST: Verdict = Verdict::Allow(Because::OfApproval(0));
    let spent = ONE.after_use(at(1));
    let until = |secs| Extent::Standing {
        until: Some(at(secs).wall),
    };
    let table: &[(Tier, Purpose, Option<Extent>, u64, Verdict)] = &[
        // Nothing was said.
        (Allow, Token, None, 0, OF_TIER),
        (AskOnce, Token, None, 0, AskFirst),
        (AskEach, Token, None, 0, AskFirst),
        (AskOnce, Proof, None, 0, AskFirst),
        // A yes to one request, and its life.
        (AskOnce, Token, Some(ONE), 0, FIRST),
        (AskEach, Token, Some(ONE), 299, FIRST),
        (AskEach, Token, Some(ONE), 300, AskFirst),
        (AskEach, Token, Some(spent), 2, AskFirst),
        (AskOnce, Token, Some(spent), 2, AskFirst),
        (AskEach, Proof, Some(spent), 2, FIRST),
        (AskEach, Proof, Some(spent), 600, FIRST),
        (AskEach, Proof, Some(spent), 601, AskFirst),
        // A yes until lock: idle for ten minutes, and twelve hours.
        (AskOnce, Token, Some(UNTIL_LOCK), 599, FIRST),
        (AskOnce, Token, Some(UNTIL_LOCK), 600, AskFirst),
        (AskOnce, Proof, Some(UNTIL_LOCK), 599, FIRST),
        // It was given at another tier: an answer each is an answer each.
        (AskEach, Token, Some(UNTIL_LOCK), 1, AskFirst),
        // A standing yes holds at both, up to its end.
        (AskOnce, Token, Some(FOREVER), 1_000_000, FIRST),
        (AskEach, Token, Some(FOREVER), 1_000_000, FIRST),
        (AskEach, Token, Some(until(3600)), 3599, FIRST),
        (AskEach, Token, Some(until(3600)), 3600, AskFirst),
        // A no stands for a minute.
        (AskOnce, Token, Some(REFUSED), 59, Deny),
        (AskEach, Proof, Some(REFUSED), 59, Deny),
        (AskEach, Token, Some(REFUSED), 60, AskFirst),
        (Allow, Token, Some(REFUSED), 0, OF_TIER),
    ];
    for (tier, purpose, extent, secs, expected) in table {
        let approvals: Vec<_> = extent.iter().map(|extent| of(git(), *extent)).collect();
        let found = admit(*tier, *purpose, &[git()], &approvals, at(*secs));
        assert_eq!(
            found, *expected,
            "{tier:?} {purpose:?} {extent:?} at {secs} s"
        );
    }
}

#[test]
fn a_yes_that_is_used_lasts_but_not_beyond_twelve_hours() {
    let mut extent = UNTIL_LOCK;
    let admitted = |extent, secs| {
        let verdict = admit(
            Tier::AskOnce,
            Purpose::Token,
            &[git()],
            &[of(git(), extent)],
            at(secs),
        );
        verdict != Verdict::AskFirst
    };
    for secs in (0..43_200).step_by(599) {
        assert!(admitted(extent, secs), "{secs}");
        extent = extent.after_use(at(secs));
    }
    assert!(!admitted(extent, 43_200));
}

#[test]
fn a_yes_is_for_whom_it_was_given_by_any_of_its_names() {
    let names = [session(), git()];
    let yes = |caller| {
        admit(
            Tier::AskOnce,
            Purpose::Token,
            &names,
            &[of(caller, FOREVER)],
            at(0),
        )
    };
    assert_eq!(yes(git()), Verdict::Allow(Because::OfApproval(0)));
    assert_eq!(yes(session()), Verdict::Allow(Because::OfApproval(0)));
    for other in ["exe:/usr/bin/gitk", "unit:git.service", "snap:git"] {
        assert_eq!(yes(other.parse().unwrap()), Verdict::AskFirst, "{other}");
    }
}

#[test]
fn what_lasts_serves_before_what_is_used_up_and_a_yes_goes_before_a_no() {
    let approvals = [of(git(), REFUSED), of(git(), ONE), of(git(), UNTIL_LOCK)];
    let verdict =
        |approvals: &[Approval]| admit(Tier::AskOnce, Purpose::Token, &[git()], approvals, at(1));
    assert_eq!(verdict(&approvals), Verdict::Allow(Because::OfApproval(2)));
    assert_eq!(
        verdict(&approvals[..2]),
        Verdict::Allow(Because::OfApproval(1))
    );
    assert_eq!(verdict(&approvals[..1]), Verdict::Deny);
}

#[test]
fn nobody_unidentified_is_taken_for_another() {
    let (one, other) = (CallerName::Unidentified(1), CallerName::Unidentified(2));
    let approvals = [of(one.clone(), ONE)];
    let verdict = |name| {
        admit(
            Tier::AskEach,
            Purpose::Token,
            std::slice::from_ref(name),
            &approvals,
            Now {
                boot: boot(1),
                ..at(1)
            },
        )
    };
    assert_eq!(verdict(&one), Verdict::Allow(Because::OfApproval(0)));
    assert_eq!(verdict(&other), Verdict::AskFirst);
    assert!(
        one.is_one_client_with(&other),
        "but they share one question"
    );
    assert!(!one.is_one_client_with(&git()));
    assert_eq!(one.to_string(), "unidentified");
}

#[test]
fn only_names_that_last_can_be_read() {
    for good in [
        "exe:/usr/bin/git",
        "unit:backup.service",
        "flatpak:org.gnome.Evolution",
        "snap:thunderbird",
    ] {
        let name: CallerName = good.parse().unwrap();
        assert_eq!(name.to_string(), good);
        assert!(name.lasts());
    }
    for bad in [
        "",
        "git",
        "exe:",
        "exe:git",
        "exe:/usr/bin/\u{1b}[2Jgit",
        "session:17.4711",
        "process:1.2",
        "unidentified",
        "unidentified:1",
        "host:x",
    ] {
        assert_eq!(bad.parse::<CallerName>(), Err(BadCallerName), "{bad:?}");
    }
    assert!(!session().lasts());
}
