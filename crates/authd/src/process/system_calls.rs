//! Seccomp: what the daemon can ask of the kernel from now on.
//!
//! What it has no business with fails with `EPERM`: the daemon goes on, and logs what did not work. Nothing
//! is killed for it: a library that tries something in passing would take every login with it. A call that is
//! newer than those known here fails with `ENOSYS`, as it would on an older kernel: the C library of next
//! year tries it, and then does what it does without it. So does `clone3`, whose flags a filter cannot see;
//! threads are made by `clone`.
//!
//! A list of what is allowed would be shorter to reason about, and would break with every library that finds
//! another way to wait for something. The unit has such a list (`@system-service`); both hold at once.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::Outcome;

/// `file_setattr` of Linux 6.17, the newest that is known here. Numbers are shared by all architectures
/// from 424 on.
const NEWEST: u32 = 469;

/// What fails, whatever its arguments.
const DENIED: &[i64] = &[
    // Other programs: starting them, becoming them.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: looking into them, taking from them.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // Parts of the kernel with many doors.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_syslog,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // Who it is.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Of Linux 6.15; libc does not name it.
const OPEN_TREE_ATTR: i64 = 467;

/// Confines this thread, and every one that it starts.
pub(super) fn confine() -> Outcome {
    let applied = programs().and_then(|programs| {
        let mut programs = programs.iter();
        programs
            .try_for_each(|program| apply_filter(program))
            .map_err(|error| error.to_string())
    });
    match applied {
        Ok(()) => Outcome::InForce(None),
        Err(why) => Outcome::Missing(why),
    }
}

fn programs() -> Result<[BpfProgram; 2], String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| "no filter is known for this kind of processor".to_owned())?;
    let denied = SeccompFilter::new(
        rules().map_err(|error| error.to_string())?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        architecture,
    );
    let denied: Result<BpfProgram, _> = denied.and_then(TryInto::try_into);
    Ok([unknown(), denied.map_err(|error| error.to_string())?])
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let is = |argument, value: u64| {
        SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value).map(|one| vec![one])
    };
    let has = |argument, bits: u64| {
        let op = SeccompCmpOp::MaskedEq(bits);
        SeccompCondition::new(argument, Dword, op, bits).map(|one| vec![one])
    };
    let any = |all: Vec<Vec<SeccompCondition>>| {
        all.into_iter()
            .map(SeccompRule::new)
            .collect::<Result<Vec<_>, _>>()
    };

    // Each flag by itself: one is enough.
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ];
    let namespaces = namespaces
        .into_iter()
        .map(|flag| has(0, u64::from(flag.unsigned_abs())))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, any(namespaces)?);

    // The families that the unit allows too.
    let families = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let others = families
        .into_iter()
        .map(|family| {
            let family = u64::from(family.unsigned_abs());
            SeccompCondition::new(0, Dword, SeccompCmpOp::Ne, family)
        })
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_socket, any(vec![others])?);

    // To become dumpable again, or to name somebody who may attach.
    let dumpable = [
        is(0, u64::from(libc::PR_SET_DUMPABLE.unsigned_abs()))?,
        vec![SeccompCondition::new(1, Dword, SeccompCmpOp::Ne, 0)?],
    ];
    let attached = is(0, u64::from(libc::PR_SET_PTRACER.unsigned_abs()))?;
    rules.insert(libc::SYS_prctl, any(vec![dumpable.concat(), attached])?);

    // To type into the terminal from which it was started.
    let typing = vec![
        is(1, u64::from(libc::TIOCSTI as u32))?,
        is(1, u64::from(libc::TIOCLINUX as u32))?,
    ];
    rules.insert(libc::SYS_ioctl, any(typing)?);

    // Memory that is written and then run. Where libraries are marked for branch protection (arm64), the
    // loader itself asks for memory to be run.
    let (write, run) = (
        u64::from(libc::PROT_WRITE.unsigned_abs()),
        u64::from(libc::PROT_EXEC.unsigned_abs()),
    );
    rules.insert(libc::SYS_mmap, any(vec![has(2, write | run)?])?);
    if cfg!(not(target_arch = "aarch64")) {
        rules.insert(libc::SYS_mprotect, any(vec![has(2, run)?])?);
        rules.insert(libc::SYS_pkey_mprotect, any(vec![has(2, run)?])?);
    }
    Ok(rules)
}

/// `ENOSYS` for what is newer than this file. Calls in the other numbering of x86 (x32) are above it too.
fn unknown() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, k, jt| sock_filter { code, jt, jf: 0, k };
    vec![
        // The number of the call is the first field of what a filter sees.
        line(LOAD, 0, 0),
        line(IF_GREATER, NEWEST, 2),
        line(IF_EQUAL, libc::SYS_clone3 as u32, 1),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0),
        line(
            RETURN,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
        ),
    ]
}
