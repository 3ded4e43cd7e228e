//! What the child does between its birth and the exec of its program. Effects, in the child only.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use shoal_shim_protocol::config::{ShimConfig, TerminalSize, UserLookup};
use shoal_shim_protocol::message::{Failure, FailureKind};
use shoal_shim_protocol::spec::{NamespaceKind, Process, Spec};

use super::fsroot::FsRoot;
use super::namespaces::Plan;
use super::sync::{ChildEnd, Message};
use super::{caps, devices, mounts, program, rootfs, user};
use crate::cgroup::Cgroups;
use crate::failure::{Context, Result, failure};
use crate::sys;

/// The child's ends of its standard streams.
#[derive(Debug)]
pub(crate) enum ChildStdio {
    /// Standard input, output, error.
    Pipes([OwnedFd; 3]),
    /// A terminal, to be made in the container.
    Terminal(Option<TerminalSize>),
}

/// Everything a new container needs.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) config: &'a ShimConfig,
    pub(crate) spec: &'a Spec,
    pub(crate) cgroups: Option<&'a Cgroups>,
    pub(crate) plan: &'a Plan,
    pub(crate) seccomp: &'a [libc::sock_filter],
    pub(crate) mount_point: &'a Path,
}

/// Runs the child: never returns.
pub(crate) fn run_container(container: &Container<'_>, stdio: ChildStdio, mut end: ChildEnd) -> ! {
    end.wait();
    let failed = match make(container, stdio, &mut end) {
        Ok(ready) => {
            end.wait();
            exec(
                ready,
                &container.spec.process,
                container.seccomp,
                container.config.seccomp.as_ref().map_or(0, |program| program.flags),
            )
        }
        Err(failed) => failed,
    };
    end.tell(&Message::Failed(failed), None);
    sys::exit_now(1)
}

/// A process just before its exec.
#[derive(Debug)]
pub(crate) struct Ready {
    user: shoal_shim_protocol::spec::User,
    path: String,
    env: Vec<String>,
    caps: caps::Masks,
}

fn make(container: &Container<'_>, stdio: ChildStdio, end: &mut ChildEnd) -> Result<Ready> {
    let Container { config, spec, plan, .. } = container;
    sys::die_with_parent().doing(|| "ask to die with the shim".to_owned())?;
    plan.enter()?;
    let own_user = plan.has_own(NamespaceKind::User);
    if own_user {
        sys::set_ids(&[], 0, 0).doing(|| "become root of the user namespace".to_owned())?;
    }
    if plan.own_cgroup {
        sys::unshare(libc::CLONE_NEWCGROUP as u64)
            .doing(|| "make a cgroup namespace".to_owned())?;
    }
    let _session = rustix::process::setsid();
    // No keys of the host; kernels without keyrings have none to hide.
    let _keyring = CString::new(format!("_ses.{}", config.container))
        .map(|name| sys::new_session_keyring(&name));
    if plan.has_own(NamespaceKind::Network) {
        sys::loopback_up().doing(|| "set interface `lo` up".to_owned())?;
    }
    let root = make_root(container)?;
    let stdio = match stdio {
        ChildStdio::Terminal(size) => {
            let (master, slave) = devices::open_terminal(&root)?;
            set_size(&master, size)?;
            devices::bind_console(&root, &slave)?;
            Stdio::Terminal(master, slave)
        }
        ChildStdio::Pipes(pipes) => Stdio::Pipes(pipes),
    };
    for mount in spec.mounts.iter().filter(|mount| mounts::wants_late_readonly(mount)) {
        mounts::late_readonly(&root, &mount.destination)?;
    }
    drop(root);
    rootfs::pivot(container.mount_point)?;
    finish_root(spec, plan)?;
    let ready = prepare_process(&spec.process, config.user.as_ref(), &stdio)?;
    let master = wire(&stdio)?;
    end.tell(&Message::Ready, master.map(AsFd::as_fd));
    Ok(ready)
}

/// Mounts, devices.
fn make_root(container: &Container<'_>) -> Result<FsRoot> {
    let Container { config, spec, plan, cgroups, mount_point, .. } = container;
    let _mask = rustix::process::umask(Mode::empty());
    rootfs::mount(&config.rootfs, spec.linux.rootfs_propagation.as_deref(), mount_point)?;
    let root = FsRoot::open(mount_point)?;
    for mount in &spec.mounts {
        mounts::make(&root, &config.bundle, mount, *cgroups, plan.own_cgroup)?;
    }
    if let Some(init) = &config.init {
        let mount = crate::foreign::init_mount(init)?;
        mounts::make(&root, Path::new("/"), &mount, None, false)?;
    }
    devices::make(&root, &spec.linux.devices, plan.has_own(NamespaceKind::User))?;
    let _mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(root)
}

