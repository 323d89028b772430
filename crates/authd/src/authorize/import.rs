//! A login that something else held until now: its refresh token is brought along.

use std::{sync::Arc, time::Duration};

use authd_core::{
    broker::LoginMethod,
    grant::RenewedBy,
    id::{Account, LoginId},
    secret::Secret,
};
use authd_proto::{ErrorCode, WireError, request::AccountImport};

use super::{
    Proof,
    begin::{UnderWay, broke_off, register},
    protection::Protections,
    target::{Known, Purpose, target},
};
use crate::{admission::Place, daemon::Shared, handler::account_name, journal::Origin};

/// How long what goes before the first exchange may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// An import that has begun.
pub(crate) struct Imported {
    pub(crate) login: LoginId,
    pub(crate) account: Account,
    /// There was no such account before.
    pub(crate) is_new: bool,
}

/// Finds out where the refresh token is from, and hands it to the engine. Nothing was sent yet that could
/// spend it.
pub(crate) async fn import(
    daemon: Shared,
    import: AccountImport,
    origin: Origin,
    place: Place,
) -> Result<Imported, WireError> {
    let AccountImport {
        login: mut start,
        refresh_token,
        replace,
        ..
    } = import;
    let account = account_name(&start.account)?;
    let brought = brought(refresh_token.expose())?;
    // One login has one owner; a second account of it, or its spent token, would end both.
    if let Some(holder) = daemon.mailbox.who_holds(brought.clone()).await {
        return Err(already_here(&holder));
    }
    let http = daemon.network.http();
    let before = Before::of(&daemon, &account);
    if let Before::Works { .. } = before
        && !replace
    {
        return Err(exists(&account, "has a login that works"));
    }
    let known = Known::with_secret(&daemon, &account).await;
    let known = known.filter(|known| known.renewed_by == RenewedBy::RefreshToken);
    let work = daemon.network.spawn({
        let daemon = Arc::clone(&daemon);
        async move {
            let mut target = target(
                Purpose::Import,
                &daemon,
                &http,
                account.clone(),
                &mut start,
                known,
            )
            .await?;
            if !replace && before.is_of_another(&target.provider.name()) {
                return Err(exists(&account, "is at another provider"));
            }
            // What something else was given is bound to no key of ours.
            target.protections = Protections::default();
            let under_way = UnderWay {
                attempt: None,
                url_lives: None,
                proof: Some(Arc::new(Proof::RefreshToken(brought))),
                method: LoginMethod::Import,
                patience: PATIENCE,
                origin,
                place,
            };
            let (login, _) = register(&daemon, target, replace, under_way)?;
            Ok(Imported {
                login,
                account,
                is_new: before.is_nothing(),
            })
        }
    });
    work.await.unwrap_or_else(|_| Err(broke_off()))
}

/// RFC 6749 §A.17: one or more of the printable characters of ASCII.
fn brought(refresh_token: &str) -> Result<Secret, WireError> {
    let is_token = |byte: u8| matches!(byte, 0x20..=0x7e);
    if refresh_token.is_empty() || !refresh_token.bytes().all(is_token) {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            "that is no refresh token: it is empty, or has characters in it that none has",
        )
        .with_hint("give it to the letter, without what stands around it"));
    }
    Ok(Secret::new(refresh_token))
}

fn exists(account: &Account, how: &str) -> WireError {
    WireError::new(
        ErrorCode::AccountExists,
        format!("the account '{account}' {how}"),
    )
    .with_hint("choose another name, or give --replace")
    .with_account(account.as_str())
}

fn already_here(holder: &Account) -> WireError {
    WireError::new(
        ErrorCode::AlreadyHeld,
        format!("authd has this login already, as '{holder}'; nothing was sent"),
    )
    .with_hint(format!(
        "use '{holder}', or run 'authctl login' for another login"
    ))
    .with_account(holder.as_str())
}

/// What the account was before.
enum Before {
    Nothing,
    /// Its login works.
    Works {
        provider: String,
    },
    /// Only a new login can mend it.
    Ended {
        provider: String,
    },
}

impl Before {
    fn of(daemon: &Shared, account: &Account) -> Self {
        let accounts = daemon.published.load();
        let Some(snapshot) = accounts.get(account) else {
            return Self::Nothing;
        };
        let grant = &snapshot.view.grant;
        let provider = grant.provider.name();
        match grant.flags.needs_login {
            None => Self::Works { provider },
            Some(_) => Self::Ended { provider },
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn is_of_another(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Works { provider } | Self::Ended { provider } => provider != name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_taken_to_the_letter_or_not_at_all() {
        for good in ["1//0g-x_y", "a b", "~"] {
            assert_eq!(brought(good).unwrap().expose(), good);
        }
        for bad in ["", "a\n", "\u{1b}[2J", "tökén"] {
            let error = brought(bad).err().unwrap();
            assert_eq!(error.code, ErrorCode::BadRequest);
            assert!(bad.is_empty() || !error.message.contains(bad));
        }
    }
}
