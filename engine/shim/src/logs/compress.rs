//! Compression of a rotated log file, by a process of its own, so that output goes on meanwhile. Effects.
//!
//! The file is there under its plain name until the compressed one is whole: whoever is killed at whatever moment,
//! the log can be read. A reader that finds both takes the plain one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::sys::{self, Forked};

/// Suffix of a compressed file.
pub(crate) const SUFFIX: &str = ".gz";
/// Suffix of one that is not whole.
const UNFINISHED: &str = ".gz.tmp";

/// A compression that goes on.
#[derive(Debug)]
pub(crate) struct Compression {
    process: OwnedFd,
}

impl Compression {
    /// Begins to compress the file `rotated`.
    pub(crate) fn begin(rotated: &Path) -> io::Result<Self> {
        let pid = match sys::fork()? {
            Forked::Child => sys::exit_now(i32::from(compress(rotated).is_err())),
            Forked::Parent(pid) => pid,
        };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process has no id"))?;
        // It is not reaped before this program's loop goes on, so the id is still its own.
        Ok(Self { process: rustix::process::pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Waits for its end. Whether it succeeded, the files say.
    pub(crate) fn wait(self) {
        let mut ends = [PollFd::new(&self.process, PollFlags::IN)];
        while rustix::event::poll(&mut ends, None) == Err(rustix::io::Errno::INTR) {}
    }
}

fn compress(rotated: &Path) -> io::Result<()> {
    let unfinished = with_suffix(rotated, UNFINISHED);
    let whole = write_compressed(rotated, &unfinished);
    let done = whole.and_then(|()| std::fs::rename(&unfinished, with_suffix(rotated, SUFFIX)));
    if done.is_err() {
        let _unfinished_or_absent = std::fs::remove_file(&unfinished);
        return done;
    }
    std::fs::remove_file(rotated)
}

fn write_compressed(from: &Path, to: &Path) -> io::Result<()> {
    let mut plain = File::open(from)?;
    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(to)?;
    let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
    io::copy(&mut plain, &mut encoder)?;
    let mut file = encoder.finish()?;
    file.flush()?;
    file.sync_data()
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_compressed_file_takes_the_place_of_the_plain_one() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("log.1");
        std::fs::write(&plain, "line\n".repeat(1000)).unwrap();
        // What somebody left who was killed.
        std::fs::write(directory.path().join("log.1.gz.tmp"), "half").unwrap();
        Compression::begin(&plain).unwrap().wait();
        let names = std::fs::read_dir(directory.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["log.1.gz"]);
        let mut text = String::new();
        let file = File::open(directory.path().join("log.1.gz")).unwrap();
        assert!(file.metadata().unwrap().len() < 500);
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line\n".repeat(1000));
    }

    #[test]
    fn a_file_that_cannot_be_compressed_stays() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("log.1");
        std::fs::write(&plain, "line\n").unwrap();
        std::fs::create_dir(directory.path().join("log.1.gz")).unwrap();
        Compression::begin(&plain).unwrap().wait();
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), "line\n");
        assert!(!directory.path().join("log.1.gz.tmp").exists());
    }
}
