//! Reads a tar stream entry by entry: ustar, GNU (long names, sparse) and PAX (all records that matter).
//!
//! Own reader, because the file systems made here need what the `tar` crate's does not give: extended
//! attributes, nanoseconds and holes, with bounds on every header.
//!
//! Source: POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual "Storing Sparse Files".

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::limits::{Exceeded, Limits};
use super::pax::Pax;

pub(crate) const BLOCK: usize = 512;
/// Extended headers hold names and attributes; Linux allows 64 KiB for each value.
const HEADER_BYTES_MAX: u64 = 4 << 20;

/// An archive that is not well-formed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading, or decoding, failed.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// It ends in the middle.
    #[error("the archive is truncated")]
    Truncated,
    /// A header is damaged.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    /// A number in a header makes no sense.
    #[error("the archive is damaged: bad number in a header")]
    Number(#[source] io::Error),
    /// A bound was passed.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry. Its data is then read from the [`TarReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Apparent size of a file.
    pub(crate) size: u64,
    /// Pieces of a sparse file that have data: offset and length.
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
}

/// The reader. It reads the data of the current entry; what is left of it is skipped by [`Self::next_entry`].
pub(crate) struct TarReader<R> {
    input: R,
    limits: Limits,
    /// Bytes left of the current entry's data.
    left: u64,
    /// Bytes after the data, up to the next block.
    padding: u64,
    entries: u64,
    global: Pax,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R, limits: Limits) -> Self {
        Self { input, limits, left: 0, padding: 0, entries: 0, global: Pax::default() }
    }

    /// The input, standing behind the last entry read.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut pax = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_data()?;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            if !matches!(
                kind,
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            ) {
                self.entries += 1;
                if self.entries > self.limits.entries_max {
                    return Err(Exceeded::Entries(self.limits.entries_max).into());
                }
                let Some(entry) = self.entry(header, &pax, long_name.take(), long_link.take())?
                else {
                    pax = self.global.clone();
                    continue;
                };
                return Ok(Some(entry));
            }
            let bytes = self.extended(header)?;
            match kind {
                EntryType::GNULongName => long_name = Some(until_nul(&bytes).to_vec()),
                EntryType::GNULongLink => long_link = Some(until_nul(&bytes).to_vec()),
                EntryType::XHeader => pax.parse(&bytes)?,
                _ => self.global.parse(&bytes)?,
            }
        }
    }

    /// Decodes the header of an entry that makes something; `None` for kinds that make nothing.
    fn entry(
        &mut self,
        header: &Header,
        pax: &Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Option<Entry>, Error> {
        let stored = match pax.size {
            Some(size) => size,
            None => header.entry_size().map_err(Error::Number)?,
        };
        let path =
            pax.path.clone().or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.clone().or(long_link);
        let link = link.or_else(|| header.link_name_bytes().map(|b| b.into_owned()));
        let kind = match header.entry_type() {
            // Old archives mark directories by a slash only.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::CharDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            _ => {
                self.set_data(stored);
                return Ok(None);
            }
        };
        // Only files have data; some writers set a size on links, which means nothing.
        self.set_data(if kind == Kind::File { stored } else { 0 });
        let old = header.as_old();
        let id =
            |value: u64| u32::try_from(value).map_err(|_| Error::Damaged("owner beyond 32 bits"));
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => (
                header.device_major().map_err(Error::Number)?.unwrap_or(0),
                header.device_minor().map_err(Error::Number)?.unwrap_or(0),
            ),
            _ => (0, 0),
        };
        let mut entry = Entry {
            path: pax.sparse.name.clone().unwrap_or(path),
            link: link.unwrap_or_default(),
            kind,
            mode: u32::try_from(numeric(&old.mode)? & 0o7777).expect("twelve bits"),
            uid: id(pax.uid.map_or_else(|| numeric(&old.uid), Ok)?)?,
            gid: id(pax.gid.map_or_else(|| numeric(&old.gid), Ok)?)?,
            mtime: pax.mtime.map_or_else(|| header_mtime(header), Ok)?,
            device,
            xattrs: pax.xattrs.clone(),
            size: self.left,
            pieces: None,
        };
        if kind == Kind::File {
            self.sparse(header, pax, &mut entry)?;
        }
        if entry.size > self.limits.bytes_max {
            return Err(Exceeded::Bytes(self.limits.bytes_max).into());
        }
        Ok(Some(entry))
    }

    /// Reads the map of a sparse file, in whichever of the four formats.
    fn sparse(&mut self, header: &Header, pax: &Pax, entry: &mut Entry) -> Result<(), Error> {
        let pieces = if header.entry_type() == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or(Error::Damaged("sparse entry without GNU header"))?;
            entry.size = gnu.real_size().map_err(Error::Number)?;
            self.old_gnu_map(gnu)?
        } else if pax.sparse.major == Some(1) {
            entry.size = pax.sparse.real_size.ok_or(Error::Damaged("sparse file without size"))?;
            self.map_in_data()?
        } else if let Some(map) = &pax.sparse.map {
            entry.size = pax.sparse.real_size.ok_or(Error::Damaged("sparse file without size"))?;
            map.clone()
        } else {
            return Ok(());
        };
        check_pieces(&pieces, entry.size, self.left)?;
        entry.pieces = Some(pieces);
        Ok(())
    }

    fn old_gnu_map(&mut self, gnu: &tar::GnuHeader) -> Result<Vec<(u64, u64)>, Error> {
        let mut pieces = Vec::new();
        let mut more = gnu.is_extended();
        add_pieces(&gnu.sparse, &mut pieces)?;
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            read_exact(&mut self.input, block.as_mut_bytes())?;
            add_pieces(block.sparse(), &mut pieces)?;
            more = block.is_extended();
            check_map_length(&pieces)?;
        }
        Ok(pieces)
    }

    /// PAX sparse 1.0: the map precedes the data, decimal lines padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<(u64, u64)>, Error> {
        let mut block = [0; BLOCK];
        let mut position = BLOCK;
        let mut number = |reader: &mut Self| -> Result<u64, Error> {
            let mut value: u64 = 0;
            for _ in 0..21 {
                if position == BLOCK {
                    reader.read_data(&mut block)?;
                    position = 0;
                }
                let digit = block[position];
                position += 1;
                match digit {
                    b'\n' => return Ok(value),
                    b'0'..=b'9' => {
                        value = value
                            .checked_mul(10)
                            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                            .ok_or(Error::Damaged("number too large in a sparse map"))?;
                    }
                    _ => return Err(Error::Damaged("no number in a sparse map")),
                }
            }
            Err(Error::Damaged("number too long in a sparse map"))
        };
        let count = number(self)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((number(self)?, number(self)?));
            check_map_length(&pieces)?;
        }
        Ok(pieces)
    }

    /// Fills `buffer` from the current entry's data.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.left < buffer.len() as u64 {
            return Err(Error::Damaged("an entry's data is shorter than it says"));
        }
        read_exact(&mut self.input, buffer)?;
        self.left -= buffer.len() as u64;
        Ok(())
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        let count = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink());
        if skipped.map_err(Error::Read)? < count {
            return Err(Error::Truncated);
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// A header with a right checksum; `None` at the end: a block of zeros, or the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        match read_some(&mut self.input, &mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(Error::Truncated),
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum();
        if numeric(&block[148..156]).ok() != Some(u64::from(sum + 8 * u32::from(b' '))) {
            return Err(Error::Damaged("a header's checksum is wrong"));
        }
        Ok(Some(block))
    }

    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.entry_size().map_err(Error::Number)?;
        if size > HEADER_BYTES_MAX {
            return Err(Exceeded::Header(HEADER_BYTES_MAX).into());
        }
        self.set_data(size);
        let mut bytes = vec![0; usize::try_from(size).expect("4 MiB fit")];
        self.read_data(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, Error::Truncated));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn header_mtime(header: &Header) -> Result<(i64, u32), Error> {
    let seconds = numeric(&header.as_old().mtime)?;
    Ok((i64::try_from(seconds).map_err(|_| Error::Damaged("time out of range"))?, 0))
}

