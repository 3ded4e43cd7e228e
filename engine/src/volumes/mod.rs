//! Volumes of the local driver.
//!
//! `<root>/<name>/_data` holds the data, `<root>/<name>/volume.json` the record. A volume exists when its
//! record does: the record is written last and removed first, so that a crash leaves directories
//! without record, which [`Local::open`] removes.
//!
//! Volumes with `type` and `device` have a file system of their own, which is mounted at `_data` while a running
//! container uses it; see [`mounted`].
//!
//! Which container uses a volume is not kept here: the engine tells it from its containers' records.

mod error;
mod filter;
mod mounted;
mod options;
mod share;
mod store;
mod usage;

pub use error::Error;
pub use filter::{Filter, LabelFilter};
pub use store::{Local, PruneScope, Pruned, Release, Removal};
pub use usage::directory_bytes;
