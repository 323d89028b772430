//! The redirect of a browser elsewhere, pasted: ↔ `login.complete`.

use std::io::PipeWriter;

use authd_proto::request::LoginComplete;
use authd_proto::response::LoginStartReply;
use authd_proto::{ErrorCode, WireSecret};

use super::show;
use crate::exit::Failure;
use crate::input::{self, Keyboard};
use crate::{daemon, output};

/// How long the provider may take to say that a code is none.
const VERDICT_SECS: u64 = 30;
/// Behind which it is pasted, on a terminal.
const PROMPT: &str = "Paste it here: ";

/// Takes what is pasted until it is dropped.
pub(super) struct Listening {
    /// Wakes the thread that waits for keys.
    _waker: Option<PipeWriter>,
}

/// Takes pasted redirects, from the keyboard or from standard input.
pub(super) fn listen(
    started: &LoginStartReply,
    keyboard: Option<&Keyboard>,
    json: bool,
) -> Result<Listening, Failure> {
    if !json {
        show::paste_here();
    }
    let way_in = started.authorization_url.clone().unwrap_or_default();
    let login_id = started.login_id.clone();
    let Some(keyboard) = keyboard else {
        std::thread::spawn(move || {
            input::lines().for_each(|pasted| complete(&login_id, &way_in, pasted));
        });
        return Ok(Listening { _waker: None });
    };
    let (woken, waker) = input::waker()?;
    let lines = keyboard.lines(PROMPT, woken);
    std::thread::spawn(move || {
        lines
            .map(|line| WireSecret::new(line.trim()))
            .filter(|line| !line.expose().is_empty())
            .for_each(|pasted| complete(&login_id, &way_in, pasted));
    });
    Ok(Listening {
        _waker: Some(waker),
    })
}

/// How the login ends is told by `login.wait`; here, only what is wrong with what was pasted.
fn complete(login_id: &str, way_in: &str, pasted: WireSecret) {
    if pasted.expose() == way_in {
        return show::pasted_the_way_in();
    }
    let request = LoginComplete {
        login_id: login_id.to_owned(),
        redirect_url: pasted,
        wait_secs: Some(VERDICT_SECS),
    };
    let asked = daemon::running()
        .and_then(|mut client| daemon::ask_waiting(&mut client, &request, VERDICT_SECS));
    match asked {
        Err(failure) if failure.wire_code() == Some(ErrorCode::BadRequest) => {
            show::pasted_in_vain(&failure);
        }
        Err(failure) if failure.wire_code().is_none() => {
            output::note(output::clean(&failure.to_string()));
        }
        _ => {}
    }
}
