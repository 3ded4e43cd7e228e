//! Deterministic simulation of a cluster: whole managers and workers on one thread, with a network, disks and clocks that
//! are simulated, and faults, all from one seed.
//!
//! The programs are those of the daemon: consensus, store, leader loops, dispatcher, worker. What is replaced is below
//! them: bytes between nodes ([`net`]), disks (`shoal_base::disk::MemoryDisk`), time ([`time`]), containers
//! ([`executor`]). [`shoal_chaos_tests::oracle`] knows what was acknowledged, [`invariants`] what must hold.
//!
//! `cargo xtask sim --seed N` repeats a run; [`many`] runs thousands.

pub mod admin;
pub mod checks;
pub mod client;
pub mod executor;
pub mod faults;
mod forgetful;
pub mod invariants;
pub mod machines;
pub mod many;
pub mod net;
mod panics;
pub mod planted;
pub mod report;
mod rogue;
pub mod run;
pub mod settings;
pub mod stuck;
pub mod time;
pub mod trace;
mod wish;
pub mod world;
