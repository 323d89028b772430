//! Reaching the daemon: which one, whether to start it, and how long to wait for its answers.

use std::time::Duration;

use authd_client::{Client, ClientError, Instance, Who, spawn};
use authd_proto::event::EventKind;
use authd_proto::provider::{ProviderInfo, ProviderListReply};
use authd_proto::request::AccountList;
use authd_proto::response::{AccountInfo, AccountListReply};
use authd_proto::{ErrorCode, Event, Request, WireError};

use crate::exit::Failure;

const SELF: Who = Who {
    name: "authctl",
    version: env!("CARGO_PKG_VERSION"),
};
/// For a daemon that is there.
const CONNECT: Duration = Duration::from_secs(5);
/// For one that has to start: a key store that does not answer has its own time-out within.
const START: Duration = spawn::START_TIMEOUT;
/// For an answer that waits for nothing. Generous: a machine may be swapping.
const PROMPT: Duration = Duration::from_secs(10);
/// For a stopping daemon to finish its exchanges: the units give it as long (`TimeoutStopSec=`).
const END: Duration = Duration::from_secs(160);

/// A connection to the daemon, which is started when it is not running.
pub(crate) fn reach() -> Result<Client, Failure> {
    Ok(spawn::connect_or_start(
        &Instance::of_process()?,
        SELF,
        START,
    )?)
}

/// A connection to the daemon that is running.
pub(crate) fn running() -> Result<Client, Failure> {
    let instance = Instance::of_process()?;
    Ok(Client::connect(&instance.socket, SELF, CONNECT)?)
}

/// Asks what is answered at once.
pub(crate) fn ask<R: Request>(client: &mut Client, request: &R) -> Result<R::Reply, Failure> {
    Ok(client.call(request, PROMPT)?)
}

/// Asks what may wait in the daemon for as long as the request's `wait_secs`.
pub(crate) fn ask_waiting<R: Request>(
    client: &mut Client,
    request: &R,
    wait_secs: u64,
) -> Result<R::Reply, Failure> {
    let timeout = PROMPT.saturating_add(Duration::from_secs(wait_secs));
    Ok(client.call(request, timeout)?)
}

/// Every account.
pub(crate) fn accounts(client: &mut Client) -> Result<Vec<AccountInfo>, Failure> {
    pages(client, |cursor| AccountList {
        cursor,
        ..AccountList::default()
    })
}

/// A reply that is a page of a list.
pub(crate) trait Page {
    /// Of what.
    type Entry;

    /// Its entries, and where the next page begins.
    fn turn(self) -> (Vec<Self::Entry>, Option<String>);
}

impl Page for AccountListReply {
    type Entry = AccountInfo;

    fn turn(self) -> (Vec<AccountInfo>, Option<String>) {
        (self.accounts, self.cursor)
    }
}

impl Page for ProviderListReply {
    type Entry = ProviderInfo;

    fn turn(self) -> (Vec<ProviderInfo>, Option<String>) {
        (self.providers, self.cursor)
    }
}

/// The whole of a list, over as many pages as it takes.
pub(crate) fn pages<R, E>(
    client: &mut Client,
    page_from: impl Fn(Option<String>) -> R,
) -> Result<Vec<E>, Failure>
where
    R: Request,
    R::Reply: Page<Entry = E>,
{
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let (entries, next) = ask(client, &page_from(cursor))?.turn();
        all.extend(entries);
        if next.is_none() {
            return Ok(all);
        }
        cursor = next;
    }
}

/// An event that ends a subscription: the daemon was locked.
pub(crate) fn unless_locked(event: &Event) -> Result<(), Failure> {
    if event.event == EventKind::Daemon && event.code == Some(ErrorCode::Locked) {
        let locked = WireError::new(ErrorCode::Locked, "the store was locked");
        let locked = locked.with_hint("run 'authctl unlock'");
        return Err(ClientError::Wire(locked).into());
    }
    Ok(())
}

/// Waits until a daemon that was asked to stop has closed its last connection: this one.
pub(crate) fn await_end(client: Client) -> Result<(), Failure> {
    client.await_end(END).map_err(still_running)
}

/// Has the daemon that `running` leads to stop, and waits for its end.
pub(crate) fn end(running: Client) -> Result<(), Failure> {
    spawn::end(running, END).map_err(still_running)
}

/// Refuses to end a daemon that serves, where the one to follow could not start.
pub(crate) fn check_successor() -> Result<(), Failure> {
    // What a service manager starts may be elsewhere.
    let Ok(program) = spawn::find_program() else {
        return Ok(());
    };
    Ok(spawn::check(&program).map_err(ClientError::from)?)
}

/// Puts the installed daemon into the place of the one that `running` leads to.
pub(crate) fn replace(instance: &Instance, running: Client) -> Result<(), Failure> {
    let program = spawn::find_program().map_err(ClientError::from)?;
    spawn::replace(instance, running, &program, END, START).map_err(still_running)
}

fn still_running(error: ClientError) -> Failure {
    match error {
        ClientError::TimedOut(secs) => Failure::StillRunning { secs },
        error => error.into(),
    }
}
