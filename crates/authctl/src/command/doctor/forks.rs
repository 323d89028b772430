//! Files in which other tools keep logins of their own: one of the same client may be the same login,
//! and of two who renew one login the second is logged out.
//!
//! They are read and nothing else: regular files of bounded size, without following links. Of what is in
//! them it is only looked whether known words and the clients of the accounts stand there.

use std::{
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use authd_proto::response::AccountInfo;
use url::Url;

use super::{
    Finding,
    tools::{KEEPERS, Keeper},
};

/// Largest file that is looked into.
const LARGEST: u64 = 1024 * 1024;
/// Most files of one directory, those of its directories included.
const FILES: usize = 64;
/// How deep.
const DEPTH: usize = 2;
/// A client's id that is shorter says nothing where its issuer is not named beside it.
const TELLING: usize = 12;

/// A finding for each tool and account that may have a login in common. `home` is the home directory.
pub(super) fn check(home: &Path, accounts: &[AccountInfo]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut looked_at = 0;
    for keeper in KEEPERS {
        for path in files(&place(keeper, home)) {
            let Some(text) = read(&path) else { continue };
            looked_at += 1;
            if !keeper.holds.iter().any(|word| text.contains(word)) {
                continue;
            }
            let shown = match path.strip_prefix(home) {
                Ok(below) => format!("~/{}", below.display()),
                Err(_) => path.display().to_string(),
            };
            findings.extend(
                accounts
                    .iter()
                    .filter_map(|account| fork(keeper, &text, account, &shown)),
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "other_logins",
            match looked_at {
                0 => "no other tool that is known keeps a login here".to_owned(),
                _ => "no other tool that is known keeps a login of the same client".to_owned(),
            },
        ));
    }
    findings
}

fn place(keeper: &Keeper, home: &Path) -> PathBuf {
    let moved = keeper.moved.and_then(|(variable, below)| {
        let directory = env::var_os(variable).filter(|value| !value.is_empty())?;
        Some(Path::new(&directory).join(below))
    });
    moved.unwrap_or_else(|| home.join(keeper.home))
}

/// The file, or those in the directory.
fn files(place: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![(place.to_owned(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if meta.is_file() {
            files.push(path);
        } else if meta.is_dir() && depth < DEPTH {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.take(FILES).map(|entry| (entry.path(), depth + 1)));
        }
        if files.len() >= FILES {
            break;
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> Option<String> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        // What was put in the place of a file since it was looked at neither leads away nor hangs.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn fork(keeper: &Keeper, text: &str, account: &AccountInfo, shown: &str) -> Option<Finding> {
    let host = host(&account.issuer);
    let same_issuer = host.as_deref().is_some_and(|host| {
        let is_of = |known: &&str| host == *known || host.ends_with(&format!(".{known}"));
        keeper.issuers.iter().any(is_of) || has_word(text, host)
    });
    let client = account.client_id.as_str();
    let same_client = keeper.client == Some(client) || has_word(text, client);
    let (tool, name) = (keeper.name, &account.account);
    if same_client && (same_issuer || client.len() >= TELLING) {
        return Some(Finding::warn(
            "other_logins",
            "fork_same_client",
            format!(
                "{tool} holds a login of the same client as '{name}' ({shown}): if it is the same \
                 login, of the two whoever renews second is logged out"
            ),
            keeper.mend,
        ));
    }
    same_issuer.then(|| {
        Finding::note(
            "other_logins",
            "other_login_same_issuer",
            format!("{tool} keeps a login of its own where '{name}' is logged in ({shown})"),
            format!("if it is to use authd's: {}", keeper.mend),
        )
    })
}

/// The host of an issuer, or of a token endpoint's address.
fn host(issuer: &str) -> Option<String> {
    let url = Url::parse(issuer).ok()?;
    let host = url.host_str()?;
    // Everybody has a loopback; the port tells one from another.
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Whether `word` stands in `text`, and not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(of_word) && !after.is_some_and(of_word)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_whole_one() {
        assert!(has_word(r#"{"client_id":"abc"}"#, "abc"));
        assert!(has_word("https://idp.test/realm", "idp.test"));
        for text in ["xabc", "abc-1", "abc.apps", "ab", "", "x.abc"] {
            assert!(!has_word(text, "abc"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_of_a_usual_size_is_not_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "refresh_token").unwrap();
        assert_eq!(read(&file).as_deref(), Some("refresh_token"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&link), None);
        assert_eq!(read(dir.path()), None);
        let large = dir.path().join("large");
        fs::write(&large, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert_eq!(read(&large), None);
        let listed = files(dir.path());
        assert_eq!(listed, [file, large], "and no link");
        for number in 0..100 {
            fs::write(dir.path().join(format!("f{number}")), "x").unwrap();
        }
        assert!(files(dir.path()).len() <= FILES);
    }
}
