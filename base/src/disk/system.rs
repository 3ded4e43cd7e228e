//! The disk of this machine.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Disk, DiskFile, temporary_for};

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

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

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }
}

#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
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

    #[test]
    fn a_file_is_written_anywhere_and_found_by_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, renamed) = (dir.path().join("a"), dir.path().join("b"));
        let mut file = SystemDisk.create(&path).unwrap();
        file.write_at(b"three", 4).unwrap();
        file.write_at(b"one", 0).unwrap();
        file.set_size(8).unwrap();
        file.sync().unwrap();
        SystemDisk.rename(&path, &renamed).unwrap();
        SystemDisk.sync_directory(dir.path()).unwrap();
        assert_eq!(SystemDisk.list(dir.path()).unwrap(), ["b"]);
        let file = SystemDisk.open(&renamed).unwrap();
        let mut buffer = [9; 10];
        assert_eq!((file.size().unwrap(), file.read_at(&mut buffer, 0).unwrap()), (8, 8));
        assert_eq!(&buffer[..8], b"one\0thre");
        assert!(SystemDisk.open(&path).is_err());
    }
}
