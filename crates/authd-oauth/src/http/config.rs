//! How the user wants providers to be spoken to.

use std::{fmt, time::Duration};

/// How providers are spoken to.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// For name, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// For the whole request, connecting included.
    pub request_timeout: Duration,
    /// Whether endpoints may be in a private network (loopback literals always may).
    pub private_addresses: bool,
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
            private_addresses: false,
            proxy: ProxyConfig::System,
            extra_roots: Vec::new(),
        }
    }
}

/// Which proxy to use. Loopback hosts are always spoken to directly.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ProxyConfig {
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case; elsewhere also the system's own
    /// setting.
    #[default]
    System,
    /// None.
    Off,
    /// This one.
    Explicit {
        /// `http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if need be.
        proxy: String,
        /// As `NO_PROXY` has it.
        except: String,
    },
}

/// The proxy's URL may hold a password.
impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Off => "Off",
            Self::Explicit { .. } => "Explicit { .. }",
        })
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
