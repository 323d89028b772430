//! Responses.

use authd_proto::doctor as doc;
use authd_proto::event::EventKind;
use authd_proto::key;
use authd_proto::protection::Protection;
use authd_proto::provider as pro;
use authd_proto::request as req;
use authd_proto::response as res;
use authd_proto::secret::WireSecret;

use super::{
    ISSUER, NOW, Vector, account, event, failed, login_done, response, strings, token,
    token_without_expiry,
};

fn gitlab() -> pro::ProviderInfo {
    pro::ProviderInfo {
        name: "gitlab".into(),
        title: "GitLab".into(),
        flows: vec![req::Flow::Browser, req::Flow::Device],
        variables: vec![pro::ProviderVariable {
            name: "host".into(),
            about: "the host of the instance".into(),
            default: Some("gitlab.com".into()),
        }],
        origin: pro::ProviderOrigin::BuiltIn,
    }
}

pub(super) fn responses() -> Vec<Vector> {
    let login_id = || "l-1".to_owned();
    let browser = res::LoginStartReply {
        login_id: login_id(),
        account: "work".into(),
        flow: req::Flow::Browser,
        issuer: Some(ISSUER.into()),
        client_id: Some("authd-cli".into()),
        client_id_by: None,
        resource: None,
        authorization_url: Some(format!("{ISSUER}/authorize?client_id=authd-cli&state=s-1")),
        authorization_url_expires_in_secs: Some(60),
        redirect_uri: Some("http://127.0.0.1:8123/callback".into()),
        user_code: None,
        verification_uri: None,
        verification_uri_complete: None,
        interval_secs: None,
        expires_in_secs: 600,
    };
    let by_resource = res::LoginStartReply {
        client_id: Some("c-1".into()),
        client_id_by: Some(res::ClientIdBy::Registration),
        resource: Some("https://mcp.example.com/mcp".into()),
        ..browser.clone()
    };
    let device = res::LoginStartReply {
        flow: req::Flow::Device,
        authorization_url: None,
        authorization_url_expires_in_secs: None,
        redirect_uri: None,
        user_code: Some("WDJB-MJHT".into()),
        verification_uri: Some(format!("{ISSUER}/device")),
        verification_uri_complete: Some(format!("{ISSUER}/device?user_code=WDJB-MJHT")),
        interval_secs: Some(5),
        ..browser.clone()
    };
    vec![
        response::<req::Hello>(
            "",
            &res::HelloReply {
                version: 1,
                min_version: 1,
                max_version: 1,
                daemon_version: "0.1.0".into(),
                max_frame: 262_144,
                max_depth: 16,
                max_wait_secs: 300,
            },
        ),
        response::<req::TokenGet<'_>>("", &token()),
        response::<req::TokenGet<'_>>("-without-expiry", &token_without_expiry()),
        response::<req::TokenReject<'_>>("", &token()),
        response::<req::DpopProof>(
            "",
            &res::DpopProofReply {
                proof: WireSecret::new("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"),
                account: "work".into(),
                jkt: "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U".into(),
            },
        ),
        response::<pro::ProviderList>(
            "",
            &pro::ProviderListReply {
                providers: vec![gitlab()],
                cursor: Some("gitlab".into()),
            },
        ),
        response::<pro::ProviderShow>(
            "",
            &pro::ProviderShowReply {
                info: gitlab(),
                addresses: vec![pro::ProviderAddress {
                    name: "issuer".into(),
                    url: "https://{host}".into(),
                }],
                redirect_uri: "http://127.0.0.1:8123/callback".into(),
                registration: Some(pro::ProviderRegistration {
                    url: "https://git.example.com/applications".into(),
                    steps: strings(&["Make an application.", "Copy its id."]),
                }),
                notes: strings(&["Give the host of your own instance."]),
                facts: vec![
                    pro::ProviderFact {
                        fact: "lifetime".into(),
                        value: Some("7200 seconds".into()),
                        sources: vec![pro::ProviderSource {
                            url: "https://docs.example.com/oauth2".into(),
                            read: "2026-11-26".into(),
                            says: "Access tokens live for two hours.".into(),
                        }],
                    },
                    pro::ProviderFact {
                        fact: "leeway".into(),
                        value: None,
                        sources: vec![],
                    },
                ],
            },
        ),
        response::<req::AccountList>(
            "",
            &res::AccountListReply {
                accounts: vec![account()],
                cursor: Some("d29yaw".into()),
            },
        ),
        response::<req::AccountList>(
            "-end",
            &res::AccountListReply {
                accounts: vec![],
                cursor: None,
            },
        ),
        response::<req::AccountGet>("", &account()),
        response::<req::AccountCheck>(
            "",
            &res::AccountCheckReply {
                account: "work".into(),
                metadata: res::MetadataState::Changed,
                message: Some(
                    "the provider is not what it was at login: the token endpoint moved from \
                     https://idp.example.com/token to https://idp.example.com/v2/token"
                        .into(),
                ),
            },
        ),
        response::<req::AccountCheck>(
            "-unchanged",
            &res::AccountCheckReply {
                account: "work".into(),
                metadata: res::MetadataState::Unchanged,
                message: None,
            },
        ),
        response::<req::AccountForget>(
            "",
            &res::AccountForgetReply {
                account: "work".into(),
            },
        ),
        response::<req::AccountAdopt>(
            "",
            &res::AccountAdoptReply {
                adopted: strings(&["work"]),
            },
        ),
        response::<req::AccountImport>("", &login_done()),
        response::<req::AccountImport>("-pending", &res::LoginProgress::Pending),
        response::<req::LoginStart>("", &browser),
        response::<req::LoginStart>("-resource", &by_resource),
        response::<req::LoginStart>("-device", &device),
        response::<req::LoginWait>("", &login_done()),
        response::<req::LoginWait>("-pending", &res::LoginProgress::Pending),
        response::<req::LoginComplete>("", &login_done()),
        response::<req::LoginCancel>(
            "",
            &res::LoginCancelReply {
                login_id: login_id(),
            },
        ),
        response::<req::Logout>(
            "",
            &res::LogoutReply {
                account: "work".into(),
                revoked: vec![res::TokenKind::RefreshToken],
                pending: vec![res::TokenKind::AccessToken],
                end_session_url: Some(format!("{ISSUER}/logout?client_id=authd-cli")),
            },
        ),
        response::<req::Renew>("", &token().renewal),
        response::<req::Subscribe>(
            "",
            &res::SubscribeReply {
                events: EventKind::ALL.to_vec(),
            },
        ),
        response::<req::Unsubscribe>("", &res::UnsubscribeReply {}),
        response::<req::EventsQuery>(
            "",
            &res::EventsQueryReply {
                events: vec![event(), failed()],
                cursor: None,
            },
        ),
        response::<doc::DoctorCheck>("", &diagnosis()),
        response::<req::DaemonStatus>("", &daemon_status()),
        response::<req::DaemonReload>(
            "",
            &res::DaemonReloadReply {
                changed: strings(&["log.level"]),
                warnings: strings(&["socket.path takes effect at the next start"]),
            },
        ),
        response::<req::DaemonStop>("", &res::DaemonStopReply { pid: 4321 }),
        response::<key::DaemonLock>(
            "",
            &key::DaemonLockReply {
                wiped: false,
                exchanges_in_flight: 1,
            },
        ),
        response::<key::DaemonUnlock>(
            "",
            &key::DaemonUnlockReply {
                was_locked: true,
                accounts: 3,
            },
        ),
        response::<key::KeyStatus>("", &key_status(None)),
        response::<key::KeyRotate>("", &key_status(Some(NOW))),
        response::<key::KeyMove>("", &key_status(Some(NOW))),
    ]
}

