//! How the user wants providers to be spoken to.

use std::{net::IpAddr, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::Host;

use super::{HostList, ProxyConfig, address::is_public};

/// How providers are spoken to.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// For name, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// For the whole request, connecting included.
    pub request_timeout: Duration,
    /// Whether endpoints may be in a private network (loopback literals always may).
    pub private_addresses: PrivateAddresses,
    /// Which proxy to use.
    pub proxy: ProxyConfig,
    /// Certificates (DER) to trust beside the platform's.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            private_addresses: PrivateAddresses::Refused,
            proxy: ProxyConfig::System,
            extra_roots: Vec::new(),
        }
    }
}

/// Which hosts may be at private addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// None.
    #[default]
    Refused,
    /// Every one.
    Allowed,
    /// These names, wherever they lead, and these addresses, whatever leads there.
    Of(HostList),
}

impl PrivateAddresses {
    /// Whether the host may be spoken to at `ip`, private or not. The port of an entry counts for
    /// nothing.
    pub(crate) fn allow<S: AsRef<str>>(&self, host: &Host<S>, ip: IpAddr) -> bool {
        let address: Host<String> = match ip {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        match self {
            Self::Refused => is_public(ip),
            Self::Allowed => true,
            Self::Of(list) => is_public(ip) || list.contains(host, 0) || list.contains(&address, 0),
        }
    }
}

/// Why an [`HttpConfig`] is of no use. The user must mend the configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HttpConfigError {
    /// The proxy is no URL of a known scheme.
    #[error("the proxy must be an http, https, socks5 or socks5h URL")]
    Proxy,
    /// An extra root is no certificate.
    #[error("an extra root certificate cannot be read: {0}")]
    Root(#[source] rustls::Error),
}

/// Why a file with certificates to trust is of no use. The user must give another.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadRoots {
    /// There is none in it.
    #[error("there is no certificate in it (PEM, from -----BEGIN CERTIFICATE-----)")]
    None,
    /// One of them is no PEM.
    #[error("certificate {0} in it is damaged")]
    Damaged(usize),
    /// One of them is no certificate that others can be checked by.
    #[error("certificate {0} in it cannot be used: {1}")]
    Unusable(usize, rustls::Error),
}

/// The certificates (DER) in a PEM text, each of which can be one of [`HttpConfig::extra_roots`].
/// Anything else in it is passed over.
///
/// # Errors
/// [`BadRoots`], with the number of the one at fault, counted from 1.
pub fn roots_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, BadRoots> {
    let mut roots = Vec::new();
    let mut probe = rustls::RootCertStore::empty();
    for (before, root) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = before + 1;
        let root = root.map_err(|_| BadRoots::Damaged(number))?;
        roots.push(root.to_vec());
        probe
            .add(root)
            .map_err(|why| BadRoots::Unusable(number, why))?;
    }
    if roots.is_empty() {
        return Err(BadRoots::None);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_for_those_hosts_that_may() {
        let ours = HostList::new([".corp.test", "10.1.0.0/16"]).unwrap();
        let ours = PrivateAddresses::Of(ours);
        for (host, ip, allowed) in [
            ("git.corp.test", "192.168.1.1", true),
            ("git.example", "192.168.1.1", false),
            ("git.example", "10.1.2.3", true),
            ("git.example", "10.2.2.3", false),
            ("git.example", "1.1.1.1", true),
        ] {
            let (name, ip) = (Host::<&str>::Domain(host), ip.parse().unwrap());
            assert_eq!(ours.allow(&name, ip), allowed, "{host} {ip}");
            assert!(PrivateAddresses::Allowed.allow(&name, ip));
            assert_eq!(PrivateAddresses::Refused.allow(&name, ip), is_public(ip));
        }
    }

    #[test]
    fn certificates_to_trust_are_read_or_the_one_at_fault_is_named() {
        let made = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        let text =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, made.cert.der());
        let good = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let bundle = format!("# ours\n{good}\nand\n{good}");
        let roots = roots_from_pem(bundle.as_bytes()).unwrap();
        assert_eq!(roots, [made.cert.der().to_vec(), made.cert.der().to_vec()]);
        assert_eq!(roots_from_pem(b"nothing"), Err(BadRoots::None));
        let no_base64 =
            format!("{good}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
        assert_eq!(
            roots_from_pem(no_base64.as_bytes()),
            Err(BadRoots::Damaged(2))
        );
        let no_der = good.replacen("MII", "MIJ", 1);
        assert!(matches!(
            roots_from_pem(no_der.as_bytes()),
            Err(BadRoots::Unusable(1, _))
        ));
    }
}
