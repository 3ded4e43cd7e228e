//! Records: what the frames of a segment hold. Pure.

use prost::Message as _;
use prost::encoding::{decode_varint, encode_varint};
use shoal_proto::raft as pb;

use crate::types::Entry;
use crate::wire;

/// One write to the log. A group of entries is one record, so that a group torn by a power failure is
/// one invalid frame with nothing behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// Entries follow the last one.
    Append(Vec<Entry>),
    /// Entries from `next` on are void.
    Truncate {
        /// The first void index.
        next: u64,
    },
}

const APPEND: u8 = 1;
const TRUNCATE: u8 = 2;

/// A record does not read as one, though its checksum and seal are right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid log record: {reason}")]
pub(crate) struct Invalid {
    /// What is wrong.
    pub reason: String,
}

fn invalid(reason: impl ToString) -> Invalid {
    Invalid { reason: reason.to_string() }
}

/// A record of entries under construction.
#[derive(Debug)]
pub(crate) struct Group(Vec<u8>);

impl Group {
    pub(crate) fn new() -> Self {
        Self(vec![APPEND])
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let message = wire::entry(entry);
        message.encode_length_delimited(&mut self.0).expect("vectors grow");
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(crate) fn truncate(next: u64) -> Vec<u8> {
    let mut bytes = vec![TRUNCATE];
    encode_varint(next, &mut bytes);
    bytes
}

pub(crate) fn decode(bytes: Vec<u8>) -> Result<Record, Invalid> {
    // Commands are slices of this allocation.
    let mut rest = bytes::Bytes::from(bytes);
    if rest.is_empty() {
        return Err(invalid("empty"));
    }
    match bytes::Buf::get_u8(&mut rest) {
        APPEND => {
            let mut entries = Vec::new();
            while !rest.is_empty() {
                let entry = pb::Entry::decode_length_delimited(&mut rest).map_err(invalid)?;
                entries.push(wire::to_entry(entry).map_err(invalid)?);
            }
            Ok(Record::Append(entries))
        }
        TRUNCATE => Ok(Record::Truncate { next: decode_varint(&mut rest).map_err(invalid)? }),
        other => Err(invalid(format!("kind {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, LeaderId, LogId, Payload};

    #[test]
    fn records_come_back_equal() {
        let entry = |index, payload| Entry {
            log_id: LogId::new(LeaderId { term: 1, node_id: 2 }, index),
            payload,
        };
        let entries = vec![
            entry(4, Payload::Blank),
            entry(5, Payload::Normal(Command((&b"content"[..]).into()))),
        ];
        let mut group = Group::new();
        entries.iter().for_each(|entry| group.push(entry));
        assert_eq!(decode(group.bytes().to_vec()), Ok(Record::Append(entries)));
        assert_eq!(decode(truncate(300)), Ok(Record::Truncate { next: 300 }));
    }

    #[test]
    fn an_unknown_record_is_refused() {
        assert_eq!(decode(vec![9]).unwrap_err().to_string(), "invalid log record: kind 9");
        assert_eq!(decode(vec![]).unwrap_err().to_string(), "invalid log record: empty");
    }
}
