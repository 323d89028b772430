//! The log: to stderr, without a secret.
//!
//! Secrets have types that cannot be printed, so they cannot stray in here from our own code. The
//! crates that speak HTTP do not know those types: their logs are capped in code, whatever
//! `AUTHD_LOG` says.

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Crates that see bodies, headers or keys.
const CAPPED: &[&str] = &[
    "hyper",
    "hyper_util",
    "hyper_rustls",
    "rustls",
    "h2",
    "axum",
    "tower",
    "zbus",
    "redb",
    "oauth2",
    "keyring_core",
    "secret_service",
    "mio",
    "tokio",
    "want",
];

/// Starts logging. `AUTHD_LOG` takes the usual directives; without it: `info`.
pub fn start() {
    let asked = std::env::var("AUTHD_LOG").unwrap_or_default();
    let usual = Targets::new().with_default(LevelFilter::INFO);
    let filter = if asked.is_empty() {
        usual
    } else {
        asked.parse().unwrap_or(usual)
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter(filter)
        .with_filter(cap());
    tracing_subscriber::registry().with(layer).init();
}

fn cap() -> Targets {
    let all = Targets::new().with_default(LevelFilter::TRACE);
    CAPPED.iter().fold(all, |targets, capped| {
        targets.with_target(*capped, LevelFilter::WARN)
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::cap;

    #[test]
    fn crates_that_see_bodies_are_capped_whatever_is_asked() {
        let cap = cap();
        assert!(!cap.would_enable("hyper::proto::h1::io", &Level::TRACE));
        assert!(!cap.would_enable("rustls::client", &Level::DEBUG));
        assert!(cap.would_enable("hyper::client", &Level::WARN));
        assert!(cap.would_enable("authd::driver", &Level::TRACE));
    }
}
