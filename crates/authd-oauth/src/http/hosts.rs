//! Lists of hosts as `NO_PROXY` has them: names, domains, addresses, networks, each with a port if need be.

use std::net::IpAddr;

use url::Host;

/// Hosts, by the rules that curl has for `NO_PROXY`:
///
/// - `*` is every host;
/// - `example.com` and `.example.com` are that host and all below it;
/// - `192.0.2.7` and `[2001:db8::7]` are addresses, `192.0.2.0/24` and `2001:db8::/32` networks. A name
///   is not resolved to be compared with them;
/// - `example.com:8443` is one port alone. (curl has no ports; those who write one mean it.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Every,
    /// In lower case, without a dot at either end.
    Domain(String),
    Network(IpAddr, u8),
}

/// What stands in a list of hosts and is none. The user must mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host, domain, address or network")]
pub struct BadHost(pub String);

impl HostList {
    /// From entries.
    ///
    /// # Errors
    /// The first that is none.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, BadHost> {
        let entries = entries.into_iter().map(str::trim);
        entries
            .filter(|entry| !entry.is_empty())
            .map(|entry| Entry::read(entry).ok_or_else(|| BadHost(entry.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// From the text of a variable: between commas or blanks. What cannot be read is left out, as other
    /// programs do.
    #[must_use]
    pub fn from_variable(text: &str) -> Self {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        Self(
            entries
                .filter(|entry| !entry.is_empty())
                .filter_map(Entry::read)
                .collect(),
        )
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry is for one port alone.
    #[must_use]
    pub fn names_a_port(&self) -> bool {
        self.0.iter().any(|entry| entry.port.is_some())
    }

    /// Whether the host is in it, spoken to on this port.
    #[must_use]
    pub fn contains<S: AsRef<str>>(&self, host: &Host<S>, port: u16) -> bool {
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|only| only == port)
                && match host {
                    Host::Domain(name) => entry.hosts.has_name(name.as_ref()),
                    Host::Ipv4(ip) => entry.hosts.has_address((*ip).into()),
                    Host::Ipv6(ip) => entry.hosts.has_address((*ip).into()),
                }
        })
    }
}

impl Entry {
    fn read(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // `[2001:db8::7]`, and an address without brackets, which has no port.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        Some(Self {
            hosts: Hosts::read(host)?,
            port,
        })
    }
}

impl Hosts {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let text = inner.unwrap_or(text);
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Some(Self::Network(address, bits));
        }
        let name = text.trim_start_matches('.').trim_end_matches('.');
        match Host::parse(name).ok()? {
            Host::Domain(name) => Some(Self::Domain(name)),
            _ => None,
        }
    }

    fn has_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Every => true,
            Self::Domain(domain) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            Self::Network(..) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Every => true,
            Self::Domain(_) => false,
            Self::Network(network, bits) => match (network, address.to_canonical()) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let apart = u32::from(*network) ^ u32::from(address);
                    apart.leading_zeros() >= u32::from(*bits)
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let apart = u128::from(*network) ^ u128::from(address);
                    apart.leading_zeros() >= u32::from(*bits)
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(list: &str, host: &str, port: u16) -> bool {
        HostList::from_variable(list).contains(&Host::parse(host).unwrap(), port)
    }

    #[test]
    fn a_domain_is_its_host_and_all_below_it() {
        for list in [
            "example.com",
            ".example.com",
            "Example.COM.",
            "a, example.com",
        ] {
            for host in ["example.com", "idp.example.com", "a.b.EXAMPLE.com"] {
                assert!(has(list, host, 443), "{list} {host}");
            }
            for host in [
                "notexample.com",
                "example.com.evil.test",
                "com",
                "192.0.2.7",
            ] {
                assert!(!has(list, host, 443), "{list} {host}");
            }
        }
        assert!(has("*", "anything.test", 443) && has("*", "192.0.2.7", 443));
        assert!(!has("", "anything.test", 443));
    }

    #[test]
    fn addresses_and_networks_are_compared_bit_by_bit() {
        for (list, host, expected) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("192.0.2.0/25", "192.0.2.127", true),
            ("192.0.2.0/25", "192.0.2.128", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "[2001:db8::1]", false),
            ("2001:db8::/32", "[2001:db8:ffff::1]", true),
            ("2001:db8::/32", "[2001:db9::1]", false),
            ("2001:db8::7", "[2001:db8::7]", true),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]", true),
            ("10.0.0.0/8", "ten.example", false),
        ] {
            assert_eq!(has(list, host, 443), expected, "{list} {host}");
        }
    }

    #[test]
    fn a_port_narrows_an_entry() {
        assert!(has("example.com:8443", "idp.example.com", 8443));
        assert!(!has("example.com:8443", "idp.example.com", 443));
        assert!(has("[2001:db8::7]:8443", "[2001:db8::7]", 8443));
        assert!(!has("[2001:db8::7]:8443", "[2001:db8::7]", 443));
        assert!(has("192.0.2.7:80", "192.0.2.7", 80));
        assert!(HostList::new(["a.test:1"]).unwrap().names_a_port());
    }

    #[test]
    fn what_is_none_is_refused_by_name_and_left_out_of_a_variable() {
        for bad in ["10.0.0.0/33", "::/129", "a b", "x:port", "10.0.0/8", "a/b"] {
            assert_eq!(HostList::new([bad]), Err(BadHost(bad.to_owned())));
        }
        assert!(has("10.0.0.0/99, example.com  b.test", "b.test", 443));
    }
}
