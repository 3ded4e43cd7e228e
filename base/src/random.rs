//! Randomness that a simulator can seed.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

/// A source of random bytes.
pub trait Random: Debug + Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Shared by many owners.
pub type SharedRandom = Arc<dyn Random>;

/// The kernel's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
    }
}

/// Numbers from a seed (splitmix64): the same seed, the same numbers.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins with a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below a limit; 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Random bytes from a seed. Not for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<Numbers>);

impl SeededRandom {
    /// Begins with a seed.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(Numbers::new(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&numbers.next().to_le_bytes()[..part.len()]);
        }
    }
}

/// The bytes of an id that people see as hex digits: at least one of the first twelve is a letter.
///
/// The first twelve are the host name of a container, and every resolver takes a name of digits
/// alone for an address that it cannot read. Source: moby `pkg/stringid`, issue 3869.
pub fn id32(random: &dyn Random) -> [u8; 32] {
    loop {
        let bytes = bytes32(random);
        if bytes[..6].iter().any(|byte| byte >> 4 > 9 || byte & 15 > 9) {
            return bytes;
        }
    }
}

/// 32 random bytes.
pub fn bytes32(random: &dyn Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these bytes first, then others.
    #[derive(Debug)]
    struct First(Mutex<Vec<u8>>);

    impl Random for First {
        fn fill(&self, bytes: &mut [u8]) {
            let next = self.0.lock().unwrap().pop().unwrap();
            bytes.fill(next);
        }
    }

    #[test]
    fn an_id_never_begins_with_twelve_decimal_digits() {
        let draws = First(Mutex::new(vec![0xa1, 0x1a, 0x99, 0x41, 0x00]));
        assert_eq!(id32(&draws), [0x1a; 32]);
        assert_eq!(id32(&draws), [0xa1; 32]);
    }
}
