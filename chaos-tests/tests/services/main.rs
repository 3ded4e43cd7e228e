//! Services in a lab of several hosts, driven by the unmodified docker CLI.

#![allow(clippy::unwrap_used, reason = "a test")]

mod beyond;
mod data;
mod display;
mod faults;
mod life;
mod modes;
mod placing;
mod reach;
mod refusals;
mod scripts;
mod trouble;
mod updates;

use shoal_chaos_tests::service_lab::ServiceLab;

/// A lab of its own for each test: a name that is free.
fn lab(name: &str, hosts: u8, managers: u8, flags: &[&str]) -> ServiceLab {
    let name = format!("s{name}{}", std::process::id());
    ServiceLab::up(&name, hosts, managers, flags).unwrap()
}

/// What runs until it is told to end.
const SLEEP: [&str; 2] = ["sleep", "1000"];
