//! The table of methods: name, parameters, result. The daemon's one dispatch matches on [`Call`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::approval as app;
use crate::audit;
use crate::doctor as doc;
use crate::error::{ErrorCode, WireError};
use crate::key;
use crate::message::Params;
use crate::provider as pro;
use crate::request as req;
use crate::response as res;
use crate::socket as soc;

/// The parameters of a method, as a client sends them.
pub trait Request: Serialize {
    /// The method.
    const METHOD: Method;
    /// Its result.
    type Reply: DeserializeOwned;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident $(<$life:lifetime>)? = $name:literal: $params:ty => $reply:ty,)*) => {
        /// A method of this version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
        }

        impl Method {
            /// Every method, in the order of PROTOCOL.md.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The method of that name; `None` when this version has none.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }

        /// A request with its parameters decoded. No `Debug`: may hold a secret.
        pub enum Call<'a> {
            $($(#[$doc])* $variant($params),)*
        }

        impl<'a> Call<'a> {
            /// Decodes the parameters of `method`.
            ///
            /// # Errors
            /// [`ErrorCode::UnknownMethod`], [`ErrorCode::Unsupported`] for a reserved name, or
            /// [`ErrorCode::BadRequest`].
            pub fn decode(method: &str, params: Params<'a>) -> Result<Self, WireError> {
                match Method::parse(method) {
                    $(Some(Method::$variant) => params.decode().map(Self::$variant),)*
                    None => Err(no_such_method(method)),
                }
            }

            /// The method called.
            #[must_use]
            pub const fn method(&self) -> Method {
                match self { $(Self::$variant(_) => Method::$variant,)* }
            }
        }

        $(impl $(<$life>)? Request for $params {
            const METHOD: Method = Method::$variant;
            type Reply = $reply;
        })*
    };
}

// The daemon's `Call` boxes these for their size; a client sends them as they are.
impl Request for req::LoginStart {
    const METHOD: Method = Method::LoginStart;
    type Reply = res::LoginStartReply;
}

impl Request for req::AccountImport {
    const METHOD: Method = Method::AccountImport;
    type Reply = res::LoginProgress;
}

methods! {
    /// Negotiates version and error shape.
    Hello = "hello": req::Hello => res::HelloReply,
    /// An access token that is alive.
    TokenGet<'a> = "token.get": req::TokenGet<'a> => res::TokenReply,
    /// Reports a token that a server answered with 401.
    TokenReject<'a> = "token.reject": req::TokenReject<'a> => res::TokenReply,
    /// A proof that a bound token is ours, for one request with it.
    DpopProof = "dpop.proof": req::DpopProof => res::DpopProofReply,
    /// A page of accounts.
    AccountList = "account.list": req::AccountList => res::AccountListReply,
    /// One account.
    AccountGet = "account.get": req::AccountGet => res::AccountInfo,
    /// Whether a provider is what it was at login.
    AccountCheck = "account.check": req::AccountCheck => res::AccountCheckReply,
    /// Removes a login here, without a word to the provider.
    AccountForget = "account.forget": req::AccountForget => res::AccountForgetReply,
    /// Lifts the block on accounts of a restored or copied store.
    AccountAdopt = "account.adopt": req::AccountAdopt => res::AccountAdoptReply,
    /// Takes over a login whose refresh token something else held.
    AccountImport = "account.import": Box<req::AccountImport> => res::LoginProgress,
    /// Begins a login attempt.
    LoginStart = "login.start": Box<req::LoginStart> => res::LoginStartReply,
    /// Waits for the end of an attempt.
    LoginWait = "login.wait": req::LoginWait => res::LoginProgress,
    /// The redirect of a browser elsewhere, pasted.
    LoginComplete = "login.complete": req::LoginComplete => res::LoginProgress,
    /// Ends an attempt.
    LoginCancel = "login.cancel": req::LoginCancel => res::LoginCancelReply,
    /// A page of providers that have names.
    ProviderList = "provider.list": pro::ProviderList => pro::ProviderListReply,
    /// What is known of one.
    ProviderShow = "provider.show": pro::ProviderShow => pro::ProviderShowReply,
    /// Revokes and removes.
    Logout = "logout": req::Logout => res::LogoutReply,
    /// An exchange now.
    Renew = "renew": req::Renew => res::RenewReply,
    /// Events on this connection from now on.
    Subscribe = "subscribe": req::Subscribe => res::SubscribeReply,
    /// No more events.
    Unsubscribe = "unsubscribe": req::Unsubscribe => res::UnsubscribeReply,
    /// Events still remembered.
    EventsQuery = "events.query": req::EventsQuery => res::EventsQueryReply,
    /// Opens a socket for the token of one account.
    SocketCreate = "socket.create": soc::SocketCreate => soc::SocketInfo,
    /// A page of such sockets.
    SocketList = "socket.list": soc::SocketList => soc::SocketListReply,
    /// Closes such sockets.
    SocketRevoke = "socket.revoke": soc::SocketRevoke => soc::SocketRevokeReply,
    /// What is not as it should be, as far as the daemon alone can look.
    DoctorCheck = "doctor.check": doc::DoctorCheck => doc::DoctorCheckReply,
    /// The questions that wait for the person.
    ApprovalList = "approval.list": app::ApprovalList => app::ApprovalListReply,
    /// The person's answer to one.
    ApprovalAnswer = "approval.answer": app::ApprovalAnswer => app::ApprovalAnswerReply,
    /// Tiers and standing approvals.
    GrantList = "grant.list": app::GrantList => app::GrantListReply,
    /// Sets an account's tier.
    GrantTier = "grant.tier": app::GrantTier => app::GrantTierReply,
    /// Adds a standing approval.
    GrantAdd = "grant.add": app::GrantAdd => app::GrantInfo,
    /// Ends standing approvals.
    GrantRevoke = "grant.revoke": app::GrantRevoke => app::GrantRevokeReply,
    /// Who was given what.
    AuditQuery = "audit.query": audit::AuditQuery => audit::AuditQueryReply,
    /// How the daemon is.
    DaemonStatus = "daemon.status": req::DaemonStatus => res::DaemonStatusReply,
    /// Reads the configuration again.
    DaemonReload = "daemon.reload": req::DaemonReload => res::DaemonReloadReply,
    /// Stops the daemon.
    DaemonStop = "daemon.stop": req::DaemonStop => res::DaemonStopReply,
    /// Serves nobody from now on, and forgets keys and tokens.
    DaemonLock = "daemon.lock": key::DaemonLock => key::DaemonLockReply,
    /// Opens the store again.
    DaemonUnlock = "daemon.unlock": key::DaemonUnlock => key::DaemonUnlockReply,
    /// How the key of the store is protected.
    KeyStatus = "key.status": key::KeyStatus => key::KeyStatusReply,
    /// A new key; everything is sealed anew.
    KeyRotate = "key.rotate": key::KeyRotate => key::KeyStatusReply,
    /// The same key in another place.
    KeyMove = "key.move": key::KeyMove => key::KeyStatusReply,
}

/// How the names begin that are kept for later versions.
const RESERVED: &[&str] = &["grant.", "approval.", "sink.", "audit."];

fn no_such_method(name: &str) -> WireError {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let reserved = RESERVED.iter().any(|family| name.starts_with(family));
    if reserved {
        WireError::new(
            ErrorCode::Unsupported,
            format!("this daemon does not have the method '{shown}' yet"),
        )
        .with_hint("upgrade authd")
    } else {
        WireError::new(
            ErrorCode::UnknownMethod,
            format!("there is no method '{shown}'"),
        )
    }
}
