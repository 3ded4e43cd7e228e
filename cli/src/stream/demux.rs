//! The frames in which standard output and error share a stream. Pure.

use crate::sys;

/// Where a piece of output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Out,
    Err,
    /// An error of the daemon within the stream.
    System,
}

/// Takes frames apart: type, three zero bytes, length in big endian, payload.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    header: Vec<u8>,
    left: usize,
    target: Option<Target>,
}

impl Demux {
    /// The pieces of output in `data`, in order.
    pub(crate) fn feed<'a>(&mut self, mut data: &'a [u8]) -> Vec<(Target, &'a [u8])> {
        let mut pieces = Vec::new();
        while !data.is_empty() {
            if self.left == 0 {
                let (head, rest) = data.split_at(data.len().min(8 - self.header.len()));
                self.header.extend_from_slice(head);
                data = rest;
                if let [kind, _, _, _, a, b, c, d] = self.header[..] {
                    let length = u32::from_be_bytes([a, b, c, d]);
                    self.left = usize::try_from(length).unwrap_or(usize::MAX);
                    self.target = Some(match kind {
                        2 => Target::Err,
                        3 => Target::System,
                        _ => Target::Out,
                    });
                    self.header.clear();
                }
                continue;
            }
            let (piece, rest) = data.split_at(data.len().min(self.left));
            self.left -= piece.len();
            data = rest;
            pieces.push((self.target.unwrap_or(Target::Out), piece));
        }
        pieces
    }

    /// Writes the output in `data` where it belongs.
    pub(crate) fn write(&mut self, data: &[u8]) {
        for (target, piece) in self.feed(data) {
            match target {
                Target::Out => sys::out(piece),
                Target::Err => sys::err(piece),
                Target::System => {
                    sys::err("error from daemon in stream: ");
                    sys::err(piece);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_be_cut_anywhere() {
        let bytes = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x02de";
        for cut in 0..bytes.len() {
            let mut demux = Demux::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                for (target, piece) in demux.feed(part) {
                    if target == Target::Out { out.extend(piece) } else { err.extend(piece) }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"abc"[..], &b"de"[..]), "cut at {cut}");
        }
    }
}
