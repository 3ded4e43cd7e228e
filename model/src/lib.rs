//! The vocabulary of Shoal: ids, references, digests, specs, states, limits, error kinds.
//!
//! Plain types. No I/O, no clock, no wire format of any API: conversions live at the edges. The spec
//! types derive `serde` because the engine writes them to its own records (ADR 0002).

pub mod boolean;
pub mod cluster;
pub mod container;
pub mod digest;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod ids;
pub mod image;
pub mod network;
pub mod progress;
pub mod reference;
pub mod refusal;
pub mod subnet;
pub mod system;
pub mod timestamp;
pub mod volume;

pub use digest::Digest;
pub use error::{Classified, ErrorKind, Fact, Failure, ObjectKind};
pub use event::{Event, EventKind, EventQuery, EventScope};
pub use ids::{ContainerId, ExecId, NetworkId};
pub use progress::{LayerStep, Progress};
pub use reference::Reference;
pub use refusal::NetworkRefusal;
pub use subnet::Subnet;
pub use timestamp::Timestamp;

/// What is as by default is not written: it is read so where it is absent.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
