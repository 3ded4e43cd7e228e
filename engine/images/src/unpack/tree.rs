//! Makes the files of one layer beneath a directory, and nothing anywhere else.
//!
//! Parents are resolved with the layer's directory as root (`openat2`, `RESOLVE_IN_ROOT`), as a chroot
//! would; the last component is never followed. Whiteouts become what overlayfs knows.
//!
//! Source: OCI image-spec `layer.md` "Whiteouts"; Linux `Documentation/filesystems/overlayfs.rst`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::Error;
use super::entry::{Entry, Kind, TarReader};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Names of aufs' own files; only the opaque marker means something.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const PATH_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Of a parent that no entry describes.
const IMPLICIT_MODE: Mode = Mode::from_raw_mode(0o755);
const COPY_BYTES: usize = 256 * 1024;

/// A layer's directory being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory of the last entry: entries of one directory come together.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories whose times are set when nothing is made in them any more.
    directories: Vec<(Vec<u8>, Timestamps)>,
    buffer: Vec<u8>,
    /// Bytes of all files made.
    pub(super) size: u64,
}

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let root = rustix::fs::open(root, PATH_DIRECTORY, Mode::empty())
            .map_err(|errno| Error::at("open", root.as_os_str().as_bytes(), errno))?;
        let (parent, directories) = (None, Vec::new());
        Ok(Self { root, parent, directories, buffer: vec![0; COPY_BYTES], size: 0 })
    }

    /// Makes what one entry says.
    pub(super) fn apply(
        &mut self,
        entry: &Entry,
        data: &mut TarReader<impl Read>,
    ) -> Result<(), Error> {
        let components = components(&entry.path)?;
        let Some((name, parents)) = components.split_last() else {
            return self.apply_to_root(entry);
        };
        self.enter(&parents.join(&b'/'))?;
        let (_, parent) = self.parent.as_ref().expect("entered");
        let parent = parent.try_clone().map_err(|e| Error::io("open", &entry.path, e))?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            return whiteout(&parent, name, hidden, &entry.path);
        }
        let fail = |verb| move |errno| Error::at(verb, &entry.path, errno);
        match entry.kind {
            Kind::File => return self.file(&parent, name, entry, data),
            Kind::HardLink => return self.hard_link(&parent, name, entry),
            Kind::Symlink => create(&parent, name, entry, |parent, name| {
                rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), parent, name)
            })
            .map(drop)?,
            Kind::Directory => {
                create(&parent, name, entry, |parent, name| {
                    rustix::fs::mkdirat(parent, name, Mode::RWXU)
                })?;
                self.directories.push((components.join(&b'/'), times(entry)));
            }
            Kind::Fifo => node(&parent, name, entry, FileType::Fifo)?,
            Kind::CharDevice => node(&parent, name, entry, FileType::CharacterDevice)?,
            Kind::BlockDevice => node(&parent, name, entry, FileType::BlockDevice)?,
        }
        let name = OsStr::from_bytes(name);
        let (uid, gid) = owner(entry);
        rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail("change owner of"))?;
        if entry.kind != Kind::Symlink {
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(fail("change mode of"))?;
        }
        set_xattrs(&proc_path(&parent, name), entry)?;
        rustix::fs::utimensat(&parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail("set times of"))
    }

    /// Sets the times of all directories. Call it when all entries are made.
    pub(super) fn finish(self) -> Result<u64, Error> {
        let flags = PATH_DIRECTORY | OFlags::NOFOLLOW;
        for (path, times) in self.directories.iter().rev() {
            let name = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
            match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), IN_ROOT) {
                Ok(directory) => {
                    rustix::fs::utimensat(&directory, "", times, AtFlags::EMPTY_PATH)
                        .map_err(|errno| Error::at("set times of", path, errno))?;
                }
                // A later entry of the layer has replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(Error::at("open", path, errno)),
            }
        }
        Ok(self.size)
    }

    /// An entry for the layer's root itself: only its attributes can be set.
    fn apply_to_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::NotADirectory { path: display(&entry.path) });
        }
        let fail = |verb| move |errno| Error::at(verb, b"/", errno);
        let (uid, gid) = owner(entry);
        rustix::fs::chownat(&self.root, "", uid, gid, AtFlags::EMPTY_PATH)
            .map_err(fail("change owner of"))?;
        rustix::fs::chmodat(&self.root, ".", Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(fail("change mode of"))?;
        set_xattrs(&proc_path(&self.root, OsStr::new(".")), entry)?;
        self.directories.push((Vec::new(), times(entry)));
        Ok(())
    }

    /// Makes `directory` (slash-separated, clean) the current parent, with what is missing of it.
    fn enter(&mut self, directory: &[u8]) -> Result<(), Error> {
        if self.parent.as_ref().is_some_and(|(current, _)| current == directory) {
            return Ok(());
        }
        let opened = match self.open_directory(directory) {
            Err(Errno::NOENT) => self.make_parents(directory)?,
            other => other.map_err(|errno| Error::at("open directory", directory, errno))?,
        };
        self.parent = Some((directory.to_vec(), opened));
        Ok(())
    }

    fn open_directory(&self, directory: &[u8]) -> Result<OwnedFd, Errno> {
        let name = OsStr::from_bytes(if directory.is_empty() { b"." } else { directory });
        rustix::fs::openat2(&self.root, name, PATH_DIRECTORY, Mode::empty(), IN_ROOT)
    }

    fn make_parents(&self, directory: &[u8]) -> Result<OwnedFd, Error> {
        let fail = |verb| move |errno| Error::at(verb, directory, errno);
        let mut current = self.open_directory(b"").map_err(fail("open directory"))?;
        let mut end = 0;
        for component in directory.split(|byte| *byte == b'/') {
            end += component.len();
            let prefix = &directory[..end];
            end += 1;
            current = match self.open_directory(prefix) {
                Err(Errno::NOENT) => {
                    let name = OsStr::from_bytes(component);
                    rustix::fs::mkdirat(&current, name, IMPLICIT_MODE)
                        .map_err(fail("create directory"))?;
                    self.open_directory(prefix)
                }
                other => other,
            }
            .map_err(fail("open directory"))?;
        }
        Ok(current)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        data: &mut TarReader<impl Read>,
    ) -> Result<(), Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = create(parent, name, entry, |parent, name| {
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let mut file = File::from(file.expect("only a directory may stay"));
        self.write(&mut file, entry, data)?;
        self.size += entry.size;
        let fail = |verb| move |errno| Error::at(verb, &entry.path, errno);
        let (uid, gid) = owner(entry);
        // The mode after the owner: a change of owner takes setuid bits and capabilities away.
        rustix::fs::fchown(&file, uid, gid).map_err(fail("change owner of"))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))
            .map_err(fail("change mode of"))?;
        if !entry.xattrs.is_empty() {
            set_xattrs(&proc_path(parent, OsStr::from_bytes(name)), entry)?;
        }
        rustix::fs::futimens(&file, &times(entry)).map_err(fail("set times of"))
    }

    fn write(
        &mut self,
        file: &mut File,
        entry: &Entry,
        data: &mut TarReader<impl Read>,
    ) -> Result<(), Error> {
        let fail = |source| Error::io("write", &entry.path, source);
        let Some(pieces) = &entry.pieces else {
            return self.copy(file, entry.size, entry, data);
        };
        for (offset, length) in pieces {
            file.seek(SeekFrom::Start(*offset)).map_err(fail)?;
            self.copy(file, *length, entry, data)?;
        }
        file.set_len(entry.size).map_err(fail)
    }

    fn copy(
        &mut self,
        file: &mut File,
        mut left: u64,
        entry: &Entry,
        data: &mut TarReader<impl Read>,
    ) -> Result<(), Error> {
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = &mut self.buffer[..want];
            data.read_data(buffer)?;
            file.write_all(buffer).map_err(|source| Error::io("write", &entry.path, source))?;
            left -= want as u64;
        }
        Ok(())
    }

    fn hard_link(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), Error> {
        let components = components(&entry.link)?;
        let link_failed = |errno| Error::Link {
            path: display(&entry.path),
            target: display(&entry.link),
            source: std::io::Error::from(errno),
        };
        let Some((target, parents)) = components.split_last() else {
            return Err(link_failed(Errno::ISDIR));
        };
        let target = OsStr::from_bytes(target);
        let from = self.open_directory(&parents.join(&b'/')).map_err(link_failed)?;
        let stat = |directory: &OwnedFd, name: &OsStr| {
            rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        let original = stat(&from, target).map_err(link_failed)?;
        if let Ok(there) = stat(parent, OsStr::from_bytes(name))
            && (there.st_dev, there.st_ino) == (original.st_dev, original.st_ino)
        {
            return Ok(()); // linked already; replacing it would lose the target
        }
        create(parent, name, entry, |parent, name| {
            rustix::fs::linkat(&from, target, parent, name, AtFlags::empty())
        })
        .map(drop)
        .map_err(|error| match error {
            Error::Disk { source, .. } => {
                Error::Link { path: display(&entry.path), target: display(&entry.link), source }
            }
            other => other,
        })
    }
}

