//! Tells the person, once: the desktop's notification, and a command of their choice.
//!
//! Both run on threads of their own: a notification service that hangs delays nothing. Neither gets
//! a secret. What the person is to answer is shown by `prompt`.

#[cfg(target_os = "linux")]
mod prompt;

use std::{
    ffi::{OsStr, OsString},
    thread,
};

use authd_core::{broker::Notice, id::Account};
use authd_ipc::variables::OF_WINDOWS;
use authd_proto::approval::Answer;

use crate::{
    config::Notify,
    handler::refusal,
    process::launcher::{Launcher, Life, Running},
};

/// What a person reads.
pub(crate) struct Message {
    /// A stable word, for the command.
    pub(crate) kind: &'static str,
    /// A sentence.
    pub(crate) text: String,
}

/// What a person is asked.
pub(crate) struct Prompt {
    pub(crate) summary: String,
    /// Plain text, in lines.
    pub(crate) body: String,
    /// What can be answered, and the words on the buttons.
    pub(crate) answers: &'static [(Answer, &'static str)],
}

/// What comes of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "prompts are not built for this platform")
)]
pub(crate) enum Reaction {
    /// An answer.
    Pressed(Answer),
    /// It was settled elsewhere, and is not shown any more.
    Settled,
    /// There is no desktop that could be answered at, or it has gone.
    Nobody,
}

/// Asks the person at the desktop, at most until `over`. Without an answer there is none: nothing counts as a
/// yes but its button.
#[cfg(target_os = "linux")]
pub(crate) async fn ask(text: &Prompt, over: impl Future<Output = ()>) -> Reaction {
    prompt::ask(text, over).await
}

/// Notifications that can be answered are not built for this platform.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn ask(text: &Prompt, over: impl Future<Output = ()>) -> Reaction {
    let _ = (text.summary.len(), text.body.len(), text.answers, over);
    Reaction::Nobody
}

/// Puts the notice into words.
pub(crate) fn message(account: &Account, notice: &Notice) -> Message {
    let (kind, text) = match notice {
        Notice::LoginNeeded(reason) => (
            "login_needed",
            format!(
                "{account}: {}. Run 'authctl login {account}'.",
                refusal::login_reason(reason)
            ),
        ),
        Notice::AnswerLost => (
            "answer_lost",
            format!(
                "{account}: an answer of the provider was lost. The token still works; asking \
                 again may end the login. If it does, run 'authctl login {account}'."
            ),
        ),
        Notice::ProviderRejects => (
            "provider_rejects",
            format!("{account}: the API refuses even new tokens. Check your access there."),
        ),
        Notice::ScopeChanged => (
            "scope_changed",
            format!("{account}: the provider now grants other scopes. See 'authctl status'."),
        ),
        Notice::StoreDegraded(why) => (
            "store_degraded",
            format!("{account}: the store cannot be written ({why}). Run 'authctl doctor'."),
        ),
    };
    Message { kind, text }
}

/// Tells the person by every way that is configured.
pub(crate) fn tell(launcher: &Launcher, config: &Notify, account: &Account, message: &Message) {
    if config.desktop {
        let text = message.text.clone();
        detached("notify", move || desktop(&text));
    }
    if let Some(program) = config.command.first().cloned() {
        let mut argv = config.command.clone();
        argv.extend([account.as_str(), message.kind, &message.text].map(str::to_owned));
        let launcher = launcher.clone();
        detached("notify-command", move || {
            let ended = launcher.run(&argv, None, Life::Own);
            match ended.and_then(Running::wait) {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!(program, %status, "the notify command failed"),
                Err(error) => tracing::warn!(program, %error, "the notify command did not start"),
            }
        });
    }
}

/// What a program of the user's needs of our environment, and nothing else.
pub(crate) fn plain_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_plain(name, cfg!(windows)))
}

/// `on_windows` names are the same in upper and lower case, and programs need more of them.
fn is_plain(name: &OsStr, on_windows: bool) -> bool {
    const PLAIN: &[&str] = &[
        "HOME",
        "PATH",
        "LANG",
        "USER",
        "LOGNAME",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
    ];
    let Some(name) = name.to_str() else {
        return false;
    };
    if on_windows {
        let name = name.to_ascii_uppercase();
        [PLAIN, OF_WINDOWS]
            .iter()
            .any(|names| names.contains(&name.as_str()))
    } else {
        PLAIN.contains(&name)
    }
}

fn detached(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        tracing::warn!(%error, "no thread to tell the person");
    }
}

#[cfg(any(target_os = "linux", windows))]
fn desktop(text: &str) {
    // A program's path may be in there.
    #[cfg(target_os = "linux")]
    let text = &*prompt::plain(text);
    let shown = notify_rust::Notification::new()
        .appname("authd")
        .summary("authd")
        .body(text)
        .show();
    if let Err(error) = shown {
        tracing::debug!(%error, "there is no desktop to notify");
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn desktop(_: &str) {
    tracing::debug!("desktop notifications are not built for this platform");
}

#[cfg(test)]
mod tests {
    use authd_core::flag::LoginReason;

    use super::*;

    #[test]
    fn a_notice_names_the_account_and_the_command_that_mends_it() {
        let account = Account::new("work").unwrap();
        let message = message(&account, &Notice::LoginNeeded(LoginReason::Revoked));
        assert_eq!(message.kind, "login_needed");
        assert!(message.text.starts_with("work: "));
        assert!(message.text.ends_with("Run 'authctl login work'."));
    }

    #[test]
    fn a_command_gets_what_programs_need_and_no_more() {
        for (name, on_unix, on_windows) in [
            ("PATH", true, true),
            ("HOME", true, true),
            ("Path", false, true),
            ("SystemRoot", false, true),
            ("LOCALAPPDATA", false, true),
            ("PathExt", false, true),
            ("AUTHD_SOCKET", false, false),
            ("GITHUB_TOKEN", false, false),
        ] {
            assert_eq!(is_plain(name.as_ref(), false), on_unix, "{name}");
            assert_eq!(is_plain(name.as_ref(), true), on_windows, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_command_gets_account_kind_and_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("told");
        crate::testing::make_fifo(&fifo);
        let script = format!("printf '%s|' \"$@\" > {}", fifo.display());
        let config = Notify {
            desktop: false,
            command: ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec(),
        };
        let account = Account::new("work").unwrap();
        tell(
            &Launcher::default(),
            &config,
            &account,
            &message(&account, &Notice::ProviderRejects),
        );
        let told = std::fs::read_to_string(&fifo).unwrap();
        assert!(
            told.starts_with("work|provider_rejects|work: the API"),
            "{told}"
        );
    }
}
