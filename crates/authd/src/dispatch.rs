//! One exhaustive match from a call to its handler.

use std::{future::Future, pin::Pin, sync::Arc};

use authd_proto::{
    Call, ErrorCode, ErrorShape, WireError,
    approval::Asks,
    encode::{self, TokenTail},
};
use serde::Serialize;

use crate::{
    connection::Session,
    daemon::Shared,
    handler::{
        account, approval, audit, daemon as own, doctor, dpop, events, gate, grant, import, key,
        login, metadata, provider, renew, socket, to_the_end, token,
    },
    journal::Origin,
    published::Token,
};

/// An answer that takes its time.
pub(crate) type Later = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// An answer.
pub(crate) enum Reply {
    /// A token: most of it is encoded already.
    Token {
        id: u32,
        token: Arc<Token>,
        tail: TokenTail,
    },
    /// A whole frame. Never holds a secret but a proof of possession, which is good for one request with
    /// a token that is not in it.
    Frame(Vec<u8>),
    /// An error.
    Error {
        id: u32,
        error: WireError,
        shape: ErrorShape,
    },
}

impl Reply {
    /// The frame that answers request `id` with `result`.
    pub(crate) fn of<T: Serialize>(
        id: u32,
        shape: ErrorShape,
        result: Result<T, WireError>,
    ) -> Self {
        let mut frame = Vec::new();
        let error = match result {
            Ok(result) => match encode::response(&mut frame, id, &result) {
                Ok(()) => return Self::Frame(frame),
                Err(error) => WireError::new(ErrorCode::TooLarge, error.to_string()),
            },
            Err(error) => error,
        };
        Self::Error { id, error, shape }
    }
}

/// Answers the call into `out`, or gives the future that will.
pub(crate) fn dispatch(
    daemon: &Shared,
    session: &mut Session,
    id: u32,
    call: Call<'_>,
    trace_id: Option<&str>,
    out: &mut Vec<u8>,
) -> Option<Later> {
    let shape = session.errors;
    let access = &session.access;
    let origin = || Origin {
        trace_id: trace_id.map(str::to_owned),
        client: session.client.clone(),
    };
    let asker = || session.asker(origin());
    if let Err(error) = access.admit(&call, &daemon.clock, daemon.published.boot_id) {
        gate::refused_unseen(daemon, &asker(), asks(&call), error.code);
        encode::error(out, id, &error, shape);
        return None;
    }
    match call {
        Call::TokenGet(get) => {
            return token::get(daemon, session, id, &get, origin, out);
        }
        Call::TokenReject(reject) => {
            return token::reject(daemon, session, id, &reject, origin, out);
        }
        Call::DpopProof(ask) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| dpop::proof(daemon, asker, ask));
        }
        Call::ApprovalList(list) => now(out, id, approval::list(daemon, &list), shape),
        Call::ApprovalAnswer(ask) => {
            let caller = Arc::clone(session.tally.caller());
            return later(daemon, id, shape, |daemon| {
                approval::answer(daemon, caller, ask)
            });
        }
        Call::GrantList(list) => now(out, id, grant::list(daemon, &list), shape),
        Call::GrantTier(ask) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| grant::tier(daemon, asker, ask));
        }
        Call::GrantAdd(ask) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| grant::add(daemon, asker, ask));
        }
        Call::GrantRevoke(ask) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| {
                to_the_end(grant::revoke(daemon, asker, ask))
            });
        }
        Call::AuditQuery(query) => {
            return later(daemon, id, shape, |daemon| audit::query(daemon, query));
        }
        Call::Hello(hello) => now(out, id, own::hello(session, hello), session.errors),
        Call::AccountList(list) => now(out, id, account::list(daemon, &list), shape),
        Call::AccountGet(get) => now(out, id, account::get(daemon, &get), shape),
        Call::ProviderList(list) => now(out, id, provider::list(daemon, &list), shape),
        Call::ProviderShow(show) => now(out, id, provider::show(daemon, &show), shape),
        Call::Subscribe(subscribe) => now(
            out,
            id,
            events::subscribe(daemon, session, subscribe),
            shape,
        ),
        Call::Unsubscribe(_) => now(out, id, events::unsubscribe(session), shape),
        Call::EventsQuery(query) => {
            return later(daemon, id, shape, |daemon| events::query(daemon, query));
        }
        Call::SocketCreate(create) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| {
                socket::create(daemon, asker, create)
            });
        }
        Call::SocketList(list) => now(out, id, socket::list(daemon, &list), shape),
        Call::SocketRevoke(revoke) => {
            let asker = asker();
            return later(daemon, id, shape, |daemon| {
                to_the_end(socket::revoke(daemon, asker, revoke))
            });
        }
        Call::DoctorCheck(check) => {
            return later(daemon, id, shape, |daemon| doctor::check(daemon, check));
        }
        Call::DaemonStatus(_) => now(out, id, own::status(daemon), shape),
        Call::DaemonStop(_) => now(out, id, own::stop(daemon, session), shape),
        Call::DaemonReload(_) => return later(daemon, id, shape, own::reload),
        Call::DaemonLock(lock) => {
            let origin = origin();
            return later(daemon, id, shape, |daemon| key::lock(daemon, lock, origin));
        }
        Call::DaemonUnlock(unlock) => {
            let (process, origin) = (session.process, origin());
            return later(daemon, id, shape, |daemon| {
                to_the_end(key::unlock(daemon, unlock, process, origin))
            });
        }
        Call::KeyStatus(_) => return later(daemon, id, shape, key::status),
        Call::KeyMove(ask) => {
            let (process, origin) = (session.process, origin());
            return later(daemon, id, shape, |daemon| {
                to_the_end(key::move_to(daemon, ask, process, origin))
            });
        }
        Call::KeyRotate(ask) => {
            let (process, origin) = (session.process, origin());
            return later(daemon, id, shape, |daemon| {
                to_the_end(key::rotate(daemon, ask, process, origin))
            });
        }
        Call::AccountCheck(check) => {
            return later(daemon, id, shape, |daemon| metadata::check(daemon, check));
        }
        Call::AccountForget(forget) => {
            return later(daemon, id, shape, |daemon| account::forget(daemon, forget));
        }
        Call::AccountAdopt(adopt) => {
            return later(daemon, id, shape, |daemon| account::adopt(daemon, adopt));
        }
        Call::Logout(logout) => {
            return later(daemon, id, shape, |daemon| account::logout(daemon, logout));
        }
        Call::AccountImport(ask) => {
            let (process, origin) = (session.process, origin());
            return later(daemon, id, shape, |daemon| {
                import::import(daemon, *ask, process, origin)
            });
        }
        Call::LoginStart(start) => {
            let (process, origin) = (session.process, origin());
            return later(daemon, id, shape, |daemon| {
                login::start(daemon, *start, process, origin)
            });
        }
        Call::LoginWait(wait) => {
            return later(daemon, id, shape, |daemon| login::wait(daemon, wait));
        }
        Call::LoginComplete(complete) => {
            return later(daemon, id, shape, |daemon| {
                login::complete(daemon, complete)
            });
        }
        Call::LoginCancel(cancel) => now(out, id, login::cancel(daemon, &cancel), shape),
        Call::Renew(ask) => {
            let origin = origin();
            return later(daemon, id, shape, |daemon| {
                renew::renew(daemon, ask, origin)
            });
        }
    }
    None
}

