//! The shim's side of its own runtime: births of containers and execs. Effects.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use shoal_shim_protocol::config::{ShimConfig, TerminalSize};
use shoal_shim_protocol::message::{Exec, FailureKind};
use shoal_shim_protocol::spec::{IdMapping, NamespaceKind, Spec};

use crate::cgroup::Cgroups;
use crate::failure::{Context, Result, failure};
use crate::init::namespaces::{self, Plan};
use crate::init::setup::{self, ChildStdio, Container, ExecProcess};
use crate::init::sync::{self, Message, ParentEnd};
use crate::stdio::Streams;
use crate::sys::{self, Forked};

/// A process that waits for its release.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) pid: u32,
    pub(crate) streams: Streams,
    end: ParentEnd,
}

impl Blocked {
    /// Lets it run its program.
    pub(crate) fn release(mut self) -> Result<(u32, Streams)> {
        self.end.release()?;
        match self.end.wait()? {
            None => Ok((self.pid, self.streams)),
            Some(Message::Failed(failed)) => Err(failed),
            Some(other) => Err(unexpected(&other)),
        }
    }
}

fn unexpected(message: &Message) -> shoal_shim_protocol::message::Failure {
    failure(FailureKind::Internal, format!("the container's process said {message:?}"))
}

/// What the shim remembers of how it made a container.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) own_pid_namespace: bool,
    pub(crate) own_user_namespace: bool,
}

/// Makes a container; it is blocked before its program. Undoes nothing: the caller kills and cleans.
pub(crate) fn create(
    config: &ShimConfig,
    spec: &Spec,
    cgroups: Option<&Cgroups>,
    seccomp: &[libc::sock_filter],
    mount_point: &Path,
    born: &mut dyn FnMut(u32),
) -> Result<(Blocked, Made)> {
    if spec.hooks.is_some() {
        return Err(failure(FailureKind::NotImplemented, "hooks are not served by this runtime"));
    }
    let plan = namespaces::plan(&spec.linux)?;
    let directory = cgroups.map(Cgroups::directory).transpose()?.flatten();
    let size =
        config.stdio.console_size.or_else(|| spec.process.console_size.map(TerminalSize::from));
    let tty = config.stdio.tty || spec.process.terminal;
    let (mut streams, stdio) = Streams::make(tty, config.stdio.open_stdin, size)?;
    let (mut end, child_end) = sync::pair()?;
    let container = Container { config, spec, cgroups, plan: &plan, seccomp, mount_point };
    let pid = match born_in(&plan, directory.as_ref())? {
        Forked::Child => {
            drop(end);
            setup::run_container(&container, stdio, child_end)
        }
        Forked::Parent(pid) => pid,
    };
    born(pid);
    drop((stdio, child_end));
    // The namespace's root is the cgroup that the child is in when it makes it. Otherwise the attach, which
    // may wait milliseconds for the kernel, goes beside the mounts: no program runs before both are done.
    let attach = || cgroups.map_or(Ok(()), |cgroups| cgroups.attach(pid));
    if plan.own_cgroup {
        attach()?;
    }
    if plan.has_own(NamespaceKind::User) {
        write_maps(pid, &spec.linux.uid_mappings, &spec.linux.gid_mappings)?;
    }
    end.release()?;
    if !plan.own_cgroup {
        attach()?;
    }
    finish_birth(&mut end, &mut streams)?;
    let made = Made {
        own_pid_namespace: plan.has_own(NamespaceKind::Pid),
        own_user_namespace: plan.has_own(NamespaceKind::User),
    };
    Ok((Blocked { pid, streams, end }, made))
}

fn born_in(plan: &Plan, cgroup: Option<&OwnedFd>) -> Result<Forked> {
    let own = match &plan.join_pid {
        None => None,
        Some(target) => {
            let own = fs::File::open("/proc/self/ns/pid")
                .doing(|| "open the shim's pid namespace".to_owned())?;
            sys::setns(target.as_fd(), libc::CLONE_NEWPID as u64)
                .doing(|| "join the pid namespace".to_owned())?;
            Some(own)
        }
    };
    let forked = sys::clone3(plan.clone_flags, cgroup.map(AsFd::as_fd))
        .doing(|| "make the container's process".to_owned());
    if let (Some(own), false) = (own, matches!(forked, Ok(Forked::Child))) {
        sys::setns(own.as_fd(), libc::CLONE_NEWPID as u64)
            .doing(|| "return to the shim's pid namespace".to_owned())?;
    }
    forked
}