/// What can be done only inside.
fn finish_root(spec: &Spec, plan: &Plan) -> Result<()> {
    if let Some(name) = spec.hostname.as_ref().filter(|_| plan.has_own(NamespaceKind::Uts)) {
        sys::sethostname(name).doing(|| format!("set host name `{name}`"))?;
    }
    if let Some(name) = spec.domainname.as_ref().filter(|_| plan.has_own(NamespaceKind::Uts)) {
        sys::setdomainname(name).doing(|| format!("set domain name `{name}`"))?;
    }
    for (name, value) in &spec.linux.sysctl {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        std::fs::write(&path, value).doing(|| format!("set sysctl `{name}` to `{value}`"))?;
    }
    for path in &spec.linux.readonly_paths {
        rootfs::protect(path)?;
    }
    for path in &spec.linux.masked_paths {
        rootfs::mask(path)?;
    }
    let cwd = &spec.process.cwd;
    if !cwd.is_empty() && !Path::new(cwd).exists() {
        std::fs::create_dir_all(cwd).doing(|| format!("make working directory `{cwd}`"))?;
    }
    if spec.root.readonly {
        rootfs::make_readonly()?;
    }
    Ok(())
}

#[derive(Debug)]
enum Stdio {
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd, OwnedFd),
}

fn set_size(master: &OwnedFd, size: Option<TerminalSize>) -> Result<()> {
    let Some(size) = size else { return Ok(()) };
    rustix::termios::tcsetwinsize(master, winsize(size))
        .doing(|| "set the size of the terminal".to_owned())
}

/// The kernel's form of a size.
pub(crate) fn winsize(size: TerminalSize) -> rustix::termios::Winsize {
    rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Finds user, program, home; checks what can be checked before the start.
fn prepare_process(process: &Process, lookup: Option<&UserLookup>, stdio: &Stdio) -> Result<Ready> {
    if process.apparmor_profile.as_deref().is_some_and(|name| !matches!(name, "" | "unconfined"))
        || process.selinux_label.as_deref().is_some_and(|label| !label.is_empty())
    {
        let message = "AppArmor profiles and SELinux labels are not served by this runtime";
        return Err(failure(FailureKind::NotImplemented, message));
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let user = match lookup {
        Some(lookup) => {
            let umask = process.user.umask;
            let found = user::resolve(lookup, &passwd, &group)?;
            shoal_shim_protocol::spec::User { umask, ..found }
        }
        None => process.user.clone(),
    };
    let mut env = process.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5) {
        env.retain(|entry| !entry.starts_with("HOME="));
        env.push(format!("HOME={}", user::home(user.uid, &passwd)));
    }
    own_streams(stdio, user.uid)?;
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    // Without permission the user itself may have it; `exec` tries again.
    match rustix::process::chdir(cwd) {
        Ok(()) | Err(rustix::io::Errno::ACCESS) => {}
        Err(error) => {
            let doing = || format!("chdir to cwd ({cwd:?}) set in config.json");
            return Err(error).failing(FailureKind::CommandNotExecutable, doing);
        }
    }
    let name = process
        .args
        .first()
        .ok_or_else(|| failure(FailureKind::InvalidArgument, "process.args must not be empty"))?;
    let path = program::find(name, &env, program::probe)?;
    Ok(Ready { user, path, env, caps: caps::masks(process.capabilities.as_ref())? })
}

/// Lets the program open `/dev/stdout` again, as its own user.
fn own_streams(stdio: &Stdio, uid: u32) -> Result<()> {
    let streams: Vec<&OwnedFd> = match stdio {
        Stdio::Pipes(pipes) => pipes.iter().collect(),
        Stdio::Terminal(_, slave) => vec![slave],
    };
    for stream in streams {
        let stat = rustix::fs::fstat(stream).doing(|| "look at a standard stream".to_owned())?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
            || rustix::fs::major(stat.st_rdev) == 1
        {
            continue; // `/dev/null` belongs to the host
        }
        match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
            // In a user namespace the pipes' owner, the host's root, has no number: as runc, go on.
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error).doing(|| "own a standard stream".to_owned()),
        }
    }
    Ok(())
}

/// Puts the streams at 0, 1, 2. Gives the terminal's master.
fn wire(stdio: &Stdio) -> Result<Option<&OwnedFd>> {
    let failed = || "set standard streams".to_owned();
    match stdio {
        Stdio::Pipes(pipes) => {
            for (pipe, number) in pipes.iter().zip(0..) {
                sys::dup_to(pipe.as_fd(), number).doing(failed)?;
            }
            Ok(None)
        }
        Stdio::Terminal(master, slave) => {
            sys::take_terminal(slave.as_fd()).doing(failed)?;
            for number in 0..3 {
                sys::dup_to(slave.as_fd(), number).doing(failed)?;
            }
            Ok(Some(master))
        }
    }
}

