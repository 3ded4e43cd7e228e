//! Directories on their way out: renamed at once, removed later by a thread of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use shoal_base::random::{Random as _, SystemRandom};

/// The trash of one snapshot store. Its thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Trash {
    directory: PathBuf,
    wake: SyncSender<()>,
}

impl Trash {
    /// Opens the trash and begins to empty what an earlier run left.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        // One pending wake-up is enough: each empties all.
        let (wake, woken) = sync_channel(1);
        let emptied = directory.clone();
        std::thread::Builder::new()
            .name("shoal-trash".to_owned())
            .spawn(move || run(&emptied, &woken))?;
        let trash = Self { directory, wake };
        trash.notify();
        Ok(trash)
    }

    /// Takes a directory away; it is gone from its place on return. Absent is fine.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        let mut name = [0; 8];
        SystemRandom.fill(&mut name);
        let target = self.directory.join(format!("{:016x}", u64::from_ne_bytes(name)));
        match std::fs::rename(path, target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => {
                self.notify();
                other
            }
        }
    }

    fn notify(&self) {
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => {
                tracing::error!("the trash is not emptied any more: its thread died");
            }
        }
    }
}

fn run(directory: &Path, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        if let Err(error) = empty(directory) {
            // Kept for the next wake-up; at the latest the next start tries again.
            tracing::warn!(%error, directory = %directory.display(), "failed to empty the trash");
        }
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    let mut failed = None;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed = Some(error),
            Ok(()) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}
