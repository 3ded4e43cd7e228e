//! Docker's default profile as data.
//!
//! Source: moby/profiles `seccomp/default.json`, the state that Docker Engine 29 uses: `io_uring_*` is
//! left out, and sockets only of the listed address families (no vsock, no alg).

use super::profile::{ArchMap, Call, Content, Filter};
use crate::runtime_spec::oci::SeccompArg;

/// Allowed to all.
const ALWAYS: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause
pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64
prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev
pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe
rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
waitpid write writev";

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree
         perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
         unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed on some architectures.
const ON_ARCH: [(&str, &str); 3] = [
    (
        "arm arm64",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    ("amd64 x32", "arch_prctl"),
    ("amd64 x32 x86", "modify_ldt"),
];

/// Address families from unix (1) to below this are allowed without gaps.
const SOCKETS_BELOW: u64 = 12;
/// Further address families.
const SOCKETS: [u64; 25] = [
    13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44,
    45,
];
/// Harmless execution domains: Linux, BSD, and UNAME26 variants; the last asks only.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// All `CLONE_NEW*` flags.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

pub(super) fn content() -> Content {
    let mut syscalls = vec![allow(ALWAYS)];
    syscalls.push(Call {
        includes: Filter { min_kernel: Some("4.8".to_owned()), ..Filter::default() },
        ..allow("process_vm_readv process_vm_writev ptrace")
    });
    syscalls.push(when("socket", SOCKETS_BELOW, "SCMP_CMP_LT"));
    syscalls.extend(SOCKETS.map(|family| when("socket", family, "SCMP_CMP_EQ")));
    syscalls.extend(PERSONALITIES.map(|domain| when("personality", domain, "SCMP_CMP_EQ")));
    syscalls.extend(ON_ARCH.map(|(arches, names)| Call {
        includes: Filter { arches: words(arches), ..Filter::default() },
        ..allow(names)
    }));
    syscalls.extend(WITH_CAPABILITY.map(|(capability, names)| Call {
        includes: Filter { caps: words(capability), ..Filter::default() },
        ..allow(names)
    }));
    // Without CAP_SYS_ADMIN: no new namespaces; clone3 hides its flags, so libc must use clone.
    let unprivileged = Filter { caps: words("CAP_SYS_ADMIN"), ..Filter::default() };
    syscalls.push(Call {
        excludes: unprivileged.clone(),
        ..when("clone", NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ")
    });
    syscalls.push(Call {
        names: words("clone3"),
        action: "SCMP_ACT_ERRNO".to_owned(),
        errno_ret: Some(ENOSYS),
        excludes: unprivileged,
        ..Call::default()
    });
    Content {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(EPERM),
        arch_map: vec![
            family("SCMP_ARCH_X86_64", "SCMP_ARCH_X86 SCMP_ARCH_X32"),
            family("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
        ],
        syscalls,
        ..Content::default()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn family(architecture: &str, siblings: &str) -> ArchMap {
    ArchMap { architecture: architecture.to_owned(), sub_architectures: words(siblings) }
}

fn allow(names: &str) -> Call {
    Call { names: words(names), action: "SCMP_ACT_ALLOW".to_owned(), ..Call::default() }
}

/// Allows `name` when its first argument compares so.
fn when(name: &str, value: u64, op: &str) -> Call {
    let arg = SeccompArg { index: 0, value, value_two: 0, op: op.to_owned() };
    Call { args: vec![arg], ..allow(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_number_somewhere() {
        let foreign = ["epoll_ctl_old", "epoll_wait_old", "riscv_hwprobe"];
        for call in content().syscalls {
            for name in call.names {
                let known = super::super::Arch::ALL
                    .into_iter()
                    .any(|arch| super::super::table::number(arch, &name).is_some());
                assert!(known || foreign.contains(&name.as_str()), "{name}");
            }
        }
    }
}
