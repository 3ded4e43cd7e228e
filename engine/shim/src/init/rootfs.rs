//! The container's root file system: overlay or directory, mounted in this process's own mount
//! namespace, and the switch to it. Effects.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use shoal_shim_protocol::config::Rootfs;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::mount_options;

use crate::failure::{Context, Result, failure};

/// Cuts this mount namespace off the host's and mounts the root file system at `target`.
pub(crate) fn mount(rootfs: &Rootfs, propagation: Option<&str>, target: &Path) -> Result<()> {
    let flags = match propagation {
        None => libc::MS_SLAVE,
        Some(word) => mount_options::propagation(word).ok_or_else(|| {
            let message = format!("linux.rootfsPropagation `{word}` is unknown");
            failure(FailureKind::InvalidArgument, message)
        })?,
    };
    change("/", flags | libc::MS_REC)?;
    match rootfs {
        Rootfs::Overlay { lower, upper, work, options } => {
            let layers = Overlay { lower, upper, work, options };
            match layers.detached()? {
                Some(tree) => attach(&tree, target)?,
                None => layers.mount_by_page(target)?,
            }
        }
        Rootfs::Directory { path } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = rustix::mount::open_tree(CWD, path, flags)
                .failing(FailureKind::Mount, || {
                    format!("copy the mount of root file system `{}`", path.display())
                })?;
            attach(&tree, target)?;
        }
    }
    // pivot_root refuses a parent mount that is shared.
    let text = std::fs::read_to_string("/proc/self/mountinfo")
        .doing(|| "read `/proc/self/mountinfo`".to_owned())?;
    if let Some(parent) = parent_mount(&text, target) {
        change(&parent, libc::MS_PRIVATE)?;
    }
    Ok(())
}

/// The mount point below which `target`'s own mount lies.
fn parent_mount(mountinfo: &str, target: &Path) -> Option<String> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let above = points.filter(|point| Path::new(point) != target && target.starts_with(point));
    above.max_by_key(|point| point.len()).map(str::to_owned)
}

fn change(path: &str, flags: u64) -> Result<()> {
    let bits = MountPropagationFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
    rustix::mount::mount_change(path, bits)
        .failing(FailureKind::Mount, || format!("set the propagation of mount `{path}`"))
}

/// Puts a detached mount somewhere.
pub(crate) fn attach(tree: &OwnedFd, target: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", CWD, target, flags)
        .failing(FailureKind::Mount, || format!("mount at `{}`", target.display()))
}

/// Bytes of the options that mount(2) takes, with the end of the string.
const OPTIONS_MAX: usize = 4096;

/// The layers of a root, the topmost lower one first.
struct Overlay<'a> {
    lower: &'a [PathBuf],
    upper: &'a Path,
    work: &'a Path,
    options: &'a [String],
}

impl Overlay<'_> {
    /// A mount that is nowhere yet. `None`: this kernel (before 6.7) does not take layers one by one.
    fn detached(&self) -> Result<Option<OwnedFd>> {
        let failed = |what: String| move || format!("mount the overlay: {what}");
        let (upper, work) = (self.upper, self.work);
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .failing(FailureKind::Mount, failed("open".to_owned()))?;
        let set = |name: &str, value: &Path| {
            rustix::mount::fsconfig_set_string(context.as_fd(), name, value)
        };
        match self.lower.iter().try_for_each(|layer| set("lowerdir+", layer)) {
            Err(Errno::INVAL) => return Ok(None),
            result => result.failing(
                FailureKind::Mount,
                failed(format!("{} lower layers", self.lower.len())),
            )?,
        }
        set("upperdir", upper)
            .failing(FailureKind::Mount, failed(format!("upper `{}`", upper.display())))?;
        set("workdir", work)
            .failing(FailureKind::Mount, failed(format!("work `{}`", work.display())))?;
        for option in self.options {
            match option.split_once('=') {
                Some((name, value)) => set(name, Path::new(value)),
                None => rustix::mount::fsconfig_set_flag(context.as_fd(), option.as_str()),
            }
            .failing(FailureKind::Mount, failed(format!("option `{option}`")))?;
        }
        match rustix::mount::fsconfig_create(context.as_fd()) {
            // Before 6.5 options are only looked at now.
            Err(Errno::INVAL) => return Ok(None),
            result => result
                .failing(FailureKind::Mount, failed(format!("of upper `{}`", upper.display())))?,
        }
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::empty())
            .map(Some)
            .failing(FailureKind::Mount, failed("make".to_owned()))
    }

    /// The call of old kernels: all options in one page. Layers whose paths do not fit are named by
    /// descriptors.
    fn mount_by_page(&self, target: &Path) -> Result<()> {
        let failed = || format!("mount the overlay of upper `{}`", self.upper.display());
        let mut data = self.page(self.lower);
        let mut opened = Vec::new();
        if data.len() >= OPTIONS_MAX {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            for layer in self.lower {
                let layer = rustix::fs::open(layer, flags, Mode::empty())
                    .failing(FailureKind::Mount, || format!("open layer `{}`", layer.display()))?;
                opened.push(layer);
            }
            let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd()).into();
            data = self.page(&opened.iter().map(name).collect::<Vec<PathBuf>>());
        }
        let data =
            CString::new(data).map_err(|_| Errno::INVAL).failing(FailureKind::Mount, failed)?;
        rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), data.as_c_str())
            .failing(FailureKind::Mount, failed)
    }

    /// The options in one string. Pure.
    fn page(&self, lower: &[PathBuf]) -> Vec<u8> {
        let lower: Vec<Vec<u8>> = lower.iter().map(|layer| escaped(layer, b"\\,:")).collect();
        let mut page = [b"lowerdir=".to_vec(), lower.join(&b':')].concat();
        for (name, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            page.extend(format!(",{name}=").into_bytes());
            page.extend(escaped(path, b"\\,"));
        }
        for option in self.options {
            page.push(b',');
            page.extend(option.as_bytes());
        }
        page
    }
}

