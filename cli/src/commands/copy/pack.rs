//! Local files → a tar archive, piece by piece.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::paths::{Source, base, split_entry};
use crate::error::{Result, io};

const PIECE: usize = 64 * 1024;

/// What is at a local path.
pub(super) fn source(path: &str, follow: bool) -> Result<Source> {
    let what = || format!("lstat {path}");
    if follow {
        let resolved = std::fs::canonicalize(path).map_err(io(what()))?;
        let found = std::fs::metadata(&resolved).map_err(io(what()))?;
        let mut resolved = resolved.to_string_lossy().into_owned();
        let (asked, real) = (base(path), base(&resolved));
        if asked == "." {
            resolved.push_str("/.");
        }
        let renamed = Some(asked).filter(|asked| *asked != real && asked != ".");
        return Ok(Source { path: resolved, directory: found.is_dir(), renamed });
    }
    // A trailing slash or dot leads through a link, as everywhere.
    let found = std::fs::symlink_metadata(path).map_err(io(what()))?;
    Ok(Source { path: path.to_owned(), directory: found.is_dir(), renamed: None })
}

/// An archive in the making: an iterator over its bytes.
#[derive(Debug)]
pub(super) struct Pack {
    /// Still to be packed, last first: the file and its name in the archive.
    left: Vec<(PathBuf, PathBuf)>,
    /// The file whose content is being packed, and how much of it is missing.
    open: Option<(File, PathBuf, u64)>,
    padding: usize,
    ended: bool,
}

impl Pack {
    /// Packs a file or directory under another name; the name `.` packs a directory's content.
    pub(super) fn new(path: &Path, name: &str) -> std::io::Result<Self> {
        std::fs::symlink_metadata(path)?;
        let (folder, own) = split_entry(&path.to_string_lossy());
        let real = if own == "." { PathBuf::from(&folder) } else { Path::new(&folder).join(&own) };
        let name = if name == "/" { "." } else { name };
        Ok(Self { left: vec![(real, name.into())], open: None, padding: 0, ended: false })
    }

    fn step(&mut self) -> std::io::Result<Option<Bytes>> {
        if let Some((file, path, left)) = &mut self.open {
            if *left > 0 {
                let mut piece = vec![0; PIECE.min(usize::try_from(*left).unwrap_or(PIECE))];
                let count = file.read(&mut piece)?;
                if count == 0 {
                    let text = format!("{} became shorter while it was read", path.display());
                    return Err(std::io::Error::other(text));
                }
                piece.truncate(count);
                *left -= u64::try_from(count).unwrap_or(0);
                return Ok(Some(piece.into()));
            }
            self.open = None;
            if self.padding > 0 {
                return Ok(Some(vec![0; self.padding].into()));
            }
        }
        while let Some((path, name)) = self.left.pop() {
            let found = std::fs::symlink_metadata(&path)?;
            if found.file_type().is_socket() {
                continue;
            }
            return self.entry(path, &name, &found).map(Some);
        }
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        Ok(Some(vec![0; 1024].into()))
    }

    fn entry(&mut self, path: PathBuf, name: &Path, found: &Metadata) -> std::io::Result<Bytes> {
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(found, tar::HeaderMode::Complete);
        let mut builder = tar::Builder::new(Vec::new());
        let kind = found.file_type();
        if kind.is_symlink() {
            header.set_size(0);
            builder.append_link(&mut header, name, std::fs::read_link(&path)?)?;
        } else if kind.is_dir() {
            header.set_size(0);
            // The name `.` itself must not become an empty one.
            let slashed = PathBuf::from(format!("{}/", name.display()));
            builder.append_data(&mut header, slashed, std::io::empty())?;
            let mut inside: Vec<_> =
                std::fs::read_dir(&path)?.collect::<std::io::Result<Vec<_>>>()?;
            inside.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
            self.left.extend(
                inside.into_iter().map(|entry| (entry.path(), name.join(entry.file_name()))),
            );
        } else if kind.is_file() {
            let file = File::open(&path)?;
            let size = file.metadata()?.len();
            header.set_size(size);
            builder.append_data(&mut header, name, std::io::empty())?;
            self.padding = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
            self.open = Some((file, path, size));
        } else {
            header.set_size(0);
            if kind.is_char_device() || kind.is_block_device() {
                header.set_device_major(rustix::fs::major(found.rdev()))?;
                header.set_device_minor(rustix::fs::minor(found.rdev()))?;
            }
            builder.append_data(&mut header, name, std::io::empty())?;
        }
        Ok(std::mem::take(builder.get_mut()).into())
    }
}

impl Iterator for Pack {
    type Item = std::io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.step();
        if piece.is_err() {
            // An archive that failed is over.
            (self.left, self.open, self.ended) = (Vec::new(), None, true);
        }
        piece.transpose()
    }
}
