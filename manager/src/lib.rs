//! Effects of a manager: store, leader loops, CA, dispatcher, control.

pub mod allocate;
pub mod consensus;
mod planning;
pub mod schedule;
pub mod store;
pub mod watch;
