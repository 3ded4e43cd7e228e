//! Disks as processes see them: as they are, unless a bug is planted there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use shoal_base::disk::{DiskFile, MemoryDisk};
use shoal_base::{Disk, SharedDisk};

use crate::planted::{Bug, Planted};

/// The disk, with the run's bug.
pub(crate) fn disk(disk: &MemoryDisk, planted: Planted) -> SharedDisk {
    let forgets = [Bug::LostSync, Bug::ForgottenVote].into_iter().find(|bug| planted.is(*bug));
    match forgets {
        Some(bug) => Arc::new(Forgetful { inner: disk.clone(), bug }),
        None => Arc::new(disk.clone()),
    }
}

#[derive(Debug)]
struct Forgetful {
    inner: MemoryDisk,
    bug: Bug,
}

impl Forgetful {
    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        match self.bug {
            Bug::LostSync => Box::new(Unsynced(file)),
            _ => file,
        }
    }
}

impl Disk for Forgetful {
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let is_vote = path.file_name().is_some_and(|name| name.to_string_lossy().contains("vote"));
        if self.bug == Bug::ForgottenVote && is_vote {
            return Ok(());
        }
        self.inner.write_atomic(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.inner.sync_directory(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.inner.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.open(path)?))
    }
}

/// Never synced.
#[derive(Debug)]
struct Unsynced(Box<dyn DiskFile>);

impl DiskFile for Unsynced {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.0.set_size(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
