//! The vectors of `approval.*`, `grant.*` and `audit.query`.

use authd_proto::approval as app;
use authd_proto::audit;
use authd_proto::error::ErrorCode;

use super::{NOW, Vector, request, response, strings};

fn git() -> app::CallerInfo {
    app::CallerInfo {
        name: "exe:/usr/bin/git".into(),
        pid: Some(900),
        started_at: Some(NOW - 5),
        executable: Some("/usr/bin/git".into()),
        unit: None,
        terminal: Some("pts/2".into()),
        session: Some(17),
        ended: false,
    }
}

fn grant() -> app::GrantInfo {
    app::GrantInfo {
        grant_id: 3,
        account: "work".into(),
        caller: "exe:/usr/bin/git".into(),
        created_at: NOW,
        expires_at: Some(NOW + 28_800),
    }
}

fn question() -> app::Question {
    app::Question {
        approval_id: 7,
        account: "work".into(),
        asks: app::Asks::Token,
        caller: git(),
        claimed: Some("git-credential".into()),
        tier: app::Tier::AskOnce,
        scopes: strings(&["api:read"]),
        resource: Some("https://api.example.com/".into()),
        change: None,
        asked_at: NOW,
        expires_at: NOW + 300,
    }
}

fn handed_out() -> audit::AuditLine {
    audit::AuditLine {
        seq: 41,
        asks: Some(app::Asks::Token),
        account: Some("work".into()),
        caller: Some(git()),
        claimed: Some("git-credential".into()),
        scopes: strings(&["openid", "api:read"]),
        resource: Some("https://api.example.com/".into()),
        fingerprint: Some("9f86d081884c7d659f86d081884c7d65".into()),
        generation: Some(7),
        tier: Some(app::Tier::AskOnce),
        because: Some(audit::Because::Approval),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ..audit::AuditLine::new(NOW, audit::Decision::HandedOut)
    }
}

fn refused() -> audit::AuditLine {
    audit::AuditLine {
        seq: 42,
        asks: Some(app::Asks::Token),
        account: Some("work".into()),
        caller: Some(app::CallerInfo {
            name: "unidentified".into(),
            ended: true,
            ..app::CallerInfo::default()
        }),
        tier: Some(app::Tier::AskOnce),
        code: Some(ErrorCode::ApprovalRequired),
        count: 12,
        since_at: Some(NOW - 60),
        message: Some("nobody was there".into()),
        ..audit::AuditLine::new(NOW, audit::Decision::Refused)
    }
}

pub(super) fn vectors() -> Vec<Vector> {
    vec![
        request("", &app::ApprovalList {}),
        request(
            "",
            &app::ApprovalAnswer {
                approval_id: 7,
                answer: app::Answer::Once,
                for_secs: None,
            },
        ),
        request(
            "-always",
            &app::ApprovalAnswer {
                approval_id: 7,
                answer: app::Answer::Always,
                for_secs: Some(28_800),
            },
        ),
        request(
            "",
            &app::GrantList {
                account: Some("work".into()),
                limit: Some(10),
                cursor: Some("home".into()),
            },
        ),
        request(
            "",
            &app::GrantTier {
                account: "work".into(),
                tier: app::Tier::AskOnce,
                wait_secs: Some(30),
            },
        ),
        request(
            "",
            &app::GrantAdd {
                account: "work".into(),
                caller: "exe:/usr/bin/git".into(),
                for_secs: Some(28_800),
                wait_secs: None,
            },
        ),
        request(
            "",
            &app::GrantRevoke {
                account: "work".into(),
                grant_id: Some(3),
            },
        ),
        request(
            "",
            &audit::AuditQuery {
                account: Some("work".into()),
                client: Some("git".into()),
                since_at: Some(NOW),
                after_seq: Some(41),
                newest: true,
                limit: Some(10),
                cursor: Some("50".into()),
                wait_secs: Some(30),
            },
        ),
        response::<app::ApprovalList>(
            "",
            &app::ApprovalListReply {
                approvals: vec![
                    question(),
                    app::Question {
                        approval_id: 8,
                        asks: app::Asks::Tier,
                        claimed: None,
                        scopes: vec![],
                        resource: None,
                        change: Some("allow".into()),
                        ..question()
                    },
                ],
            },
        ),
        response::<app::ApprovalAnswer>(
            "",
            &app::ApprovalAnswerReply {
                approval_id: 7,
                account: "work".into(),
                answer: app::Answer::Once,
            },
        ),
        response::<app::GrantList>(
            "",
            &app::GrantListReply {
                accounts: vec![app::AccountGrants {
                    account: "work".into(),
                    tier: app::Tier::AskOnce,
                    grants: vec![grant()],
                }],
                cursor: None,
            },
        ),
        response::<app::GrantTier>(
            "",
            &app::GrantTierReply {
                account: "work".into(),
                tier: app::Tier::AskOnce,
                before: app::Tier::Allow,
            },
        ),
        response::<app::GrantAdd>("", &grant()),
        response::<app::GrantRevoke>(
            "",
            &app::GrantRevokeReply {
                account: "work".into(),
                revoked: 1,
            },
        ),
        response::<audit::AuditQuery>(
            "",
            &audit::AuditQueryReply {
                lines: vec![handed_out(), refused()],
                cursor: Some("42".into()),
            },
        ),
    ]
}
