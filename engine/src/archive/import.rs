//! Into a container.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, StatVfsMountFlags, StatxFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use tar::{Archive, Entry, EntryType};

use super::{Error, Wanted};
use crate::beneath;

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportOptions {
    /// `noOverwriteDirNonDir`.
    pub overwrite: Overwrite,
    /// `copyUIDGID`.
    pub owner: Owner,
    /// Whether the container's root may be written.
    pub root: RootAccess,
}

/// Whether directories and other files may replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They may.
    Anything,
    /// They may not.
    SameKind,
}

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whom the archive names.
    Archive,
    /// The container's user (`copyUIDGID` with a user set).
    Fixed {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// Whether the container's root may be written; volumes say so by their mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootAccess {
    /// It may.
    Writable,
    /// `--read-only`: only mounts may be written.
    ReadOnly,
}

/// Unpacks `archive`, plain or compressed with gzip or zstd, into the directory `path`.
///
/// # Errors
/// When the directory does not exist or is read-only, or the archive is damaged or unfit. What was
/// unpacked before stays, as in docker.
pub fn import(
    root: BorrowedFd<'_>,
    path: &str,
    archive: impl Read,
    options: ImportOptions,
) -> Result<(), Error> {
    let wanted = Wanted { follow: true, ..Wanted::parse(path) };
    let directory = beneath::open_in(root, Path::new(&wanted.text()), OFlags::PATH)
        .map_err(|source| Error::access(path, source))?;
    let failed = |error: rustix::io::Errno| Error::access(path, error.into());
    let meta = rustix::fs::fstat(&directory).map_err(failed)?;
    if !FileType::from_raw_mode(meta.st_mode).is_dir() {
        return Err(Error::NotADirectory);
    }
    check_writable(root, &directory, options.root).map_err(failed)??;
    let mut target = Target { root, base: wanted.parts, options, directories: Vec::new() };
    let mut archive = Archive::new(decompress(archive)?);
    for entry in archive.entries().map_err(Error::Read)? {
        target.unpack(&mut entry.map_err(Error::Read)?)?;
    }
    target.finish()
}

/// The kernel knows best whether a mount is read-only; which mount it is decides the message.
fn check_writable(
    root: BorrowedFd<'_>,
    directory: &OwnedFd,
    access: RootAccess,
) -> Result<Result<(), Error>, rustix::io::Errno> {
    let mount = |file: BorrowedFd<'_>| {
        let flags = AtFlags::EMPTY_PATH;
        let meta = rustix::fs::statx(file, c"", flags, StatxFlags::MNT_ID)?;
        Ok::<_, rustix::io::Errno>((meta.stx_mnt_id, meta.stx_dev_major, meta.stx_dev_minor))
    };
    let in_root = mount(root)? == mount(directory.as_fd())?;
    let flags = rustix::fs::fstatvfs(directory)?.f_flag;
    let read_only = flags.contains(StatVfsMountFlags::RDONLY);
    Ok(match (in_root, read_only) {
        (true, true) => Err(Error::RootReadOnly),
        (true, false) if access == RootAccess::ReadOnly => Err(Error::RootReadOnly),
        (false, true) => Err(Error::VolumeReadOnly),
        _ => Ok(()),
    })
}

/// Looks at the first bytes.
fn decompress<'a>(mut archive: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Error> {
    let mut start = Vec::new();
    archive.by_ref().take(6).read_to_end(&mut start).map_err(Error::Read)?;
    let whole = io::Cursor::new(start.clone()).chain(archive);
    match start.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Ok(Box::new(zstd::stream::read::Decoder::new(whole).map_err(Error::Read)?))
        }
        [b'B', b'Z', b'h', ..] => Err(Error::Compression { compression: "bzip2" }),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(Error::Compression { compression: "xz" }),
        _ => Ok(Box::new(whole)),
    }
}

