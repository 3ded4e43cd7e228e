//! Secrets and configs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Annotations, ConfigId, Meta, SecretId};

/// What the user wants kept secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// 1…512,000 bytes; empty with a driver. Never printed.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// Provider of the value; `None`: `data`.
    pub driver: Option<DriverSpec>,
    /// Template driver: `golang`; `None`: taken as it is.
    pub templating: Option<DriverSpec>,
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSpec")
            .field("annotations", &self.annotations)
            .field("data", &format_args!("{} bytes", self.data.len()))
            .field("driver", &self.driver)
            .field("templating", &self.templating)
            .finish()
    }
}

/// A named driver with options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverSpec {
    /// Name.
    pub name: String,
    /// Options.
    pub options: BTreeMap<String, String>,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Id.
    pub id: SecretId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: SecretSpec,
}

/// What the user wants to hand to tasks, not secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// 1…1,024,000 bytes.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
    /// Template driver: `golang`; `None`: taken as it is.
    pub templating: Option<DriverSpec>,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Id.
    pub id: ConfigId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: ConfigSpec,
}