/// What is asked for, as the audit log names it.
fn asks(call: &Call<'_>) -> Option<Asks> {
    match call {
        Call::TokenGet(_) | Call::TokenReject(_) => Some(Asks::Token),
        Call::DpopProof(_) => Some(Asks::Proof),
        _ => None,
    }
}

fn now<T: Serialize>(out: &mut Vec<u8>, id: u32, result: Result<T, WireError>, shape: ErrorShape) {
    match Reply::of(id, shape, result) {
        Reply::Frame(frame) => out.extend_from_slice(&frame),
        Reply::Error { id, error, shape } => encode::error(out, id, &error, shape),
        Reply::Token { .. } => {}
    }
}

fn later<T, F>(
    daemon: &Shared,
    id: u32,
    shape: ErrorShape,
    handler: impl FnOnce(Shared) -> F,
) -> Option<Later>
where
    T: Serialize,
    F: Future<Output = Result<T, WireError>> + Send + 'static,
{
    let answer = handler(Arc::clone(daemon));
    let daemon = Arc::clone(daemon);
    Some(Box::pin(async move {
        let answer = answer.await.map_err(|error| unless_locked(&daemon, error));
        Reply::of(id, shape, answer)
    }))
}

/// Whoever waited while it was locked hears that, and not what it looks like from inside: accounts that are
/// not there, a daemon that takes nothing on.
fn unless_locked(daemon: &Shared, error: WireError) -> WireError {
    let looks_like_it = matches!(
        error.code,
        ErrorCode::UnknownAccount | ErrorCode::ShuttingDown | ErrorCode::Unavailable
    );
    match daemon.check_open() {
        Err(locked) if looks_like_it => locked,
        _ => error,
    }
}
