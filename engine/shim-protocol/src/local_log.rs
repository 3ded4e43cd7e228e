//! Format of the `local` log driver: records of a header and the bytes of one line. Pure.
//!
//! A file begins with [`MAGIC`] (its last byte is the format number). A record is
//!
//! | bytes | what |
//! |---|---|
//! | 4 | big-endian length of what follows, the trailing copy not included |
//! | 8 | time, big-endian nanoseconds since 1970 |
//! | 1 | stream: 1 stdout, 2 stderr; bit 7: partial, the line goes on in the next record of the stream |
//! | n | the line, without its newline |
//! | 4 | the length again, so that a file can be read backwards (`--tail`) |

use crate::stdcopy::Stream;

/// First bytes of a file.
pub const MAGIC: [u8; 8] = *b"SHOALLG\x01";
/// Bytes of a record besides the line.
pub const OVERHEAD: usize = 4 + 9 + 4;

const PARTIAL: u8 = 0x80;

/// One line, or a part of a long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Which stream.
    pub stream: Stream,
    /// The line goes on in the stream's next record.
    pub partial: bool,
    /// Without the newline.
    pub line: &'a [u8],
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The record at this place is not one.
    #[error("log record is malformed")]
    Malformed,
}

/// Appends `record` to `out`. Lines are far shorter than 4 GiB (the shim splits at 16 KiB).
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let length = u32::try_from(record.line.len() + 9).unwrap_or(u32::MAX);
    let flag = if record.partial { PARTIAL } else { 0 };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&record.time_ns.to_be_bytes());
    out.push(record.stream.number() | flag);
    out.extend_from_slice(record.line);
    out.extend_from_slice(&length.to_be_bytes());
}

/// Reads the record at the start of `bytes` and its whole length. `None`: not yet complete.
///
/// # Errors
/// When the bytes are no record.
pub fn decode(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, Error> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length < 9 {
        return Err(Error::Malformed);
    }
    let Some(whole) = bytes.get(..length + 8) else { return Ok(None) };
    if whole[..4] != whole[length + 4..] {
        return Err(Error::Malformed);
    }
    let time = whole[4..].first_chunk::<8>().ok_or(Error::Malformed)?;
    let stream = match whole[12] & !PARTIAL {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Err(Error::Malformed),
    };
    let partial = whole[12] & PARTIAL != 0;
    let line = &whole[13..length + 4];
    Ok(Some((Record { time_ns: i64::from_be_bytes(*time), stream, partial, line }, length + 8)))
}

/// Reads the last record of `bytes` and the place where it starts. `None`: it starts before `bytes`.
///
/// # Errors
/// When the bytes do not end with a record.
pub fn decode_last(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, Error> {
    let Some(length) = bytes.last_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    let Some(start) = bytes.len().checked_sub(length + 8) else { return Ok(None) };
    let found = decode(&bytes[start..])?;
    Ok(found.map(|(record, _)| (record, start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_forwards_and_backwards() {
        let first = Record { time_ns: 7, stream: Stream::Stdout, partial: true, line: b"long" };
        let second = Record { time_ns: 8, stream: Stream::Stderr, partial: false, line: b"" };
        let mut file = Vec::new();
        encode(&first, &mut file);
        encode(&second, &mut file);
        assert_eq!(file[..13], [0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 7, 0x81]);
        assert_eq!(decode(&file), Ok(Some((first, 4 + OVERHEAD))));
        assert_eq!(decode(&file[4 + OVERHEAD..]), Ok(Some((second, OVERHEAD))));
        assert_eq!(decode_last(&file), Ok(Some((second, 4 + OVERHEAD))));
        assert_eq!(decode_last(&file[..4 + OVERHEAD]), Ok(Some((first, 0))));
        assert_eq!(decode(&file[..10]), Ok(None));
        assert_eq!(decode(&[0, 0, 0, 1]), Err(Error::Malformed));
    }
}
