//! Frames that keep stdout and stderr apart on one stream.
//!
//! Source: Engine API, "Stream format": one byte stream, three zero bytes, length as 32 bits big-endian.

use bytes::{BufMut as _, Bytes, BytesMut};
use shoal_model::Failure;
use shoal_model::container::{Output, OutputKind};

/// Content type of raw streams.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// Content type of framed streams, since 1.42.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Bytes in one frame at most, so that the length always fits.
const PAYLOAD_MAX: usize = 1 << 24;

/// The bytes to send for `output`: in frames, or as they are.
pub(crate) fn encode(output: Output, framed: bool) -> Bytes {
    if !framed {
        return Bytes::from(output.bytes);
    }
    let kind = match output.kind {
        OutputKind::Stdout => 1,
        OutputKind::Stderr => 2,
    };
    frames(kind, &output.bytes)
}

/// The bytes to send for what went wrong while a log was read: clients give up at such a frame.
///
/// Source: moby `WriteLogStream`.
pub(crate) fn log_failure(failure: &Failure, framed: bool) -> Bytes {
    let text = format!("Error grabbing logs: {failure}\n");
    if framed { frames(3, text.as_bytes()) } else { Bytes::from(text) }
}

fn frames(kind: u8, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 8);
    for payload in bytes.chunks(PAYLOAD_MAX) {
        out.put_slice(&[kind, 0, 0, 0]);
        out.put_u32(u32::try_from(payload.len()).expect("chunks are smaller than 2^32"));
        out.put_slice(payload);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_raw() {
        let output = || Output { kind: OutputKind::Stderr, bytes: b"ab".to_vec() };
        assert_eq!(&encode(output(), true)[..], b"\x02\0\0\0\0\0\0\x02ab");
        assert_eq!(&encode(output(), false)[..], b"ab");
        let failure = Failure::invalid("x");
        let framed = &log_failure(&failure, true)[..];
        assert_eq!(framed, b"\x03\0\0\0\0\0\0\x17Error grabbing logs: x\n");
        assert_eq!(&log_failure(&failure, false)[..], b"Error grabbing logs: x\n");
    }
}
