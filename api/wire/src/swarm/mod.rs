//! Swarm: cluster, nodes, services, tasks, secrets, configs.
//!
//! Source: moby `api/types/swarm/*.go`; a field that is `opt` has `omitempty` there.

#![allow(
    missing_docs,
    reason = "the names are docker's; the API's own documentation explains them"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shape::is_default;

/// Structs whose members have Go's names; `opt` members are left out when they have their default.
macro_rules! wire {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $kind:ident $field:ident: $type:ty,)* })*) => {
        $(wire!(@build [$(#[$meta])*] $name [] $($(#[$field_meta])* $kind $field: $type,)*);)*
    };
    (@build [$($meta:tt)*] $name:ident [$($done:tt)*]) => {
        $($meta)*
        #[derive(Debug, Clone, Default, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name { $($done)* }
    };
    (@build [$($meta:tt)*] $name:ident [$($done:tt)*] $(#[$field_meta:meta])* all $field:ident: $type:ty, $($rest:tt)*) => {
        wire!(@build [$($meta)*] $name [$($done)* $(#[$field_meta])* pub $field: $type,] $($rest)*);
    };
    (@build [$($meta:tt)*] $name:ident [$($done:tt)*] $(#[$field_meta:meta])* opt $field:ident: $type:ty, $($rest:tt)*) => {
        wire!(@build [$($meta)*] $name [$($done)* $(#[$field_meta])* #[serde(skip_serializing_if = "crate::shape::is_default")] pub $field: $type,] $($rest)*);
    };
}

pub mod cluster;
pub mod labels;
pub mod node;
pub mod secret;
pub mod service;
pub mod task;

/// Labels; null where there are none.
pub type Labels = Option<BTreeMap<String, String>>;

/// Index of the last change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    #[serde(skip_serializing_if = "is_default")]
    pub index: u64,
}

wire! {
    /// Fields of the system, flattened into objects.
    struct Meta {
        all version: Version,
        all created_at: String,
        all updated_at: String,
    }

    struct Driver {
        opt name: String,
        opt options: Option<BTreeMap<String, String>>,
    }

    struct IdResponse {
        #[serde(rename = "ID")]
        all id: String,
    }
}
