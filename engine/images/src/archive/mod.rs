//! Images in and out of archives: load, save, import, commit, export.

pub mod diff;
mod error;
pub mod load;
mod oci;
pub mod save;
mod stage;
pub mod tree;

pub use error::Error;
