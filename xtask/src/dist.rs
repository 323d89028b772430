//! What is handed out: a Debian package, an archive for everybody else, lists of their parts, checksums.
//!
//! Both packages are laid out from one description ([`layout`]) and hold the same two binaries. Two runs on
//! one commit write the same bytes: times are the commit's, or those of `SOURCE_DATE_EPOCH`.

mod archive;
mod check;
mod deb;
mod layout;
mod manual;
mod notices;
mod sbom;
mod shipped;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::shipped::Id;
use crate::command;
use crate::error::ChoreError;
use crate::install;
use crate::setup::{self, Permission, Program};
use crate::tool;
use crate::workspace;

/// What the chore calls, out of Debian's packages.
const PROGRAMS: &[Program] = &[
    Program::new(
        "dpkg-shlibdeps",
        "dpkg-dev",
        "finds what a package depends on",
    ),
    Program::new("strip", "binutils", "makes binaries small"),
    Program::new("lintian", "lintian", "knows what is wrong with a package"),
];

/// Builds everything into `target/dist`; with `check`, installs the package into a Debian of its own as well.
pub(crate) fn run(check: bool, maintainer: Option<&str>) -> Result<(), ChoreError> {
    setup::programs(PROGRAMS, Permission::Install)?;
    tool::DEB.install()?;
    let release = Release::of_this_commit(maintainer)?;
    let authd = install::build_authd()?;
    let authctl = install::build_authctl()?;
    let folder = workspace::target_dir()?.join("dist");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder).map_err(ChoreError::io("create", &folder))?;

    let contents = Contents::gather(&release, authd, authctl, &folder)?;
    let package = deb::build(&release, &contents, &folder)?;
    let archive = archive::build(&release, &contents, &folder)?;
    checksums(&folder)?;
    command::run(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on=error,warning"])
            // Whoever packages gives an address; without one there is none.
            .arg("--suppress-tags=bogus-mail-host,bogus-mail-host-in-debian-changelog")
            .arg(&package),
    )?;
    if check {
        check::same_again(&release, &contents, &[&package, &archive])?;
        check::in_debian(&package)?;
    }
    println!("dist: {}", folder.display());
    Ok(())
}

/// What is released, and when.
struct Release {
    version: String,
    /// As rustc calls this machine's platform.
    target: String,
    /// Unix seconds: of every file that is handed out.
    epoch: u64,
    /// As Debian writes a person: `Name <address>`.
    maintainer: String,
}

impl Release {
    fn of_this_commit(maintainer: Option<&str>) -> Result<Self, ChoreError> {
        let rustc = command::stdout(Command::new("rustc").args(["--version", "--verbose"]))?;
        let target = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let target = target.ok_or_else(|| ChoreError::Dist("rustc names no host".to_owned()))?;
        Ok(Self {
            // All members of the workspace have one version.
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target: target.to_owned(),
            epoch: epoch()?,
            maintainer: maintainer.map_or_else(who_packages, str::to_owned),
        })
    }

    /// The release's time in a format of date(1).
    fn date(&self, format: &str) -> Result<String, ChoreError> {
        let mut date = Command::new("date");
        date.args(["--utc", "--date", &format!("@{}", self.epoch), format])
            .env("LC_ALL", "C");
        Ok(command::stdout(&mut date)?.trim().to_owned())
    }
}

/// `SOURCE_DATE_EPOCH`, else the time of the commit.
fn epoch() -> Result<u64, ChoreError> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => command::stdout(
            Command::new("git")
                .args(["log", "--max-count=1", "--format=%ct"])
                .current_dir(workspace::root()),
        )?,
    };
    text.trim().parse().map_err(|_| {
        ChoreError::Dist("set SOURCE_DATE_EPOCH to the release's time in Unix seconds".to_owned())
    })
}

/// Whoever builds the package answers for it, by the variables of Debian's own tools.
fn who_packages() -> String {
    let var = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let name = var("DEBFULLNAME").unwrap_or_else(|| "The authd authors".to_owned());
    let address = var("DEBEMAIL").or_else(|| var("EMAIL"));
    format!(
        "{name} <{}>",
        address.as_deref().unwrap_or("authd@authd.invalid")
    )
}

