//! What decides which files survive a crash: small ones that are replaced whole, and logs that grow.
//!
//! Blocking; call it from [`crate::blocking::run`] unless a file is a few kilobytes. [`MemoryDisk`] is one that fills up,
//! fails, and loses what was not synced.

mod memory;
mod stream;
mod system;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use memory::MemoryDisk;
pub use stream::{Appended, Sequential};
pub use system::SystemDisk;

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

    /// Makes a directory and those above it; one that is there is fine.
    ///
    /// # Errors
    /// The operating system's.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// Names of the files in a directory, in order.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in its directory, over one that has it; durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes an empty file, or empties one; that it is there is durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists, to read and write.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
}

/// An open file.
pub trait DiskFile: Debug + Send + 'static {
    /// Writes all of `bytes` at `offset`; durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// The operating system's; some of the bytes may be written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads at `offset`; zero: the file ends there.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Bytes in it.
    ///
    /// # Errors
    /// The operating system's.
    fn size(&self) -> io::Result<u64>;

    /// Cuts or extends it, with zeros; durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// The operating system's.
    fn set_size(&mut self, size: u64) -> io::Result<()>;

    /// Makes content and size durable.
    ///
    /// # Errors
    /// The operating system's. What was written since the last success may or may not survive.
    fn sync(&mut self) -> io::Result<()>;
}

/// A disk shared by many owners.
pub type SharedDisk = Arc<dyn Disk>;

/// Whether an operation failed for want of room, and may succeed when there is some.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Suffix of files being written; whoever owns a directory removes such files at start.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Unique in the process, so that two writers of one path never share a temporary file.
fn temporary_for(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}{TEMPORARY_SUFFIX}", std::process::id()));
    name.into()
}
