//! Images in and out of archives: load, save, import, commit, export.

mod error;
pub mod load;
mod oci;
pub mod save;
mod stage;

pub use error::Error;
