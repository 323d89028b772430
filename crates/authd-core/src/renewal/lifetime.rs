//! How long a token lives, and how long before its end to renew it.

use std::time::Duration;

use crate::{
    answer::{ExpiresIn, TokenSummary},
    grant::Profile,
    lease::{Expiry, floor_of},
    time::Wall,
};

/// What is assumed where neither the provider nor its profile says: one hour.
const ASSUMED: Duration = Duration::from_secs(3600);
/// Nothing is believed to live longer than ten years: such a number means "for ever" at best.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The lifetime of a token that was asked for at `sent_at`, and how far to believe it.
///
/// `expires_in` wins, then the token's own `exp` where it is a JWT, then the profile, then one hour.
/// A token that is not renewable and of unknown life is never expired by us: it is served until an
/// API rejects it. `sent_at` is best the provider's own `Date`: a wrong clock here would misread `exp`.
#[must_use]
pub fn lifetime(
    tokens: &TokenSummary,
    profile: &Profile,
    renewable: bool,
    sent_at: Wall,
) -> (Option<Duration>, Expiry) {
    if let ExpiresIn::Stated(lifetime) = tokens.expires_in
        && !lifetime.is_zero()
    {
        return (Some(lifetime.min(LONGEST)), Expiry::Exact);
    }
    if let Some(expiry) = tokens.jwt_expiry.filter(|expiry| *expiry > sent_at) {
        return (Some(expiry.since(sent_at).min(LONGEST)), Expiry::Exact);
    }
    match profile.lifetime {
        Some(lifetime) => (Some(lifetime), Expiry::Assumed),
        None if renewable => (Some(ASSUMED), Expiry::Assumed),
        None => (None, Expiry::Unknown),
    }
}

/// How long before its end a token of `lifetime` is to be renewed.
///
/// `draw` is uniform in 0..1 and drawn once for each generation.
#[must_use]
pub fn lead(
    lifetime: Duration,
    refresh_in: Option<Duration>,
    profile: &Profile,
    draw: f64,
) -> Duration {
    let floor = floor_of(lifetime);
    let most_ever = lifetime.mul_f64(0.8);
    if let Some(hint) = refresh_in.filter(|hint| *hint < lifetime) {
        return lifetime.saturating_sub(hint).clamp(floor, most_ever);
    }
    let (share, most) = if profile.refresh_revokes_access_token {
        (0.15, Duration::from_secs(3600))
    } else {
        (0.35, Duration::from_secs(12 * 3600))
    };
    let lead = lifetime
        .mul_f64(share)
        .clamp(2 * floor, most.max(2 * floor));
    let spread = 1.0 + 0.15 * (2.0 * draw - 1.0);
    lead.mul_f64(spread).min(most_ever)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Fingerprint;

    fn tokens(expires_in: ExpiresIn, jwt_expiry: Option<Wall>) -> TokenSummary {
        TokenSummary {
            fingerprint: Fingerprint::default(),
            token_type: "bearer".to_owned(),
            expires_in,
            jwt_expiry,
            refresh_in: None,
            scopes: None,
            refresh_token: false,
            subject: None,
        }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn row_expires_in_missing_zero_or_huge_has_a_best_guess() {
        let sent = Wall::from_unix_secs(1_000);
        let jwt = Some(Wall::from_unix_secs(1_300));
        let profile = Profile {
            lifetime: Some(secs(7200)),
            ..Profile::default()
        };
        let none = Profile::default();
        let stated = ExpiresIn::Stated(secs(60));
        for (tokens, profile, renewable, expected) in [
            (
                tokens(stated, jwt),
                &profile,
                true,
                (Some(secs(60)), Expiry::Exact),
            ),
            (
                tokens(ExpiresIn::Missing, jwt),
                &profile,
                true,
                (Some(secs(300)), Expiry::Exact),
            ),
            (
                tokens(ExpiresIn::Missing, None),
                &profile,
                true,
                (Some(secs(7200)), Expiry::Assumed),
            ),
            (
                tokens(ExpiresIn::Missing, None),
                &none,
                true,
                (Some(ASSUMED), Expiry::Assumed),
            ),
            (
                tokens(ExpiresIn::Missing, None),
                &none,
                false,
                (None, Expiry::Unknown),
            ),
            (
                tokens(ExpiresIn::Missing, Some(Wall::from_unix_secs(900))),
                &none,
                true,
                (Some(ASSUMED), Expiry::Assumed),
            ),
            (
                tokens(ExpiresIn::Missing, Some(sent)),
                &none,
                true,
                (Some(ASSUMED), Expiry::Assumed),
            ),
            (
                tokens(ExpiresIn::Stated(Duration::ZERO), None),
                &none,
                true,
                (Some(ASSUMED), Expiry::Assumed),
            ),
            (
                tokens(ExpiresIn::Stated(Duration::MAX), None),
                &none,
                true,
                (Some(LONGEST), Expiry::Exact),
            ),
            (
                tokens(ExpiresIn::Missing, Some(Wall(i64::MAX))),
                &none,
                true,
                (Some(LONGEST), Expiry::Exact),
            ),
        ] {
            assert_eq!(lifetime(&tokens, profile, renewable, sent), expected);
        }
    }

    #[test]
    fn the_lead_follows_the_policy() {
        let usual = Profile::default();
        let revoking = Profile {
            refresh_revokes_access_token: true,
            ..Profile::default()
        };
        for (life, profile, middle) in [
            (3600, &usual, 1260.0),
            (20, &usual, 10.0),
            (30 * 86_400, &usual, 43_200.0),
            (3600, &revoking, 540.0),
            (86_400, &revoking, 3600.0),
            (300, &revoking, 120.0),
        ] {
            for draw in [0.0, 0.25, 0.5, 0.999] {
                let lead = lead(secs(life), None, profile, draw).as_secs_f64();
                let expected = middle * (0.85 + 0.3 * draw);
                assert!(
                    (lead - expected).abs() < 0.01,
                    "L={life}: {lead} is not {expected}"
                );
                assert!(lead <= 0.8 * life as f64);
            }
        }
    }

    #[test]
    fn a_hint_wins_but_never_below_the_floor() {
        let profile = Profile::default();
        assert_eq!(
            lead(secs(3600), Some(secs(1800)), &profile, 0.0),
            secs(1800)
        );
        assert_eq!(lead(secs(3600), Some(secs(3599)), &profile, 0.0), secs(60));
        assert_eq!(
            lead(secs(3600), Some(secs(9999)), &profile, 0.5),
            secs(1260)
        );
        assert_eq!(
            lead(secs(3600), Some(secs(3600)), &profile, 0.5),
            secs(1260),
            "at the very end is no hint"
        );
        assert_eq!(
            lead(secs(3600), Some(secs(0)), &profile, 0.5),
            secs(2880),
            "never more than 0.8 of the life"
        );
    }
}
