//! What the tests are made of: accounts, and answers of providers.

use super::*;

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The account of most tests.
pub(super) fn work() -> Account {
    account("work")
}

pub(super) fn account(name: &str) -> Account {
    Account::new(name).unwrap()
}

pub(super) fn provider(host: &str) -> Provider {
    Provider {
        endpoints: Endpoints {
            token: format!("https://{host}/token"),
            ..Endpoints::default()
        },
        client_id: "client".to_owned(),
        ..Provider::default()
    }
}

/// A login of just now with a token of one hour whose renewal is due after forty minutes.
pub(super) fn grant(name: &str, now: Now) -> Grant {
    let lease = Lease {
        generation: Generation(1),
        fingerprint: Fingerprint([1; 16]),
        token_type: "Bearer".to_owned(),
        scopes: ScopeSet::parse("api mail"),
        issued: Stamp {
            boot_id: BOOT,
            at: now,
        },
        lifetime: Some(secs(3600)),
        expiry: Expiry::Exact,
        lead: secs(1200),
        rejected: false,
        dead: false,
    };
    Grant {
        account: account(name),
        id: GrantId(1),
        generation: Generation(1),
        provider: provider("idp.example").into(),
        subject: Some(subject("ann")),
        scopes: ScopeSet::parse("api mail"),
        resource: None,
        resources: ["https://mail.example", "https://typo.example"]
            .map(str::to_owned)
            .into(),
        renewed_by: crate::grant::RenewedBy::RefreshToken,
        renewable: true,
        leases: [(LeaseKey::default(), lease)].into(),
        learned: SmallMap::new(),
        flags: Default::default(),
        renewals: 0,
        created_at: now.wall,
        last_error: None,
        metadata_seen: None,
    }
}

pub(super) fn subject(sub: &str) -> Subject {
    let sub = sub.to_owned();
    Subject { sub, name: None }
}

pub(super) fn error(status: u16, code: &str) -> Received {
    let code = code.to_owned();
    let (description, detail) = (None, None);
    let body = Body::Error {
        code,
        description,
        detail,
    };
    Received::Response { status, body }
}

pub(super) fn plain(status: u16, body: Body) -> Received {
    Received::Response { status, body }
}

pub(super) fn lost() -> Received {
    nothing(true, Failure::Timeout)
}

pub(super) fn unreachable() -> Received {
    nothing(false, Failure::Connect)
}

pub(super) fn nothing(bytes_left: bool, failure: Failure) -> Received {
    Received::Nothing {
        bytes_left,
        failure,
    }
}

/// Tokens for an hour, with a new refresh token.
pub(super) fn tokens() -> Received {
    tokens_with(|_| {})
}

pub(super) fn tokens_with(change: impl FnOnce(&mut TokenSummary)) -> Received {
    let mut summary = TokenSummary {
        fingerprint: Fingerprint::default(),
        token_type: "bearer".to_owned(),
        expires_in: ExpiresIn::Stated(secs(3600)),
        jwt_expiry: None,
        refresh_in: None,
        scopes: None,
        refresh_token: true,
        subject: None,
    };
    change(&mut summary);
    plain(200, Body::Tokens(Box::new(summary)))
}

pub(super) fn lasting(lifetime: u64) -> Received {
    tokens_with(|tokens| tokens.expires_in = ExpiresIn::Stated(secs(lifetime)))
}

pub(super) fn key(scopes: &str) -> LeaseKey {
    LeaseKey {
        resource: None,
        scopes: ScopeSet::parse(scopes),
    }
}

pub(super) fn of(resource: &str) -> LeaseKey {
    LeaseKey {
        resource: Some(resource.to_owned()),
        scopes: ScopeSet::default(),
    }
}