struct Target<'a> {
    root: BorrowedFd<'a>,
    /// Components of the extraction point.
    base: Vec<String>,
    options: ImportOptions,
    /// Directories and their times, which are set last: files in them change them.
    directories: Vec<(Vec<String>, Timestamps)>,
}

impl Target<'_> {
    fn unpack(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), Error> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let parts = inside(&name)?;
        let Some((last, parents)) = parts.split_last() else { return Ok(()) };
        let failed = |source: io::Error| Error::Extract { name: name.clone(), source };
        let parent = self.parent(parents).map_err(failed)?;
        let file = CString::new(last.as_bytes()).map_err(|error| failed(error.into()))?;
        let exists = self.make_room(&parent, &file, kind, &name)?;
        match kind {
            EntryType::Directory if exists => {}
            EntryType::Directory => {
                rustix::fs::mkdirat(&parent, &file, Mode::RWXU)
                    .map_err(|error| failed(error.into()))?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&parent, &file, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(|error| failed(error.into()))?;
                io::copy(entry, &mut File::from(opened)).map_err(failed)?;
            }
            EntryType::Link => return self.link(&parent, &file, entry, &name),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                rustix::fs::symlinkat(target, &parent, &file)
                    .map_err(|error| failed(error.into()))?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_node(&parent, &file, entry).map_err(failed)?;
            }
            other => {
                return Err(Error::EntryType { name, kind: char::from(other.as_byte()) });
            }
        }
        self.set_attributes(&parent, &file, entry).map_err(failed)?;
        if kind == EntryType::Directory {
            self.directories.push((parts, times(entry)));
        }
        Ok(())
    }

    /// The directory of an entry. Missing ones are made, as archives may leave them out.
    fn parent(&self, parents: &[String]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let open = |parts: &[String]| {
            let text = format!("/{}/{}", self.base.join("/"), parts.join("/"));
            beneath::open_in(self.root, Path::new(&text), flags)
        };
        match open(parents) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut current = open(&[])?;
        for depth in 1..=parents.len() {
            current = match open(&parents[..depth]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mode = Mode::from_raw_mode(0o755);
                    rustix::fs::mkdirat(&current, parents[depth - 1].as_str(), mode)?;
                    open(&parents[..depth])?
                }
                other => other?,
            };
        }
        Ok(current)
    }

    /// Removes what is in the way; answers whether a directory stays to be merged with.
    fn make_room(
        &self,
        parent: &OwnedFd,
        file: &CString,
        kind: EntryType,
        name: &str,
    ) -> Result<bool, Error> {
        let Ok(old) = rustix::fs::statat(parent, file, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(false);
        };
        let (was, is) =
            (FileType::from_raw_mode(old.st_mode).is_dir(), kind == EntryType::Directory);
        match (was, is, self.options.overwrite) {
            (true, true, _) => return Ok(true),
            (true, false, Overwrite::SameKind) => {
                return Err(Error::DirectoryByFile { path: name.to_owned() });
            }
            (false, true, Overwrite::SameKind) => {
                return Err(Error::FileByDirectory { path: name.to_owned() });
            }
            _ => {}
        }
        beneath::remove_tree(parent.as_fd(), file)
            .map_err(|source| Error::Extract { name: name.to_owned(), source })?;
        Ok(false)
    }

    /// A hard link to an earlier entry, by handle: nothing that a name leads to later can get in.
    fn link(
        &self,
        parent: &OwnedFd,
        file: &CString,
        entry: &Entry<'_, impl Read>,
        name: &str,
    ) -> Result<(), Error> {
        let target = entry.link_name_bytes().unwrap_or_default();
        let parts = inside(&String::from_utf8_lossy(&target))?;
        let text = format!("/{}/{}", self.base.join("/"), parts.join("/"));
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let linked = beneath::open_in(self.root, Path::new(&text), flags).and_then(|first| {
            Ok(rustix::fs::linkat(&first, c"", parent, file, AtFlags::EMPTY_PATH)?)
        });
        linked.map_err(|source| Error::Extract { name: name.to_owned(), source })
    }

    /// Owner first: changing it clears set-user-id bits and file capabilities.
    fn set_attributes(
        &self,
        parent: &OwnedFd,
        file: &CString,
        entry: &mut Entry<'_, impl Read>,
    ) -> io::Result<()> {
        let header = entry.header();
        let old = header.as_old();
        let id = |field: &[u8], id: io::Result<u64>| {
            let id = or_blank(field, id)?;
            u32::try_from(id).map_err(|_| io::Error::other("id out of range"))
        };
        let (uid, gid) = match self.options.owner {
            Owner::Fixed { uid, gid } => (uid, gid),
            Owner::Archive => (id(&old.uid, header.uid())?, id(&old.gid, header.gid())?),
        };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(parent, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        let symlink = header.entry_type() == EntryType::Symlink;
        let (mode, times) = (or_blank(&old.mode, header.mode())?, times(entry));
        if !symlink {
            // Behind a handle, as chmod cannot be told not to follow.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(parent, file, flags, Mode::empty())?;
            if !FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode).is_symlink() {
                let path = beneath::proc_path(opened.as_fd());
                rustix::fs::chmod(&path, Mode::from_raw_mode(mode & 0o7777))?;
                set_xattrs(&path, entry)?;
            }
        }
        rustix::fs::utimensat(parent, file, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        for (parts, times) in self.directories.iter().rev() {
            let set = || -> io::Result<()> {
                let Some((last, parents)) = parts.split_last() else { return Ok(()) };
                let parent = self.parent(parents)?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(rustix::fs::utimensat(&parent, last.as_str(), times, flags)?)
            };
            match set() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // replaced by a later entry
                other => {
                    other.map_err(|source| Error::Extract { name: parts.join("/"), source })?;
                }
            }
        }
        Ok(())
    }
}

