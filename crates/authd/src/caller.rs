//! Who is at the other end of a connection, as far as the system tells.
//!
//! The process is pinned when it connects; what is known of it is read on the first use that needs it, and
//! counts only if the process is still alive afterwards. Whoever is dead, cannot be told apart, or lives in
//! namespaces of its own without an application's name is *unidentified*: never taken for a program of this
//! machine.
//!
//! A cached token of an account at the tier `allow` asks for none of this.

#[cfg_attr(target_os = "linux", path = "caller/linux.rs")]
#[cfg_attr(target_os = "macos", path = "caller/macos.rs")]
#[cfg_attr(windows, path = "caller/windows.rs")]
mod system;

#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "only Linux has such files")
)]
mod parse;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use authd_core::policy::CallerName;
use authd_ipc::process::Process;
use authd_proto::approval::CallerInfo;

use crate::{audit::ByItself, lines, process::launcher::Launcher};

/// Bytes of a program's path that are shown.
const LONGEST_PATH: usize = 512;
/// Callers that are kept after they have gone. Each takes a descriptor.
const RECENT: usize = 4;
/// Callers in the register before those that have gone are looked for.
const CROWD: usize = 64;

/// The process at the other end, shared by all its connections. By default nobody knows which.
#[derive(Default)]
pub(crate) struct Caller {
    /// Unlike that of any other caller of this run.
    number: u64,
    /// `None` where the system does not say who it is.
    process: Option<Process>,
    /// The program that ran in it when it connected.
    connected_as: Option<String>,
    /// Who sees what the daemon cannot.
    launcher: Launcher,
    known: OnceLock<Known>,
    /// Which of its connections have lines of their own in the audit log.
    pub(crate) by_itself: ByItself,
}

/// What is known of a process.
struct Known {
    facts: Facts,
    /// What it goes by, the best first; never empty.
    names: Vec<CallerName>,
}

/// What the system says of a process. Nothing in here is the process's own word, but for names of units,
/// which it can choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it began, in clock ticks since the machine started: with its number, a name for this process.
    pub(crate) start: Option<u64>,
    /// The same in Unix seconds.
    pub(crate) started_at: Option<u64>,
    /// The program, by its path.
    pub(crate) executable: Option<String>,
    /// The file of it: the numbers of its device, and its own there. Another one may come to be at the path.
    pub(crate) file: Option<(u32, u32, u64)>,
    /// Whether only root can replace what is at that path.
    pub(crate) by_root: bool,
    /// The sandboxed application it belongs to.
    pub(crate) app: Option<CallerName>,
    /// The service or scope of systemd's.
    pub(crate) unit: Option<String>,
    /// Its controlling terminal.
    pub(crate) terminal: Option<String>,
    /// The leader of its session, and when that began.
    pub(crate) session: Option<(u32, u64)>,
    /// Whether it lives in a user or pid namespace that is not ours.
    pub(crate) elsewhere: bool,
    /// Whether it had ended by the time it was looked at.
    pub(crate) ended: bool,
}

impl Caller {
    /// Whether its process has not ended. One whom nobody knows is not known to be alive.
    pub(crate) fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    /// Finds out what is known of it, away from the thread on which everybody waits: a sandbox may take its
    /// time, and a path may lead where nobody answers. To be called before what needs it.
    pub(crate) async fn look(self: &Arc<Self>) {
        if self.known.get().is_none() {
            let caller = Arc::clone(self);
            let looking = tokio::task::spawn_blocking(move || {
                caller.known();
            });
            // Whatever became of it: whoever needs to know looks again.
            let _ = looking.await;
        }
    }

