//! Random changes of services, nodes and networks, with cuts and kills, while clients connect through virtual
//! addresses and the routing mesh: nobody is led to a wrong service, no name is stale once all is quiet, and
//! requests fail only where a backend was killed or a host was cut off.
//!
//! `SHOAL_SOAK_MINUTES` says how long (30), `SHOAL_SEED` repeats the choices of a run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

mod changes;
mod clients;
mod world;

use std::time::Duration;

use shoal_chaos_tests::chance::Chance;
use shoal_chaos_tests::command::monotonic;

use changes::Change;
use clients::Clients;
use world::World;

/// An attended service may be quiet this long before a name must be right.
const QUIET: Duration = Duration::from_millis(500);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn traffic_finds_its_service_whatever_changes() {
    let minutes = number("SHOAL_SOAK_MINUTES", 30);
    let seed = number("SHOAL_SEED", u64::from(std::process::id()) << 20 | 1);
    println!("{minutes} minutes, SHOAL_SEED={seed}");
    let world = World::up();
    let clients = Clients::begin(&world);
    let mut chance = Chance::new(seed);
    let end = monotonic() + Duration::from_secs(minutes * 60);
    let mut rounds = 0;
    while monotonic() < end {
        rounds += 1;
        let change = Change::choose(&mut chance, &world);
        let begun = monotonic();
        println!("{rounds} {:?} {change:?}", begun);
        change.make(&world);
        world.await_convergence(&format!("round {rounds}, {change:?}"));
        std::thread::sleep(QUIET);
        clients.judge(&world, &change, begun);
    }
    let requests = clients.asked();
    drop(clients);
    println!("{rounds} changes, {requests} requests");
    assert!(requests > 0, "nobody asked");
}
