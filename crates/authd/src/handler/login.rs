//! `login.*`.

use authd_core::{broker::LoginFailure, id::ClientId};
use authd_proto::{
    ErrorCode, WireError, limits,
    request::{LoginCancel, LoginComplete, LoginStart, LoginWait},
    response::{LoginCancelReply, LoginDone, LoginProgress, LoginStartReply},
};

use super::wait as patience;
use crate::{
    authorize::{self, parse_login_id},
    daemon::Shared,
    journal::Origin,
};

/// `login.start`: discovers, listens, and says what to open.
pub(crate) async fn start(
    daemon: Shared,
    start: LoginStart,
    process: ClientId,
    origin: Origin,
) -> Result<LoginStartReply, WireError> {
    daemon.check_open()?;
    check(&start)?;
    let place = daemon.logins.enter(process)?;
    authorize::begin(daemon, start, origin, place).await
}

/// That there is not too much of what is compared with each other.
fn check(start: &LoginStart) -> Result<(), WireError> {
    if start.resources.len() > limits::MAX_RESOURCES {
        let message = format!("more than {} resources", limits::MAX_RESOURCES);
        return Err(WireError::new(ErrorCode::BadRequest, message));
    }
    Ok(())
}

/// `login.wait`.
pub(crate) async fn wait(daemon: Shared, wait: LoginWait) -> Result<LoginProgress, WireError> {
    let id = parse_login_id(&wait.login_id)?;
    let done = daemon.logins.wait(id, patience(wait.wait_secs)).await?;
    Ok(progress(done.as_deref()))
}

/// `login.complete`: what a person pasted.
pub(crate) async fn complete(
    daemon: Shared,
    complete: LoginComplete,
) -> Result<LoginProgress, WireError> {
    let id = parse_login_id(&complete.login_id)?;
    daemon
        .logins
        .complete(&daemon, id, complete.redirect_url.expose())?;
    let done = daemon.logins.wait(id, patience(complete.wait_secs)).await?;
    Ok(progress(done.as_deref()))
}

/// `login.cancel`.
pub(crate) fn cancel(daemon: &Shared, cancel: &LoginCancel) -> Result<LoginCancelReply, WireError> {
    let id = parse_login_id(&cancel.login_id)?;
    daemon.logins.check(id)?;
    daemon.mailbox.end_login(id, LoginFailure::Cancelled);
    Ok(LoginCancelReply {
        login_id: cancel.login_id.clone(),
    })
}

fn progress(done: Option<&LoginDone>) -> LoginProgress {
    done.map_or(LoginProgress::Pending, |done| {
        LoginProgress::Done(Box::new(done.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_a_bounded_number_of_resources() {
        let start = |number: usize| LoginStart {
            resources: (0..number)
                .map(|it| format!("https://{it}.example"))
                .collect(),
            ..LoginStart::default()
        };
        assert!(check(&start(limits::MAX_RESOURCES)).is_ok());
        let error = check(&start(limits::MAX_RESOURCES + 1)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
}
