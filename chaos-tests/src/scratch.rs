//! Directories of tests, with what hangs on them: labs, daemons, mounts, namespaces.
//!
//! Each is removed when it is dropped, or when the process is interrupted. What a process that was killed left is found by
//! its number, which is part of the name, and removed by the next process that wants a directory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::command::{command, stdout};
use crate::lab::Lab;
use crate::leaks;

/// Names are `q`, the process, `-`, a number: short, because sockets of containers live beneath.
const PREFIX: char = 'q';
/// File of a directory whose host has a network namespace and a cgroup of this name.
pub const NETNS: &str = "netns";
/// File of every directory of ours: nothing else beneath the directory for temporary files is touched.
const MARK: &str = ".shoal-test";
/// Held while something is made that outlives the process; for good once the process is to end.
static GOING: RwLock<()> = RwLock::new(());
/// As a shell says it.
const INTERRUPTED: i32 = 130;

/// A directory. Removed with everything in it when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory. The first one of a process removes what former processes left.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        static FIRST: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = std::process::id();
        FIRST.call_once(|| {
            // A former process may have had our number.
            directories(|owner| owner == own || !is_alive(owner)).iter().for_each(|one| clear(one));
            clear_when_interrupted();
        });
        let name = format!("{PREFIX}{own:x}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .and_then(|()| std::fs::write(path.join(MARK), ""))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// The process that a directory of this name belongs to; `None`: it is not ours.
fn owner(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    u32::from_str_radix(number, 16).ok()?;
    u32::from_str_radix(process, 16).ok()
}

fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn directories(is_chosen: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let chosen = entries.filter(|entry| {
        entry.file_name().to_str().and_then(owner).is_some_and(&is_chosen)
            && entry.path().join(MARK).exists()
    });
    chosen.map(|entry| entry.path()).collect()
}

/// Removes a directory with everything that hangs on it; what does not go is told.
fn clear(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let places = entries.map(|entry| entry.path()).chain([directory.to_owned()]);
    for path in places.filter(|path| path.join("hosts").exists()) {
        if let Err(error) = Lab::open(&path).and_then(|lab| lab.down()) {
            eprintln!("the lab in {} was not removed: {error:#}", path.display());
        }
    }
    if let Ok(name) = std::fs::read_to_string(directory.join(NETNS)) {
        leaks::clear(&name, directory);
        drop(stdout(command("ip").args(["netns", "delete", &name])));
    }
    leaks::unmount(directory);
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("{} was not removed: {error}", directory.display());
    }
}

/// Ends this process at SIGINT and SIGTERM, without its directories.
#[expect(clippy::exit, reason = "a test knows nothing of signals: nobody else would end it")]
fn clear_when_interrupted() {
    std::thread::spawn(|| {
        if let Err(error) = await_interruption() {
            eprintln!("nothing is removed when this is interrupted: {error}");
            return;
        }
        // Nobody makes anything while and after all is removed.
        let _over = GOING.write().unwrap_or_else(PoisonError::into_inner);
        let own = std::process::id();
        directories(|owner| owner == own).iter().for_each(|one| clear(one));
        std::process::exit(INTERRUPTED);
    });
}

/// What is made while this is held is removed when the process is interrupted. Waits for ever once that is done.
pub fn uninterrupted() -> RwLockReadGuard<'static, ()> {
    GOING.read().unwrap_or_else(PoisonError::into_inner)
}

fn await_interruption() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_whose_it_is() {
        assert_eq!(owner("q1f-0"), Some(31));
        assert_eq!(owner("q1f-"), None);
        assert_eq!(owner("qemu-1"), None);
        assert_eq!(owner(".tmpAbC"), None);
        let made = Scratch::new().unwrap();
        let name = made.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(owner(name), Some(std::process::id()));
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let mut dead = command("true").spawn().unwrap();
        dead.wait().unwrap();
        let left = std::env::temp_dir().join(format!("{PREFIX}{:x}-0", dead.id()));
        std::fs::create_dir_all(left.join("some")).unwrap();
        let sleeper = left.join("sleep");
        std::fs::copy("/bin/busybox", &sleeper).unwrap();
        // A process that names the directory, as daemons and shims do, and a mount beneath.
        let mut process = command(&sleeper).arg("1000").spawn().unwrap();
        let some = left.join("some").display().to_string();
        stdout(command("mount").args(["-t", "tmpfs", "none", &some])).unwrap();
        std::fs::write(left.join(NETNS), "no-such-namespace").unwrap();
        clear(&left);
        assert!(!left.exists());
        assert!(!process.wait().unwrap().success());
    }
}