fn escaped(path: &Path, special: &[u8]) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .flat_map(|&byte| special.contains(&byte).then_some(b'\\').into_iter().chain([byte]))
        .collect()
}

/// Makes `target` the root of this process and drops the old one.
pub(crate) fn pivot(target: &Path) -> Result<()> {
    let failed = || "change to the container's root".to_owned();
    rustix::process::chdir(target).failing(FailureKind::Mount, failed)?;
    rustix::process::pivot_root(".", ".").failing(FailureKind::Mount, failed)?;
    // The old root is mounted over the new one now. It must not take the host's mounts with it.
    change(".", libc::MS_SLAVE | libc::MS_REC)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).failing(FailureKind::Mount, failed)?;
    rustix::process::chdir("/").failing(FailureKind::Mount, failed)
}

/// Makes the root read-only.
pub(crate) fn make_readonly() -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let root = rustix::mount::open_tree(CWD, "/", flags)
        .failing(FailureKind::Mount, || "open the root".to_owned())?;
    crate::sys::mount_setattr(root.as_fd(), crate::sys::Recursive::No, mount_options::RDONLY, 0, 0)
        .failing(FailureKind::Mount, || "make the root read-only".to_owned())
}

/// Binds `/dev/null` or an empty directory over `path`, if that exists.
pub(crate) fn mask(path: &str) -> Result<()> {
    let failed = || format!("mask `{path}`");
    match rustix::mount::mount_bind("/dev/null", path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => {
            rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, None)
                .failing(FailureKind::Mount, failed)
        }
        Err(error) => Err(error).failing(FailureKind::Mount, failed),
    }
}

/// Makes `path` read-only, with what is mounted below, if it exists.
pub(crate) fn protect(path: &str) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let failed = || format!("make `{path}` read-only");
    let tree = match rustix::mount::open_tree(CWD, path, flags) {
        Ok(tree) => tree,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).failing(FailureKind::Mount, failed),
    };
    let set = mount_options::RDONLY;
    crate::sys::mount_setattr(tree.as_fd(), crate::sys::Recursive::No, set, 0, 0)
        .failing(FailureKind::Mount, failed)?;
    attach(&tree, Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_old_kernels_are_escaped() {
        let lower = [PathBuf::from("/a:b"), PathBuf::from("/c,d")];
        let layers = Overlay {
            lower: &lower,
            upper: Path::new("/u:p,q"),
            work: Path::new("/w\\"),
            options: &["index=off".to_owned()],
        };
        let page = String::from_utf8(layers.page(&lower)).unwrap();
        assert_eq!(page, r"lowerdir=/a\:b:/c\,d,upperdir=/u:p\,q,workdir=/w\\,index=off");
    }

    #[test]
    fn parent_is_the_longest_point_above() {
        let text =
            "1 0 0:1 / / rw - x x rw\n2 1 0:2 / /run rw - x x rw\n3 2 0:3 / /run/a rw - x x rw";
        assert_eq!(parent_mount(text, Path::new("/run/a")).as_deref(), Some("/run"));
        assert_eq!(parent_mount(text, Path::new("/runner")).as_deref(), Some("/"));
    }
}