fn write_maps(pid: u32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let lines: String = mappings
            .iter()
            .map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.size))
            .collect();
        fs::write(format!("/proc/{pid}/{file}"), lines)
            .doing(|| format!("write `{file}` of the user namespace"))?;
    }
    Ok(())
}

fn finish_birth(end: &mut ParentEnd, streams: &mut Streams) -> Result<()> {
    match end.wait()? {
        Some(Message::Ready) => match end.take_fd() {
            Some(master) => streams.set_terminal(master),
            None => Ok(()),
        },
        Some(Message::Failed(failed)) => Err(failed),
        Some(other) => Err(unexpected(&other)),
        None => Err(failure(
            FailureKind::Internal,
            "the container's process died while it was made (out of memory?)",
        )),
    }
}

/// Makes and starts an exec's process in the container of `init`.
pub(crate) fn exec(
    request: &Exec,
    init: u32,
    made: &Made,
    cgroups: Option<&Cgroups>,
    seccomp: (&[libc::sock_filter], u32),
) -> Result<(u32, Streams)> {
    let raw = rustix::process::Pid::from_raw(init.cast_signed())
        .ok_or_else(|| failure(FailureKind::Internal, "the container has no process"))?;
    let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty())
        .doing(|| "open the container's process".to_owned())?;
    let size = request.process.console_size.map(TerminalSize::from);
    let (mut streams, stdio) = Streams::make(request.process.terminal, request.open_stdin, size)?;
    let (mut end, child_end) = sync::pair()?;
    let directory = cgroups.map(Cgroups::directory).transpose()?.flatten();
    let helper = match sys::clone3(0, directory.as_ref().map(AsFd::as_fd))
        .doing(|| "make a process".to_owned())?
    {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(end);
            let process = ExecProcess {
                process: &request.process,
                user: request.user.as_ref(),
                seccomp: seccomp.0,
                seccomp_flags: seccomp.1,
            };
            enter_and_fork(&pidfd, made, &process, stdio, child_end)
        }
    };
    drop((stdio, child_end));
    if let Some(cgroups) = cgroups
        && let Err(failed) = cgroups.attach(helper)
    {
        let _gone = sys::kill(helper, libc::SIGKILL);
        let _status = sys::wait_for(helper);
        return Err(failed);
    }
    end.release()?;
    let told = end.wait();
    let _status = sys::wait_for(helper);
    let pid = match told? {
        Some(Message::Pid(pid)) => pid,
        Some(Message::Failed(failed)) => return Err(failed),
        _ => return Err(failure(FailureKind::Internal, "the exec's process died")),
    };
    let started = end
        .release()
        .and_then(|()| finish_birth(&mut end, &mut streams))
        .and_then(|()| Blocked { pid, streams, end }.release());
    if started.is_err() {
        let _status = sys::wait_for(pid);
    }
    started
}

/// In the helper: joins the container, makes the process there as the shim's child, ends.
fn enter_and_fork(
    pidfd: &OwnedFd,
    made: &Made,
    process: &ExecProcess<'_>,
    stdio: ChildStdio,
    mut end: sync::ChildEnd,
) -> ! {
    end.wait();
    let flags = namespaces::of_exec(made.own_user_namespace);
    let born = sys::setns(pidfd.as_fd(), flags)
        .doing(|| "join the container's namespaces".to_owned())
        .and_then(|()| {
            if made.own_user_namespace {
                sys::set_ids(&[], 0, 0).doing(|| "become root of the container".to_owned())?;
            }
            sys::clone3(libc::CLONE_PARENT as u64, None).doing(|| "make the process".to_owned())
        });
    match born {
        Ok(Forked::Child) => {
            // Its pid must be told first: wait for the helper's word to be out.
            end.wait();
            setup::run_exec(process, stdio, end)
        }
        Ok(Forked::Parent(pid)) => {
            end.tell(&Message::Pid(pid), None);
            sys::exit_now(0)
        }
        Err(failed) => {
            end.tell(&Message::Failed(failed), None);
            sys::exit_now(1)
        }
    }
}
