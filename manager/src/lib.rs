//! Effects of a manager: store, leader loops, CA, dispatcher, control.

pub mod ca;
