//! Device nodes and links of `/dev`. Effects.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::Device;

use super::fsroot::{FsRoot, Kind, proc_path};
use crate::failure::{Context, Result, failure};

/// What every container has.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the default devices, those asked for, and the links. In a user namespace, where nodes cannot
/// be made, the host's are bound.
pub(crate) fn make(root: &FsRoot, more: &[Device], own_user: bool) -> Result<()> {
    for (path, major, minor) in DEFAULT {
        let kind = FileType::CharacterDevice;
        node(root, &Node { path, kind, major, minor, mode: 0o666, uid: 0, gid: 0 }, own_user)?;
    }
    for device in more {
        let wrong = |what: &str| {
            let message = format!("linux.devices `{}`: {what} is not valid", device.path);
            failure(FailureKind::InvalidArgument, message)
        };
        let kind = match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => return Err(wrong("type")),
        };
        let node_of = Node {
            path: &device.path,
            kind,
            major: u32::try_from(device.major).map_err(|_| wrong("major"))?,
            minor: u32::try_from(device.minor).map_err(|_| wrong("minor"))?,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
        };
        node(root, &node_of, own_user)?;
    }
    let dev = root.ensure("/dev", Kind::Directory)?;
    for (target, name) in LINKS {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing(|| format!("link `/dev/{name}`")),
        }
    }
    Ok(())
}

struct Node<'a> {
    path: &'a str,
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

fn node(root: &FsRoot, node: &Node<'_>, own_user: bool) -> Result<()> {
    let failed = || format!("make device `{}` in the container", node.path);
    if own_user {
        return bind(root, node.path);
    }
    let (parent, name) = node.path.rsplit_once('/').unwrap_or(("/", node.path));
    let directory = root.ensure(parent, Kind::Directory)?;
    let number = rustix::fs::makedev(node.major, node.minor);
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(&directory, name, node.kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::PERM) => return bind(root, node.path),
        Err(error) => return Err(error).doing(failed),
    }
    // The mask of this process must not count.
    let path = format!("{}/{name}", proc_path(&directory));
    rustix::fs::chmod(&path, mode).doing(failed)?;
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .doing(failed)
}

fn bind(root: &FsRoot, path: &str) -> Result<()> {
    let target = root.ensure(path, Kind::File)?;
    rustix::mount::mount_bind(path, proc_path(&target))
        .failing(FailureKind::Mount, || format!("bind device `{path}`"))
}

/// Opens a terminal of the container's own `devpts`: master and slave.
pub(crate) fn open_terminal(root: &FsRoot) -> Result<(OwnedFd, OwnedFd)> {
    let failed = || "open a terminal in the container".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = root.open_at("/dev/pts/ptmx", flags).doing(failed)?;
    rustix::pty::unlockpt(&master).doing(failed)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        rustix::pty::OpenptFlags::RDWR
            | rustix::pty::OpenptFlags::NOCTTY
            | rustix::pty::OpenptFlags::CLOEXEC,
    )
    .doing(failed)?;
    Ok((master, slave))
}

/// Binds a terminal to `/dev/console`.
pub(crate) fn bind_console(root: &FsRoot, slave: &OwnedFd) -> Result<()> {
    let target = root.ensure("/dev/console", Kind::File)?;
    let failed = || "bind the terminal to `/dev/console`".to_owned();
    // The slave's own path is in the container's devpts; ask for its number.
    let stat = rustix::fs::fstat(slave).doing(failed)?;
    let name = format!("/dev/pts/{}", rustix::fs::minor(stat.st_rdev));
    let source = root.open_at(&name, OFlags::PATH).failing(FailureKind::Mount, failed)?;
    rustix::mount::mount_bind(proc_path(&source), proc_path(&target))
        .failing(FailureKind::Mount, failed)
}
