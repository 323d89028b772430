//! `authctl key` ↔ `key.status`, `key.rotate`, `key.move`.

use std::process::ExitCode;

use authd_proto::key::{KeyMove, KeyPlace, KeyRotate, KeyStatus, KeyStatusReply};
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Json;
use crate::command::passphrase::PassphraseStdin;
use crate::daemon;
use crate::exit::Failure;
use crate::output;

/// Sealing a large store anew takes a while.
const WAIT_SECS: u64 = 600;

/// Show, move or replace the key that protects the logins on disk
#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with it.
#[derive(Subcommand)]
enum Verb {
    /// How the key is protected, since when, and what that is worth
    Status {
        #[command(flatten)]
        json: Json,
    },
    /// Make a new key, and seal everything anew
    ///
    /// The old key is worthless afterwards, also to whoever has a copy of it; copies of the old files are not.
    /// No login is lost if the machine stops in the middle of it.
    Rotate {
        #[command(flatten)]
        passphrase: PassphraseStdin,

        #[command(flatten)]
        json: Json,
    },
    /// Keep the key in another place
    ///
    /// 'keyring' is the operating system's key store. With 'passphrase' somebody gives one at every start
    /// ('authctl unlock'); moving there again changes it. 'credential' seals the key under what systemd hands
    /// to the service (LoadCredentialEncrypted=authd-key). 'file' protects next to nothing.
    ///
    /// No login is lost if the machine stops in the middle of it.
    #[command(
        after_help = "With --passphrase-stdin, the passphrase that protects the key now (if one does) is \
                            the first line, and the new one (with --to passphrase) the next."
    )]
    Move {
        /// Where to
        #[arg(long, value_enum, value_name = "PLACE")]
        to: Place,

        #[command(flatten)]
        passphrase: PassphraseStdin,

        #[command(flatten)]
        json: Json,
    },
}

/// Places for `--to`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    Keyring,
    Passphrase,
    Credential,
    File,
}

impl From<Place> for KeyPlace {
    fn from(place: Place) -> Self {
        match place {
            Place::Keyring => Self::Keyring,
            Place::Passphrase => Self::Passphrase,
            Place::Credential => Self::Credential,
            Place::File => Self::File,
        }
    }
}

pub(crate) fn run(args: &KeyArgs) -> Result<ExitCode, Failure> {
    let mut client = daemon::reach()?;
    let before = daemon::ask(&mut client, &KeyStatus {})?;
    let has_passphrase = before.place == Some(KeyPlace::Passphrase);
    match args.verb {
        Verb::Status { json } => {
            if json.json {
                output::json(&before)?;
            } else {
                output::line(show(&before, output::now()))?;
            }
        }
        Verb::Rotate { passphrase, json } => {
            let mut rotate = |passphrase| {
                let ask = KeyRotate { passphrase };
                daemon::ask_waiting(&mut client, &ask, WAIT_SECS)
            };
            let reply = if has_passphrase {
                passphrase
                    .source()?
                    .current(|current| rotate(Some(current)))?
            } else {
                rotate(None)?
            };
            if json.json {
                output::json(&reply)?;
            } else {
                output::note("everything is sealed under a new key");
                warn_of_what_is_left(&reply);
            }
        }
        Verb::Move {
            to,
            passphrase,
            json,
        } => {
            let mut move_key = |passphrase, new_passphrase| {
                let ask = KeyMove {
                    to: to.into(),
                    passphrase,
                    new_passphrase,
                };
                daemon::ask_waiting(&mut client, &ask, WAIT_SECS)
            };
            let wants_one = to == Place::Passphrase;
            let reply = if has_passphrase {
                let source = passphrase.source()?;
                let mut new_one = None;
                source.current(|current| {
                    if wants_one && new_one.is_none() {
                        new_one = Some(source.new_one()?);
                    }
                    move_key(Some(current), new_one.clone())
                })?
            } else if wants_one {
                move_key(None, Some(passphrase.source()?.new_one()?))?
            } else {
                move_key(None, None)?
            };
            if json.json {
                output::json(&reply)?;
            } else {
                output::note(format_args!("the key is kept so now: {}", word(&reply)));
                warn_of_what_is_left(&reply);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn word(key: &KeyStatusReply) -> &'static str {
    key.place.map_or("none", KeyPlace::as_str)
}

fn warn_of_what_is_left(key: &KeyStatusReply) {
    for place in &key.left_in {
        output::note(format_args!(
            "warning: a copy may still be in the {}, which could not be reached; it is removed at the \
             next start that can",
            place.as_str()
        ));
    }
}

fn show(key: &KeyStatusReply, now: u64) -> String {
    let mut lines = vec![
        format!("key     {}", word(key)),
        format!("where   {}", output::clean(&key.detail)),
    ];
    lines.push(match key.since_at {
        Some(at) => format!("since   {} ago", output::span(now.saturating_sub(at))),
        None => "since   before that was written down".to_owned(),
    });
    lines.push(match key.rotations {
        0 => "number  the first key of this store".to_owned(),
        1 => "number  replaced once".to_owned(),
        times => format!("number  replaced {times} times"),
    });
    // One thought a line: it is a promise, and is read as such.
    let worth = output::clean(&key.worth).into_owned();
    for (number, thought) in worth.split("; ").enumerate() {
        let label = if number == 0 { "worth   " } else { "        " };
        lines.push(format!("{label}{thought}"));
    }
    for place in &key.left_in {
        lines.push(format!(
            "left    a copy may still be in the {}; it is removed when it can be",
            place.as_str()
        ));
    }
    if key.locked {
        lines.push("locked  run 'authctl unlock'".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_says_where_since_when_and_what_it_is_worth() {
        let key = KeyStatusReply {
            place: Some(KeyPlace::Passphrase),
            since_at: Some(1_000),
            rotations: 2,
            detail: "/state/key-2.passphrase".to_owned(),
            worth: "as much as the passphrase; give it after every start".to_owned(),
            locked: true,
            left_in: vec![KeyPlace::Keyring],
        };
        assert_eq!(
            show(&key, 4_600),
            "key     passphrase\n\
             where   /state/key-2.passphrase\n\
             since   1h ago\n\
             number  replaced 2 times\n\
             worth   as much as the passphrase\n        \
             give it after every start\n\
             left    a copy may still be in the keyring; it is removed when it can be\n\
             locked  run 'authctl unlock'"
        );
    }
}
