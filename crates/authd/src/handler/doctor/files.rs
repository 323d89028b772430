//! The files of the configuration that the daemon reads by itself: whose they are, who else gets at them,
//! and whether they can be used. What is in a secret's file is not looked at.

use std::path::Path;

use authd_proto::doctor::{DoctorFinding, FindingLevel};

use crate::{
    config::{Config, ConfigError},
    credential::{
        Configured, Source,
        file::{self, FileTrouble, Readers},
    },
    daemon::Daemon,
};

/// Most clients that are looked at.
const CLIENTS: usize = 256;

pub(super) fn check(daemon: &Daemon) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    let path = &daemon.place.config_path;
    match Config::load(path) {
        // Whoever asks sees that too, and says it.
        Err(ConfigError::File(FileTrouble::Writable { .. })) => {}
        Err(error) => findings.push(DoctorFinding::new(
            "config",
            "config_wrong",
            FindingLevel::Fail,
            error.to_string(),
            Some(format!(
                "mend '{}', then: authctl daemon reload",
                path.display()
            )),
        )),
        Ok(new) => {
            let changed = daemon.config.load().differences(&new);
            if !changed.is_empty() {
                findings.push(DoctorFinding::new(
                    "config",
                    "config_not_in_force",
                    FindingLevel::Warn,
                    format!(
                        "'{}' has changed since it was read: {}",
                        path.display(),
                        changed.join(", ")
                    ),
                    Some(if Config::needs_restart(&changed).len() == changed.len() {
                        "authctl daemon stop (the next command starts it again)".to_owned()
                    } else {
                        "authctl daemon reload".to_owned()
                    }),
                ));
            }
            findings.extend(of_proxy(&new));
        }
    }
    findings.extend(clients(path));
    findings
}

fn of_proxy(config: &Config) -> Option<DoctorFinding> {
    match config.network.password_source() {
        Ok(Some(Source::File(path))) => {
            let trouble = file::look(&path, Readers::Owner).err()?;
            let what = "the password for the proxy";
            Some(of_file(
                "network",
                "proxy_password_file",
                what,
                &path,
                &trouble,
            ))
        }
        _ => None,
    }
}

fn clients(config: &Path) -> Vec<DoctorFinding> {
    let Ok(entries) = std::fs::read_dir(config.with_file_name("clients")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            Some(name.to_str()?.strip_suffix(".toml")?.to_owned())
        })
        .take(CLIENTS)
        .collect();
    names.sort();
    let findings: Vec<_> = names.iter().flat_map(|name| client(config, name)).collect();
    if findings.is_empty() && !names.is_empty() {
        return vec![DoctorFinding::new(
            "client",
            "ok",
            FindingLevel::Ok,
            match names.len() {
                1 => "the one client's file can be used".to_owned(),
                many => format!("the files of all {many} clients can be used"),
            },
            None,
        )];
    }
    findings
}

fn client(config: &Path, name: &str) -> Vec<DoctorFinding> {
    let configured = match Configured::load(config, name) {
        Ok(configured) => configured,
        Err(error) => {
            let path = config
                .with_file_name("clients")
                .join(format!("{name}.toml"));
            return vec![DoctorFinding::new(
                "client",
                "client_file",
                FindingLevel::Fail,
                format!("client '{name}': {error}"),
                Some(mend(&path, &error.to_string())),
            )];
        }
    };
    let secret = match &configured.source {
        Source::File(path) | Source::Key { path, .. } => Some((path, Readers::Owner)),
        Source::Certificate { key, .. } => Some((key, Readers::Owner)),
        Source::None | Source::Command(_) | Source::KeyStore(_) => None,
    };
    let chain = match &configured.source {
        Source::Certificate { chain, .. } => Some((chain, Readers::Anybody)),
        _ => None,
    };
    let what = format!("client '{name}'");
    [secret, chain]
        .into_iter()
        .flatten()
        .filter_map(|(path, readers)| {
            let trouble = file::look(path, readers).err()?;
            Some(of_file("client", "secret_file", &what, path, &trouble))
        })
        .collect()
}

fn of_file(
    check: &str,
    code: &str,
    what: &str,
    path: &Path,
    trouble: &FileTrouble,
) -> DoctorFinding {
    DoctorFinding::new(
        check,
        code,
        FindingLevel::Fail,
        format!("{what}: {trouble}"),
        Some(mend(path, &trouble.to_string())),
    )
}

/// The command that a trouble names itself, or where to look.
fn mend(path: &Path, trouble: &str) -> String {
    match trouble.split_once("run: ") {
        Some((_, command)) => command.to_owned(),
        None => format!("ls -l '{}'", path.display()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_found_by_its_client_with_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let secret = dir.path().join("secret");
        fs::write(&secret, "canary").unwrap();
        fs::create_dir(dir.path().join("clients")).unwrap();
        let file = dir.path().join("clients/work.toml");
        let text = format!(
            "issuer = \"https://idp.test\"\nsecret_file = \"{}\"\n",
            secret.display()
        );
        fs::write(&file, text).unwrap();
        let with_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            clients(&config)
        };
        with_mode(&file, 0o600);
        let found = with_mode(&secret, 0o600);
        assert_eq!((found.len(), found[0].level), (1, FindingLevel::Ok));
        let found = with_mode(&secret, 0o644);
        assert_eq!(found[0].code, "secret_file");
        let chmod = format!("chmod 600 {}", secret.display());
        assert_eq!(found[0].fix.as_deref(), Some(chmod.as_str()));
        assert!(!format!("{found:?}").contains("canary"));
        let found = with_mode(&file, 0o666);
        assert_eq!(found[0].code, "client_file");
        let chmod = format!("chmod go-w {}", file.display());
        assert_eq!(found[0].fix.as_deref(), Some(chmod.as_str()));
    }
}
