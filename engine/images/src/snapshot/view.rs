//! Read-only views of stacked layers: mounts without a mount point, which end with their descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
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

/// How the kernel is told the layers.
enum Stacking {
    OneByOne,
    /// In one string of 255 bytes at most, which about fourteen descriptors fill.
    Joined,
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

    /// What lies below a container's writable layer.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or the kernel's.
    pub fn view_below(&self, container: &ContainerId) -> Result<View, Error> {
        self.view(self.writable(container)?.lowers)
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

    /// The file system of a stopped container, to be written: changes land in its writable layer. The
    /// caller sees to it that the container does not start meanwhile.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or the kernel's.
    pub fn open_container(&self, container: &ContainerId) -> Result<View, Error> {
        let layer = self.writable(container)?;
        Self::mount(&layer.lowers, Some((&layer.upper, &layer.work)))
    }

    fn view(&self, mut lowers: Vec<PathBuf>) -> Result<View, Error> {
        if lowers.len() == 1 {
            // Overlayfs without an upper directory wants two.
            lowers.push(self.inner.root.join("empty-below"));
        }
        Self::mount(&lowers, None)
    }

    fn mount(lowers: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<View, Error> {
        match Self::mount_stacked(Stacking::OneByOne, lowers, writable) {
            // Kernels before 6.7 do not know that option; some look at options only at the end.
            Err(Error::View { source, .. })
                if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
            {
                Self::mount_stacked(Stacking::Joined, lowers, writable)
            }
            mounted => mounted,
        }
    }

    fn mount_stacked(
        stacking: Stacking,
        lowers: &[PathBuf],
        writable: Option<(&Path, &Path)>,
    ) -> Result<View, Error> {
        let fail = |step| move |errno: Errno| Error::View { step, source: errno.into() };
        let context =
            rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail("begin"))?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", "shoal-view")
            .map_err(fail("name"))?;
        let stack = |option, value: &Path| {
            rustix::mount::fsconfig_set_string(context.as_fd(), option, value)
                .map_err(fail("stack layers for"))
        };
        let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
        let open = |layer: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(layer, flags, Mode::empty()).map_err(fail("open a layer for"))
        };
        let mut opened = Vec::new();
        match stacking {
            Stacking::OneByOne => lowers.iter().try_for_each(|lower| stack("lowerdir+", lower))?,
            Stacking::Joined => {
                for lower in lowers {
                    opened.push(open(lower)?);
                }
                let joined = opened.iter().map(name).collect::<Vec<_>>().join(":");
                stack("lowerdir", Path::new(&joined))?;
            }
        }
        for (key, path) in
            writable.into_iter().flat_map(|(upper, work)| [("upperdir", upper), ("workdir", work)])
        {
            // A string is no longer than 255 bytes, which paths may be.
            let layer = open(path)?;
            rustix::mount::fsconfig_set_string(context.as_fd(), key, name(&layer))
                .map_err(fail("put the writable layer on"))?;
            opened.push(layer);
        }
        rustix::mount::fsconfig_create(context.as_fd()).map_err(fail("create"))?;
        let read_only = if writable.is_some() {
            MountAttrFlags::empty()
        } else {
            MountAttrFlags::MOUNT_ATTR_RDONLY
        };
        let attributes = read_only
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root =
            rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .map_err(fail("mount"))?;
        Ok(View { root })
    }
}
