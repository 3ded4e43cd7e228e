//! Effects of a manager: store, leader loops, CA, dispatcher, control.

pub mod consensus;
pub mod store;
pub mod watch;
