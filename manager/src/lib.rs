//! Effects of a manager: store, leader loops, CA, dispatcher, control.

pub mod allocate;
pub mod assembly;
pub mod backup;
pub mod ca;
pub mod consensus;
pub mod control;
pub mod dispatcher;
pub mod execs;
pub mod feature;
pub mod logs;
pub mod orchestrate;
pub mod overview;
pub mod peers;
mod planning;
pub mod reach;
pub mod schedule;
pub mod store;
pub mod visits;
pub mod watch;
