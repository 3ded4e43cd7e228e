//! Read-only views of stacked layers: mounts without a mount point, which end with their descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use shoal_model::{ContainerId, Digest};

use super::{Error, Snapshots};

/// What a container, or an image, sees as its root. Unmounted when dropped, or when the process dies.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Snapshots {
    /// The file system of a stopped container. Of a running one, open the root through its init process
    /// instead: overlayfs does not promise that changes made in one mount are seen in another.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or the kernel's.
    pub fn view_container(&self, container: &ContainerId) -> Result<View, Error> {
        let layer = self.writable(container)?;
        let mut lowers = vec![layer.upper];
        lowers.extend(layer.lowers);
        self.view(lowers)
    }

    /// The file system of an image's layers (from the lowest up).
    ///
    /// # Errors
    /// [`Error::NoLayer`], or the kernel's.
    pub fn view_layers(&self, diff_ids: &[Digest]) -> Result<View, Error> {
        for diff_id in diff_ids {
            self.require(*diff_id)?;
        }
        self.view(self.lowers(diff_ids))
    }

    fn view(&self, mut lowers: Vec<PathBuf>) -> Result<View, Error> {
        if lowers.len() == 1 {
            // Overlayfs without an upper directory wants two.
            lowers.push(self.inner.root.join("empty-below"));
        }
        let fail = |step| move |errno: Errno| Error::View { step, source: errno.into() };
        let context =
            rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail("begin"))?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", "shoal-view")
            .map_err(fail("name"))?;
        for lower in &lowers {
            rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", lower)
                .map_err(fail("stack layers for"))?;
        }
        rustix::mount::fsconfig_create(context.as_fd()).map_err(fail("create"))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root =
            rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .map_err(fail("mount"))?;
        Ok(View { root })
    }
}
