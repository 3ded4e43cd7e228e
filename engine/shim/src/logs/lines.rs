//! Output → lines, split at 16 KiB as docker does. Pure.

/// Longest piece of a line in one record.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes output; calls `each` with every piece and whether its line goes on.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], bool)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.unfinished.len();
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    self.unfinished.extend_from_slice(&bytes[..end]);
                    each(&self.unfinished, false);
                    self.unfinished.clear();
                    bytes = &bytes[end + 1..];
                }
                None if bytes.len() > room => {
                    self.unfinished.extend_from_slice(&bytes[..room]);
                    each(&self.unfinished, true);
                    self.unfinished.clear();
                    bytes = &bytes[room..];
                }
                None => {
                    self.unfinished.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
        if self.unfinished.is_empty() && self.unfinished.capacity() > 4096 {
            self.unfinished = Vec::new();
        }
    }

    /// The stream ended: what is left is a line, without a newline.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8], bool)) {
        if !self.unfinished.is_empty() {
            each(&std::mem::take(&mut self.unfinished), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<(usize, bool)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece, |line, partial| out.push((line.len(), partial)));
        }
        lines.finish(|line, partial| out.push((line.len(), partial)));
        out
    }

    #[test]
    fn lines_and_long_lines() {
        assert_eq!(
            split(&[b"a", b"b\n\nc\n", b"rest"]),
            [(2, false), (0, false), (1, false), (4, true)]
        );
        let mut long = vec![b'x'; LINE_BYTES_MAX];
        long.push(b'\n');
        assert_eq!(split(&[&long]), [(LINE_BYTES_MAX, false)]);
        long.insert(0, b'x');
        assert_eq!(split(&[&long]), [(LINE_BYTES_MAX, true), (1, false)]);
    }
}