    /// Whether it is alive and runs the program that it was known by: a process may become another one, and keep
    /// its connections. Where nobody says what runs in it now, its life has to do.
    pub(crate) async fn is_still_itself(self: &Arc<Self>) -> bool {
        let caller = Arc::clone(self);
        let same = tokio::task::spawn_blocking(move || {
            let now = caller
                .pid()
                .and_then(|pid| system::file(pid, &caller.launcher));
            let same = match (now, caller.facts().file) {
                (Some(now), Some(known)) => now == known,
                _ => true,
            };
            same && caller.is_alive()
        });
        same.await.unwrap_or(false)
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What is known of it. Reads that on the first call, which may take a second: see [`Self::look`].
    pub(crate) fn facts(&self) -> &Facts {
        &self.known().facts
    }

    /// What it goes by, the best first.
    pub(crate) fn names(&self) -> &[CallerName] {
        &self.known().names
    }

    /// What it goes by.
    pub(crate) fn name(&self) -> &CallerName {
        // Filled by `names_of`, which never gives none.
        &self.known().names[0]
    }

    /// The processes that it descends from, its parent first.
    pub(crate) async fn ancestors(self: &Arc<Self>) -> Vec<u32> {
        let caller = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || {
            let pid = caller.pid();
            pid.map(|pid| system::ancestors(pid, &caller.launcher))
        });
        found.await.ok().flatten().unwrap_or_default()
    }

    /// Whether it is the process of `other`, or descends from it by `ancestors`. A process that has ended has no
    /// descendants that could be told.
    pub(crate) fn descends_from(&self, ancestors: &[u32], other: &Self) -> bool {
        match (self.pid(), other.pid()) {
            (Some(pid), Some(other_pid)) if other.is_alive() => {
                pid == other_pid || ancestors.contains(&other_pid)
            }
            _ => false,
        }
    }

    /// The same for the wire.
    pub(crate) fn info(&self) -> CallerInfo {
        let facts = self.facts();
        let executable = facts.executable.clone().map(|mut path| {
            // Its owner chose the path.
            lines::bound(&mut path, LONGEST_PATH);
            path
        });
        CallerInfo {
            name: self.name().to_string(),
            pid: self.pid(),
            started_at: facts.started_at,
            executable,
            unit: facts.unit.clone(),
            terminal: facts.terminal.clone(),
            session: facts.session.map(|(leader, _)| leader),
            ended: facts.ended,
        }
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| {
            let facts = self.read();
            let names = names_of(&facts, self.pid(), self.number);
            Known { facts, names }
        })
    }

    fn read(&self) -> Facts {
        let Some(process) = &self.process else {
            return Facts::default();
        };
        let facts = process
            .is_alive()
            .then(|| system::facts(process.pid(), &self.launcher));
        // Read of this very process only if it has not ended meanwhile.
        match facts.filter(|_| process.is_alive()) {
            Some(mut facts) => {
                // It is another program by now: who of the two asks is anybody's guess.
                facts.by_root &= facts.executable == self.connected_as;
                facts
            }
            None => Facts {
                executable: self.connected_as.clone(),
                ended: true,
                ..Facts::default()
            },
        }
    }
}

/// What a process goes by, the best first: application, unit, program, terminal session, and last of all
/// itself.
fn names_of(facts: &Facts, pid: Option<u32>, number: u64) -> Vec<CallerName> {
    let unidentified = || vec![CallerName::Unidentified(number)];
    if facts.ended {
        return unidentified();
    }
    // What a sandbox shows of its programs is the sandbox's word.
    if let Some(app) = &facts.app {
        return vec![app.clone()];
    }
    if facts.elsewhere {
        return unidentified();
    }
    let mut names = Vec::new();
    if let Some(unit) = &facts.unit {
        names.push(CallerName::Unit(unit.as_str().into()));
    }
    let program = facts.executable.as_ref().filter(|_| facts.by_root);
    let is_name = |path: &&String| !parse::is_anybody(path) && !path.contains(char::is_control);
    if let Some(path) = program.filter(is_name) {
        names.push(CallerName::Executable(path.as_str().into()));
    }
    if let Some((leader, start)) = facts.session {
        names.push(CallerName::Session(format!("{leader}.{start}").into()));
    }
    if let (Some(pid), Some(start)) = (pid, facts.start) {
        names.push(CallerName::Process(format!("{pid}.{start}").into()));
    }
    if names.is_empty() {
        return unidentified();
    }
    names
}

/// Why the program at this path is no name, where that is so now: in words that go on behind the path.
pub(crate) fn not_a_name(path: &str) -> Option<&'static str> {
    if parse::is_anybody(path) {
        return Some("does what any program tells it, so it says nothing about who asks");
    }
    (!system::is_roots_file(path)).then_some(
        "is not a program that only root can replace, so any program of yours could take its place",
    )
}

/// Everybody who is connected.
#[derive(Default)]
pub(crate) struct Callers {
    launcher: Launcher,
    numbers: AtomicU64,
    known: Mutex<HashMap<u32, Weak<Caller>>>,
    recent: Mutex<VecDeque<Arc<Caller>>>,
}

