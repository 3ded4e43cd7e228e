//! Detach keys: the sequence that leaves a terminal without stopping its process. Pure.
//!
//! Source: moby/term `ascii.go` (words) and `proxy.go` (held keys are given on when the sequence breaks).

/// `ctrl-p,ctrl-q`.
const DEFAULT: [u8; 2] = [16, 17];

/// Parses `ctrl-p,ctrl-q`; empty means the default. `None` when malformed.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(DEFAULT.to_vec());
    }
    text.split(',').map(key).collect()
}

fn key(word: &str) -> Option<u8> {
    let byte = |text: &str| match *text.as_bytes() {
        [byte] => Some(byte),
        _ => None,
    };
    match word.strip_prefix("ctrl-") {
        None => byte(word),
        Some(letter) => match byte(letter)? {
            letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
            b'@' => Some(0),
            symbol @ b'['..=b'_' => Some(symbol - b'[' + 27),
            _ => None,
        },
    }
}

/// Watches what the user types.
#[derive(Debug)]
pub(crate) struct Detector {
    keys: Vec<u8>,
    matched: usize,
}

impl Detector {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends to `out` what is for the process. True when the sequence is complete; the rest of `typed` is
    /// then dropped.
    pub(crate) fn feed(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.matched > 0 && self.keys.get(self.matched) != Some(&byte) {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.get(self.matched) != Some(&byte) {
                out.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut detector = Detector::new(parse("").unwrap());
        let mut out = Vec::new();
        let detached = typed.iter().any(|typed| detector.feed(typed, &mut out));
        (out, detached)
    }

    #[test]
    fn detaches_on_the_whole_sequence_only() {
        assert_eq!(run(&[b"a\x10\x11b"]), (b"a".to_vec(), true));
        assert_eq!(run(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(run(&[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(run(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run(&[b"\x11\x10"]), (b"\x11".to_vec(), false));
    }

    #[test]
    fn parses_the_words() {
        assert_eq!(parse("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(parse("a,ctrl-@,ctrl-[,ctrl-_"), Some(vec![b'a', 0, 27, 31]));
        for wrong in ["ctrl-", "ctrl-A", "ab", "a,,b", "shift-a"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
