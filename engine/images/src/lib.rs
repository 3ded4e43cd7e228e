//! Content store, layer snapshots, images and registries.
//!
//! [`image::Images`] is the door: it owns one data root. Calls block; the engine runs them under
//! `shoal_base::blocking::run`. Streams are `std::io::Read` on the way in and `std::io::Write` on the way out
//! (bridge with `tokio_util::io::SyncIoBridge`).

pub mod archive;
pub mod boot;
pub mod content;
pub mod image;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
pub mod unpack;
