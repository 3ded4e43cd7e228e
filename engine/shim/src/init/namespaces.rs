//! Namespaces: which flags to make, which files to join. Pure, but for the opening of files.

use std::os::fd::{AsFd, OwnedFd};

use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::{Linux, NamespaceKind};

use crate::failure::{Context, Result, failure};
use crate::sys;

/// What to do about namespaces.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Flags for clone3. The cgroup namespace is not among them: it is made after the attach.
    pub(crate) clone_flags: u64,
    /// Made by the child itself once it is in its cgroup.
    pub(crate) own_cgroup: bool,
    /// Namespaces to join by the child.
    pub(crate) join: Vec<(u64, OwnedFd)>,
    /// A pid namespace to join by the shim, for its children.
    pub(crate) join_pid: Option<OwnedFd>,
}

fn flag(kind: NamespaceKind) -> u64 {
    let flag = match kind {
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::Time => 0x80,
    };
    u64::from(flag.cast_unsigned())
}

/// Reads the spec and opens the namespaces to join.
pub(crate) fn plan(linux: &Linux) -> Result<Plan> {
    let mut plan = Plan { clone_flags: flag(NamespaceKind::Mount), ..Plan::default() };
    for namespace in &linux.namespaces {
        let kind = namespace.kind;
        let unserved = matches!(
            (kind, &namespace.path),
            (NamespaceKind::Time, _) | (NamespaceKind::User | NamespaceKind::Mount, Some(_))
        );
        if unserved {
            let message = format!("namespace {kind:?} cannot be made or joined by this runtime");
            return Err(failure(FailureKind::NotImplemented, message));
        }
        let Some(path) = &namespace.path else {
            match kind {
                NamespaceKind::Cgroup => plan.own_cgroup = true,
                _ => plan.clone_flags |= flag(kind),
            }
            continue;
        };
        let file =
            std::fs::File::open(path).doing(|| format!("open namespace `{}`", path.display()))?;
        if kind == NamespaceKind::Pid {
            plan.join_pid = Some(file.into());
        } else {
            plan.join.push((flag(kind), file.into()));
        }
    }
    Ok(plan)
}

impl Plan {
    /// Whether the container has namespace `kind` for itself alone.
    pub(crate) fn has_own(&self, kind: NamespaceKind) -> bool {
        self.clone_flags & flag(kind) != 0
    }

    /// Joins what is to be joined by the child.
    pub(crate) fn enter(&self) -> Result<()> {
        self.join.iter().try_for_each(|(flag, file)| {
            sys::setns(file.as_fd(), *flag).doing(|| format!("join namespace {flag:#x}"))
        })
    }
}

/// All namespaces an exec joins through the pidfd of the init process.
pub(crate) fn of_exec(own_user: bool) -> u64 {
    let kinds = [
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Mount,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
    ];
    let flags = kinds.iter().fold(0, |flags, kind| flags | flag(*kind));
    if own_user { flags | flag(NamespaceKind::User) } else { flags }
}