fn key_status(since_at: Option<u64>) -> key::KeyStatusReply {
    key::KeyStatusReply {
        place: Some(key::KeyPlace::Keyring),
        since_at,
        rotations: 1,
        detail: "the operating system's key store".into(),
        worth: "as much as the password of your session".into(),
        locked: false,
        left_in: match since_at {
            Some(_) => vec![],
            None => vec![key::KeyPlace::File],
        },
    }
}

fn diagnosis() -> doc::DoctorCheckReply {
    let mut unreachable = doc::DoctorFinding::new(
        "provider",
        "proxy_unreachable",
        doc::FindingLevel::Fail,
        format!("{ISSUER}: the proxy http://proxy.example:3128 cannot be reached"),
        Some("mend `proxy` under [network]".into()),
    );
    unreachable.provider = Some(ISSUER.into());
    unreachable.accounts = strings(&["work"]);
    let variable = |name: &str, fingerprint: Option<&str>| doc::DoctorVariable {
        name: name.into(),
        fingerprint: fingerprint.map(str::to_owned),
    };
    doc::DoctorCheckReply {
        findings: vec![
            unreachable,
            doc::DoctorFinding::new("client", "ok", doc::FindingLevel::Ok, "can be used", None),
        ],
        variables: vec![
            variable("HTTPS_PROXY", Some("d430a1da30afe1a9d07b3b36042151eb")),
            variable("NO_PROXY", None),
        ],
        salt: "salt".into(),
    }
}

fn daemon_status() -> res::DaemonStatusReply {
    res::DaemonStatusReply {
        version: "0.1.0".into(),
        protocol: 1,
        pid: 4321,
        started_at: NOW - 3600,
        uptime_secs: 3600,
        socket: "/run/user/1000/authd/authd.sock".into(),
        state_dir: "/home/jane/.local/state/authd".into(),
        config_path: None,
        key_protection: res::KeyProtection {
            kind: "keyring".into(),
            detail: "Secret Service, collection 'login'".into(),
        },
        sandbox: "partial".into(),
        protections: vec![
            Protection {
                name: "undumpable".into(),
                in_force: true,
                detail: None,
                fix: None,
            },
            Protection {
                name: "files".into(),
                in_force: false,
                detail: Some("the kernel has no landlock".into()),
                fix: Some("a kernel from Linux 5.19 on".into()),
            },
        ],
        store: res::StoreStatus {
            state: "ok".into(),
            detail: None,
            hint: None,
        },
        accounts: 1,
        connections: 2,
        watchers: 1,
        waiters: 0,
        exchanges_in_flight: 0,
        questions_in_flight: 0,
        served: 1234,
        renewals: 6,
        revocations: vec![res::OwedRevocation {
            account: "old".into(),
            tokens: vec![res::TokenKind::RefreshToken, res::TokenKind::AccessToken],
        }],
        approvals_waiting: 1,
        audit_lost: 0,
    }
}
