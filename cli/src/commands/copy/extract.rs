//! A tar archive → local files, never outside the directory they belong in.

use std::io::{Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use crate::error::{Failure, Result, io_text};

/// Pieces of the archive that may wait to be written.
const WAITING: usize = 16;

/// An archive that is being unpacked while it arrives.
#[derive(Debug)]
pub(super) struct Extract {
    pieces: SyncSender<Bytes>,
    thread: JoinHandle<Result>,
}

impl Extract {
    /// Unpacks in `folder`; the archive's top entry `own` gets another name.
    pub(super) fn start(folder: &Path, own: String, name: &str) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
        let (pieces, input) = sync_channel(WAITING);
        let name = name.to_owned();
        let thread = std::thread::Builder::new()
            .name("extract".into())
            .spawn(move || unpack(&root, Pieces { input, rest: Bytes::new() }, &own, &name))?;
        Ok(Self { pieces, thread })
    }

    /// Takes a piece of the archive. False: unpacking has ended, see `finish`.
    pub(super) fn feed(&mut self, piece: Bytes) -> bool {
        self.pieces.send(piece).is_ok()
    }

    /// Waits until all is written.
    pub(super) fn finish(self) -> Result {
        drop(self.pieces);
        self.thread.join().unwrap_or_else(|_| Err("unpacking ended unexpectedly".into()))
    }
}

/// The archive as a reader.
struct Pieces {
    input: Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.input.recv() {
                Ok(piece) => self.rest = piece,
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The name of an entry with its top renamed; `None` for the directory itself.
fn rename(path: &Path, own: &str, name: &str) -> std::result::Result<Option<PathBuf>, String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(format!("the archive holds the unsafe name {}", path.display())),
        }
    }
    let content = matches!(own, "." | "/");
    let rest = if content { &parts[..] } else { parts.get(1..).unwrap_or_default() };
    if !content && parts.first().is_none_or(|first| *first != own) {
        return Err(format!("the archive holds {} outside of {own}", path.display()));
    }
    let mut renamed = PathBuf::new();
    if !matches!(name, "." | "/") {
        renamed.push(name);
    }
    renamed.extend(rest);
    Ok(Some(renamed).filter(|path| !path.as_os_str().is_empty()))
}

fn unpack(root: &OwnedFd, input: Pieces, own: &str, name: &str) -> Result {
    let failed = |what: &Path, error: &std::io::Error| {
        Failure::new(format!("writing {}: {}", what.display(), io_text(error)))
    };
    let read = |error: std::io::Error| Failure::new(format!("reading the archive: {error}"));
    let mut archive = tar::Archive::new(input);
    // Directories get their modes and times last: they may forbid writing, and writing changes times.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let path = entry.path().map_err(read)?.into_owned();
        let Some(target) = rename(&path, own, name).map_err(Failure::new)? else { continue };
        let header = entry.header();
        let bits = header.mode().map_err(read)? & 0o7777;
        let time = i64::try_from(header.mtime().map_err(read)?).unwrap_or(i64::MAX);
        if header.entry_type().is_dir() {
            make_directory(root, &target).map_err(|error| failed(&target, &error))?;
            directories.push((target, bits, time));
            continue;
        }
        let link = entry.link_name().map_err(read)?.map(|link| link.into_owned());
        let link = match link {
            Some(link) if entry.header().entry_type().is_hard_link() => {
                rename(&link, own, name).map_err(Failure::new)?
            }
            other => other,
        };
        write(root, &target, &mut entry, link, bits, time)
            .map_err(|error| failed(&target, &error))?;
    }
    for (path, bits, time) in directories.into_iter().rev() {
        let done = open(root, &path, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|fd| settle(&fd, bits, time));
        done.map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> std::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// The directory that holds a path, and the path's last name.
fn parent<'a>(root: &OwnedFd, path: &'a Path) -> std::io::Result<(OwnedFd, &'a Path)> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let name = path.file_name().ok_or_else(|| std::io::Error::other("an entry has no name"))?;
    Ok((open(root, folder, OFlags::PATH | OFlags::DIRECTORY)?, Path::new(name)))
}

