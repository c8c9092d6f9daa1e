//! The system calls that no server needs, refused by seccomp(2).
//!
//! A list of what is refused, not of what is let through: the C library and the runtime take other calls with every
//! release, and programs of the operator's take whatever they take. `EPERM` answers, and nothing is killed.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads, sock_filter,
};

use super::needs::{Needs, unknown};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses them to all threads of this process, for good. How many.
pub(super) fn refuse(needs: &Needs) -> io::Result<usize> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| unknown("filter for this processor here"))?;
    let rules = refused(needs)?;
    let count = rules.len();
    apply(rules, libc::EPERM, arch)?;
    if !needs.programs {
        // Its flags lie in memory, where no filter looks. "Not there" has the C library take clone(2) for its threads.
        apply(BTreeMap::from([(libc::SYS_clone3, vec![])]), libc::ENOSYS, arch)?;
    }
    Ok(count + usize::from(!needs.programs))
}

fn apply(rules: Rules, errno: i32, arch: TargetArch) -> io::Result<()> {
    let errno = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).map_err(io::Error::other)?;
    let mut program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    if arch == TargetArch::x86_64 {
        program.splice(..0, NO_X32);
    }
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// The calls of the x32 ABI are those of x86-64 by other numbers: "not there".
const NO_X32: [sock_filter; 3] = {
    const FIRST: u32 = 0x4000_0000;
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter { code: code as u16, jt, jf, k }
    }
    [
        // The number is the first word of `struct seccomp_data`.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, FIRST),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
};

fn refused(needs: &Needs) -> io::Result<Rules> {
    // An empty list of rules: whatever the arguments.
    let mut rules: Rules = NEVER.iter().chain(NEVER_HERE).map(|call| (*call, vec![])).collect();
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let xdp = needs.xdp.then_some(libc::AF_XDP);
    let others = families.into_iter().chain(xdp).map(|family| argument(0, SeccompCmpOp::Ne, family as u64));
    rules.insert(libc::SYS_socket, vec![rule(others)?]);
    if !needs.xdp {
        rules.insert(libc::SYS_bpf, vec![]);
    }
    if !needs.programs {
        rules.extend(RUNNING.iter().map(|call| (*call, vec![])));
        let thread = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![rule([argument(0, SeccompCmpOp::MaskedEq(thread), 0)])?]);
        // Nothing that was written is run.
        let both = (libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        rules.insert(libc::SYS_mmap, vec![rule([argument(2, SeccompCmpOp::MaskedEq(both), both)])?]);
        let run = libc::PROT_EXEC as u64;
        for call in [libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            rules.insert(call, vec![rule([argument(2, SeccompCmpOp::MaskedEq(run), run)])?]);
        }
    }
    Ok(rules)
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

fn argument(place: u8, is: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, is, value)
}

/// Where all conditions hold.
fn rule(conditions: impl IntoIterator<Item = Condition>) -> io::Result<SeccompRule> {
    let conditions = conditions.into_iter().collect::<Result<_, _>>().map_err(io::Error::other)?;
    SeccompRule::new(conditions).map_err(io::Error::other)
}

/// Other processes, the machine, its clock, its modules, mounts, keys, what the kernel has that was attacked most.
const NEVER: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[i64] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_mknod,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[i64] = &[];

/// What a program is run by.
#[cfg(target_arch = "x86_64")]
const RUNNING: &[i64] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const RUNNING: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];