/// A number of a header; a blank field, as some archivers write it, is zero.
fn or_blank<T: Default>(field: &[u8], parsed: io::Result<T>) -> io::Result<T> {
    let blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    if blank { Ok(parsed.unwrap_or_default()) } else { parsed }
}

/// The components of a name, which must not lead out of the extraction point.
fn inside(name: &str) -> Result<Vec<String>, Error> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(Error::Breakout { name: name.to_owned() });
            }
            ".." => {}
            part => parts.push(part.to_owned()),
        }
    }
    Ok(parts)
}

fn make_node(parent: &OwnedFd, file: &CString, entry: &Entry<'_, impl Read>) -> io::Result<()> {
    let header = entry.header();
    let number = |field: Option<&[u8; 8]>, part: io::Result<Option<u32>>| {
        or_blank(field.map_or(&[], |field| field), part).map(Option::unwrap_or_default)
    };
    let ustar = header.as_ustar();
    let gnu = header.as_gnu();
    let major = ustar.map(|h| &h.dev_major).or_else(|| gnu.map(|h| &h.dev_major));
    let minor = ustar.map(|h| &h.dev_minor).or_else(|| gnu.map(|h| &h.dev_minor));
    let numbers = || {
        let major = number(major, header.device_major())?;
        let minor = number(minor, header.device_minor())?;
        Ok::<_, io::Error>(rustix::fs::makedev(major, minor))
    };
    let (kind, device) = match header.entry_type() {
        EntryType::Char => (FileType::CharacterDevice, numbers()?),
        EntryType::Block => (FileType::BlockDevice, numbers()?),
        _ => (FileType::Fifo, 0),
    };
    Ok(rustix::fs::mknodat(parent, file, kind, Mode::RUSR | Mode::WUSR, device)?)
}

fn set_xattrs(path: &Path, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    let Some(records) = entry.pax_extensions()? else { return Ok(()) };
    for record in records {
        let record = record?;
        let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        match rustix::fs::setxattr(path, name, record.value_bytes(), XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(entry: &Entry<'_, impl Read>) -> Timestamps {
    let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok());
    let time = Timespec { tv_sec: seconds.unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
