//! Images in and out of archives: load, save, import, commit, export.

pub mod changes;
pub mod diff;
mod error;
pub mod load;
pub mod make;
mod oci;
pub mod save;
mod stage;
pub mod tree;
mod words;

pub use error::Error;
