//! Fills an empty volume with what the image has at its mount point: content, owners, modes, times,
//! attributes and hard links.
//!
//! Both trees are walked by directory handles that never follow a link, because the image's and the
//! volume's content belong to somebody else. A marker beside the data is there while it is copied, so
//! that a copy cut short is done again.
//!
//! Source: moby `daemon/volumes_unix.go copyUp`, `container/archive.go`.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};

use super::{Error, Resolved, Source};
use crate::beneath;

/// Deeper trees are refused: each level holds two handles.
const DEPTH_MAX: usize = 256;
/// Hard links beyond so many become files of their own: each holds a handle.
const LINKS_MAX: usize = 256;
const MARKER: &str = "copying";

/// Fills the volume of `mount` from `root`, the image's files, if it wants that and is empty. Its file system, if
/// it has one of its own, is mounted. Blocks.
///
/// # Errors
/// When the image has a file at the mount point, or copying fails.
pub fn copy_up(root: BorrowedFd<'_>, mount: &Resolved) -> Result<(), Error> {
    let Source::Volume { name, data, subpath, .. } = &mount.source else {
        return Ok(());
    };
    let failed =
        |source| Error::CopyUp { path: mount.target.clone(), volume: name.clone(), source };
    let from = match beneath::open_in(root, Path::new(&mount.target), OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    let meta = rustix::fs::fstat(&from).map_err(|error| failed(error.into()))?;
    if !FileType::from_raw_mode(meta.st_mode).is_dir() {
        return Err(Error::OverFile { path: mount.target.clone() });
    }
    if !mount.copy_up || !subpath.is_empty() {
        return Ok(());
    }
    fill(from.as_fd(), data).map_err(failed)
}

fn fill(from: BorrowedFd<'_>, data: &Path) -> io::Result<()> {
    let directory = data.parent().unwrap_or(data);
    // Two containers may be created at once on the same new volume: the second one finds it filled.
    let lock = File::open(directory)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let marker = directory.join(MARKER);
    if !marker.exists() {
        if std::fs::read_dir(data)?.next().is_some() {
            return Ok(());
        }
        File::create(&marker)?.sync_all()?;
    }
    let from = reopen(from, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let to = reopen(beneath::root(data)?.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let meta = rustix::fs::fstat(&from)?;
    Copy::default().directory(&from, &to, &meta, 0)?;
    rustix::fs::syncfs(&to)?;
    std::fs::remove_file(&marker)
}

/// Makes a handle of `O_PATH` usable.
fn reopen(file: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = beneath::proc_path(file);
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

#[derive(Default)]
struct Copy {
    /// First copies of files with several names.
    links: HashMap<(u64, u64), OwnedFd>,
}

impl Copy {
    fn directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        meta: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(from, to, name, depth)?;
            }
        }
        copy_attributes(from, to, meta)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
        let meta = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(meta.st_mode);
        let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                match rustix::fs::mkdirat(to, name, Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | nofollow;
                let inner_from = rustix::fs::openat(from, name, flags, Mode::empty())?;
                let inner_to = rustix::fs::openat(to, name, flags, Mode::empty())?;
                return self.directory(&inner_from, &inner_to, &meta, depth + 1);
            }
            _ => remove_old(to, name)?,
        }
        let key = (meta.st_dev, meta.st_ino);
        if let Some(first) = self.links.get(&key) {
            rustix::fs::linkat(first, c"", to, name, AtFlags::EMPTY_PATH)?;
            return Ok(());
        }
        match kind {
            FileType::RegularFile => {
                let source =
                    rustix::fs::openat(from, name, OFlags::RDONLY | nofollow, Mode::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
                let copy = rustix::fs::openat(to, name, flags, Mode::RWXU)?;
                let (mut reader, mut writer) = (File::from(source), File::from(copy));
                io::copy(&mut reader, &mut writer)?;
                let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
                copy_attributes(&reader, &writer, &meta)?;
                if meta.st_nlink > 1 && self.links.len() < LINKS_MAX {
                    self.links.insert(key, writer);
                }
                return Ok(());
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {
                let mode = Mode::from_raw_mode(meta.st_mode);
                rustix::fs::mknodat(to, name, kind, mode, meta.st_rdev)?;
            }
            _ => return Err(io::Error::other("unknown type of file")),
        }
        let (uid, gid) = owner(&meta);
        rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(to, name, Mode::from_raw_mode(meta.st_mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(to, name, &times(&meta), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// What a copy cut short has left.
fn remove_old(to: &OwnedFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Owner first: changing it clears set-user-id bits and file capabilities.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, meta: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(meta);
    rustix::fs::fchown(to, uid, gid)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(meta.st_mode))?;
    copy_xattrs(from, to)?;
    rustix::fs::futimens(to, &times(meta))?;
    Ok(())
}

/// Attributes that the volume's file system does not know, and those of overlayfs itself, stay behind.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        other => other?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let Ok(size) = rustix::fs::fgetxattr(from, name, &mut value[..]) else { continue };
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn owner(meta: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(meta.st_uid)), Some(Gid::from_raw(meta.st_gid)))
}

fn times(meta: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(meta.st_atime, meta.st_atime_nsec),
        last_modification: time(meta.st_mtime, meta.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mount(data: &Path, target: &str) -> Resolved {
        Resolved {
            source: Source::Volume {
                name: "vol".into(),
                driver: "local".into(),
                data: data.to_owned(),
                subpath: String::new(),
                filesystem: None,
            },
            copy_up: true,
            ..Resolved::own_file("".into(), target)
        }
    }

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("srv/data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("sub/file"), "content").unwrap();
        fs::hard_link(data.join("sub/file"), data.join("again")).unwrap();
        fs::set_permissions(data.join("sub/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::chown(&data, Some(33), Some(34)).unwrap();
        symlink("/etc/passwd", data.join("link")).unwrap();
        symlink("/srv/data", dir.path().join("alias")).unwrap();
        symlink("/etc", dir.path().join("out")).unwrap();
        fs::write(dir.path().join("plain"), "").unwrap();
        dir
    }

    fn volume() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("_data");
        fs::create_dir(&data).unwrap();
        (dir, data)
    }

    #[test]
    fn content_owner_mode_and_links_are_copied() {
        let (image, (_volume, data)) = (image(), volume());
        let root = beneath::root(image.path()).unwrap();
        copy_up(root.as_fd(), &mount(&data, "/alias")).unwrap();
        let meta = fs::metadata(&data).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (33, 34));
        assert_eq!(fs::read_to_string(data.join("sub/file")).unwrap(), "content");
        let file = fs::metadata(data.join("sub/file")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o4755);
        assert_eq!(file.ino(), fs::metadata(data.join("again")).unwrap().ino());
        assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert!(!data.parent().unwrap().join(MARKER).exists());
    }

    #[test]
    fn a_volume_with_content_is_left_alone_unless_its_copy_was_cut_short() {
        let (image, (volume, data)) = (image(), volume());
        let root = beneath::root(image.path()).unwrap();
        fs::write(data.join("mine"), "").unwrap();
        copy_up(root.as_fd(), &mount(&data, "/srv/data")).unwrap();
        assert!(!data.join("sub").exists());
        fs::write(volume.path().join(MARKER), "").unwrap();
        copy_up(root.as_fd(), &mount(&data, "/srv/data")).unwrap();
        assert!(data.join("sub/file").exists());
        assert!(!volume.path().join(MARKER).exists());
    }

    #[test]
    fn nothing_outside_the_image_is_copied() {
        let (image, (_volume, data)) = (image(), volume());
        let root = beneath::root(image.path()).unwrap();
        copy_up(root.as_fd(), &mount(&data, "/out")).unwrap();
        copy_up(root.as_fd(), &mount(&data, "/none")).unwrap();
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        let error = copy_up(root.as_fd(), &mount(&data, "/plain")).unwrap_err();
        assert_eq!(error.to_string(), "cannot mount volume over existing file, file exists /plain");
    }
}
