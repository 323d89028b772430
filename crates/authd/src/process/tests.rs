//! Confinement, tried out: it binds the thread that takes it on and those that it starts, so each test has
//! one, and the others go on.

use std::{fs, io, path::Path, process::Command, thread};

use super::*;

/// What happens on a thread that is confined to `own`.
fn confined<T: Send + 'static>(
    own: &Path,
    then: impl FnOnce(Confinement) -> T + Send + 'static,
) -> T {
    let writable = Writable {
        own: vec![own.to_owned()],
        sockets: Vec::new(),
    };
    let thread = thread::spawn(move || {
        let confinement = confine(&writable);
        // A thread of a thread, as the daemon's are.
        thread::spawn(move || then(confinement))
            .join()
            .expect("what was to be done there")
    });
    thread.join().expect("what was to be done there")
}

fn refused<T>(what: io::Result<T>) -> bool {
    what.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn both_are_in_force_here() {
    let dir = tempfile::tempdir().unwrap();
    let confinement = confined(dir.path(), |confinement| confinement);
    // A kernel of Linux 6.12 or later has all of it.
    assert_eq!(confinement.files, Outcome::InForce(None));
    assert_eq!(confinement.system_calls, Outcome::InForce(None));
}

#[test]
fn its_own_directory_is_written_and_nothing_else_is() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = other.path().join("theirs");
    fs::write(&theirs, "as it was").unwrap();
    let (dir, elsewhere) = (own.path().to_owned(), other.path().to_owned());
    confined(own.path(), move |_| {
        // What the store and the journal do.
        let deep = dir.join("deep");
        fs::create_dir(&deep).unwrap();
        fs::write(dir.join("file"), "text").unwrap();
        fs::rename(dir.join("file"), deep.join("file")).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(deep.join("file"));
        rustix::fs::fallocate(file.unwrap(), rustix::fs::FallocateFlags::empty(), 0, 64).unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
        fs::remove_file(deep.join("file")).unwrap();
        fs::remove_dir(&deep).unwrap();

        let theirs = elsewhere.join("theirs");
        assert!(refused(fs::write(elsewhere.join("new"), "")), "made");
        assert!(refused(fs::OpenOptions::new().write(true).open(&theirs)));
        assert!(refused(fs::remove_file(&theirs)), "removed");
        assert!(fs::rename(&theirs, dir.join("mine")).is_err(), "taken");
        assert!(refused(fs::create_dir(elsewhere.join("dir"))));
        // And read, as any file of the user's may have to be.
        assert_eq!(fs::read_to_string(theirs).unwrap(), "as it was");
        assert!(!fs::read("/proc/self/status").unwrap().is_empty());
    });
    assert_eq!(fs::read_to_string(theirs).unwrap(), "as it was");
}

#[test]
fn nothing_can_be_executed() {
    assert!(Command::new("true").status().unwrap().success());
    let dir = tempfile::tempdir().unwrap();
    confined(dir.path(), |_| {
        assert!(refused(Command::new("true").status()));
        // By the file alone as well: were one filter to fail, there is the other.
        assert!(refused(Command::new("/proc/self/exe").status()));
    });
}

/// Each with what it does where nobody is confined.
#[test]
fn what_the_daemon_has_no_business_with_fails_and_ends_nothing() {
    let call = |number: libc::c_long, one: libc::c_ulong, two: libc::c_ulong| {
        #[expect(unsafe_code, reason = "calls that no library makes for us")]
        // SAFETY: numbers, or null where an address is wanted; nothing of ours is touched.
        let result = unsafe { libc::syscall(number, one, two, 0, 0, 0, 0) };
        if result == -1 {
            io::Error::last_os_error().raw_os_error().unwrap_or(0)
        } else {
            0
        }
    };
    // To begin with the kernel knows them, or says that this user may not.
    let unshared = thread::spawn(move || call(libc::SYS_unshare, 0, 0)).join();
    assert_eq!(unshared.unwrap(), 0, "of nothing it can be done");
    assert_eq!(call(libc::SYS_personality, 0xffff_ffff, 0), 0);
    let socket = move |family: i32| call(libc::SYS_socket, family as _, libc::SOCK_DGRAM as _);
    let dir = tempfile::tempdir().unwrap();
    confined(dir.path(), move |_| {
        for denied in [
            libc::SYS_unshare,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_mount,
            libc::SYS_init_module,
            libc::SYS_io_uring_setup,
            libc::SYS_execveat,
        ] {
            assert_eq!(call(denied, 0, 0), libc::EPERM, "call {denied}");
        }
        assert_eq!(call(libc::SYS_personality, 0xffff_ffff, 0), libc::EPERM);
        let new_user = libc::CLONE_NEWUSER as libc::c_ulong;
        assert_eq!(call(libc::SYS_clone, new_user, 0), libc::EPERM);
        assert_eq!(socket(libc::AF_ALG), libc::EPERM);
        assert_eq!(socket(libc::AF_PACKET), libc::EPERM);
        assert_eq!(socket(libc::AF_INET), 0);
        let dumpable = libc::PR_SET_DUMPABLE as libc::c_ulong;
        assert_eq!(call(libc::SYS_prctl, dumpable, 1), libc::EPERM);
        // What is newer than the filter is as if the kernel did not have it: libraries know that.
        assert_eq!(call(libc::SYS_clone3, 0, 0), libc::ENOSYS);
        assert_eq!(call(100_000, 0, 0), libc::ENOSYS);
        // Threads, and names that are resolved, as ever.
        thread::spawn(|| ()).join().unwrap();
        use std::net::ToSocketAddrs as _;
        assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0);
    });
}

#[test]
fn memory_is_not_written_and_run() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let map = |protection| {
        #[expect(unsafe_code, reason = "memory that nobody uses")]
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) };
        mapped.is_ok()
    };
    let both = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    assert!(map(both));
    let dir = tempfile::tempdir().unwrap();
    confined(dir.path(), move |_| {
        assert!(!map(both));
        assert!(map(ProtFlags::READ | ProtFlags::WRITE));
        assert!(map(ProtFlags::READ | ProtFlags::EXEC), "as a library is");
    });
}

#[test]
fn a_directory_that_is_not_there_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let files = confined(&missing, |confinement| confinement.files);
    assert_eq!(files, Outcome::InForce(None));
}