/// Becomes the user and runs the program; returns only a failure.
fn exec(ready: Ready, process: &Process, filter: &[libc::sock_filter], flags: u32) -> Failure {
    match become_user(&ready, process, filter, flags) {
        Err(failed) => failed,
        Ok(()) => {
            let text = |text: &String| CString::new(text.as_str());
            let args = process.args.iter().map(text).collect::<std::result::Result<Vec<_>, _>>();
            let env = ready.env.iter().map(text).collect::<std::result::Result<Vec<_>, _>>();
            let (Ok(path), Ok(args), Ok(env)) = (CString::new(ready.path.as_str()), args, env)
            else {
                let message = "process.args and process.env must not contain NUL bytes";
                return failure(FailureKind::InvalidArgument, message);
            };
            let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
            let env: Vec<_> = env.iter().map(CString::as_c_str).collect();
            let error = sys::execve(&path, &args, &env);
            program::exec_failed(&ready.path, &error)
        }
    }
}

fn become_user(
    ready: &Ready,
    process: &Process,
    filter: &[libc::sock_filter],
    flags: u32,
) -> Result<()> {
    set_limits(process)?;
    let load = || sys::seccomp(filter, flags).doing(|| "load the seccomp filter".to_owned());
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).doing(|| "set no_new_privs".to_owned())?;
    } else if !filter.is_empty() {
        load()?; // needs a capability that is about to go
    }
    caps::drop_bounding(ready.caps)?;
    let user = &ready.user;
    let failed = || format!("become user {} of group {}", user.uid, user.gid);
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).doing(failed)?;
    sys::set_ids(&user.additional_gids, user.gid, user.uid).doing(failed)?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).doing(failed)?;
    caps::apply(ready.caps)?;
    if let Some(mask) = user.umask {
        let _old = rustix::process::umask(Mode::from_raw_mode(mask));
    }
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    let doing = || format!("chdir to cwd ({cwd:?}) set in config.json");
    rustix::process::chdir(cwd).failing(FailureKind::CommandNotExecutable, doing)?;
    sys::reset_signals();
    sys::close_others_at_exec().doing(|| "close descriptors".to_owned())?;
    // The change of user cleared it.
    sys::die_with_parent().doing(|| "ask to die with the shim".to_owned())?;
    if process.no_new_privileges && !filter.is_empty() {
        load()?;
    }
    Ok(())
}

fn set_limits(process: &Process) -> Result<()> {
    if let Some(score) = process.oom_score_adj {
        match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
            // Lowering it needs a capability that rootless hosts and nested engines lack; as docker.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            result => result.doing(|| format!("set oom_score_adj to {score}"))?,
        }
    }
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    for limit in &process.rlimits {
        let short = limit.kind.strip_prefix("RLIMIT_").unwrap_or(&limit.kind);
        let number =
            NAMES.iter().zip(0u32..).find(|(name, _)| **name == short).ok_or_else(|| {
                let message = format!("process.rlimits: unknown limit `{}`", limit.kind);
                failure(FailureKind::InvalidArgument, message)
            })?;
        sys::setrlimit(number.1, limit.soft, limit.hard)
            .doing(|| format!("error setting rlimit type {}", number.1))?;
    }
    Ok(())
}

/// Everything an exec's process needs; it is in the container's namespaces already.
#[derive(Debug)]
pub(crate) struct ExecProcess<'a> {
    pub(crate) process: &'a Process,
    pub(crate) user: Option<&'a UserLookup>,
    pub(crate) seccomp: &'a [libc::sock_filter],
    pub(crate) seccomp_flags: u32,
}

/// Runs an exec's process: never returns.
pub(crate) fn run_exec(exec_of: &ExecProcess<'_>, stdio: ChildStdio, mut end: ChildEnd) -> ! {
    let failed = match make_exec(exec_of, stdio, &mut end) {
        Ok(ready) => {
            end.wait();
            exec(ready, exec_of.process, exec_of.seccomp, exec_of.seccomp_flags)
        }
        Err(failed) => failed,
    };
    end.tell(&Message::Failed(failed), None);
    sys::exit_now(1)
}

fn make_exec(exec_of: &ExecProcess<'_>, stdio: ChildStdio, end: &mut ChildEnd) -> Result<Ready> {
    sys::die_with_parent().doing(|| "ask to die with the shim".to_owned())?;
    let _session = rustix::process::setsid();
    let stdio = match stdio {
        ChildStdio::Pipes(pipes) => Stdio::Pipes(pipes),
        ChildStdio::Terminal(size) => {
            let root = FsRoot::open(Path::new("/"))?;
            let (master, slave) = devices::open_terminal(&root)?;
            set_size(&master, size)?;
            Stdio::Terminal(master, slave)
        }
    };
    let ready = prepare_process(exec_of.process, exec_of.user, &stdio)?;
    let master = wire(&stdio)?;
    end.tell(&Message::Ready, master.map(AsFd::as_fd));
    Ok(ready)
}

/// Opens `/dev/null` for standard input.
pub(crate) fn dev_null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open `/dev/null`".to_owned())
}
