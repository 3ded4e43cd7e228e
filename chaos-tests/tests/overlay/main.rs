//! Services on overlay networks of three hosts reach each other by name, whatever happens to nodes and daemons.

#![allow(clippy::unwrap_used, reason = "a test")]

mod balance;
mod faults;
mod lab;
mod reach;
mod trouble;
