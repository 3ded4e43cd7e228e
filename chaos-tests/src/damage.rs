//! Damage to what a host has on its disk: disks without room, files with other bits.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::command::{command, stdout};

/// A small file system of its own for a directory of a host; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Nobody uses the directory yet.
    ///
    /// # Errors
    /// When it cannot be made or mounted.
    pub fn mount(path: &Path, megabytes: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let options = format!("size={megabytes}m,mode=0700");
        stdout(command("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all that is free, to the last byte.
    ///
    /// # Errors
    /// When not even a file can be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        let path = self.filler();
        let mut file = std::fs::File::create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives back what was taken; nothing is fine.
    ///
    /// # Errors
    /// When it stays.
    pub fn make_room(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.filler().display()))
            }
            _ => Ok(()),
        }
    }

    /// Takes it away, with what is on it.
    ///
    /// # Errors
    /// While somebody uses it.
    pub fn unmount(&self) -> anyhow::Result<()> {
        stdout(command("umount").arg(&self.0)).map(|_| ())
    }
}

impl Drop for SmallDisk {
    /// Whoever still uses it keeps it, unseen.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let own = self.0.display().to_string();
        if mounts.lines().any(|line| line.split(' ').nth(1) == Some(&own))
            && let Err(error) = stdout(command("umount").arg("-l").arg(&self.0))
        {
            eprintln!("{error:#}");
        }
    }
}

/// All files of a directory that are not empty, the largest last.
///
/// # Errors
/// When it cannot be read.
pub fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        let entries = std::fs::read_dir(&next);
        for entry in entries.with_context(|| format!("cannot read {}", next.display()))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.len() > 0 {
                files.push((metadata.len(), entry.path()));
            }
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Turns one bit of a byte.
///
/// # Errors
/// When there is no such byte.
pub fn flip(path: &Path, offset: u64) -> anyhow::Result<()> {
    let mut file = std::fs::File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.write_all(&[byte[0] ^ 0x10])?)
}

/// Ends a file early.
///
/// # Errors
/// When there is none.
pub fn truncate(path: &Path, size: u64) -> anyhow::Result<()> {
    Ok(std::fs::File::options().write(true).open(path)?.set_len(size)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_small_disk_is_full_and_has_room_again() {
        let directory = Scratch::new().unwrap();
        let path = directory.path().join("disk");
        let disk = SmallDisk::mount(&path, 1).unwrap();
        disk.fill().unwrap();
        assert!(std::fs::write(path.join("more"), "x").is_err());
        disk.make_room().unwrap();
        disk.make_room().unwrap();
        std::fs::write(path.join("more"), "x").unwrap();
        let open = std::fs::File::open(path.join("more")).unwrap();
        assert!(disk.unmount().is_err(), "it is in use");
        drop(open);
        disk.unmount().unwrap();
        assert!(!path.join("more").exists());
    }

    #[test]
    fn one_bit_is_another() {
        let directory = Scratch::new().unwrap();
        let (small, large) = (directory.path().join("a/small"), directory.path().join("large"));
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(&small, "ab").unwrap();
        std::fs::write(&large, "abcd").unwrap();
        std::fs::write(directory.path().join("empty"), "").unwrap();
        assert_eq!(files(directory.path()).unwrap(), [small.clone(), large.clone()]);
        flip(&small, 1).unwrap();
        truncate(&large, 3).unwrap();
        assert_eq!(std::fs::read(&small).unwrap(), b"ar");
        assert_eq!(std::fs::read(&large).unwrap(), b"abc");
        assert!(flip(&small, 2).is_err());
    }
}
