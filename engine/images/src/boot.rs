//! Whether the machine itself went down since the store was last in use.
//!
//! What a process wrote survives its death in the page cache; only a machine that went down may have lost it.

use std::io;
use std::path::Path;

use shoal_base::{Disk as _, SystemDisk};

const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
const RECORD: &str = "boot";

/// What a start may assume about data that was never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The machine has not gone down: everything written is there.
    Same,
    /// It has, or nobody knows: verify what was never synced.
    New,
}

impl Boot {
    /// Compares the kernel's boot id with the one noted below `root`.
    pub(crate) fn compare(root: &Path) -> io::Result<Self> {
        let noted = SystemDisk.read(&root.join(RECORD))?;
        Ok(if noted == Some(std::fs::read(KERNEL)?) { Self::Same } else { Self::New })
    }

    /// Notes this boot below `root`; call it when recovery is complete, not before.
    pub(crate) fn note(self, root: &Path) -> io::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::New => SystemDisk.write_atomic(&root.join(RECORD), &std::fs::read(KERNEL)?),
        }
    }
}
