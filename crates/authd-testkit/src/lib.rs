//! A strict fake authorization server with a ledger and fault injection, for authd's tests and its
//! demo.
//!
//! It does what the RFCs ask of a server, on loopback and
//! without TLS or persons: authorization code with PKCE, refresh with rotation and family
//! revocation, device authorization, revocation, introspection, resource indicators, signed ID
//! tokens, metadata in every form, and a protected API that answers 401 to a dead token. Then it
//! misbehaves, exactly as told, and remembers everything.
//!
//! - [`FakeServer`]: start, stop, kill, restart; settings, faults, gates, ledger.
//! - [`Settings`]: honest behaviour that varies between providers.
//! - [`Fault`], [`Rule`], [`Phase`]: misbehaviour, before or after the server committed.
//! - [`Ledger`], [`Counts`]: what was issued and seen, by [`Fingerprint`].
//! - [`Browser`], [`send_raw`]: the person's side of a login, and a hostile page's.
//! - [`Clock`], [`ManualClock`]: tokens that expire without waiting.
//! - [`ForwardProxy`], [`TlsFront`]: a company's network before it.
//! - [`Control`] and the binary `fake-as`: the same for other processes.
//!
//! Every secret begins with a canary (`canary-at-`, `canary-rt-`, `canary-code-`, `canary-dc-`), so a
//! leak can be searched for.
//!
//! ```
//! use authd_testkit::{Browser, Endpoint, FakeServer, Fault, Options};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = FakeServer::start(Options::default())?;
//! server.update(|settings| settings.access_token_ttl = std::time::Duration::from_secs(20));
//! server.fault_next(
//!     Endpoint::Token,
//!     Fault::Drop.after_commit().for_grant_type("refresh_token"),
//! );
//! let page = Browser::new().follow(&server.url(Endpoint::Api)).await?;
//! assert_eq!(page.status, 401);
//! assert_eq!(server.counts().api_missing, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

pub mod browser;
pub mod client;
pub mod clock;
pub mod control;
pub mod corporate;
pub mod fault;
pub mod ledger;
pub mod server;
pub mod settings;

pub use self::{
    browser::{Browser, BrowserError, Page, RawAnswer, send_raw},
    client::{Client, ClientAuthentication},
    clock::{Clock, ManualClock},
    control::Control,
    corporate::{ForwardProxy, PrivateAuthority, TlsFront, TlsFrontError},
    fault::{Endpoint, Fault, Phase, RetryAfter, Rule},
    ledger::{Counts, Fingerprint, Ledger, RefreshTokenOutcome, Revocation},
    server::{FakeServer, NoSuchUserCode, Options, StartError, TimedOut},
    settings::{
        AccessTokenFormat, Consent, DeviceConsent, DiscoveryForm, ExpiresIn, RefreshTokenOnRefresh,
        RefreshTokens, SendIss, Settings, Support,
    },
};
