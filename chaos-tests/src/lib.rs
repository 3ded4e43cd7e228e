//! Proving, breaking and measuring Shoal from outside: real daemons, real clients.
//!
//! [`host`] runs a daemon as a host of its own (network namespace, roots, cgroup parent) and counts what it leaves
//! behind; [`lab`] runs several of them, joined by a fabric, and [`cluster`] makes a cluster of those; [`script`] plays
//! a session of commands against a daemon and compares every line; [`linear`] judges what concurrent clients saw, [`oracle`]
//! what one of them found; [`chaos`] hurts a cluster at random and looks whether it bears it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "reports go to the person who runs the tests"
)]

pub mod chance;
pub mod chaos;
pub mod cluster;
pub mod command;
pub mod damage;
pub mod host;
pub mod http;
pub mod image;
pub mod lab;
pub mod leaks;
pub mod linear;
pub mod memory;
pub mod names;
pub mod network;
pub mod oracle;
pub mod pattern;
pub mod registry;
pub mod scratch;
pub mod script;
pub mod service_lab;
pub mod traffic;
