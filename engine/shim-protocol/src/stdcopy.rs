//! Docker's multiplexed stream: one header of eight bytes before each piece of output. Pure.
//!
//! Source: moby `api/pkg/stdcopy/stdcopy.go`.

/// Which stream of a process.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// File descriptor 1, and everything of a terminal.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// The stream's number in the header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// The name docker uses in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Makes the header of a piece of `length` bytes.
pub const fn header(stream: Stream, length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream.number(), 0, 0, 0, a, b, c, d]
}

/// Reads a header back: the stream and the length of the piece. `None` for foreign numbers.
pub const fn parse_header(header: [u8; 8]) -> Option<(Stream, u32)> {
    let [number, _, _, _, a, b, c, d] = header;
    let stream = match number {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    Some((stream, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes() {
        assert_eq!(header(Stream::Stderr, 0x0102), [2, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(parse_header(header(Stream::Stdout, 7)), Some((Stream::Stdout, 7)));
        assert_eq!(parse_header([9; 8]), None);
    }
}
