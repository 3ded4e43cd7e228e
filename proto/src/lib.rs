//! Calls between nodes: generated code and conversions to the model.
//!
//! Fields whose type is an object or a spec of the model are `bytes`: the model in MessagePack (ADR 0004).

pub mod assignment;
pub mod codec;
pub mod status;
pub mod view;

/// Transactions of managers that do not lead.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod store {
    tonic::include_proto!("shoal.store.v1");
}

/// Certificates of nodes.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod ca {
    tonic::include_proto!("shoal.ca.v1");
}

/// Sessions of workers.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod dispatcher {
    tonic::include_proto!("shoal.dispatcher.v1");
}

/// Consensus between managers.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod raft {
    tonic::include_proto!("shoal.raft.v1");
}

/// Managers that come.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod membership {
    tonic::include_proto!("shoal.membership.v1");
}

/// What every node serves of its own tasks.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod node {
    tonic::include_proto!("shoal.node.v1");
}
