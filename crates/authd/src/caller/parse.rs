//! What the kernel's files about a process say. Pure, so that tables can test it.

/// Longest name that is taken from such a file, in bytes.
const LONGEST: usize = 256;

/// What of `/proc/PID/stat` says who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its parent.
    pub(super) parent: u32,
    /// The leader of its session.
    pub(super) session: u32,
    /// Its controlling terminal, as the kernel numbers devices.
    pub(super) tty: u32,
    /// When it began, in clock ticks since the machine started.
    pub(super) started: u64,
}

/// Reads `/proc/PID/stat`. The second field is the program's name: anything, blanks and parentheses too.
pub(super) fn stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    // Signed in the file, by its print format.
    let tty: i32 = field(7)?.parse().ok()?;
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        tty: tty.cast_unsigned(),
        started: field(22)?.parse().ok()?,
    })
}

/// The name of a terminal by its device number; `None` for none.
pub(super) fn terminal(device: u32) -> Option<String> {
    if device == 0 {
        return None;
    }
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    Some(match major {
        // From the kernel's list of devices: Unix98 pseudo terminals have eight numbers, 256 each.
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => format!("tty {major}:{minor}"),
    })
}

/// What systemd calls the place of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A service or scope of its own.
    Unit(String),
    /// A snap's scope or service, by the snap's name.
    Snap(String),
    /// Where every program of a login is, and nothing that tells them apart.
    Login,
}

/// Reads `/proc/PID/cgroup`: the line of the unified hierarchy, or where there is none that of systemd's own.
pub(super) fn place(cgroup: &str) -> Option<Place> {
    let path = |controllers: &str| {
        cgroup.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.strip_prefix(controllers)?.strip_prefix(':')
        })
    };
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    let path = [path(""), path("name=systemd")];
    let mut units = path.into_iter().flatten().filter_map(|path| {
        // The innermost: a service may have groups of its own below it.
        path.rsplit('/').find(is_unit)
    });
    let unit = units.next()?;
    if unit.len() > LONGEST || unit.contains(char::is_control) {
        return None;
    }
    let of_login = unit.starts_with("session-") && unit.ends_with(".scope")
        || unit.starts_with("user@") && unit.ends_with(".service")
        || unit == "init.scope";
    if of_login {
        return Some(Place::Login);
    }
    // snap.NAME.APP-UUID.scope, snap.NAME.APP.service
    let snap = unit
        .strip_prefix("snap.")
        .and_then(|rest| rest.split('.').next());
    Some(match snap.filter(|name| !name.is_empty()) {
        Some(name) => Place::Snap(name.to_owned()),
        None => Place::Unit(unit.to_owned()),
    })
}

/// The snap in an AppArmor label: `snap.NAME.APP (enforce)`. What is not enforced is nothing.
pub(super) fn snap_of_label(label: &str) -> Option<String> {
    let (profile, mode) = label.trim_end_matches(['\n', '\0']).split_once(' ')?;
    let name = profile.strip_prefix("snap.")?.split('.').next()?;
    (mode == "(enforce)" && is_plain(name)).then(|| name.to_owned())
}

/// The application in a `.flatpak-info`: `name` under `[Application]`.
pub(super) fn flatpak(info: &str) -> Option<String> {
    let section = info
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[Application]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let name = section
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "name")?
        .1
        .trim();
    (is_plain(name) && name.contains('.')).then(|| name.to_owned())
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= LONGEST && name.bytes().all(plain)
}

/// Whether the process lives in a pid namespace below ours, by the `NSpid` line of `/proc/PID/status`: one
/// number for each namespace that knows it. `None` where the kernel does not say.
pub(super) fn is_in_pid_namespace(status: &str) -> Option<bool> {
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(numbers.split_ascii_whitespace().count() > 1)
}

/// Programs that do what others tell them: being one of them says nothing about who asks. Interpreters,
/// editors that run scripts, loaders and emulators, debuggers, and what carries bytes between a socket and
/// somebody else, our own command among them.
const ANYBODY: &[&str] = &[
    "ash", "authctl", "awk", "bash", "beam.smp", "bun", "busybox", "csh", "dash", "deno", "dotnet",
    "elixir", "emacs", "env", "erl", "fish", "gawk", "gdb", "ghci", "groovy", "guile", "ipython",
    "irb", "java", "julia", "ksh", "lldb", "lua", "luajit", "mawk", "mksh", "mono", "nc", "ncat",
    "netcat", "node", "nodejs", "nvim", "octave", "perl", "php", "pwsh", "pypy", "python",
    "racket", "rscript", "ruby", "runghc", "sbcl", "scala", "sh", "socat", "strace", "tclsh",
    "toybox", "vim", "wine", "wish", "zsh",
];
/// The same, whatever comes behind.
const ANYBODY_BEGINS: &[&str] = &["ld-", "ld.so", "qemu-", "box64", "wine"];

/// Whether a program does what anybody tells it, by its path: `/usr/bin/python3.11` is `python`.
pub(super) fn is_anybody(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let version = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    // Also `vim.basic`, `nc.openbsd`, `python3-dbg`, `mawk-1.3`.
    let bare = name.trim_end_matches(version);
    let first = name.split(['.', '-', '_']).next().unwrap_or(name);
    let first = first.trim_end_matches(|c: char| c.is_ascii_digit());
    ANYBODY.contains(&name)
        || ANYBODY.contains(&bare)
        || ANYBODY.contains(&first)
        || ANYBODY_BEGINS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests;
