//! Which proxy a host is reached through, and how it gets to know us.

use std::{env, fmt, pin::Pin, sync::Arc};

use authd_core::secret::Secret;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{HostList, HttpConfigError, TransportFailure, address, dial::Unreached};

/// Which proxy to use. Loopback hosts are always spoken to directly.
#[derive(Clone, Debug, Default)]
pub enum ProxyConfig {
    /// That of the surroundings, beside which `except` counts where it says anything:
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case before upper case; where none of the
    /// first two is set, on macOS and Windows, the system's own setting.
    #[default]
    System,
    /// The same with exceptions that take the place of `NO_PROXY`.
    SystemExcept(HostList),
    /// None.
    Off,
    /// This one.
    Explicit(ExplicitProxy),
}

/// A proxy that the user names.
#[derive(Clone)]
pub struct ExplicitProxy {
    /// `http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if need be.
    pub proxy: String,
    /// Hosts that are spoken to directly.
    pub except: HostList,
    /// Who we are to it, where `proxy` does not say.
    pub login: Option<ProxyLogin>,
}

/// The URL may hold a password.
impl fmt::Debug for ExplicitProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExplicitProxy")
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

/// A name at a proxy, and where its password is kept.
#[derive(Clone)]
pub struct ProxyLogin {
    /// The name.
    pub user: String,
    /// Asked when a connection is to be made through the proxy, and not before.
    pub password: Arc<dyn ProxyPassword>,
}

/// A future that can be sent elsewhere.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the password of a proxy is kept.
pub trait ProxyPassword: Send + Sync {
    /// The password; `anew` when the proxy has just refused the one before. `None` when it cannot be
    /// had; whoever keeps it has said why.
    fn password(&self, anew: bool) -> Later<'_, Option<Secret>>;
}

/// Who named the proxy that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOrigin {
    /// [`ProxyConfig::Explicit`].
    Config,
    /// A variable, or the system's own setting.
    System,
}

/// The rules in force.
#[derive(Clone)]
pub(super) struct Proxies {
    rules: Rules,
    except: Option<HostList>,
}

#[derive(Clone)]
enum Rules {
    None,
    One(Arc<Proxy>),
    /// The system's own setting, with its own exceptions.
    System(Arc<Matcher>),
}

/// A proxy, and how it gets to know us.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) at: Intercept,
    pub(super) login: Option<ProxyLogin>,
    pub(super) origin: ProxyOrigin,
}

impl Proxies {
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, HttpConfigError> {
        Ok(match config {
            ProxyConfig::Off => Self {
                rules: Rules::None,
                except: None,
            },
            ProxyConfig::System => Self::of_surroundings(None),
            ProxyConfig::SystemExcept(except) => Self::of_surroundings(Some(except.clone())),
            ProxyConfig::Explicit(explicit) => Self {
                rules: Rules::One(Arc::new(Proxy {
                    at: read(&explicit.proxy).ok_or(HttpConfigError::Proxy)?,
                    login: explicit.login.clone(),
                    origin: ProxyOrigin::Config,
                })),
                except: Some(explicit.except.clone()),
            },
        })
    }

    fn of_surroundings(except: Option<HostList>) -> Self {
        let named = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
            .into_iter()
            .find_map(variable);
        let rules = match named.map(|named| read(&named)) {
            Some(Some(at)) => Rules::One(Arc::new(Proxy {
                at,
                login: None,
                origin: ProxyOrigin::System,
            })),
            Some(None) => {
                tracing::warn!("the proxy that the environment names cannot be read: none is used");
                Rules::None
            }
            None if cfg!(any(target_os = "macos", windows)) => {
                Rules::System(Arc::new(Matcher::from_system()))
            }
            None => Rules::None,
        };
        let by_variable = || {
            let named = variable("no_proxy").or_else(|| variable("NO_PROXY"));
            named.map(|named| HostList::from_variable(&named))
        };
        Self {
            rules,
            except: except.or_else(by_variable),
        }
    }

    /// The proxy for `uri`; `None` where it is spoken to directly.
    pub(super) fn for_uri(&self, uri: &Uri) -> Option<Proxy> {
        let host = Host::parse(uri.host()?).ok()?;
        let port = uri.port_u16().unwrap_or(443);
        let except = self.except.as_ref();
        if address::is_loopback(&host) || except.is_some_and(|list| list.contains(&host, port)) {
            return None;
        }
        match &self.rules {
            Rules::None => None,
            Rules::One(proxy) => Some(Proxy::clone(proxy)),
            Rules::System(matcher) => Some(Proxy {
                at: matcher.intercept(uri)?,
                login: None,
                origin: ProxyOrigin::System,
            }),
        }
    }

    /// The same for people: where it is, without a name or password, and who named it.
    pub(super) fn named_for(&self, url: &Url) -> Option<(String, ProxyOrigin)> {
        let proxy = self.for_uri(&url.as_str().parse().ok()?)?;
        let at = proxy.at.uri();
        // Not the authority: of a password with an '@' in it, a part may stand there.
        let port = at
            .port_u16()
            .map_or(String::new(), |port| format!(":{port}"));
        let address = format!("{}://{}{port}", at.scheme_str()?, at.host()?);
        Some((address, proxy.origin))
    }
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A proxy's URL, its name and password apart; `http` where no scheme is given.
fn read(text: &str) -> Option<Intercept> {
    let probe = Uri::from_static("https://probe.invalid/");
    let proxy = Matcher::builder().https(text.trim()).build();
    proxy
        .intercept(&probe)
        .filter(|found| !matches!(found.uri().scheme_str(), Some("socks4" | "socks4a") | None))
}

/// A name, and the password that is kept elsewhere. It cannot be printed.
#[derive(PartialEq, Eq)]
pub(super) struct Login {
    user: String,
    password: Zeroizing<String>,
}

impl Proxy {
    /// The login that is configured, its password fetched; `None` where none is.
    pub(super) async fn fetched(&self, anew: bool) -> Result<Option<Login>, Unreached> {
        let Some(login) = &self.login else {
            return Ok(None);
        };
        let password = login.password.password(anew).await;
        let password = password.ok_or(Unreached(TransportFailure::ProxyPassword))?;
        Ok(Some(Login {
            user: login.user.clone(),
            password: Zeroizing::new(password.expose().to_owned()),
        }))
    }

    /// `Proxy-Authorization` (RFC 9110 §11.7.2), by RFC 7617.
    pub(super) fn authorization(&self, login: Option<&Login>) -> Option<HeaderValue> {
        let Some(login) = login else {
            return self.at.basic_auth().cloned();
        };
        let pair = Zeroizing::new(format!("{}:{}", login.user, *login.password));
        let mut text = Zeroizing::new(String::with_capacity(6 + 4 * (pair.len() / 3 + 1)));
        text.push_str("Basic ");
        STANDARD.encode_string(pair.as_bytes(), &mut text);
        super::sensitive(&text).ok()
    }

    /// Name and password as SOCKS has them (RFC 1929).
    pub(super) fn name_and_password(&self, login: Option<&Login>) -> Option<(String, String)> {
        match login {
            Some(login) => Some((login.user.clone(), login.password.to_string())),
            None => {
                let (user, password) = self.at.raw_auth()?;
                Some((user.to_owned(), password.to_owned()))
            }
        }
    }
}
