//! The verbs that ask one thing: what they ask, and how they say what came of it.

use authd_proto::call::Call;
use authd_proto::error::{ErrorCode, WireError};
use authd_proto::response as res;
use authd_proto::response::TokenKind;

use crate::daemon::{FakeDaemon, Reply, renewal, run};

fn answering(call: Call<'_>, reply: &mut Reply<'_>) {
    match call {
        Call::Renew(renew) => {
            assert_eq!(
                (renew.account.as_str(), renew.wait_secs),
                ("work", Some(10))
            );
            reply.ok(&renewal());
        }
        Call::Logout(logout) => reply.ok(&res::LogoutReply {
            end_session_url: Some("https://idp.example/logout?client_id=c".to_owned()),
            account: logout.account,
            revoked: vec![TokenKind::RefreshToken],
            pending: vec![TokenKind::AccessToken],
        }),
        Call::AccountForget(forget) => reply.ok(&res::AccountForgetReply {
            account: forget.account,
        }),
        Call::AccountAdopt(adopt) => reply.ok(&res::AccountAdoptReply {
            adopted: adopt
                .account
                .map_or_else(|| vec!["a".to_owned(), "b".to_owned()], |name| vec![name]),
        }),
        Call::DaemonReload(_) => reply.ok(&res::DaemonReloadReply {
            changed: vec!["log".to_owned()],
            warnings: vec!["socket needs a restart".to_owned()],
        }),
        Call::DaemonStop(_) => {
            reply.ok(&res::DaemonStopReply { pid: 4242 });
            reply.hang_up();
        }
        call => panic!("not expected: {}", call.method().as_str()),
    }
}

/// Runs each command line for people and for programs.
fn both(args: &[&'static str]) -> (String, String) {
    let daemon = FakeDaemon::start(answering);
    let (out, people, status) = run(&mut daemon.authctl(args.iter().copied()));
    assert_eq!((out.as_str(), status), ("", Some(0)), "{args:?}: {people}");
    let (json, errors, status) = run(&mut daemon.authctl(args.iter().copied().chain(["--json"])));
    assert_eq!((errors.as_str(), status), ("", Some(0)), "{args:?}");
    (people, json)
}

#[test]
fn each_verb_says_what_came_of_it() {
    let verbs: [(&[&str], &str, &str); 7] = [
        (
            &["renew", "work"],
            "authctl: renewed 'work'; the token is good for 4m 10s\n",
            "\"generation\":7",
        ),
        (
            &["logout", "work"],
            "authctl: logged out 'work'; revoked the refresh token; not revoked yet, authd \
             keeps trying: the access token\nYour browser may still be signed in there; to end that \
             too, open:\n\n  https://idp.example/logout?client_id=c\n\n",
            r#"{"account":"work","revoked":["refresh_token"],"pending":["access_token"],"end_session_url":"https://idp.example/logout?client_id=c"}"#,
        ),
        (
            &["forget", "work"],
            "authctl: forgot 'work'; the provider was not told\n",
            r#"{"account":"work"}"#,
        ),
        (
            &["adopt", "work"],
            "authctl: adopted work\n",
            r#"{"adopted":["work"]}"#,
        ),
        (
            &["adopt", "--all"],
            "authctl: adopted a, b\n",
            r#"{"adopted":["a","b"]}"#,
        ),
        (
            &["daemon", "reload"],
            "authctl: reloaded; changed: log\nauthctl: warning: socket needs a restart\n",
            r#"{"changed":["log"],"warnings":["socket needs a restart"]}"#,
        ),
        (
            &["daemon", "stop"],
            "authctl: the daemon (pid 4242) has stopped\n",
            r#"{"pid":4242}"#,
        ),
    ];
    for (args, people, json) in verbs {
        let (said, printed) = both(args);
        assert_eq!(said, people);
        assert!(printed.contains(json), "{args:?}: {printed}");
    }
}

#[test]
fn adopting_everything_has_to_be_said() {
    let daemon = FakeDaemon::start(answering);
    let (.., status) = run(&mut daemon.authctl(["adopt"]));
    assert_eq!(status, Some(2));
}

#[test]
fn what_an_older_daemon_cannot_do_a_newer_one_can() {
    for code in [ErrorCode::UnknownMethod, ErrorCode::Unsupported] {
        let daemon = FakeDaemon::start(move |call, reply| {
            let method = call.method().as_str();
            reply.error(&WireError::new(
                code,
                format!("there is no method '{method}'"),
            ));
        });
        let (out, errors, status) = run(&mut daemon.authctl(["renew", "work"]));
        assert_eq!((out.as_str(), status), ("", Some(1)), "{errors}");
        assert_eq!(
            errors,
            "authctl: there is no method 'renew': the daemon that runs is older than this authctl: run \
             'authctl daemon restart'\n"
        );
    }
}
