//! `audit.query`.

use std::time::Duration;

use authd_proto::{
    ErrorCode, WireError,
    audit::{AuditLine, AuditQuery, AuditQueryReply},
    limits, page,
};

use crate::{daemon::Shared, lines::Window};

/// `audit.query`: oldest first. The cursor is the number of the line at which the page ended: its last one, or
/// with `newest` its first.
pub(crate) async fn query(daemon: Shared, query: AuditQuery) -> Result<AuditQueryReply, WireError> {
    let bad = || {
        WireError::new(
            ErrorCode::BadRequest,
            "this cursor did not come from audit.query",
        )
    };
    let cursor = query.cursor.as_deref().map(str::parse::<u64>).transpose();
    let cursor = cursor.map_err(|_| bad())?;
    let after = query.after_seq.unwrap_or(0);
    let (after, before) = match (cursor, query.newest) {
        (Some(cursor), true) => (after, cursor),
        (Some(cursor), false) => (after.max(cursor), u64::MAX),
        (None, _) => (after, u64::MAX),
    };
    let limit = limits::page_limit(query.limit);
    let newest = query.newest;
    let window = Window {
        after,
        before,
        newest,
        limit: limit + 1,
    };
    let wait = query
        .wait_secs
        .map_or(0, |secs| limits::wait_secs(Some(secs)));
    let wanted = move |line: &AuditLine| fits(&query, line);
    let found = daemon.audit.read(window, Duration::from_secs(wait), wanted);
    let found = found.await.map_err(|error| {
        let message = format!("the audit log cannot be read: {error}");
        WireError::new(ErrorCode::StoreFailed, message).with_hint("run 'authctl doctor'")
    })?;
    let all = found.len();
    let mut lines = if newest {
        page::fill(found.into_iter().rev(), limit)
    } else {
        page::fill(found, limit)
    };
    let end = lines.last().map(|line| line.seq.to_string());
    let cursor = end.filter(|_| lines.len() < all);
    if newest {
        lines.reverse();
    }
    Ok(AuditQueryReply { lines, cursor })
}

fn fits(query: &AuditQuery, line: &AuditLine) -> bool {
    let has =
        |text: &Option<String>, part: &str| text.as_deref().is_some_and(|text| text.contains(part));
    let of_client = |part: &String| {
        let caller = line.caller.as_ref();
        has(&line.claimed, part)
            || caller.is_some_and(|caller| {
                caller.name.contains(part.as_str())
                    || has(&caller.executable, part)
                    || has(&caller.unit, part)
            })
    };
    line.at >= query.since_at.unwrap_or(0)
        && (query.account.is_none() || query.account == line.account)
        && query.client.as_ref().is_none_or(of_client)
}
