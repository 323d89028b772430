use super::*;

#[test]
fn a_stat_line_is_read_behind_the_last_parenthesis() {
    let rest = "S 4242 900 17 34818 900 4194304 100 0 0 0 1 2 3 4 20 0 1 0 4711 1000 200";
    let read = Stat {
        parent: 4242,
        session: 17,
        tty: 34818,
        started: 4711,
    };
    for (line, expected) in [
        (format!("900 (git) {rest}"), Some(read)),
        (format!("900 (a) S 1 1 1 (b) {rest}"), Some(read)),
        (format!("900 () ) {rest}"), Some(read)),
        ("900 (git) S 1 2".to_owned(), None),
        ("900 git S 1 2 3".to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(stat(&line), expected, "{line}");
    }
}

#[test]
fn our_own_stat_line_is_read() {
    #[cfg(target_os = "linux")]
    {
        let line = std::fs::read_to_string("/proc/self/stat").unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        let read = stat(&line).unwrap();
        assert_eq!(read.parent, parent.cast_unsigned());
        assert!(read.started > 0);
    }
}

#[test]
fn terminals_have_names() {
    for (device, name) in [
        (0, None),
        (34818, Some("pts/2")),
        ((137 << 8) | 3, Some("pts/259")),
        ((136 << 8) | 0x10_0000 | 5, Some("pts/261")),
        ((4 << 8) | 1, Some("tty1")),
        ((4 << 8) | 64, Some("ttyS0")),
        ((5 << 8) | 1, Some("tty 5:1")),
    ] {
        assert_eq!(terminal(device).as_deref(), name, "{device}");
    }
}

#[test]
fn the_innermost_unit_is_the_place() {
    let unit = |name: &str| Some(Place::Unit(name.to_owned()));
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let long = format!("0::/{}.scope", "x".repeat(300));
    for (cgroup, expected) in [
        (
            format!("0::{user}/app.slice/app-org.gnome.Evolution-12.scope"),
            unit("app-org.gnome.Evolution-12.scope"),
        ),
        (
            format!("0::{user}/app.slice/backup.service"),
            unit("backup.service"),
        ),
        (
            format!("0::{user}/app.slice/backup.service/inner/sub"),
            unit("backup.service"),
        ),
        (
            "0::/system.slice/cron.service".to_owned(),
            unit("cron.service"),
        ),
        (
            "12:pids:/x.service\n1:name=systemd:/user.slice/work.service\n".to_owned(),
            unit("work.service"),
        ),
        (
            "1:name=systemd:/old.service\n0::/new.service\n".to_owned(),
            unit("new.service"),
        ),
        (
            "0::/user.slice/user-1000.slice/session-3.scope".to_owned(),
            Some(Place::Login),
        ),
        (format!("0::{user}/init.scope"), Some(Place::Login)),
        (format!("0::{user}"), Some(Place::Login)),
        (
            format!("0::{user}/app.slice/snap.thunderbird.thunderbird-1a2b.scope"),
            Some(Place::Snap("thunderbird".to_owned())),
        ),
        ("0::/".to_owned(), None),
        ("0::/docker/0123456789abcdef".to_owned(), None),
        ("0::/evil\u{1b}[2J.service".to_owned(), None),
        (long, None),
        (String::new(), None),
    ] {
        assert_eq!(place(&cgroup), expected, "{cgroup}");
    }
}

#[test]
fn a_snap_is_one_whose_label_is_enforced() {
    for (label, name) in [
        (
            "snap.thunderbird.thunderbird (enforce)\n",
            Some("thunderbird"),
        ),
        ("snap.firefox.hook.configure (enforce)", Some("firefox")),
        ("snap.firefox.firefox (complain)\n", None),
        ("unconfined\n", None),
        ("snap..x (enforce)", None),
        ("/usr/bin/snap.x (enforce)", None),
        ("", None),
    ] {
        assert_eq!(snap_of_label(label).as_deref(), name, "{label:?}");
    }
}

#[test]
fn a_flatpak_is_named_in_its_own_section() {
    for (info, name) in [
        (
            "[Application]\nname=org.gnome.Evolution\nruntime=runtime/org.gnome.Platform/x86_64/46\n",
            Some("org.gnome.Evolution"),
        ),
        (
            "[Instance]\nname=x.y.z\n[Application]\nname = a.b.c\n",
            Some("a.b.c"),
        ),
        ("[Application]\nruntime=x\n[Context]\nname=x.y.z\n", None),
        ("[Application]\nname=\n", None),
        ("[Application]\nname=no-dot\n", None),
        ("[Application]\nname=x.y\u{1b}[2J\n", None),
        ("name=x.y.z\n", None),
        ("", None),
    ] {
        assert_eq!(flatpak(info).as_deref(), name, "{info:?}");
    }
}

#[test]
fn a_namespace_below_ours_shows_in_the_numbers() {
    for (status, nested) in [
        ("Name:\tx\nNSpid:\t900\nNSsid:\t1\t2\n", Some(false)),
        ("NSpid:\t900\t1\n", Some(true)),
        ("NSpid:\t900\t20\t1\n", Some(true)),
        ("Pid:\t900\n", None),
    ] {
        assert_eq!(is_in_pid_namespace(status), nested, "{status:?}");
    }
}

#[test]
fn what_does_as_it_is_told_is_nobody() {
    for path in [
        "/usr/bin/python3.11",
        "/usr/bin/python3",
        "/usr/local/bin/pypy3.10",
        "/usr/bin/node",
        "/usr/bin/bash",
        "/usr/bin/dash",
        "/usr/lib/jvm/java-21/bin/java",
        "/usr/bin/perl5.36-x86_64-linux-gnu",
        "/usr/bin/lua5.4",
        "/usr/bin/vim.basic",
        "/usr/bin/nvim",
        "/usr/bin/nc.openbsd",
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/usr/bin/qemu-aarch64-static",
        "/usr/bin/authctl",
        "/usr/bin/Rscript",
        r"C:\Python312\python.exe",
    ] {
        assert!(is_anybody(path), "{path}");
    }
    for path in [
        "/usr/bin/git",
        "/usr/bin/gh",
        "/usr/bin/shotwell",
        "/usr/bin/evolution",
        "/usr/lib/git-core/git-remote-https",
        "/usr/bin/nodeenv",
        "/usr/bin/envsubst",
        "/usr/bin/javadoc",
    ] {
        assert!(!is_anybody(path), "{path}");
    }
}
