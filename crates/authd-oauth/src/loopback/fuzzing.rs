//! One connection to the listener, for a fuzz target.

use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, sync::mpsc};

use super::{Asked, Gate, Page, converse};
use crate::authorization_code::{AuthorizationAttempt, AuthorizationError, AuthorizationGrant};

/// What one connection that sends `bytes` comes to: what it is answered, and what the login makes of it.
pub(crate) async fn connection(
    attempt: &AuthorizationAttempt,
    authority: &str,
    path: &str,
    bytes: &[u8],
) -> (
    Vec<u8>,
    Option<Result<AuthorizationGrant, AuthorizationError>>,
) {
    let (answers, mut asked) = mpsc::channel(1);
    let gate = Gate {
        authority: authority.to_owned(),
        path: path.to_owned(),
        answers,
    };
    let (mut browser, ours) = tokio::io::duplex(bytes.len() + 64 * 1024);
    let sending = async {
        // As much as is taken.
        let _ = browser.write_all(bytes).await;
        let _ = browser.shutdown().await;
        let mut answer = Vec::new();
        let _ = browser.read_to_end(&mut answer).await;
        answer
    };
    let judging = async {
        let Asked { response, page } = asked.recv().await?;
        let outcome = attempt.complete(response);
        let _ = page.send(Page::Strange);
        Some(outcome)
    };
    let ((), answer, outcome) = tokio::join!(converse(ours, gate), sending, judging);
    (answer, outcome)
}
