//! Calls between nodes: generated code and conversions to the model.
//!
//! Fields whose type is an object or a spec of the model are `bytes`: the model in MessagePack (ADR 0004).

/// Transactions of managers that do not lead.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod store {
    tonic::include_proto!("shoal.store.v1");
}

/// Consensus between managers.
#[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod raft {
    tonic::include_proto!("shoal.raft.v1");
}
