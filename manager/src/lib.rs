//! Effects of a manager: store, leader loops, CA, dispatcher, control.

pub mod assembly;
pub mod ca;
pub mod consensus;
pub mod dispatcher;
pub mod peers;
pub mod store;
pub mod watch;
