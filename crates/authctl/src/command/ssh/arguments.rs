//! What `authctl ssh` is given, as `ssh` would read it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;

use authd_proto::limits::MAX_LABEL;

/// The options of ssh(1) that take a value, beside or behind their letter.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOoPpQRSWw";
/// Those that take the session, the connection or the control socket away from us.
const OURS: &[u8] = b"fGMNOQSsVW";

/// Why ssh is not run, or its socket does not get there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshTrouble {
    /// An option that does not go with a session.
    #[error("ssh's option -{0} does not go with a session")]
    Option(char),
    /// The socket's path cannot be said to ssh.
    #[error("ssh cannot be told the path {0}")]
    Path(String),
    /// The host has no place for it.
    #[error("no private directory could be made on '{host}'")]
    NoPlace {
        /// Which.
        host: String,
    },
    /// The host does not take it.
    #[error("'{host}' does not let a socket be forwarded to it")]
    NotForwarded {
        /// Which.
        host: String,
    },
    /// This process was told to end.
    #[error("interrupted")]
    Interrupted,
}

impl SshTrouble {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotForwarded { .. } => {
                Some("its sshd_config may say AllowStreamLocalForwarding no".to_owned())
            }
            Self::Path(_) => Some("choose another AUTHD_STATE_DIR".to_owned()),
            _ => None,
        }
    }
}

/// Options, and the words of the command that follow them, as getopt(3) tells them apart.
pub(super) fn split(rest: &[OsString]) -> Result<(&[OsString], &[OsString]), SshTrouble> {
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        let bytes = word.as_encoded_bytes();
        if bytes == b"--" {
            return Ok((&rest[..at], &rest[at + 1..]));
        }
        let Some(letters) = bytes
            .strip_prefix(b"-")
            .filter(|letters| !letters.is_empty())
        else {
            break;
        };
        at += 1;
        for (place, letter) in letters.iter().enumerate() {
            if OURS.contains(letter) {
                return Err(SshTrouble::Option(char::from(*letter)));
            }
            if WITH_VALUE.contains(letter) {
                // Behind the letter if anything is there, else the next word.
                at += usize::from(place + 1 == letters.len());
                break;
            }
        }
    }
    let at = at.min(rest.len());
    Ok(rest.split_at(at))
}

/// What the host's shell is to run, with the socket in its environment. `place` has been looked at: it has
/// no character that a shell acts on.
pub(super) fn remote(socket: &str, command: &[OsString]) -> OsString {
    let mut line = OsString::from(format!("exec env AUTHD_SOCKET={socket} \"$SHELL\" "));
    if command.is_empty() {
        line.push("-l");
    } else {
        // As ssh does it: one line, for the user's own shell.
        line.push("-c ");
        line.push(quoted(&command.join(OsStr::new(" "))));
    }
    line
}

/// In single quotes, but for what shells take differently there: a quote, and a backslash, which fish acts on.
fn quoted(text: &OsStr) -> OsString {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'\'');
    for byte in text.as_encoded_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            b'\\' => quoted.extend_from_slice(br"'\\'"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// The host as the list of sockets shows it.
pub(super) fn label(host: &str) -> String {
    let shown = host.chars().filter(|c| !c.is_control());
    shown.take(MAX_LABEL).collect()
}

/// The directory that the host's `mktemp` named, if it can stand in a command line and in ssh's `-R` as it
/// is: the host is not trusted to choose what we run.
pub(super) fn place(said: &str) -> Option<&str> {
    let path = said.lines().find_map(|line| line.strip_prefix(MARK))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    (path.starts_with('/') && path.len() < 90 && path.chars().all(is_plain)).then_some(path)
}

/// Before the directory's name: a shell's own start-up may say something too.
pub(super) const MARK: &str = "authd:";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_ascii_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_end_where_ssh_sees_the_command_begin() {
        for (rest, options) in [
            ("", 0),
            ("make -j2", 0),
            ("-p 2222 make -f x", 2),
            ("-p2222 make", 1),
            ("-tt -i key -oStrictHostKeyChecking=no ls -l", 4),
            ("-vvAp 22 -- -weird", 2),
            ("-p", 1),
            ("- x", 0),
        ] {
            let rest = words(rest);
            let (found, command) = split(&rest).unwrap();
            assert_eq!(found.len(), options, "{rest:?}");
            assert!(!command.contains(&OsString::from("--")), "{rest:?}");
        }
        for (rest, letter) in [
            ("-N", 'N'),
            ("-vf", 'f'),
            ("-S none", 'S'),
            ("-p 1 -M", 'M'),
        ] {
            let rest = words(rest);
            let refused = split(&rest).unwrap_err();
            assert!(
                matches!(refused, SshTrouble::Option(found) if found == letter),
                "{rest:?}"
            );
        }
    }

    #[test]
    fn a_command_reaches_the_host_as_it_was_given() {
        let line = remote("/run/x/authd.sock", &words("echo it's && ls"));
        assert_eq!(
            line,
            *r#"exec env AUTHD_SOCKET=/run/x/authd.sock "$SHELL" -c 'echo it'\''s && ls'"#
        );
        let line = remote("/run/x/authd.sock", &[]);
        assert_eq!(
            line,
            *r#"exec env AUTHD_SOCKET=/run/x/authd.sock "$SHELL" -l"#
        );
    }

    #[test]
    fn a_host_cannot_choose_what_is_run() {
        assert_eq!(
            place("Welcome!\nauthd:/tmp/authd.a1B2\n"),
            Some("/tmp/authd.a1B2")
        );
        for bad in [
            "",
            "authd:",
            "authd:relative",
            "authd:/tmp/a:b",
            "authd:/tmp/$(reboot)",
            "authd:/tmp/a b",
            "authd:/tmp/a;b",
        ] {
            assert_eq!(place(bad), None, "{bad:?}");
        }
    }
}
