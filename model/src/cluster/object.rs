//! What all objects of a cluster share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Raft index of the last change of an object. Zero: not yet stored.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

/// Fields of the system. Written by the store alone, when a transaction is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// For optimistic concurrency.
    pub version: Version,
    /// When the object was created, by the proposing manager's clock.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Name and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Unique among the objects of a kind, regardless of case.
    pub name: String,
    /// User labels.
    pub labels: BTreeMap<String, String>,
}
