//! Which account a login is to, where, and as which client: what the command line leaves open, and what
//! came of it.

use authd_client::Client;
use authd_proto::ErrorCode;
use authd_proto::request::{AccountGet, LoginStart};
use authd_proto::response::{AccountInfo, ClientIdBy, LoginStartReply};
use url::Url;

use super::LoginArgs;
use crate::daemon;
use crate::exit::Failure;
use crate::output::{clean, note};

/// Longest name of an account.
const LONGEST_NAME: usize = 64;

/// An account, and whether it is known to be new.
pub(super) struct Which {
    pub(super) account: String,
    pub(super) is_new: bool,
}

impl LoginArgs {
    /// Settles the account, and whether enough is said for it.
    pub(super) fn which(&self, client: &mut Client) -> Result<Which, Failure> {
        let account = self.account_name(client)?;
        let is_new = self.check_enough(client, &account)?;
        Ok(Which { account, is_new })
    }

    /// Whether the resource alone says where to log in.
    pub(super) fn goes_by_resource(&self) -> bool {
        !self.resource.is_empty() && !self.names_server() && !self.client.is_enough()
    }

    /// The account named, else that of the resource, the provider's name, the host of the server named,
    /// or the only account there is.
    fn account_name(&self, client: &mut Client) -> Result<String, Failure> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        if let Some(provider) = &self.provider {
            return Ok(provider.clone());
        }
        if let Some(server) = self.server() {
            return host(server).ok_or(Failure::NoAccountName);
        }
        let accounts = daemon::accounts(client)?;
        if let Some(resource) = self.resource.first() {
            let (account, is_new) = of_resource(resource, &accounts)?;
            if !self.json.json {
                let what = if is_new {
                    "new account is"
                } else {
                    "account is"
                };
                note(format_args!("the {what} called '{}'", clean(&account)));
            }
            return Ok(account);
        }
        match accounts.as_slice() {
            [only] => Ok(only.account.clone()),
            _ => Err(Failure::NoAccountName),
        }
    }

    /// An account that does not exist yet needs a server. The daemon would say so too, but does not know
    /// what the options are called here. Whether the account is known to be new.
    fn check_enough(&self, client: &mut Client, account: &str) -> Result<bool, Failure> {
        // The daemon alone knows whether a provider needs a client id, and where to get one.
        let daemon_knows = self.provider.is_some() || self.client.is_enough();
        if self.client.credential.client_id.is_some() && self.server().is_some() || daemon_knows {
            return Ok(false);
        }
        let known = daemon::ask(
            client,
            &AccountGet {
                account: account.to_owned(),
            },
        );
        match known {
            Err(failure) if failure.wire_code() == Some(ErrorCode::UnknownAccount) => {}
            Err(failure) => return Err(failure),
            Ok(_) => return Ok(false),
        }
        let account = account.to_owned();
        if self.issuer.is_some() || self.goes_by_resource() {
            return Ok(true);
        }
        match self.server() {
            Some(_) => Err(Failure::NoClientId { account }),
            None => Err(Failure::NoServer { account }),
        }
    }
}

/// The account whose own resource it is, else a name for a new one: the host, or where that is taken the
/// host and the path.
fn of_resource(resource: &str, accounts: &[AccountInfo]) -> Result<(String, bool), Failure> {
    let url = Url::parse(resource).map_err(|_| Failure::NoAccountName)?;
    let is_own = |account: &&AccountInfo| {
        let own = account.resource.as_deref();
        own.is_some_and(|own| own == resource || Url::parse(own).as_ref() == Ok(&url))
    };
    if let Some(existing) = accounts.iter().find(is_own) {
        return Ok((existing.account.clone(), false));
    }
    let host = url.host_str().ok_or(Failure::NoAccountName)?;
    let is_free = |name: &String| !accounts.iter().any(|account| account.account == *name);
    let whole = format!("{host}{}", url.path().trim_end_matches('/'));
    [name(host), name(&whole)]
        .into_iter()
        .find(is_free)
        .map(|name| (name, true))
        .ok_or(Failure::NoAccountName)
}

/// `text` as the name of an account.
fn name(text: &str) -> String {
    let mark = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let marks: String = text
        .chars()
        .map(|c| if mark(c) { c } else { '-' })
        .collect();
    let mut name = marks
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned();
    name.truncate(LONGEST_NAME);
    name
}

/// The host in an address.
pub(super) fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Says what is about to be done beyond a login: a program that a provider does not know may be
/// registered there.
pub(super) fn announce(request: &LoginStart, is_new: bool) {
    if !is_new || request.client_id.is_some() || request.client.is_some() {
        return;
    }
    let by_hand = request.token_endpoint.is_some() || request.authorization_endpoint.is_some();
    match (&request.issuer, &request.resource) {
        (Some(issuer), _) => note(format_args!(
            "no client id is given: asking {} to register this client (RFC 7591)",
            clean(issuer)
        )),
        (None, Some(resource)) if request.provider.is_none() && !by_hand => note(format_args!(
            "asking {} where to log in; a client that is not known there is registered (RFC 7591)",
            clean(resource)
        )),
        _ => {}
    }
}

/// Says where the login goes and as whom, where nobody named that.
pub(super) fn found(started: &LoginStartReply) {
    let issuer = clean(started.issuer.as_deref().unwrap_or("the provider")).into_owned();
    if let Some(resource) = &started.resource {
        note(format_args!("{} is protected by {issuer}", clean(resource)));
    }
    let client_id = started.client_id.as_deref().unwrap_or_default();
    match started.client_id_by {
        Some(ClientIdBy::Registration) => note(format_args!(
            "{issuer} registered this client as '{}'",
            clean(client_id)
        )),
        Some(ClientIdBy::MetadataDocument) => note(format_args!(
            "{issuer} knows this client by {}",
            clean(client_id)
        )),
        Some(ClientIdBy::Unknown) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_named_after_the_host_of_the_issuer() {
        assert_eq!(
            host("https://idp.example.com:8443/realms/x").as_deref(),
            Some("idp.example.com")
        );
        assert_eq!(host("idp.example.com"), None);
    }

    #[test]
    fn a_name_that_is_made_is_one_that_the_daemon_takes() {
        for (text, made) in [
            ("mcp.example.com", "mcp.example.com"),
            ("mcp.example.com/a/mcp", "mcp.example.com-a-mcp"),
            ("[::1]", "1"),
            ("127.0.0.1/x%20y", "127.0.0.1-x-20y"),
        ] {
            assert_eq!(name(text), made);
        }
        assert_eq!(name(&"x".repeat(100)).len(), LONGEST_NAME);
    }
}