/// Splits a path into components; `..` may not lead above the root.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if components.pop().is_none() {
                    return Err(Error::Escapes { path: display(path) });
                }
            }
            name if name.contains(&0) => return Err(Error::Name { path: display(path) }),
            name => components.push(name),
        }
    }
    Ok(components)
}

/// Runs `make`; when something is there already it gives way, except a directory to a directory: `None`.
fn create<T>(
    parent: &OwnedFd,
    name: &[u8],
    entry: &Entry,
    make: impl Fn(&OwnedFd, &OsStr) -> Result<T, Errno>,
) -> Result<Option<T>, Error> {
    let name = OsStr::from_bytes(name);
    let fail = |verb| move |errno| Error::at(verb, &entry.path, errno);
    match make(parent, name) {
        Err(Errno::EXIST) => {}
        other => return other.map(Some).map_err(fail("create")),
    }
    let there =
        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("inspect"))?;
    let kind = FileType::from_raw_mode(there.st_mode);
    if kind == FileType::Directory && entry.kind == Kind::Directory {
        return Ok(None);
    }
    if kind == FileType::Directory {
        std::fs::remove_dir_all(proc_path(parent, name))
            .map_err(|source| Error::io("replace", &entry.path, source))?;
    } else {
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(fail("replace"))?;
    }
    let made = make(parent, name).map_err(fail("create"))?;
    if entry.kind == Kind::Directory && kind == FileType::CharacterDevice && there.st_rdev == 0 {
        // The layer hid the lower directory and made a new one: nothing below shows through.
        set_opaque(&proc_path(parent, name)).map_err(fail("mark"))?;
    }
    Ok(Some(made))
}

