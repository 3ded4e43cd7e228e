//! Volumes of the local driver.
//!
//! `<root>/<name>/_data` holds the data, `<root>/<name>/volume.json` the record. A volume exists when its
//! record does: the record is written last and removed first, so that a crash leaves directories
//! without record, which [`Local::open`] removes.
//!
//! Volumes with `type` and `device` are mounted inside each container only, never on the host: nothing
//! of them can leak. Differs: their content is therefore not copied up from the image, nor counted.
//!
//! Which container uses a volume is not kept here: the engine tells it from its containers' records.

mod error;
mod filter;
pub(crate) mod options;
mod store;
mod usage;

pub use error::Error;
pub use filter::{Filter, LabelFilter};
pub use store::{Local, PruneScope, Pruned, Release, Removal};
pub use usage::directory_bytes;
