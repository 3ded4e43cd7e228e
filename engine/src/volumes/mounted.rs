//! File systems of volumes with `type` and `device`: each is mounted once on the host, at the volume's data
//! directory, while containers use it, so that they share it. Blocks.
//!
//! What is mounted is not written down: the kernel's table of mounts tells it to the next daemon.
//!
//! Source: moby `daemon/volume/local/local_unix.go mount`, `daemon/volume/local/local.go Mount, Unmount`.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use shoal_shim_protocol::mount_options::{self, Options};

use super::Error;
use super::options::resolve_address;
use crate::mounts::FilesystemSource;

/// Mounts a volume's file system at its data directory. On failure nothing is mounted.
///
/// # Errors
/// When an option is not served, its server has no address, or the kernel refuses.
pub(super) fn attach(filesystem: &FilesystemSource, data: &Path) -> Result<(), Error> {
    let mut filesystem = filesystem.clone();
    resolve_address(&mut filesystem)?;
    let failed = |source: io::Error| Error::Mount {
        device: filesystem.device.clone(),
        data: data.to_owned(),
        options: filesystem.options.join(","),
        source,
    };
    let options = mount_options::parse(&filesystem.options)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::Unsupported, error)))?;
    let made = if filesystem.kind == "bind" {
        bind(&filesystem.device, data, &options)
    } else {
        mount(&filesystem, data, &options)
    };
    made.and_then(|()| propagate(data, &options)).map_err(|error| {
        // Half a mount is none. What cannot be taken back now is by the next daemon.
        let _ = detach(data);
        failed(error)
    })
}

fn mount(filesystem: &FilesystemSource, data: &Path, options: &Options) -> io::Result<()> {
    let words = std::ffi::CString::new(options.data.as_str())?;
    let FilesystemSource { kind, device, .. } = filesystem;
    let flags = flags(options);
    Ok(rustix::mount::mount(device.as_str(), data, kind.as_str(), flags, words.as_c_str())?)
}

fn bind(device: &str, data: &Path, options: &Options) -> io::Result<()> {
    if options.recursive {
        rustix::mount::mount_bind_recursive(device, data)?;
    } else {
        rustix::mount::mount_bind(device, data)?;
    }
    let flags = flags(options);
    if flags.is_empty() && options.clear == 0 {
        return Ok(());
    }
    Ok(rustix::mount::mount_remount(data, MountFlags::BIND | flags, "")?)
}

fn flags(options: &Options) -> MountFlags {
    let bits = mount_options::mount_flags(options.set) | options.superblock;
    MountFlags::from_bits_retain(u32::try_from(bits).unwrap_or(0))
}

/// What is mounted in a volume does not spread, unless that is wished.
fn propagate(data: &Path, options: &Options) -> io::Result<()> {
    let wished = u32::try_from(options.propagation).unwrap_or(0);
    let mut flags = MountPropagationFlags::from_bits_retain(wished);
    if flags.is_empty() {
        flags = MountPropagationFlags::PRIVATE;
    }
    if options.propagation == 0 || options.propagation_all {
        flags |= MountPropagationFlags::REC;
    }
    Ok(rustix::mount::mount_change(data, flags)?)
}

/// Unmounts whatever is mounted at a data directory; nothing is fine too.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn detach(data: &Path) -> Result<(), Error> {
    loop {
        match rustix::mount::unmount(data, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {} // perhaps there is another beneath
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => {
                let source = error.into();
                return Err(Error::Disk { doing: "unmount", path: data.to_owned(), source });
            }
        }
    }
}

/// Whether something is mounted at `path`, which has no links in it.
///
/// # Errors
/// When the table of mounts cannot be read.
pub(super) fn is_attached(path: &Path) -> Result<bool, Error> {
    Ok(points()?.iter().any(|point| point == path))
}

/// All mount points of this host.
///
/// # Errors
/// When the table of mounts cannot be read.
pub(super) fn points() -> Result<Vec<PathBuf>, Error> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table);
    let text =
        text.map_err(|source| Error::Disk { doing: "read", path: table.to_owned(), source })?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|point| PathBuf::from(crate::mounts::unescape(point))).collect())
}
