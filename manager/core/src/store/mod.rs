//! The objects of a cluster: immutable views, transactions, the rules that every manager enforces alike.
//!
//! [`State`] is a set of persistent maps: a clone costs some reference counts and never changes again, so
//! readers, planners and the writer of raft snapshots each hold their own. A [`Transaction`] is a list of
//! [`Change`]s with the versions of the objects that it was computed from. It is checked when it is
//! applied, on every manager alike, so that any manager may propose one; [`Txn`] is how one is made.
//!
//! Persistent maps are ours (`tree`). Of the crates, `rpds` takes 128 bytes per entry, `imbl` is under the MPL, and
//! `immutable-chunkmap`, which was here before, walks half of a map to find where a range begins.
//!
//! Pure. Source: DESIGN §4.1; swarmkit `manager/state/store`.

mod change;
pub mod codec;
mod index;
mod object;
mod rules;
mod state;
mod table;
mod tree;
mod txn;
pub mod watch;

#[cfg(test)]
mod tests;

pub use change::{Change, ObjectRef, Transaction};
pub use index::Queue;
pub use object::Object;
pub(crate) use rules::holds_networks;
pub use rules::{Axis, Rejected};
pub use state::{Applied, State};
pub use txn::Txn;
pub use watch::{Diff, Event};
