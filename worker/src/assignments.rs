//! The set of assignments as messages build it up. Pure.
//!
//! A set is acted upon only when it is whole and its digest is right; anything else makes the worker ask for the
//! complete set again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use shoal_proto::assignment::{Key, PartHash, SetDigest, part_hash};
use shoal_proto::codec;
use shoal_proto::dispatcher::assignments_message::Kind;
use shoal_proto::dispatcher::{AssignmentChange, AssignmentsMessage};

/// Why a message cannot be taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error("message {got} of the assignments came after {last}")]
    Gap { last: u64, got: u64 },
    #[error("the digest of the assignments differs from the manager's after message {sequence}")]
    Digest { sequence: u64 },
    #[error("the assignments begin with a change instead of the complete set")]
    NotComplete,
    #[error("failed to read a change of the assignments")]
    Change {
        #[source]
        source: codec::Error,
    },
}

/// One part of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The object as it was sent.
    pub object: Bytes,
    /// Of tasks: the state as managers know it; empty: not said.
    pub status: Bytes,
    hash: PartHash,
}

/// What a message changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Whether the whole set was sent: what is not part of it must go.
    pub complete: bool,
    /// New or different.
    pub put: BTreeSet<Key>,
    /// No longer part of it.
    pub removed: BTreeSet<Key>,
}

/// The set of one stream.
#[derive(Debug, Default)]
pub struct Set {
    parts: BTreeMap<Key, Part>,
    digest: SetDigest,
    sequence: u64,
    began: bool,
    /// Of messages of which more parts are to come.
    open: Option<Delta>,
}

impl Set {
    /// The parts.
    pub fn parts(&self) -> &BTreeMap<Key, Part> {
        &self.parts
    }

    /// Takes a message in. `Ok(None)`: more parts are to come.
    ///
    /// # Errors
    /// When it does not fit what came before: the set is of no use then.
    pub fn receive(&mut self, message: AssignmentsMessage) -> Result<Option<Delta>, Error> {
        if message.sequence != self.sequence + 1 {
            return Err(Error::Gap { last: self.sequence, got: message.sequence });
        }
        let complete = message.kind() == Kind::Complete;
        if complete == self.began && (self.open.is_none() || !complete) {
            return Err(Error::NotComplete);
        }
        self.began |= complete;
        self.sequence = message.sequence;
        let mut delta = self.open.take().unwrap_or_default();
        delta.complete |= complete;
        for change in message.changes {
            self.change(change, &mut delta)?;
        }
        if message.more {
            self.open = Some(delta);
            return Ok(None);
        }
        if message.digest[..] != self.digest.to_bytes()[..] {
            return Err(Error::Digest { sequence: self.sequence });
        }
        Ok(Some(delta))
    }

    fn change(&mut self, change: AssignmentChange, delta: &mut Delta) -> Result<(), Error> {
        let id = codec::id(&change.id).map_err(|source| Error::Change { source })?;
        let key = Key::from_wire(change.kind, id);
        let before = if change.object.is_empty() {
            delta.put.remove(&key);
            delta.removed.insert(key);
            self.parts.remove(&key)
        } else {
            let hash = part_hash(key, &change.object);
            self.digest.add(hash);
            delta.removed.remove(&key);
            delta.put.insert(key);
            self.parts.insert(key, Part { object: change.object, status: change.status, hash })
        };
        if let Some(part) = before {
            self.digest.subtract(part.hash);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::dispatcher::assignment_change;

    use super::*;

    fn change(id: u8, object: &'static [u8]) -> AssignmentChange {
        AssignmentChange {
            kind: assignment_change::Kind::Task.into(),
            id: vec![id; 16].into(),
            object: Bytes::from_static(object),
            status: Bytes::new(),
        }
    }

    fn key(id: u8) -> Key {
        Key::new(assignment_change::Kind::Task, [id; 16])
    }

    fn message(kind: Kind, sequence: u64, changes: Vec<AssignmentChange>) -> AssignmentsMessage {
        AssignmentsMessage { kind: kind.into(), sequence, changes, ..AssignmentsMessage::default() }
    }

    fn with_digest(mut message: AssignmentsMessage, parts: &[(u8, &[u8])]) -> AssignmentsMessage {
        let mut digest = SetDigest::default();
        for (id, object) in parts {
            digest.add(part_hash(key(*id), object));
        }
        message.digest = digest.to_bytes().to_vec().into();
        message
    }

    #[test]
    fn a_complete_set_in_two_parts_then_a_change() {
        let mut set = Set::default();
        let mut first = message(Kind::Complete, 1, vec![change(1, b"a")]);
        first.more = true;
        assert_eq!(set.receive(first).unwrap(), None);
        let second = message(Kind::Complete, 2, vec![change(2, b"b")]);
        let second = with_digest(second, &[(1, b"a"), (2, b"b")]);
        let delta = set.receive(second).unwrap().unwrap();
        let expected =
            Delta { complete: true, put: [key(1), key(2)].into(), removed: BTreeSet::new() };
        assert_eq!(delta, expected);
        let third = message(Kind::Incremental, 3, vec![change(1, b""), change(2, b"c")]);
        let delta = set.receive(with_digest(third, &[(2, b"c")])).unwrap().unwrap();
        let expected = Delta { complete: false, put: [key(2)].into(), removed: [key(1)].into() };
        assert_eq!(delta, expected);
    }

    #[test]
    fn lost_doubled_and_damaged_messages_are_refused() {
        let complete = with_digest(message(Kind::Complete, 1, vec![change(1, b"a")]), &[(1, b"a")]);
        let mut set = Set::default();
        set.receive(complete.clone()).unwrap();
        assert!(matches!(set.receive(complete.clone()), Err(Error::Gap { last: 1, got: 1 })));
        let lost = message(Kind::Incremental, 3, Vec::new());
        assert!(matches!(set.receive(lost), Err(Error::Gap { last: 1, got: 3 })));
        let differs =
            with_digest(message(Kind::Incremental, 2, vec![change(2, b"b")]), &[(2, b"x")]);
        assert!(matches!(set.receive(differs), Err(Error::Digest { sequence: 2 })));
        let early = message(Kind::Incremental, 1, Vec::new());
        assert!(matches!(Set::default().receive(early), Err(Error::NotComplete)));
        let mut again = Set::default();
        again.receive(complete).unwrap();
        let second = message(Kind::Complete, 2, Vec::new());
        assert!(matches!(again.receive(second), Err(Error::NotComplete)));
    }
}
