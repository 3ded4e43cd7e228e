//! Writes a directory as a tar stream: a layer's diff (whiteouts in archive form) or a whole file system.
//!
//! Every directory is opened beneath its parent without following links.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use super::Error;
use crate::unpack::tree::OPAQUE_XATTR;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// What the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// An overlay's upper directory: whiteouts and opaque directories become `.wh.` files.
    Upper,
    /// A file system as it is seen.
    Whole,
}

/// Writes all beneath `root` to `out`, sorted by name. Sockets are left out, as tar has none.
///
/// # Errors
/// When files cannot be read or `out` fails.
pub fn write_tree(root: BorrowedFd<'_>, tree: Tree, out: &mut dyn Write) -> Result<(), Error> {
    let out = io::BufWriter::with_capacity(256 * 1024, out);
    let mut writer = TreeWriter { tar: Builder::new(out), tree, links: HashMap::new() };
    let root = rustix::fs::openat(root, ".", OPEN_DIRECTORY, Mode::empty())
        .map_err(|errno| files(b"/", errno.into()))?;
    writer.directory(&root, &[])?;
    let mut out = writer.tar.into_inner().map_err(Error::Write)?;
    out.flush().map_err(Error::Write)
}

struct TreeWriter<W: Write> {
    tar: Builder<W>,
    tree: Tree,
    /// First path of inodes with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> TreeWriter<W> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        for name in sorted_names(directory).map_err(|e| files(path, e))? {
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name.as_bytes());
            let stat = match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue, // gone meanwhile
                other => other.map_err(|errno| files(&child, errno.into()))?,
            };
            self.entry(directory, &name, &child, &stat)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.tree == Tree::Upper && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return self.whiteout(path, stat);
        }
        let mut header = header_of(stat);
        let mut records = self.records(parent, name, path, stat)?;
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                header.set_entry_type(EntryType::Link);
                let target = first.clone();
                return self.append(&mut header, &mut Vec::new(), path, Some(&target), io::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let open = |flags| {
            rustix::fs::openat(parent, name, flags, Mode::empty())
                .map_err(|errno| files(path, errno.into()))
        };
        match kind {
            FileType::RegularFile => {
                let file = open(OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                header.set_size(size);
                let data = Exactly { file: File::from(file), left: size };
                self.append(&mut header, &mut records, path, None, data)
            }
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                let slashed = [path, b"/"].concat();
                self.append(&mut header, &mut records, &slashed, None, io::empty())?;
                let directory = open(OPEN_DIRECTORY)?;
                if self.tree == Tree::Upper && is_opaque(parent, name) {
                    self.marker(&[path, b"/", OPAQUE_MARKER].concat(), stat)?;
                }
                self.directory(&directory, path)
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|errno| files(path, errno.into()))?;
                self.append(&mut header, &mut records, path, Some(target.to_bytes()), io::empty())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                header.set_entry_type(match kind {
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Char,
                });
                let numbers = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                header
                    .set_device_major(numbers.0)
                    .and_then(|()| header.set_device_minor(numbers.1))
                    .map_err(Error::Write)?;
                self.append(&mut header, &mut records, path, None, io::empty())
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.append(&mut header, &mut records, path, None, io::empty())
            }
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn whiteout(&mut self, path: &[u8], stat: &Stat) -> Result<(), Error> {
        let split = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(split);
        self.marker(&[directory, b".wh.", name].concat(), stat)
    }

    /// An empty file that says something to whoever unpacks.
    fn marker(&mut self, path: &[u8], stat: &Stat) -> Result<(), Error> {
        let mut header = header_of(stat);
        header.set_mode(0o600);
        self.append(&mut header, &mut Vec::new(), path, None, io::empty())
    }

    /// PAX records for what the header cannot say.
    fn records(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut records = Vec::new();
        if stat.st_mtime_nsec != 0 && stat.st_mtime >= 0 {
            let time = format!("{}.{:09}", stat.st_mtime, stat.st_mtime_nsec);
            records.push(("mtime".to_owned(), time.into_bytes()));
        }
        for (key, value) in xattrs(parent, name).map_err(|e| files(path, e))? {
            records.push((format!("SCHILY.xattr.{key}"), value));
        }
        Ok(records)
    }

    fn append(
        &mut self,
        header: &mut Header,
        records: &mut Vec<(String, Vec<u8>)>,
        path: &[u8],
        target: Option<&[u8]>,
        data: impl io::Read,
    ) -> Result<(), Error> {
        place(header, records, "path", path);
        if let Some(target) = target {
            place(header, records, "linkpath", target);
        }
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        let mut records = records.peekable();
        if records.peek().is_some() {
            self.tar.append_pax_extensions(records).map_err(Error::Write)?;
        }
        header.set_cksum();
        self.tar.append(header, data).map_err(Error::Write)
    }
}

/// Puts a name into its header field, and into a PAX record when it does not fit.
fn place(header: &mut Header, records: &mut Vec<(String, Vec<u8>)>, key: &str, name: &[u8]) {
    let old = header.as_old_mut();
    let field = if key == "path" { &mut old.name } else { &mut old.linkname };
    let count = name.len().min(field.len());
    field[..count].copy_from_slice(&name[..count]);
    if count < name.len() {
        records.push((key.to_owned(), name.to_vec()));
    }
}

fn header_of(stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// Names in a directory, in the order of their bytes.
pub(super) fn sorted_names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

fn proc_path(parent: &OwnedFd, name: &OsStr) -> std::path::PathBuf {
    Path::new("/proc/self/fd").join(parent.as_fd().as_raw_fd().to_string()).join(name)
}

/// Whether an upper directory hides all that lies below it.
pub(super) fn is_opaque(parent: &OwnedFd, name: &OsStr) -> bool {
    let mut value = [0; 2];
    let length = rustix::fs::lgetxattr(proc_path(parent, name), OPAQUE_XATTR, &mut value[..]);
    length.is_ok_and(|length| &value[..length] == b"y")
}

/// Attributes worth keeping: not overlayfs' own, nor what the host's security module set.
fn xattrs(parent: &OwnedFd, name: &OsStr) -> io::Result<Vec<(String, Vec<u8>)>> {
    let path = proc_path(parent, name);
    let mut list = vec![0; XATTR_BYTES_MAX];
    let length = match rustix::fs::llistxattr(&path, &mut list[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for key in names.filter_map(|name| std::str::from_utf8(name).ok()) {
        let ours = key.starts_with("user.") || key.starts_with("trusted.");
        if key != "security.capability" && (!ours || key.contains(".overlay.")) {
            continue;
        }
        let mut value = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::lgetxattr(&path, key, &mut value[..])?;
        value.truncate(length);
        found.push((key.to_owned(), value));
    }
    found.sort();
    Ok(found)
}

/// A file that may change its length while it is read: always as many bytes as the header says.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut count = self.file.read(&mut buffer[..want])?;
        if count == 0 {
            buffer[..want].fill(0);
            count = want;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

pub(super) fn files(path: &[u8], source: io::Error) -> Error {
    Error::Files { path: String::from_utf8_lossy(path).into_owned(), source }
}
