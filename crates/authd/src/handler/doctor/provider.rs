//! A provider: whether it is reached, whether it is itself, and what time it has.
//!
//! Whatever else can be asked of a provider without cost has its place in [`check`], beside the look.

use std::time::Duration;

use authd_core::grant::Provider;
use authd_oauth::{Portal, ProxyOrigin, TransportFailure, probe};
use authd_proto::{
    doctor::{DoctorFinding, FindingLevel},
    limits::{CLOCK_TOLERANCE_SECS, CLOCK_WRONG_SECS},
};

use crate::daemon::Shared;

/// All that can be found at one provider. Not empty.
pub(super) async fn check(daemon: &Shared, provider: &Provider) -> Vec<DoctorFinding> {
    let http = daemon.network.http();
    let asked = provider.issuer.as_deref();
    let asked_at = asked.unwrap_or(&provider.endpoints.token);
    let seen = probe(&http, asked, &provider.endpoints.token, &**daemon).await;
    let place = Place {
        name: provider.name(),
        url: asked_at,
        proxy: http.proxy_for(asked_at),
        config: format!("'{}'", daemon.place.config_path.display()),
    };
    if let Err(failure) = seen.reached {
        return vec![place.not_reached(failure)];
    }
    if let Some(portal) = seen.portal {
        // What answers in its place has a clock of its own.
        return vec![place.portal(&portal)];
    }
    let mut findings = Vec::new();
    if let Some(ahead) = seen.clock_ahead {
        daemon.clocks.learn(provider.host(), ahead);
        findings.extend(place.clock(ahead));
    }
    if findings.is_empty() {
        findings.push(place.well());
    }
    findings
}

/// The provider has used up the time.
pub(super) fn overdue(provider: &Provider) -> DoctorFinding {
    let host = provider.host().to_string();
    fail(
        "provider_timeout",
        format!("{}: no answer in time", provider.name()),
        format!("check the network: curl -sSI {host}"),
    )
}

/// A provider as it is spoken of.
struct Place<'a> {
    name: String,
    /// What was asked.
    url: &'a str,
    proxy: Option<(String, ProxyOrigin)>,
    /// The configuration file, in quotes.
    config: String,
}

fn fail(code: &str, message: String, fix: String) -> DoctorFinding {
    DoctorFinding::new("provider", code, FindingLevel::Fail, message, Some(fix))
}

