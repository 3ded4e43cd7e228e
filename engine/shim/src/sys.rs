//! The kernel calls that rustix does not offer safely. Effects.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What `clone3` gave.
#[derive(Debug)]
pub(crate) enum Forked {
    /// In the new process.
    Child,
    /// In the caller: the new process.
    Parent(u32),
}

/// Copies this process, with new namespaces `flags`, into the cgroup v2 directory if one is given.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    // SAFETY: all zeroes is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM this is a fork; the program has one thread, so every lock of the
    // allocator and of libc is free in the child; `args` lives over the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match pid {
        -1 => Err(Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(u32::try_from(pid).expect("pids are positive"))),
    }
}

/// Copies this process. Unlike [`clone3`] also where a seccomp filter hides that call, as docker's does.
pub(crate) fn fork() -> Result<Forked> {
    // SAFETY: the program has one thread, so every lock of the allocator and of libc is free in the child.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid.cast_unsigned())),
    }
}

fn check(result: libc::c_int) -> Result<()> {
    if result == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn check_long(result: libc::c_long) -> Result<()> {
    if result == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Ends a forked process at once, without destructors or exit handlers of its parent's image.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Runs a program; returns only when that failed.
pub(crate) fn execve(program: &CStr, args: &[&CStr], env: &[&CStr]) -> Error {
    let list = |items: &[&CStr]| -> Vec<_> {
        items.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (list(args), list(env));
    // SAFETY: both lists end with null and their strings live over the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Error::last_os_error()
}

/// `prctl` with up to two numbers.
pub(crate) fn prctl(option: libc::c_int, first: u64, second: u64) -> Result<()> {
    // SAFETY: only options without pointers are used (see the callers); the rest must be zero.
    check(unsafe { libc::prctl(option, first, second, 0u64, 0u64) })
}

/// Asks to be killed when the shim dies.
pub(crate) fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)
}

/// Sets the credentials of a process: groups, group, user.
pub(crate) fn set_ids(groups: &[u32], gid: u32, uid: u32) -> Result<()> {
    // SAFETY: the list lives over the call.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Sets the thread's capability sets, as bit masks.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = [0x2008_0522_u32, 0]; // _LINUX_CAPABILITY_VERSION_3, this thread
    let low = |mask: u64| u32::try_from(mask & 0xffff_ffff).expect("masked");
    let high = |mask: u64| u32::try_from(mask >> 32).expect("shifted");
    let data = [
        [low(effective), low(permitted), low(inheritable)],
        [high(effective), high(permitted), high(inheritable)],
    ];
    // SAFETY: header and data have the layout of version 3 and live over the call.
    check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })
}

/// Installs a seccomp filter.
pub(crate) fn seccomp(filter: &[libc::sock_filter], flags: u32) -> Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program points at `length` instructions, which the kernel only reads.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    check_long(result)
}

/// Sets a resource limit.
pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit lives over the call; prlimit64 on the own process.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<u8>(),
        )
    };
    check_long(result)
}

/// Sets the host name.
pub(crate) fn sethostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length belong together.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

/// Sets the NIS domain name.
pub(crate) fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length belong together.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })
}

/// Joins the namespaces `flags` of a pidfd, or the one of a namespace file (`flags` its kind or 0).
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) })
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(flags: u64) -> Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: no pointers; the program has one thread.
    check(unsafe { libc::unshare(flags) })
}

/// Gives the process a session keyring of its own.
pub(crate) fn new_session_keyring(name: &CStr) -> Result<()> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING (1) reads one string, which lives over the call.
    check_long(unsafe { libc::syscall(libc::SYS_keyctl, 1, name.as_ptr()) })
}

/// Makes the terminal the process's controlling one and its standard streams.
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
}

/// Copies `fd` to the number `to`, which will survive an exec.
pub(crate) fn dup_to(fd: BorrowedFd<'_>, to: RawFd) -> Result<()> {
    // SAFETY: no pointers; the numbers 0–2 are not owned by any object of this program.
    check(unsafe { libc::dup2(fd.as_raw_fd(), to) })
}

/// Marks every descriptor from 3 on to be closed at exec, whoever made it.
pub(crate) fn close_others_at_exec() -> Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC (4) closes nothing now.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 4) })
}

/// Sets network interface `lo` up.
pub(crate) fn loopback_up() -> Result<()> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: the socket was just made and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::try_from(*from).expect("the name is ASCII");
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).expect("the flag is 1");
    // SAFETY: the request lives over the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) })
}

/// Sets the attributes of a detached mount (tree).
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: Recursive,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<()> {
    let attributes = [set, clear, propagation, 0u64]; // struct mount_attr
    let flags =
        libc::AT_EMPTY_PATH | if recursive == Recursive::Yes { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and attributes live over the call; their size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    check_long(result)
}

/// Whether a change takes the mounts below, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recursive {
    /// This one only.
    No,
    /// The whole tree.
    Yes,
}

/// Blocks all signals and gives a descriptor that becomes readable with each of `signals`.
pub(crate) fn signal_fd(signals: &[libc::c_int]) -> Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; all pointers are to locals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Gives a new program the signal state it expects: nothing blocked, nothing ignored.
pub(crate) fn reset_signals() {
    // SAFETY: pointers are to locals; the default disposition runs no code.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ignores a signal.
pub(crate) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: ignoring runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends a signal.
pub(crate) fn kill(pid: u32, signal: i32) -> Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Takes an ended child, without waiting: its pid and wait status.
pub(crate) fn reap() -> Option<(u32, i32)> {
    let mut status = 0;
    // SAFETY: the status is a local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    u32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, status))
}

/// Waits for one child.
pub(crate) fn wait_for(pid: u32) -> Result<i32> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Error::from_raw_os_error(libc::ECHILD))?;
    let mut status = 0;
    loop {
        // SAFETY: the status is a local.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(()) => return Ok(status),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives freed memory back to the kernel.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The time in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Milliseconds of the monotonic clock.
pub(crate) fn monotonic_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Sleeps.
pub(crate) fn sleep_ms(milliseconds: u32) {
    let span = rustix::time::Timespec {
        tv_sec: i64::from(milliseconds / 1000),
        tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
    };
    let _interrupted = rustix::thread::nanosleep(&span);
}
