//! Changes of a node's assignments as messages with digest. Pure.

use bytes::Bytes;
use shoal_manager_core::assignment::{self, Change};
use shoal_proto::assignment::{Key, Tally};
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;
use shoal_proto::dispatcher::assignments_message::Kind as SetKind;
use shoal_proto::dispatcher::{AssignmentChange, AssignmentsMessage};

/// A message is split beyond this size.
const MESSAGE_BYTES: usize = 1 << 20;

/// What one stream was told.
#[derive(Debug, Default)]
pub struct Encoder {
    tally: Tally,
    sequence: u64,
}

impl Encoder {
    /// Messages for changes, at least one: even an empty complete set is said.
    pub fn messages(&mut self, kind: SetKind, changes: &[Change]) -> Vec<AssignmentsMessage> {
        let mut messages = Vec::new();
        let mut part = Vec::new();
        let mut size = 0;
        for change in changes {
            let change = self.encode(change);
            size += change.object.len() + change.status.len();
            part.push(change);
            if size >= MESSAGE_BYTES {
                size = 0;
                messages.push(self.message(kind, std::mem::take(&mut part)));
            }
        }
        if !part.is_empty() || messages.is_empty() {
            messages.push(self.message(kind, part));
        }
        let last = messages.len() - 1;
        for message in &mut messages[..last] {
            message.more = true;
        }
        messages[last].digest = self.tally.digest().to_bytes().to_vec().into();
        messages
    }

    fn message(&mut self, kind: SetKind, changes: Vec<AssignmentChange>) -> AssignmentsMessage {
        self.sequence += 1;
        AssignmentsMessage {
            kind: kind.into(),
            sequence: self.sequence,
            changes,
            ..AssignmentsMessage::default()
        }
    }

    fn encode(&mut self, change: &Change) -> AssignmentChange {
        let (key, object, status) = match change {
            Change::Secret(secret) => {
                (Key::new(Kind::Secret, secret.id.to_bytes()), codec::encode(secret), Bytes::new())
            }
            Change::Config(config) => {
                (Key::new(Kind::Config, config.id.to_bytes()), codec::encode(config), Bytes::new())
            }
            Change::Network(network) => {
                let key = Key::new(Kind::Network, network.id.to_bytes());
                (key, codec::encode(network), Bytes::new())
            }
            Change::Task { assigned, status } => {
                let key = Key::new(Kind::Task, assigned.task.id.to_bytes());
                (key, codec::encode(assigned), codec::encode(status))
            }
            Change::Remove(key) => (wire_key(*key), Bytes::new(), Bytes::new()),
        };
        self.tally.put(key, &object);
        let id = key.id().to_vec().into();
        AssignmentChange { kind: key.kind_number(), id, object, status }
    }
}

fn wire_key(key: assignment::Key) -> Key {
    match key {
        assignment::Key::Secret(id) => Key::new(Kind::Secret, id.to_bytes()),
        assignment::Key::Config(id) => Key::new(Kind::Config, id.to_bytes()),
        assignment::Key::Network(id) => Key::new(Kind::Network, id.to_bytes()),
        assignment::Key::Task(id) => Key::new(Kind::Task, id.to_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::cluster::{Meta, Secret, SecretId, SecretSpec};

    use super::*;

    fn secret(number: u8, bytes: usize) -> Change {
        let spec = SecretSpec { data: vec![number; bytes], ..SecretSpec::default() };
        let id = SecretId::from_bytes([number; 16]);
        Change::Secret(Arc::new(Secret { id, meta: Meta::default(), spec }))
    }

    fn shape(messages: &[AssignmentsMessage]) -> Vec<(u64, usize, bool, usize)> {
        let shape = |message: &AssignmentsMessage| {
            (message.sequence, message.changes.len(), message.more, message.digest.len())
        };
        messages.iter().map(shape).collect()
    }

    #[test]
    fn large_sets_are_split_and_the_last_part_has_the_digest() {
        let mut encoder = Encoder::default();
        let changes = [secret(1, 600_000), secret(2, 600_000), secret(3, 10)];
        let messages = encoder.messages(SetKind::Complete, &changes);
        assert_eq!(shape(&messages), [(1, 2, true, 0), (2, 1, false, 24)]);
        let messages = encoder.messages(SetKind::Incremental, &[secret(1, 5)]);
        assert_eq!(shape(&messages), [(3, 1, false, 24)]);
    }

    #[test]
    fn the_digest_is_that_of_what_is_left() {
        let mut whole = Encoder::default();
        let expected = whole.messages(SetKind::Complete, &[secret(2, 9)])[0].digest.clone();
        let mut stepwise = Encoder::default();
        stepwise.messages(SetKind::Complete, &[secret(1, 5), secret(2, 5)]);
        let removed = Change::Remove(assignment::Key::Secret(SecretId::from_bytes([1; 16])));
        let last = stepwise.messages(SetKind::Incremental, &[secret(2, 9), removed]);
        assert_eq!(last[0].digest, expected);
        let empty = Encoder::default().messages(SetKind::Complete, &[]);
        assert_eq!(shape(&empty), [(1, 0, false, 24)]);
    }
}
