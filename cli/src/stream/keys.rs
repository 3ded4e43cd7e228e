//! Detach keys. Pure.

/// Parses `ctrl-p,ctrl-q` into bytes.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .filter(|key| !key.is_empty())
        .map(|key| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (Some(letter), _) => match letter.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                [b'@'] => Ok(0),
                [letter @ b'['..=b'_'] => Ok(letter - b'[' + 27),
                _ => Err(format!("Unknown character: '{key}'")),
            },
            (None, [byte]) => Ok(*byte),
            _ => Err(format!("Unknown character: '{key}'")),
        })
        .collect()
}

/// Looks for the detach sequence in what is typed.
#[derive(Debug)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    pub(crate) fn new(sequence: Vec<u8>) -> Self {
        Self { sequence, matched: 0 }
    }

    /// What to pass on, and whether the sequence was completed.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return (pass, true);
                }
                continue;
            }
            pass.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(self.sequence.first() == Some(byte));
            if self.matched == 0 {
                pass.push(*byte);
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_held_back_until_it_is_decided() {
        assert_eq!(parse("ctrl-p,ctrl-q,x"), Ok(vec![16, 17, b'x']));
        assert_eq!(parse("foo"), Err("Unknown character: 'foo'".to_owned()));
        let mut keys = Keys::new(vec![16, 17]);
        assert_eq!(keys.feed(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.feed(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.feed(b"c\x10\x11d"), (b"c".to_vec(), true));
    }
}
