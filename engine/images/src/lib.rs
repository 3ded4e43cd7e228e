//! Content store, layer snapshots, images and registries.

pub mod boot;
pub mod content;
#[cfg(feature = "testing")]
pub mod testing;
