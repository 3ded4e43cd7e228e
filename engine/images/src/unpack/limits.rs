//! Bounds on what an archive may make of a disk.

/// How much one layer or archive may unpack to. The defaults fit every honest image known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed stream, and of each file's apparent size.
    pub bytes_max: u64,
    /// Files, directories, links and so on.
    pub entries_max: u64,
    /// Uncompressed bytes per compressed byte, once `ratio_from` bytes have come.
    pub ratio_max: u64,
    /// Uncompressed bytes below which the ratio does not matter.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 128 << 30, entries_max: 5_000_000, ratio_max: 250, ratio_from: 1 << 30 }
    }
}

/// A bound that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many bytes.
    #[error("it unpacks to more than {0} bytes")]
    Bytes(u64),
    /// Too many entries.
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// Too good a compression to be honest.
    #[error("it unpacks to more than {0} times its size")]
    Ratio(u64),
    /// An extended header larger than any name or attribute.
    #[error("an extended header has more than {0} bytes")]
    Header(u64),
}

impl Limits {
    /// Checks a stream that has made `unpacked` bytes of `packed`.
    pub(crate) fn check_stream(&self, packed: u64, unpacked: u64) -> Result<(), Exceeded> {
        if unpacked > self.bytes_max {
            return Err(Exceeded::Bytes(self.bytes_max));
        }
        if unpacked > self.ratio_from && unpacked / self.ratio_max > packed {
            return Err(Exceeded::Ratio(self.ratio_max));
        }
        Ok(())
    }
}