/// What goes into both packages, made once.
struct Contents {
    authd: PathBuf,
    authctl: PathBuf,
    /// Name and text of each manual page.
    manual: Vec<Named>,
    /// Shell and completion script.
    completions: Vec<(&'static str, Vec<u8>)>,
    notices: String,
    /// Name and text of each list of parts.
    sboms: Vec<Named>,
}

impl Contents {
    fn gather(
        release: &Release,
        authd: PathBuf,
        authctl: PathBuf,
        folder: &Path,
    ) -> Result<Self, ChoreError> {
        let (sboms, notices) = parts(release)?;
        for (name, text) in &sboms {
            write(&folder.join(name), text)?;
        }
        let mut completions = Vec::new();
        for shell in ["bash", "zsh", "fish"] {
            let script = command::stdout(Command::new(&authctl).args(["completions", shell]))?;
            completions.push((shell, script.into_bytes()));
        }
        let stripped = |built: PathBuf| strip(&built, folder);
        Ok(Self {
            manual: manual_pages(release, &authd, &authctl)?,
            authd: stripped(authd)?,
            authctl: stripped(authctl)?,
            completions,
            notices,
            sboms,
        })
    }
}

/// A file's name and content.
type Named = (String, Vec<u8>);

/// The lists of what each binary contains, and the licences of all that.
fn parts(release: &Release) -> Result<(Vec<Named>, String), ChoreError> {
    let facts = shipped::facts(&release.target)?;
    let timestamp = release.date("+%Y-%m-%dT%H:%M:%SZ")?;
    let mut all = BTreeSet::new();
    let mut sboms = Vec::new();
    for (package, is_static) in [("authd", false), ("authctl", true)] {
        let uses = shipped::of(package, &release.target)?;
        let id = Id {
            name: package.to_owned(),
            version: release.version.clone(),
        };
        let mut libraries = vec![sbom::standard_library()?];
        if is_static {
            libraries.extend(sbom::static_libraries()?);
        }
        let document = sbom::document(&id, &uses, &facts, &libraries, &timestamp);
        let mut text = format!("{document:#}").into_bytes();
        text.push(b'\n');
        println!("dist: {} crates in {package}", uses.len());
        sboms.push((format!("{package}.cdx.json"), text));
        all.extend(uses.into_keys());
    }
    Ok((sboms, notices::document(&all, &facts)?))
}

/// Those that `authctl` writes about itself, the daemon's and the configuration's.
fn manual_pages(release: &Release, authd: &Path, authctl: &Path) -> Result<Vec<Named>, ChoreError> {
    let dir = tempfile::tempdir().map_err(ChoreError::io("create", Path::new("a folder")))?;
    command::stdout(Command::new(authctl).args(["man", "--dir"]).arg(dir.path()))?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir.path()).map_err(ChoreError::io("read", dir.path()))? {
        let entry = entry.map_err(ChoreError::io("read", dir.path()))?;
        let text = fs::read(entry.path()).map_err(ChoreError::io("read", &entry.path()))?;
        pages.push((entry.file_name().to_string_lossy().into_owned(), text));
    }
    let help = command::stdout(Command::new(authd).arg("--help"))?;
    let page = manual::of_help(
        "authd",
        &release.version,
        &help,
        &[("authctl", "1"), ("authd-config", "5")],
    );
    pages.push(("authd.1".to_owned(), page.into_bytes()));
    let template = workspace::root().join("docs").join("config.toml");
    let template = fs::read_to_string(&template).map_err(ChoreError::io("read", &template))?;
    let page = manual::of_template(
        &release.version,
        &template,
        &[("authd", "1"), ("authctl", "1")],
    );
    pages.push(("authd-config.5".to_owned(), page.into_bytes()));
    pages.sort();
    Ok(pages)
}

/// A copy without symbols. A binary that names a folder of the machine it was built on is refused.
fn strip(built: &Path, folder: &Path) -> Result<PathBuf, ChoreError> {
    let copy = folder
        .join(".bin")
        .join(built.file_name().unwrap_or_default());
    create_parent(&copy)?;
    command::run(Command::new("strip").arg("-o").arg(&copy).arg(built))?;
    let bytes = fs::read(&copy).map_err(ChoreError::io("read", &copy))?;
    for private in install::private_folders() {
        let private = private.as_os_str().as_encoded_bytes();
        if bytes.windows(private.len()).any(|window| window == private) {
            return Err(ChoreError::Dist(format!(
                "{} names {}: a folder of this machine",
                built.display(),
                String::from_utf8_lossy(private)
            )));
        }
    }
    Ok(copy)
}

/// `SHA256SUMS`, as sha256sum(1) checks them.
fn checksums(folder: &Path) -> Result<(), ChoreError> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .map_err(ChoreError::io("read", folder))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    let sums = command::stdout(
        Command::new("sha256sum")
            .arg("--")
            .args(&names)
            .current_dir(folder),
    )?;
    write(&folder.join("SHA256SUMS"), sums.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ChoreError> {
    create_parent(path)?;
    fs::write(path, bytes).map_err(ChoreError::io("write", path))
}

fn create_parent(path: &Path) -> Result<(), ChoreError> {
    path.parent().map_or(Ok(()), |parent| {
        fs::create_dir_all(parent).map_err(ChoreError::io("create", parent))
    })
}

fn remove_folder(folder: &Path) -> Result<(), ChoreError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(ChoreError::io("remove", folder))?;
    }
    Ok(())
}
