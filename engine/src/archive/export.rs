//! Out of a container.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use super::stat::{describe, open};
use super::{Error, PathStat, Wanted};
use crate::beneath;

const NAME_BYTES_MAX: usize = 100;
const CAPABILITY: &CStr = c"security.capability";
const CAPABILITY_RECORD: &str = "SCHILY.xattr.security.capability";

/// Writes the archive of `path` to `out`: a directory with all beneath it under its own name, anything
/// else as one entry; a link as itself unless the path ends in `/`. What vanishes meanwhile is left
/// out; sockets are, as in docker.
///
/// # Errors
/// When the path does not exist, cannot be read, or `out` fails.
pub fn export(root: BorrowedFd<'_>, path: &str, out: impl Write) -> Result<PathStat, Error> {
    let wanted = Wanted::parse(path);
    let (opened, meta) = open(root, &wanted)?;
    let mut writer = Writer { tar: Builder::new(out), links: HashMap::new() };
    if FileType::from_raw_mode(meta.st_mode).is_dir() {
        // The root itself has no name: its entries begin with a slash.
        let base = if wanted.base() == "/" { "" } else { wanted.base() };
        let directory = readable(opened.as_fd()).map_err(|source| Error::access(path, source))?;
        writer.directory(directory.as_fd(), base.as_bytes(), &meta)?;
    } else if let Some((name, parents)) = wanted.parts.split_last() {
        let parent = format!("/{}", parents.join("/"));
        let parent = beneath::open_in(root, Path::new(&parent), OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|source| Error::access(path, source))?;
        let name = std::ffi::CString::new(name.as_bytes())
            .map_err(|_| Error::NotFound { path: path.to_owned() })?;
        writer.entry(parent.as_fd(), &name, wanted.base().as_bytes())?;
    }
    let mut out = writer.tar.into_inner().map_err(Error::Send)?;
    out.flush().map_err(Error::Send)?;
    Ok(describe(&wanted, &meta, String::new()))
}

/// Makes a directory handle of `O_PATH` usable.
fn readable(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, c".", flags, Mode::empty())?)
}

struct Writer<W: Write> {
    tar: Builder<W>,
    /// Names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Writer<W> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        meta: &Stat,
    ) -> Result<(), Error> {
        let mut slashed = name.to_vec();
        slashed.push(b'/');
        let mut header = header(meta, EntryType::Directory);
        header.set_size(0);
        self.send(header, &slashed, &[], &mut io::empty())?;
        for entry in names(directory).map_err(Error::Send)? {
            let path = [&slashed[..], entry.to_bytes()].concat();
            self.entry(directory, &entry, &path)?;
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), Error> {
        let Ok(meta) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(()); // gone
        };
        let open = |flags: OFlags| {
            beneath::open_entry(
                parent,
                Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())),
                flags,
            )
        };
        match FileType::from_raw_mode(meta.st_mode) {
            FileType::Directory => match open(OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(inner) => self.directory(inner.as_fd(), path, &meta),
                Err(_) => Ok(()), // gone, or something else now
            },
            FileType::Symlink => {
                let Ok(target) = rustix::fs::readlinkat(parent, name, Vec::new()) else {
                    return Ok(());
                };
                self.bare(header(&meta, EntryType::Symlink), path, target.to_bytes())
            }
            FileType::CharacterDevice => self.device(&meta, EntryType::Char, path),
            FileType::BlockDevice => self.device(&meta, EntryType::Block, path),
            FileType::Fifo => self.bare(header(&meta, EntryType::Fifo), path, &[]),
            FileType::RegularFile => match open(OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(file) => self.file(file, path),
                Err(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn file(&mut self, file: OwnedFd, path: &[u8]) -> Result<(), Error> {
        // Of the file that is open now, not of the one that had the name before.
        let meta = rustix::fs::fstat(&file).map_err(|error| Error::Send(error.into()))?;
        if !FileType::from_raw_mode(meta.st_mode).is_file() {
            return Ok(());
        }
        if meta.st_nlink > 1 {
            let key = (meta.st_dev, meta.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.bare(header(&meta, EntryType::Link), path, &first);
            }
            self.links.insert(key, path.to_vec());
        }
        let mut capability = vec![0; 1024];
        let length = rustix::fs::fgetxattr(&file, CAPABILITY, &mut capability[..]).unwrap_or(0);
        if length > 0 {
            let record = [(CAPABILITY_RECORD, &capability[..length])];
            self.tar.append_pax_extensions(record).map_err(Error::Send)?;
        }
        let left = u64::try_from(meta.st_size).unwrap_or(0);
        let mut content = Exact { file: File::from(file), left };
        self.send(header(&meta, EntryType::Regular), path, &[], &mut content)
    }

    fn device(&mut self, meta: &Stat, kind: EntryType, path: &[u8]) -> Result<(), Error> {
        let mut header = header(meta, kind);
        let set = header
            .set_device_major(rustix::fs::major(meta.st_rdev))
            .and_then(|()| header.set_device_minor(rustix::fs::minor(meta.st_rdev)));
        set.map_err(Error::Send)?;
        self.bare(header, path, &[])
    }

    fn bare(&mut self, mut header: Header, path: &[u8], target: &[u8]) -> Result<(), Error> {
        header.set_size(0);
        self.send(header, path, target, &mut io::empty())
    }

    fn send(
        &mut self,
        mut header: Header,
        path: &[u8],
        target: &[u8],
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        // Longer names go into a record before the entry.
        let long = |name: &[u8]| name.len() > NAME_BYTES_MAX;
        let records = [("path", path), ("linkpath", target)];
        let records = records.into_iter().filter(|(_, value)| long(value));
        self.tar.append_pax_extensions(records).map_err(Error::Send)?;
        let fields = header.as_ustar_mut().expect("headers are made as ustar");
        copy(&mut fields.name, path);
        copy(&mut fields.linkname, target);
        header.set_cksum();
        self.tar.append(&header, content).map_err(Error::Send)
    }
}

/// As much as fits.
fn copy(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// Sorted, so that the same tree gives the same archive.
fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn header(meta: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(meta.st_mode & 0o7777);
    header.set_uid(meta.st_uid.into());
    header.set_gid(meta.st_gid.into());
    header.set_mtime(u64::try_from(meta.st_mtime).unwrap_or(0));
    header.set_size(u64::try_from(meta.st_size).unwrap_or(0));
    header
}

/// Exactly so many bytes, whatever happens to the file meanwhile: cut off, or filled up with zeros.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..wanted];
        let read = match self.file.read(buffer)? {
            0 => {
                buffer.fill(0);
                buffer.len()
            }
            read => read,
        };
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(read)
    }
}
