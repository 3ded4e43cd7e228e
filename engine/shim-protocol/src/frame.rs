//! Length-prefixed JSON frames: encoding, and a decoder that is fed bytes. Pure.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest body of a frame, in bytes: an exec with the kernel's largest environment (2 MiB) fits.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// Why a frame could not be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The length prefix is beyond the limit; the connection is lost.
    #[error("frame of {bytes} bytes is longer than the limit of {FRAME_BYTES_MAX} bytes")]
    TooLong {
        /// Announced length.
        bytes: usize,
    },
    /// The body is not the JSON that was expected.
    #[error("failed to decode a frame")]
    Decode(#[source] serde_json::Error),
    /// The value has no JSON form.
    #[error("failed to encode a frame")]
    Encode(#[source] serde_json::Error),
}

/// Encodes `value` as one frame.
///
/// # Errors
/// When the value has no JSON form or is longer than [`FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value).map_err(Error::Encode)?;
    let bytes = frame.len() - 4;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let length = length.ok_or(Error::TooLong { bytes })?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Parses the body of a frame.
///
/// # Errors
/// When the body is not the JSON of a `T`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(Error::Decode)
}

/// Collects received bytes and hands out whole frame bodies.
#[derive(Debug, Default)]
pub struct Decoder {
    received: Vec<u8>,
}

impl Decoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Takes the next whole frame's body, if there is one.
    ///
    /// # Errors
    /// When the announced length is beyond the limit.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(prefix) = self.received.first_chunk::<4>() else { return Ok(None) };
        let bytes = u32::from_be_bytes(*prefix) as usize;
        if bytes > FRAME_BYTES_MAX {
            return Err(Error::TooLong { bytes });
        }
        if self.received.len() < 4 + bytes {
            return Ok(None);
        }
        let rest = self.received.split_off(4 + bytes);
        let mut frame = std::mem::replace(&mut self.received, rest);
        frame.drain(..4);
        Ok(Some(frame))
    }

    /// Gives the bytes that followed the last frame: the start of the stream after an upgrade.
    pub fn into_rest(self) -> Vec<u8> {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let mut wire = encode(&"one").unwrap();
        wire.extend(encode(&"two").unwrap());
        wire.extend(b"raw");
        for split in 0..wire.len() {
            let mut decoder = Decoder::default();
            let mut bodies = Vec::new();
            for part in [&wire[..split], &wire[split..]] {
                decoder.push(part);
                while let Some(body) = decoder.next_frame().unwrap() {
                    bodies.push(decode::<String>(&body).unwrap());
                }
            }
            assert_eq!(bodies, ["one", "two"], "split at {split}");
            assert_eq!(decoder.into_rest(), b"raw");
        }
    }

    #[test]
    fn absurd_length_is_refused_before_the_body_arrives() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 4]);
        assert!(matches!(decoder.next_frame(), Err(Error::TooLong { bytes: 0xffff_ffff })));
    }
}
