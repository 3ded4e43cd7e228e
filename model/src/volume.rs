//! Volumes of one host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What the user asks for when creating a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Empty: a random name is chosen and the volume is anonymous.
    pub name: String,
    /// Empty means `local`.
    pub driver: String,
    /// Driver options: `type`, `device`, `o`, `size` for `local`.
    pub options: BTreeMap<String, String>,
    /// User labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume as it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Unique name.
    pub name: String,
    /// Driver, `local`.
    pub driver: String,
    /// Directory on the host that holds the data.
    pub mountpoint: String,
    /// When it was created.
    pub created: Timestamp,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Whether it was made without a name for one container.
    pub anonymous: bool,
}

/// What a volume costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Bytes on disk; `-1` where unknown.
    pub bytes: i64,
    /// Containers that refer to it.
    pub references: i64,
}
