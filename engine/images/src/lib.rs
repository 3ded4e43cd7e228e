//! Content store, layer snapshots, images and registries.

pub mod boot;
pub mod content;
