//! A log file that is rotated. Effects, but for [`must_rotate`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shoal_shim_protocol::config::LogFile;
use shoal_shim_protocol::message::FailureKind;

use super::compress::{Compression, SUFFIX, with_suffix};
use crate::failure::{Context, Result};

/// An open log file.
#[derive(Debug)]
pub(crate) struct RotatedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    bytes_max: Option<u64>,
    files_max: u32,
    header: &'static [u8],
    /// Part of a record is in the file, because the disk was full.
    torn: bool,
    /// Rotated files are compressed.
    compress: bool,
    compressing: Option<Compression>,
}

/// Whether a record must go to a new file. A file has at least one record.
fn must_rotate(bytes: u64, record: u64, max: Option<u64>, header: u64) -> bool {
    max.is_some_and(|max| bytes > header && bytes + record > max)
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl RotatedFile {
    /// Opens it; a new file gets `header`.
    pub(crate) fn open(file: &LogFile, header: &'static [u8]) -> Result<Self> {
        let failed = || format!("open log file `{}`", file.path.display());
        let opened = open(&file.path).failing(FailureKind::LogDriver, failed)?;
        let bytes = opened.metadata().failing(FailureKind::LogDriver, failed)?.len();
        let mut log = Self {
            file: opened,
            path: file.path.clone(),
            bytes,
            bytes_max: file.max_bytes,
            files_max: file.max_files.max(1),
            header,
            torn: false,
            compress: file.compress,
            compressing: None,
        };
        if bytes == 0 {
            log.write(header).failing(FailureKind::LogDriver, failed)?;
        }
        Ok(log)
    }

    /// Appends one record, whole or not at all.
    pub(crate) fn append(&mut self, record: &[u8]) -> std::io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        let header = self.header.len() as u64;
        if must_rotate(self.bytes, record.len() as u64, self.bytes_max, header) {
            self.rotate()?;
        }
        self.write(record)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = self.file.set_len(self.bytes).is_err();
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        if self.files_max == 1 {
            self.file.set_len(0)?;
        } else {
            self.settle();
            let numbered =
                |number: u32, end: &str| with_suffix(&self.path, &format!(".{number}{end}"));
            // Each file has one of both names, or both when somebody was killed: both move.
            for end in ["", SUFFIX] {
                let _absent = std::fs::remove_file(numbered(self.files_max - 1, end));
                for number in (1..self.files_max - 1).rev() {
                    let _absent = std::fs::rename(numbered(number, end), numbered(number + 1, end));
                }
            }
            std::fs::rename(&self.path, numbered(1, ""))?;
            self.file = open(&self.path)?;
            if self.compress {
                // Without it the file stays as it is, and can be read.
                self.compressing = Compression::begin(&numbered(1, "")).ok();
            }
        }
        self.bytes = 0;
        let header = self.header;
        self.write(header)
    }

    /// Waits for the compression that goes on.
    fn settle(&mut self) {
        if let Some(compressing) = self.compressing.take() {
            compressing.wait();
        }
    }
}

/// Nothing works on the files of a container that has ended: they may be removed.
impl Drop for RotatedFile {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_decisions() {
        assert!(!must_rotate(0, 500, Some(100), 0), "a file has at least one record");
        assert!(!must_rotate(90, 10, Some(100), 0));
        assert!(must_rotate(91, 10, Some(100), 0));
        assert!(!must_rotate(u64::MAX / 2, 10, None, 0));
    }

    #[test]
    fn compressed_files_move_and_go_as_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let file = LogFile { path, max_bytes: Some(4), max_files: 3, compress: true };
        let mut log = RotatedFile::open(&file, b"").unwrap();
        for record in ["aaaa", "bbbb", "cccc", "dd"] {
            log.append(record.as_bytes()).unwrap();
        }
        drop(log);
        let mut names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1.gz", "log.2.gz"]);
    }

    #[test]
    fn keeps_the_newest_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let file = LogFile { path, max_bytes: Some(4), max_files: 3, compress: false };
        let mut log = RotatedFile::open(&file, b"").unwrap();
        for record in ["aaaa", "bbbb", "cccc", "dd"] {
            log.append(record.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        let found = ["log", "log.1", "log.2", "log.3"].map(read);
        assert_eq!(
            found,
            [Some("dd".into()), Some("cccc".into()), Some("bbbb".into()), None::<String>]
        );
    }
}