impl Place<'_> {
    fn host(&self) -> &str {
        let rest = self
            .url
            .split_once("://")
            .map_or(self.url, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }

    fn origin(&self) -> &str {
        let scheme = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[scheme..].find(['/', '?']);
        end.map_or(self.url, |end| &self.url[..scheme + end])
    }

    /// How a key of `[network]` is set so that it counts.
    fn set(&self, line: &str) -> String {
        let config = &self.config;
        format!("put {line} under [network] in {config}, then: authctl daemon stop")
    }

    fn well(&self) -> DoctorFinding {
        let by = match &self.proxy {
            Some((at, _)) => format!("through the proxy {at}"),
            None => "directly".to_owned(),
        };
        DoctorFinding::new(
            "provider",
            "ok",
            FindingLevel::Ok,
            format!("{} is reached {by}", self.name),
            None,
        )
    }

    fn not_reached(&self, failure: TransportFailure) -> DoctorFinding {
        use TransportFailure as Not;
        let (name, host) = (&self.name, self.host());
        let proxy = self.proxy.as_ref().map_or("", |(at, _)| at.as_str());
        let curl = format!("curl -sSI {}", self.origin());
        let (code, what, fix) = match failure {
            Not::Dns => (
                "provider_dns",
                format!("its name '{host}' does not resolve"),
                format!(
                    "check the network and its DNS: getent hosts {}; in a company's network: {}",
                    host.split(':').next().unwrap_or(host),
                    self.set("proxy = \"http://HOST:PORT\"")
                ),
            ),
            Not::Connect => (
                "provider_unreachable",
                format!("no connection to '{host}'"),
                format!(
                    "check the network: {curl}; in a company's network: {}",
                    self.set("proxy = \"http://HOST:PORT\"")
                ),
            ),
            Not::Timeout => (
                "provider_timeout",
                "no answer in time".to_owned(),
                format!("check the network: {curl}"),
            ),
            Not::ProxyUnreachable => (
                "proxy_unreachable",
                format!("the proxy {proxy} cannot be reached"),
                self.mend_proxy(),
            ),
            Not::ProxyLogin => (
                "proxy_login",
                format!("the proxy {proxy} wants another name and password (407)"),
                self.set("proxy, proxy_user and proxy_password_file"),
            ),
            Not::ProxyPassword => (
                "proxy_password",
                format!("the password for the proxy {proxy} cannot be had"),
                "see the daemon's log for the reason, and mend the place that \
                 proxy_password_file, proxy_password_command or proxy_password_attributes names"
                    .to_owned(),
            ),
            Not::Proxy => (
                "proxy_refuses",
                format!("the proxy {proxy} gives no connection to it"),
                self.mend_proxy(),
            ),
            Not::UntrustedCertificate => (
                "tls_untrusted",
                "nobody whom this machine trusts vouches for its certificate".to_owned(),
                format!(
                    "if your company vouches for it, {}",
                    self.set("ca_file = \"/PATH/TO/CA.pem\"")
                ),
            ),
            Not::ForeignCertificate => (
                "tls_wrong_host",
                "something else answers in its place, with another host's certificate".to_owned(),
                "sign in to this network in a browser, then: authctl doctor".to_owned(),
            ),
            Not::OutdatedCertificate => (
                "tls_outdated",
                "by this machine's clock its certificate is not valid now".to_owned(),
                "set the clock: timedatectl set-ntp true; if the clock is right, tell whoever \
                 runs the provider"
                    .to_owned(),
            ),
            Not::Tls => (
                "tls_failed",
                "no TLS; something else may be answering in its place".to_owned(),
                format!("sign in to this network in a browser, then: {curl}"),
            ),
            Not::NoRoots => (
                "no_roots",
                "this machine has no root certificates".to_owned(),
                "install them: apt install ca-certificates".to_owned(),
            ),
            Not::PrivateAddress => (
                "private_address",
                format!("'{host}' is at a private address, which was not allowed"),
                format!(
                    "if it is your own, {}",
                    self.set(&format!(
                        "private_addresses = [\"{}\"]",
                        host.split(':').next().unwrap_or(host)
                    ))
                ),
            ),
            Not::BadEndpoint | Not::Unsigned => (
                "bad_endpoint",
                failure.to_string(),
                "log in again, at the provider's https address".to_owned(),
            ),
            Not::Broken | Not::TooLarge => (
                "provider_broken",
                failure.to_string(),
                format!("try: {curl}"),
            ),
        };
        fail(code, format!("{name}: {what}"), fix)
    }

    fn mend_proxy(&self) -> String {
        match &self.proxy {
            Some((_, ProxyOrigin::System)) => {
                "mend or unset HTTPS_PROXY where the daemon is started, then: authctl daemon stop"
                    .to_owned()
            }
            _ => format!(
                "mend `proxy` under [network] in {}, then: authctl daemon stop",
                self.config
            ),
        }
    }

    fn portal(&self, portal: &Portal) -> DoctorFinding {
        let how = match portal {
            Portal::Says => "this network wants you to sign in to it first".to_owned(),
            Portal::Redirects(host) => {
                format!("this network redirects what is for it to '{host}'")
            }
            Portal::Page => "a web page answers in its place: a portal, or a proxy".to_owned(),
        };
        fail(
            "captive_portal",
            format!("{}: {how}; your logins are kept", self.name),
            "sign in to this network in a browser, then: authctl doctor".to_owned(),
        )
    }

    fn clock(&self, ahead: i64) -> Option<DoctorFinding> {
        let off = ahead.unsigned_abs();
        if off <= CLOCK_TOLERANCE_SECS {
            return None;
        }
        let level = match off <= CLOCK_WRONG_SECS {
            true => FindingLevel::Warn,
            false => FindingLevel::Fail,
        };
        let span = humantime::format_duration(Duration::from_secs(off));
        let which = if ahead > 0 { "ahead of" } else { "behind" };
        Some(DoctorFinding::new(
            "clock",
            "clock_skew",
            level,
            format!(
                "this machine's clock is {span} {which} that of {}",
                self.name
            ),
            Some("set the clock: timedatectl set-ntp true".to_owned()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn place(proxy: Option<(&str, ProxyOrigin)>) -> Place<'static> {
        Place {
            name: "https://idp.test".to_owned(),
            url: "https://idp.test:8443/realm",
            proxy: proxy.map(|(at, origin)| (at.to_owned(), origin)),
            config: "'/c/config.toml'".to_owned(),
        }
    }

    #[test]
    fn each_failure_has_a_code_and_a_cure_of_its_own() {
        use TransportFailure as Not;
        let all = [
            Not::Dns,
            Not::Connect,
            Not::Timeout,
            Not::ProxyUnreachable,
            Not::ProxyLogin,
            Not::ProxyPassword,
            Not::Proxy,
            Not::UntrustedCertificate,
            Not::ForeignCertificate,
            Not::OutdatedCertificate,
            Not::Tls,
            Not::NoRoots,
            Not::PrivateAddress,
            Not::BadEndpoint,
            Not::Broken,
        ];
        let codes: BTreeSet<_> = all
            .iter()
            .map(|failure| place(None).not_reached(*failure).code)
            .collect();
        assert_eq!(codes.len(), all.len());
        let untrusted = place(None).not_reached(Not::UntrustedCertificate);
        let fix = untrusted.fix.unwrap_or_default();
        assert!(
            fix.contains("ca_file = \"/PATH/TO/CA.pem\" under [network] in '/c/config.toml'"),
            "{fix}"
        );
        let private = place(None).not_reached(Not::PrivateAddress);
        let fix = private.fix.unwrap_or_default();
        assert!(fix.contains("private_addresses = [\"idp.test\"]"), "{fix}");
        let dns = place(None).not_reached(Not::Dns);
        assert!(
            dns.fix
                .unwrap_or_default()
                .contains("getent hosts idp.test;")
        );
    }

    #[test]
    fn a_proxy_is_mended_where_it_was_named() {
        let fix = |origin| {
            place(Some(("http://p.test:1", origin)))
                .not_reached(TransportFailure::ProxyUnreachable)
                .fix
                .unwrap_or_default()
        };
        assert!(fix(ProxyOrigin::Config).starts_with("mend `proxy` under [network]"));
        assert!(fix(ProxyOrigin::System).starts_with("mend or unset HTTPS_PROXY"));
    }

    #[test]
    fn a_clock_is_told_of_beyond_what_servers_overlook() {
        let tolerated = i64::try_from(CLOCK_TOLERANCE_SECS).unwrap();
        for (ahead, level, words) in [
            (tolerated, None, ""),
            (tolerated + 1, Some(FindingLevel::Warn), "2m 1s ahead of"),
            (-121, Some(FindingLevel::Warn), "2m 1s behind"),
            (7_200, Some(FindingLevel::Fail), "2h ahead of"),
            (i64::MIN, Some(FindingLevel::Fail), "behind"),
        ] {
            let found = place(None).clock(ahead);
            assert_eq!(found.as_ref().map(|found| found.level), level, "{ahead}");
            assert!(found.is_none_or(|found| found.message.contains(words)));
        }
    }
}
