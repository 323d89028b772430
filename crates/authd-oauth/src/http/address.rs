//! Which addresses may be spoken to.
//!
//! Everything goes over https, but for loopback, where http is allowed (RFC 8252 §8.3 reasons the
//! same way for redirects). A name must not lead into the local network unless the user opted in:
//! otherwise a hostile issuer could aim requests that carry secrets at the user's own router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::PrivateAddresses;

/// Why a URL is no endpoint that authd will speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not an absolute URL with a host.
    #[error("not an absolute URL")]
    NotAUrl,
    /// Neither https nor http on loopback.
    #[error("not https (plain http is for loopback addresses only)")]
    NotHttps,
    /// It has a user name or a password.
    #[error("it carries a user name or password")]
    UserInfo,
    /// It has a fragment (RFC 6749 §3.1, §3.2).
    #[error("it has a fragment")]
    Fragment,
    /// A private or link-local address, and the user did not opt in.
    #[error("it is a private address, and private addresses were not allowed")]
    Private,
    /// A loopback address named by an issuer that is not on loopback itself.
    #[error("it is a loopback address, but the issuer is not")]
    Loopback,
}

/// Reads an endpoint's URL by the rules above. Addresses behind names are judged when they are
/// resolved.
pub(crate) fn endpoint(text: &str, private: &PrivateAddresses) -> Result<Url, BadEndpoint> {
    let url = Url::parse(text).map_err(|_| BadEndpoint::NotAUrl)?;
    let Some(host) = url.host() else {
        return Err(BadEndpoint::NotAUrl);
    };
    let loopback = is_loopback(&host);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err(BadEndpoint::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadEndpoint::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(BadEndpoint::Fragment);
    }
    match literal(&host) {
        Some(ip) if !loopback && !private.allow(&host, ip) => Err(BadEndpoint::Private),
        _ => Ok(url),
    }
}

/// Whether the host is a loopback literal, or `localhost`.
pub(crate) fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

fn literal<S>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some((*ip).into()),
        Host::Ipv6(ip) => Some((*ip).into()),
    }
}

/// Whether `ip` is an address of the public internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(ip) => is_public_v4(ip),
            None => {
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unique_local()
                    || ip.is_unicast_link_local())
            }
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let this_network = a == 0;
    let carrier_grade_nat = a == 100 && (64..128).contains(&b);
    let reserved = a >= 240;
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || this_network
        || carrier_grade_nat
        || reserved)
}

/// The IPv4 address inside a mapped one (`::ffff:0:0/96`) or one behind NAT64 (`64:ff9b::/96`).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    ip.to_ipv4_mapped().or_else(|| match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_http_is_an_endpoint() {
        for good in [
            "https://idp.example/token",
            "http://127.0.0.1:8080/token",
            "http://[::1]:8080/token",
            "http://localhost/token",
            "https://127.9.9.9/token?tenant=a",
        ] {
            assert!(endpoint(good, &PrivateAddresses::Refused).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://idp.example/token", BadEndpoint::NotHttps),
            ("http://127.0.0.1.example/token", BadEndpoint::NotHttps),
            ("http://10.0.0.1/token", BadEndpoint::NotHttps),
            ("ftp://127.0.0.1/token", BadEndpoint::NotHttps),
            ("file:///etc/passwd", BadEndpoint::NotAUrl),
            ("/token", BadEndpoint::NotAUrl),
            ("https://user@idp.example/token", BadEndpoint::UserInfo),
            ("https://idp.example/token#x", BadEndpoint::Fragment),
            ("https://10.0.0.1/token", BadEndpoint::Private),
            ("https://[fd00::1]/token", BadEndpoint::Private),
            ("https://[::ffff:10.0.0.1]/token", BadEndpoint::Private),
            ("https://169.254.169.254/latest", BadEndpoint::Private),
        ] {
            assert_eq!(endpoint(bad, &PrivateAddresses::Refused), Err(why), "{bad}");
        }
        assert!(endpoint("https://10.0.0.1/token", &PrivateAddresses::Allowed).is_ok());
    }

    #[test]
    fn addresses_inside_the_local_network_are_not_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
