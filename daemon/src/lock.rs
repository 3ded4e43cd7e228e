//! One daemon per data root, and the file with its process id.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// How often a lock that somebody holds is tried again, and the pause between: a child that a killed daemon had
/// just forked holds its lock until it executes its program.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Held as long as the daemon lives. The kernel lets go of it when the daemon dies, however it dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a data root.
    pub(crate) fn take(data_root: &Path) -> anyhow::Result<Self> {
        let path = data_root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        let mut taken = try_lock(&file);
        for _ in 0..TRIES {
            if taken != Err(rustix::io::Errno::WOULDBLOCK) {
                break;
            }
            std::thread::sleep(PAUSE);
            taken = try_lock(&file);
        }
        match taken {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!(
                    "another daemon uses the data root `{}`; give this one its own --data-root",
                    data_root.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
        }
    }
}

fn try_lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// The file with the process id; removed when dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it. What a crashed daemon left is replaced: the lock says who is alive.
    pub(crate) fn write(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        File::create(path)
            .and_then(|mut file| write!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write the pid file `{}`", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the pid file");
        }
    }
}
