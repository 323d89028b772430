//! The vectors of `socket.*`.

use authd_proto::socket as soc;

use super::{Vector, request, response};

pub(super) fn vectors() -> Vec<Vector> {
    let scopes = || vec!["api".to_owned()];
    let resources = || vec!["https://api.example.com".to_owned()];
    let info = soc::SocketInfo {
        name: "work-3fa9c1".into(),
        path: "/run/user/1000/authd/restricted/work-3fa9c1/authd.sock".into(),
        account: "work".into(),
        scopes: scopes(),
        resources: resources(),
        uids: vec![1000, 0],
        label: Some("container".into()),
        created_at: 1_750_000_000,
        expires_at: 1_750_028_800,
        ttl_secs: 28_700,
        connections: 1,
        served: 42,
        refused: 0,
    };
    vec![
        request(
            "",
            &soc::SocketCreate {
                account: Some("work".into()),
                scopes: Some(scopes()),
                resources: resources(),
                ttl_secs: Some(28_800),
                label: info.label.clone(),
                uids: info.uids.clone(),
                wait_secs: Some(60),
            },
        ),
        request(
            "-plain",
            &soc::SocketCreate {
                account: Some("work".into()),
                ..soc::SocketCreate::default()
            },
        ),
        request(
            "",
            &soc::SocketList {
                limit: Some(20),
                cursor: Some("home-0012ab".into()),
            },
        ),
        request(
            "",
            &soc::SocketRevoke {
                name: Some(info.name.clone()),
            },
        ),
        request("-all", &soc::SocketRevoke { name: None }),
        response::<soc::SocketCreate>("", &info),
        response::<soc::SocketList>(
            "",
            &soc::SocketListReply {
                sockets: vec![info.clone()],
                cursor: None,
            },
        ),
        response::<soc::SocketRevoke>(
            "",
            &soc::SocketRevokeReply {
                revoked: vec![info.name],
            },
        ),
    ]
}
