//! A notification that can be answered (Desktop Notifications Specification 1.2), where the desktop's
//! service says that it has `actions`.
//!
//! The bus is spoken to in the task that asks: a service that hangs holds up nothing but its own question.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use authd_proto::approval::Answer;
use futures_util::StreamExt as _;
use zbus::{Connection, Proxy, connection, zvariant::Value};

use super::{Prompt, Reaction};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// How long the service may take to say what it can and to show something.
const PATIENCE: Duration = Duration::from_secs(3);
/// Urgency "critical": it stays until the person has seen it.
const CRITICAL: u8 = 2;
/// The person closed it.
const DISMISSED: u32 = 2;

/// Shows the prompt and waits for what comes of it, at most until `over`.
pub(super) async fn ask(prompt: &Prompt, over: impl Future<Output = ()>) -> Reaction {
    match converse(prompt, over).await {
        Ok(reaction) => reaction,
        Err(error) => {
            tracing::debug!(%error, "no desktop can be asked");
            Reaction::Nobody
        }
    }
}

async fn converse(prompt: &Prompt, over: impl Future<Output = ()>) -> zbus::Result<Reaction> {
    let connecting = async {
        let builder = connection::Builder::session()?;
        builder
            .method_timeout(PATIENCE)
            .internal_executor(false)
            .build()
            .await
    };
    let connection = within_patience(connecting).await?;
    // The connection's own work is done here, in this task, instead of on a thread more.
    let executor = connection.executor().clone();
    let driven = async {
        loop {
            executor.tick().await;
        }
    };
    tokio::select! {
        never = driven => never,
        reaction = show(&connection, prompt, over) => reaction,
    }
}

async fn within_patience<T>(work: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    let in_time = tokio::time::timeout(PATIENCE, work).await;
    in_time.unwrap_or_else(|_| {
        Err(zbus::Error::InputOutput(std::sync::Arc::new(
            std::io::ErrorKind::TimedOut.into(),
        )))
    })
}

async fn show(
    connection: &Connection,
    prompt: &Prompt,
    over: impl Future<Output = ()>,
) -> zbus::Result<Reaction> {
    let service = Proxy::new(connection, NAME, PATH, NAME).await?;
    let capabilities: Vec<String> = within_patience(service.call("GetCapabilities", &())).await?;
    let has = |capability: &str| capabilities.iter().any(|has| has == capability);
    if !has("actions") {
        return Ok(Reaction::Nobody);
    }
    // Before it is shown: an answer could come before we listened.
    let mut pressed = service.receive_signal("ActionInvoked").await?;
    let mut closed = service.receive_signal("NotificationClosed").await?;
    let mut owners = service.receive_owner_changed().await?;
    let actions: Vec<&str> = prompt
        .answers
        .iter()
        .flat_map(|(answer, label)| [key(*answer), label])
        .collect();
    let body = if has("body-markup") {
        escaped(&prompt.body)
    } else {
        prompt.body.clone()
    };
    let hints = HashMap::from([("urgency", Value::from(CRITICAL))]);
    let never_by_itself = 0_i32;
    let notification = (
        "authd",
        0_u32,
        "",
        prompt.summary.as_str(),
        body,
        actions,
        hints,
        never_by_itself,
    );
    let id: u32 = within_patience(service.call("Notify", &notification)).await?;
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            biased;
            () = &mut over => {
                // It may have gone by itself.
                let _: zbus::Result<()> =
                    within_patience(service.call("CloseNotification", &(id,))).await;
                return Ok(Reaction::Settled);
            }
            signal = pressed.next() => {
                let Some(signal) = signal else { return Ok(Reaction::Nobody) };
                let (of, action): (u32, String) = signal.body().deserialize()?;
                if of == id {
                    let known = prompt.answers.iter().find(|(answer, _)| key(*answer) == action);
                    // A click beside the buttons is no yes.
                    return Ok(Reaction::Pressed(known.map_or(Answer::Deny, |(answer, _)| *answer)));
                }
            }
            signal = closed.next() => {
                let Some(signal) = signal else { return Ok(Reaction::Nobody) };
                let (of, reason): (u32, u32) = signal.body().deserialize()?;
                if of == id {
                    return Ok(if reason == DISMISSED {
                        Reaction::Pressed(Answer::Deny)
                    } else {
                        Reaction::Nobody
                    });
                }
            }
            // Whoever showed it is gone, and it with them.
            _ = owners.next() => return Ok(Reaction::Nobody),
        }
    }
}

fn key(answer: Answer) -> &'static str {
    match answer {
        Answer::Once => "once",
        Answer::Allow => "allow",
        Answer::Always => "always",
        Answer::Deny => "deny",
    }
}

/// Text for whatever service is there: one that cannot be asked may understand markup.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let capabilities = notify_rust::get_capabilities();
    let has = |name| (capabilities.iter().flatten()).any(|capability| capability == name);
    if capabilities.is_ok() && !has("body-markup") {
        return text.into();
    }
    escaped(text).into()
}

/// Text that is shown as it stands where markup is understood.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_claims_is_no_markup() {
        assert_eq!(
            escaped("<b>git</b> & \"friends\""),
            "&lt;b&gt;git&lt;/b&gt; &amp; \"friends\""
        );
    }
}
