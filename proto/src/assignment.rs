//! The digest of an assignment set, over the bytes as they were sent: two releases agree on it although one of
//! them may not know every field.
//!
//! The digest is the sum of the hashes of the parts: a change costs what changed, and order does not matter.
//! It guards against lost or doubled changes, not against forgery: the connection is authenticated.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::dispatcher::assignment_change::Kind;

/// What an assignment is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: i32,
    id: [u8; 16],
}

impl Key {
    /// A key.
    pub fn new(kind: Kind, id: [u8; 16]) -> Self {
        Self { kind: kind as i32, id }
    }

    /// The kind; `None`: one that this release does not know.
    pub fn kind(self) -> Option<Kind> {
        Kind::try_from(self.kind).ok()
    }

    /// A key of a kind that may be unknown to this release.
    pub fn from_wire(kind: i32, id: [u8; 16]) -> Self {
        Self { kind, id }
    }

    /// The number of the kind.
    pub fn kind_number(self) -> i32 {
        self.kind
    }

    /// The id.
    pub fn id(self) -> [u8; 16] {
        self.id
    }
}

/// Hash of one part of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHash(u128);

/// Hashes one part.
pub fn part_hash(key: Key, object: &[u8]) -> PartHash {
    let mut hasher = Sha256::new();
    hasher.update(key.kind.to_be_bytes());
    hasher.update(key.id);
    hasher.update(object);
    let full: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    PartHash(u128::from_be_bytes(half))
}

/// Digest of a whole set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetDigest {
    sum: u128,
    parts: u64,
}

impl SetDigest {
    /// A part came in.
    pub fn add(&mut self, part: PartHash) {
        self.sum = self.sum.wrapping_add(part.0);
        self.parts = self.parts.wrapping_add(1);
    }

    /// A part went out.
    pub fn subtract(&mut self, part: PartHash) {
        self.sum = self.sum.wrapping_sub(part.0);
        self.parts = self.parts.wrapping_sub(1);
    }

    /// As sent: 24 bytes.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.sum.to_be_bytes());
        bytes[16..].copy_from_slice(&self.parts.to_be_bytes());
        bytes
    }
}

/// The digest of a set whose parts come and go by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    parts: BTreeMap<Key, PartHash>,
    digest: SetDigest,
}

impl Tally {
    /// A part is new, or different; without bytes it is gone.
    pub fn put(&mut self, key: Key, object: &[u8]) {
        let before = if object.is_empty() {
            self.parts.remove(&key)
        } else {
            let hash = part_hash(key, object);
            self.digest.add(hash);
            self.parts.insert(key, hash)
        };
        if let Some(before) = before {
            self.digest.subtract(before);
        }
    }

    /// The digest of what is there.
    pub fn digest(&self) -> SetDigest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: u8, object: &[u8]) -> PartHash {
        part_hash(Key::new(Kind::Task, [id; 16]), object)
    }

    #[test]
    fn order_does_not_matter_and_what_left_leaves_no_trace() {
        let mut one = SetDigest::default();
        one.add(part(1, b"a"));
        one.add(part(2, b"b"));
        let mut other = SetDigest::default();
        other.add(part(2, b"b"));
        other.add(part(3, b"c"));
        other.add(part(1, b"a"));
        assert_ne!(one.to_bytes(), other.to_bytes());
        other.subtract(part(3, b"c"));
        assert_eq!(one.to_bytes(), other.to_bytes());
    }

    #[test]
    fn a_tally_knows_what_is_left() {
        let key = |id| Key::new(Kind::Task, [id; 16]);
        let mut tally = Tally::default();
        for (id, object) in
            [(1, b"a".as_slice()), (2, b"b"), (1, b"c"), (3, b"d"), (3, b""), (4, b"")]
        {
            tally.put(key(id), object);
        }
        let mut expected = SetDigest::default();
        expected.add(part(1, b"c"));
        expected.add(part(2, b"b"));
        assert_eq!(tally.digest(), expected);
    }

    #[test]
    fn kind_id_and_bytes_all_count() {
        let base = part(1, b"a");
        assert_ne!(base, part(2, b"a"));
        assert_ne!(base, part(1, b"b"));
        assert_ne!(base, part_hash(Key::new(Kind::Secret, [1; 16]), b"a"));
    }
}
