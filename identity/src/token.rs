//! Join tokens: `SWMTKN-1-<digest of the root>-<secret>`.
//!
//! Pure. The digest lets a joining node know the right root from a false one; the secret lets the manager
//! know the right node, and says its role.
//!
//! Source: swarmkit `ca/config.go` `GenerateJoinToken`, `ParseJoinToken`.

use std::fmt;

use shoal_base::random::Random;
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::{Classified, ErrorKind};
use subtle::ConstantTimeEq as _;

/// Digits of a SHA-256 in base 36.
const DIGEST_DIGITS: usize = 50;
/// Digits of sixteen bytes in base 36.
const SECRET_DIGITS: usize = 25;

/// A text is no join token. The words are docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct Invalid;

impl Classified for Invalid {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A join token.
#[derive(Clone, Copy)]
pub struct JoinToken {
    digest: [u8; 32],
    secret: [u8; 16],
}

impl JoinToken {
    /// A token with a new secret for the root with this digest.
    pub fn generate(digest: [u8; 32], random: &dyn Random) -> Self {
        let mut secret = [0; 16];
        random.fill(&mut secret);
        Self { digest, secret }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// When it has not exactly the form that [`JoinToken`]'s `Display` writes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let rest = text.strip_prefix("SWMTKN-1-").ok_or(Invalid)?;
        let (digest, secret) = rest.split_once('-').ok_or(Invalid)?;
        Ok(Self {
            digest: from_base36(digest, DIGEST_DIGITS)?,
            secret: from_base36(secret, SECRET_DIGITS)?,
        })
    }

    /// SHA-256 of the root's PEM.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The same secret for another root.
    #[must_use]
    pub fn with_digest(self, digest: [u8; 32]) -> Self {
        Self { digest, ..self }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = to_base36(&self.digest, DIGEST_DIGITS);
        write!(f, "SWMTKN-1-{digest}-{}", to_base36(&self.secret, SECRET_DIGITS))
    }
}

impl fmt::Debug for JoinToken {
    /// Without the secret: tokens must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SWMTKN-1-{}-…", to_base36(&self.digest, DIGEST_DIGITS))
    }
}

/// The role that `given` opens; `None`: it opens nothing. Takes the same time for every wrong text of one length.
pub fn role_of(given: &str, worker: &str, manager: &str) -> Option<NodeRole> {
    let is_worker = same(given, worker);
    let is_manager = same(given, manager);
    match (is_manager, is_worker) {
        (true, _) => Some(NodeRole::Manager),
        (false, true) => Some(NodeRole::Worker),
        (false, false) => None,
    }
}

/// An empty expectation never matches: a cluster without tokens lets nobody in.
fn same(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

/// Digits of a big-endian number, filled with zeros to `length`.
fn to_base36(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(length);
    for _ in 0..length {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 36).expect("the rest is below 36, so the quotient fits");
            rest = value % 36;
        }
        digits.push(char::from_digit(rest, 36).expect("a rest of 36 is a digit"));
    }
    digits.iter().rev().collect()
}

/// The number of exactly `length` digits as `N` bytes.
fn from_base36<const N: usize>(digits: &str, length: usize) -> Result<[u8; N], Invalid> {
    if digits.len() != length || digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return Err(Invalid);
    }
    let mut number = [0u8; N];
    for digit in digits.chars() {
        let mut carry = digit.to_digit(36).ok_or(Invalid)?;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = value.to_be_bytes()[3];
            carry = value >> 8;
        }
        if carry != 0 {
            return Err(Invalid);
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(digest: u8, secret: u8) -> JoinToken {
        JoinToken { digest: [digest; 32], secret: [secret; 16] }
    }

    #[test]
    fn text_has_fixed_lengths_at_both_ends_of_the_range() {
        assert_eq!(
            token(0, 0).to_string(),
            format!("SWMTKN-1-{}-{}", "0".repeat(50), "0".repeat(25))
        );
        // 2^256 - 1 and 2^128 - 1 in base 36, computed with bc.
        assert_eq!(
            token(255, 255).to_string(),
            "SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof-f5lxx1zz5pnorynqglhzmsp33"
        );
    }

    #[test]
    fn every_token_comes_back() {
        for (digest, secret) in [(0, 0), (1, 255), (255, 1), (0x80, 0x7f)] {
            let made = token(digest, secret);
            let read = JoinToken::parse(&made.to_string()).unwrap();
            assert_eq!((read.digest, read.secret), (made.digest, made.secret));
        }
    }

    #[test]
    fn anything_else_is_refused_in_dockers_words() {
        let good = token(1, 1).to_string();
        for bad in [
            String::new(),
            "SWMTKN-1".to_owned(),
            good.replace("SWMTKN", "swmtkn"),
            good.replace("-1-", "-2-"),
            good.to_uppercase(),
            format!("{good}0"),
            format!("{good}-"),
            format!(" {good}"),
            good.replace("-0", "-z"),
            good[..good.len() - 1].to_owned(),
        ] {
            assert_eq!(JoinToken::parse(&bad).unwrap_err(), Invalid, "{bad}");
        }
        assert_eq!(Invalid.to_string(), "invalid join token");
    }

    #[test]
    fn the_secret_decides_the_role() {
        assert_eq!(role_of("w", "w", "m"), Some(NodeRole::Worker));
        assert_eq!(role_of("m", "w", "m"), Some(NodeRole::Manager));
        assert_eq!(role_of("x", "w", "m"), None);
        assert_eq!(role_of("", "", ""), None);
    }

    #[test]
    fn debug_hides_the_secret() {
        let text = format!("{:?}", token(0, 255));
        assert_eq!(text, format!("SWMTKN-1-{}-…", "0".repeat(50)));
    }
}