/// A number of a header: octal, GNU's base 256, or blank for zero, as several writers leave it.
fn numeric(field: &[u8]) -> Result<u64, Error> {
    let bad = || Error::Damaged("bad number in a header");
    if field[0] & 0x80 != 0 {
        let (high, low) = field[1..].split_at((field.len() - 1).saturating_sub(8));
        if field[0] != 0x80 || high.iter().any(|byte| *byte != 0) {
            return Err(bad());
        }
        return Ok(low.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    }
    let text = std::str::from_utf8(until_nul(field)).map_err(|_| bad())?.trim_matches(' ');
    if text.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(text, 8).map_err(|_| bad())
}

fn add_pieces(from: &[tar::GnuSparseHeader], to: &mut Vec<(u64, u64)>) -> Result<(), Error> {
    for piece in from.iter().take_while(|piece| !piece.is_empty()) {
        let offset = piece.offset().map_err(Error::Number)?;
        to.push((offset, piece.length().map_err(Error::Number)?));
    }
    Ok(())
}

fn check_map_length(pieces: &[(u64, u64)]) -> Result<(), Error> {
    if pieces.len() as u64 * 16 > HEADER_BYTES_MAX {
        return Err(Exceeded::Header(HEADER_BYTES_MAX).into());
    }
    Ok(())
}

/// Pieces must be in order, within the file, and be all of the data.
fn check_pieces(pieces: &[(u64, u64)], size: u64, stored: u64) -> Result<(), Error> {
    let (mut end, mut sum) = (0, 0_u64);
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
        end = next.ok_or(Error::Damaged("a sparse map is not in order"))?;
        sum += length;
    }
    if sum != stored {
        return Err(Error::Damaged("a sparse map does not fit its data"));
    }
    Ok(())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn read_exact(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), Error> {
    let wanted = buffer.len();
    if read_some(input, buffer)? < wanted { Err(Error::Truncated) } else { Ok(()) }
}

/// Reads until `buffer` is full or the input ends.
fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    Ok(filled)
}

impl<R> std::fmt::Debug for TarReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarReader").field("entries", &self.entries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::numeric;

    #[test]
    fn numbers_are_octal_binary_or_blank() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x80\0\0\0\0\x2d\xc6\xc0", Some(3_000_000)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\x01\0\0\0\0\0\0\0\0\x01\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12x4567\0", None),
            (b"-1\0\0\0\0\0\0", None),
        ] {
            assert_eq!(numeric(field).ok(), expected, "{field:?}");
        }
    }
}
