//! Small files that must survive a crash: written whole, fsynced, renamed.
//!
//! Blocking; call it from [`crate::blocking::run`] unless a file is a few kilobytes.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file operations that decide what survives a crash.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Replaces `path` by `bytes`, durably: after success a crash shows the new content, before it the
    /// old one, never a mixture.
    ///
    /// # Errors
    /// The operating system's. The old content is then still there.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// The operating system's.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Removes a file durably; absent is fine.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a renamed or removed entry of `directory` durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// A disk shared by many owners.
pub type SharedDisk = Arc<dyn Disk>;

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

/// Suffix of files being written; whoever owns a directory removes such files at start.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

impl Disk for SystemDisk {
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_for(path);
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        });
        if let Err(error) = written {
            // The old content stands; what was half-written must not stay.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        self.sync_directory(path.parent().unwrap_or_else(|| Path::new("/")))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.sync_directory(path.parent().unwrap_or_else(|| Path::new("/")))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// Unique in the process, so that two writers of one path never share a temporary file.
fn temporary_for(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}{TEMPORARY_SUFFIX}", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        SystemDisk.write_atomic(&path, b"one").unwrap();
        SystemDisk.write_atomic(&path, b"two").unwrap();
        assert_eq!(SystemDisk.read(&path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        SystemDisk.remove(&path).unwrap();
        SystemDisk.remove(&path).unwrap();
        assert_eq!(SystemDisk.read(&path).unwrap(), None);
    }
}