fn node(parent: &OwnedFd, name: &[u8], entry: &Entry, kind: FileType) -> Result<(), Error> {
    let (major, minor) = entry.device;
    create(parent, name, entry, |parent, name| {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)
    })
    .map(drop)
}

fn whiteout(parent: &OwnedFd, name: &[u8], hidden: &[u8], path: &[u8]) -> Result<(), Error> {
    let fail = |verb| move |errno| Error::at(verb, path, errno);
    if name == OPAQUE_MARKER {
        return set_opaque(&proc_path(parent, OsStr::new("."))).map_err(fail("mark"));
    }
    if name.starts_with(AUFS_PREFIX) {
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Error::Name { path: display(path) });
    }
    let hidden = OsStr::from_bytes(hidden);
    match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::at("hide", path, errno)),
    }
    // The layer itself has that name: it hides a lower file anyway, and a lower directory when opaque.
    let there =
        rustix::fs::statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("inspect"))?;
    if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
        set_opaque(&proc_path(parent, hidden)).map_err(fail("mark"))?;
    }
    Ok(())
}

fn set_opaque(path: &Path) -> Result<(), Errno> {
    // The path ends in `.` or a directory just seen: nothing is followed out of the layer.
    rustix::fs::lsetxattr(path, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

/// Sets the archive's attributes but overlayfs' own, with which a layer could reach others' files.
fn set_xattrs(path: &Path, entry: &Entry) -> Result<(), Error> {
    for (name, value) in &entry.xattrs {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let key = OsStr::from_bytes(name);
        match rustix::fs::lsetxattr(path, key, value, XattrFlags::empty()) {
            Ok(()) => {}
            // As docker: labels of a security module that this kernel lacks are not for us.
            Err(Errno::NOTSUP) => {
                tracing::debug!(path = self::display(&entry.path), ?key, "attribute not supported");
            }
            Err(errno) => return Err(Error::at("set an attribute of", &entry.path, errno)),
        }
    }
    Ok(())
}

/// A path to `name` in `parent` that resolves no symbolic link of the layer.
fn proc_path(parent: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(parent.as_fd().as_raw_fd().to_string()).join(name)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn times(entry: &Entry) -> Timestamps {
    let (tv_sec, nanos) = entry.mtime;
    let time = Timespec { tv_sec, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn display(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
