//! Frames: how records lie in a file, and how a torn one is told from a damaged one. Pure.
//!
//! A frame is magic (4 bytes), length of the payload (4, little endian), CRC-32 of length and payload (4),
//! payload. The magic only serves to find a frame behind a damaged one.

/// First bytes of each frame.
const MAGIC: [u8; 4] = *b"\xf5Shl";
/// Bytes before the payload.
pub(crate) const HEADER: usize = 12;

/// Appends a frame around `payload` to `file`.
pub(crate) fn encode(payload: &[u8], file: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("records are bounded by limits::RECORD_BYTES");
    file.reserve(HEADER + payload.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&checksum(length, payload).to_le_bytes());
    file.extend_from_slice(payload);
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// What lies at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At<'a> {
    /// The end of the file.
    End,
    /// A frame whose checksum fits, and the offset behind it.
    Frame {
        /// Its payload.
        payload: &'a [u8],
        /// Where the next frame begins.
        next: usize,
    },
    /// No valid frame here or behind: a write that was interrupted.
    Torn,
    /// No valid frame here, but one at this offset: what was once complete is damaged.
    Damaged {
        /// Where it goes on.
        valid: usize,
    },
}

/// Looks at `offset` of a file, no payload of which is longer than `limit`.
pub(crate) fn at(file: &[u8], offset: usize, limit: usize) -> At<'_> {
    if offset == file.len() {
        return At::End;
    }
    if let Some((payload, next)) = valid(file, offset, limit) {
        return At::Frame { payload, next };
    }
    let behind = (offset + 1..file.len()).filter(|at| file[*at] == MAGIC[0]);
    let found = behind.into_iter().find(|at| valid(file, *at, limit).is_some());
    found.map_or(At::Torn, |valid| At::Damaged { valid })
}

fn valid(file: &[u8], offset: usize, limit: usize) -> Option<(&[u8], usize)> {
    let header = file.get(offset..offset + HEADER)?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let crc = rest.first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let size = usize::try_from(length).ok().filter(|size| *size <= limit)?;
    let start = offset + HEADER;
    let payload = file.get(start..start.checked_add(size)?)?;
    let fits = *magic == MAGIC && checksum(length, payload) == u32::from_le_bytes(*crc);
    fits.then_some((payload, start + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for payload in payloads {
            encode(payload, &mut file);
        }
        file
    }

    #[test]
    fn reads_frames_one_after_another() {
        let file = file(&[b"one", b""]);
        assert_eq!(at(&file, 0, LIMIT), At::Frame { payload: b"one", next: 15 });
        assert_eq!(at(&file, 15, LIMIT), At::Frame { payload: b"", next: 27 });
        assert_eq!(at(&file, 27, LIMIT), At::End);
    }

    #[test]
    fn every_truncation_of_the_last_frame_is_torn() {
        let whole = file(&[b"one", b"two"]);
        for length in 16..whole.len() {
            assert_eq!(at(&whole[..length], 15, LIMIT), At::Torn, "length {length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_before_a_valid_frame_and_torn_at_the_end() {
        let whole = file(&[b"one", b"two"]);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < 15 {
                assert_eq!(at(&changed, 0, LIMIT), At::Damaged { valid: 15 }, "bit {bit}");
            } else {
                assert_eq!(at(&changed, 15, LIMIT), At::Torn, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_payload_over_the_limit_is_no_frame() {
        assert_eq!(at(&file(&[b"long"]), 0, 3), At::Torn);
    }
}
