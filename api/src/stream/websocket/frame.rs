//! Frames of a websocket, and the proof of its handshake. Pure.
//!
//! Source: RFC 6455 §1.3, §5.2; RFC 3174 for SHA-1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest frame that a client may send.
pub(super) const PAYLOAD_MAX: usize = 1 << 20;
/// Longest head of a frame.
const HEAD_MAX: usize = 14;
/// What every server appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, binary, or the continuation of either.
    Data,
    Close,
    Ping,
    Pong,
}

/// A frame that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

/// A client breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes frames out of what was received; `None`: the next one is not whole.
pub(super) fn take(received: &mut Vec<u8>) -> Result<Option<Frame>, Malformed> {
    let [first, second, rest @ ..] = received.as_slice() else { return Ok(None) };
    // Clients mask what they send.
    if second & 0x80 == 0 || first & 0x70 != 0 {
        return Err(Malformed);
    }
    let kind = match first & 0x0f {
        0..=2 => Kind::Data,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        _ => return Err(Malformed),
    };
    let (extended, length) = match second & 0x7f {
        126 => {
            (2, rest.get(..2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))))
        }
        127 => {
            let bytes = rest.get(..8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
            (8, bytes.map(|bytes| usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)))
        }
        short => (0, Some(usize::from(short))),
    };
    let Some(length) = length else { return Ok(None) };
    if length > PAYLOAD_MAX {
        return Err(Malformed);
    }
    let head = 2 + extended + 4;
    debug_assert!(head <= HEAD_MAX);
    if received.len() < head + length {
        return Ok(None);
    }
    let mask = [0, 1, 2, 3].map(|at| received[head - 4 + at]);
    let masked = &received[head..head + length];
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    received.drain(..head + length);
    Ok(Some(Frame { kind, payload }))
}

/// A frame of the server: whole and not masked.
pub(super) fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let opcode = match kind {
        Kind::Data => 2,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    };
    let mut frame = Vec::with_capacity(HEAD_MAX + payload.len());
    frame.push(0x80 | opcode);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The answer to a client's key.
pub(super) fn accept(key: &str) -> String {
    STANDARD.encode(sha1(format!("{key}{GUID}").as_bytes()))
}

/// No security rests on it here: it shows that the server understood the request.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for at in 16..80 {
            let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words[at] = mixed.rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (mixed, constant) = match at {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
            let next = next.wrapping_add(constant).wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (value, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *value = value.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (bytes, value) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // Lengths around the end of a block, against sha1sum.
        let hex = |length: usize| {
            sha1(&vec![b'a'; length]).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hex(0), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(55), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
        assert_eq!(hex(56), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
        assert_eq!(hex(64), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    }

    #[test]
    fn frames_of_clients() {
        // "Hello", masked, from the RFC; then a ping without payload, and half a frame.
        let mut received = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        received.extend([0x89, 0x80, 1, 2, 3, 4, 0x82, 0xfe, 0]);
        let hello = Frame { kind: Kind::Data, payload: b"Hello".to_vec() };
        assert_eq!(take(&mut received), Ok(Some(hello)));
        assert_eq!(take(&mut received), Ok(Some(Frame { kind: Kind::Ping, payload: Vec::new() })));
        assert_eq!(take(&mut received), Ok(None));
        assert_eq!(received, [0x82, 0xfe, 0]);
        for malformed in [&[0x81, 5][..], &[0x83, 0x80], &[0x82, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(take(&mut malformed.to_vec()), Err(Malformed));
        }
    }

    #[test]
    fn frames_of_the_server() {
        assert_eq!(encode(Kind::Data, b"Hi"), [0x82, 2, b'H', b'i']);
        assert_eq!(encode(Kind::Close, b""), [0x88, 0]);
        assert_eq!(encode(Kind::Data, &[7; 126])[..5], [0x82, 126, 0, 126, 7]);
        assert_eq!(
            encode(Kind::Data, &vec![7; 65536])[..11],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0, 7]
        );
    }
}