fn make_directory(root: &OwnedFd, path: &Path) -> std::io::Result<()> {
    let (folder, name) = parent(root, path)?;
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
        Err(rustix::io::Errno::EXIST) => {
            let found = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Ok(());
            }
            Err(std::io::Error::other("cannot overwrite non-directory with directory"))
        }
        other => Ok(other?),
    }
}

fn settle(fd: &OwnedFd, bits: u32, seconds: i64) -> std::io::Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(bits))?;
    rustix::fs::futimens(fd, &times(seconds))?;
    Ok(())
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn write(
    root: &OwnedFd,
    path: &Path,
    entry: &mut tar::Entry<'_, Pieces>,
    link: Option<PathBuf>,
    bits: u32,
    seconds: i64,
) -> std::io::Result<()> {
    let (folder, name) = parent(root, path)?;
    if let Ok(found) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(std::io::Error::other("cannot overwrite directory with non-directory"));
        }
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
    }
    let kind = entry.header().entry_type();
    let mode = Mode::from_raw_mode(bits);
    let device = |header: &tar::Header| {
        let number = |part: std::io::Result<Option<u32>>| part.map(Option::unwrap_or_default);
        let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
        std::io::Result::Ok(rustix::fs::makedev(major, minor))
    };
    let node = match (kind, link) {
        (tar::EntryType::Symlink, Some(target)) => {
            rustix::fs::symlinkat(&target, &folder, name)?;
            rustix::fs::utimensat(&folder, name, &times(seconds), AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(());
        }
        (tar::EntryType::Link, Some(target)) => {
            let (from, old) = parent(root, &target)?;
            return Ok(rustix::fs::linkat(&from, old, &folder, name, AtFlags::empty())?);
        }
        (tar::EntryType::Char, _) => (FileType::CharacterDevice, device(entry.header())?),
        (tar::EntryType::Block, _) => (FileType::BlockDevice, device(entry.header())?),
        (tar::EntryType::Fifo, _) => (FileType::Fifo, 0),
        (tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse, _) => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600))?;
            let mut file = std::fs::File::from(fd);
            std::io::copy(entry, &mut file)?;
            file.flush()?;
            return settle(&OwnedFd::from(file), bits, seconds);
        }
        _ => return Err(std::io::Error::other("the archive holds an entry of an unknown kind")),
    };
    Ok(rustix::fs::mknodat(&folder, name, node.0, mode, node.1)?)
}

#[cfg(test)]
mod tests {
    use super::super::pack::Pack;
    use super::*;

    #[test]
    fn names_stay_where_they_belong() {
        let renamed = |path: &str, own: &str, name: &str| rename(Path::new(path), own, name);
        assert_eq!(renamed("a/b", "a", "x"), Ok(Some("x/b".into())));
        assert_eq!(renamed("./b", ".", "x"), Ok(Some("x/b".into())));
        assert_eq!(renamed("./", ".", "."), Ok(None));
        assert!(renamed("a/../../b", "a", "x").is_err());
        assert!(renamed("c/b", "a", "x").is_err());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let base = std::env::temp_dir().join(format!("shoal-cp-{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        let long = "n".repeat(150);
        std::fs::write(from.join("sub").join(&long), vec![7u8; 100_000]).unwrap();
        std::fs::write(from.join("empty"), "").unwrap();
        std::os::unix::fs::symlink("/etc", from.join("link")).unwrap();
        let mut extract = Extract::start(&to, "new".into(), "other").unwrap();
        for piece in Pack::new(&from, "new").unwrap() {
            assert!(extract.feed(piece.unwrap()));
        }
        extract.finish().unwrap();
        let other = to.join("other");
        assert_eq!(std::fs::read(other.join("sub").join(&long)).unwrap(), vec![7u8; 100_000]);
        assert_eq!(std::fs::read(other.join("empty")).unwrap(), b"");
        assert_eq!(std::fs::read_link(other.join("link")).unwrap(), Path::new("/etc"));
        std::fs::remove_dir_all(base).unwrap();
    }
}