impl Callers {
    /// Those of whom `launcher` sees what the daemon cannot.
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            ..Self::default()
        }
    }

    /// The caller whose process was pinned: the one who is known already, where it is the same process.
    pub(crate) fn enter(&self, process: Option<Process>) -> Arc<Caller> {
        let Some(process) = process else {
            return Arc::new(self.caller(None, None));
        };
        let pid = process.pid();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Both alive and of one number: one process.
        let same = known.get(&pid).and_then(Weak::upgrade);
        if let Some(same) = same.filter(|same| same.is_alive() && process.is_alive()) {
            return same;
        }
        let connected_as = system::executable(pid, &self.launcher).filter(|_| process.is_alive());
        let caller = Arc::new(self.caller(Some(process), connected_as));
        if known.len() >= CROWD && known.len() == known.capacity() {
            known.retain(|_, caller| caller.strong_count() > 0);
        }
        known.insert(pid, Arc::downgrade(&caller));
        self.keep(&caller);
        caller
    }

    /// One whom nobody knows.
    #[cfg(test)]
    pub(crate) fn unidentified(&self) -> Arc<Caller> {
        self.enter(None)
    }

    /// One that is known by this name.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Arc<Caller> {
        let caller = Self::default().caller(None, None);
        let names = vec![name.parse().expect("a name that lasts")];
        let facts = Facts::default();
        assert!(caller.known.set(Known { facts, names }).is_ok(), "once");
        Arc::new(caller)
    }

    /// Keeps those who came last: a program that connects for each request is looked at once.
    fn keep(&self, caller: &Arc<Caller>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(caller));
    }

    fn caller(&self, process: Option<Process>, connected_as: Option<String>) -> Caller {
        Caller {
            // Zero is whoever did not come in here.
            number: self.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            process,
            connected_as,
            launcher: self.launcher.clone(),
            known: OnceLock::new(),
            by_itself: ByItself::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            start: Some(4711),
            executable: Some("/usr/bin/git".to_owned()),
            by_root: true,
            unit: Some("backup.service".to_owned()),
            session: Some((17, 42)),
            ..Facts::default()
        }
    }

    fn shown(facts: &Facts) -> Vec<String> {
        let names = names_of(facts, Some(900), 5);
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_best_name_comes_first() {
        assert_eq!(
            shown(&facts()),
            [
                "unit:backup.service",
                "exe:/usr/bin/git",
                "session:17.42",
                "process:900.4711"
            ]
        );
        let without_unit = Facts {
            unit: None,
            ..facts()
        };
        assert_eq!(shown(&without_unit)[0], "exe:/usr/bin/git");
    }

    #[test]
    fn an_interpreter_and_what_anybody_can_replace_are_no_names() {
        let python = Facts {
            executable: Some("/usr/bin/python3.11".to_owned()),
            unit: None,
            ..facts()
        };
        assert_eq!(shown(&python), ["session:17.42", "process:900.4711"]);
        let own = Facts {
            by_root: false,
            unit: None,
            session: None,
            ..facts()
        };
        assert_eq!(shown(&own), ["process:900.4711"]);
    }

    #[test]
    fn a_sandbox_is_known_by_its_application_alone_or_not_at_all() {
        let elsewhere = Facts {
            elsewhere: true,
            ..facts()
        };
        assert_eq!(shown(&elsewhere), ["unidentified"]);
        let flatpak = Facts {
            app: Some(CallerName::Flatpak("org.gnome.Evolution".into())),
            ..elsewhere
        };
        assert_eq!(shown(&flatpak), ["flatpak:org.gnome.Evolution"]);
    }

    #[test]
    fn the_dead_and_the_unknown_are_unidentified() {
        let ended = Facts {
            ended: true,
            ..facts()
        };
        assert_eq!(shown(&ended), ["unidentified"]);
        assert_eq!(
            names_of(&Facts::default(), None, 7),
            [CallerName::Unidentified(7)]
        );
        let callers = Callers::default();
        let (one, other) = (callers.unidentified(), callers.unidentified());
        assert_ne!(one.name(), other.name());
        assert!(!one.is_alive());
        assert!(!one.descends_from(&[], &other));
    }
}
