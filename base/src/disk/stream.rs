//! Files written or read from their beginning to their end.

use std::io::{self, Read, Write};

use super::DiskFile;

/// Writes a file from its beginning.
#[derive(Debug)]
pub struct Appended {
    file: Box<dyn DiskFile>,
    offset: u64,
}

impl Appended {
    /// Of an empty file.
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, offset: 0 }
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct Sequential {
    file: Box<dyn DiskFile>,
    offset: u64,
}

impl Sequential {
    /// Of a whole file.
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
