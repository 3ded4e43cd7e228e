//! The types openraft is used with.

use std::fmt;

use bytes::Bytes;
use shoal_model::cluster::NodeId;

use crate::{Member, RaftId};

/// An opaque entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the membership stores of a member besides its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    pub(crate) address: String,
}

impl Default for Place {
    fn default() -> Self {
        Self { node: NodeId::from_bytes([0; 16]), address: String::new() }
    }
}

impl Place {
    pub(crate) fn member(&self, id: u64) -> Member {
        Member { id: RaftId(id), node: self.node, address: self.address.clone() }
    }
}

impl From<&Member> for Place {
    fn from(member: &Member) -> Self {
        Self { node: member.node, address: member.address.clone() }
    }
}

openraft::declare_raft_types!(
    /// Our instance of openraft's types.
    pub(crate) Types:
        D = Command,
        R = Bytes,
        NodeId = u64,
        Node = Place,
        AsyncRuntime = crate::runtime::Runtime,
);

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, Place>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Place>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Place>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Place>;
