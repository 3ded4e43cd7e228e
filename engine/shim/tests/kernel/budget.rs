//! What a shim costs. The bounds of the shipped build (`SHOAL_TEST_SHIM`) are DESIGN §8's; a debug
//! build is only measured against runaway growth.

use shoal_shim_protocol::message::Request;

use crate::support::Bench;

fn kilobytes(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn twenty_waiting_shims_are_small() {
    let mut benches: Vec<Bench> = (0..20).map(|_| Bench::new(&["sleep", "1000"])).collect();
    for bench in &mut benches {
        bench.spawn().call(&Request::Run).unwrap();
    }
    let pid = |bench: &Bench| bench.shim.as_ref().unwrap().id();
    let mean = |field| benches.iter().map(|bench| kilobytes(pid(bench), field)).sum::<u64>() / 20;
    let (pss, dirty) = (mean("Pss:"), mean("Private_Dirty:"));
    println!("mean of twenty: PSS {pss} kB, private dirty {dirty} kB");
    let bound = if std::env::var_os("SHOAL_TEST_SHIM").is_some() { 300 } else { 3000 };
    for bench in benches {
        bench.finish();
    }
    assert!(pss <= bound, "{pss} kB");
}

#[test]
fn time_from_spawn_to_exit() {
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    };
    let mut micros: Vec<i64> = (0..20)
        .map(|_| {
            let mut bench = Bench::new(&["/bin/true"]);
            let start = now();
            assert_eq!(bench.run().code, 0);
            let took = now() - start;
            bench.finish();
            took
        })
        .collect();
    micros.sort_unstable();
    println!("spawn to exit of /bin/true: median {} µs, least {} µs", micros[10], micros[0]);
    assert!(micros[10] < 2_000_000, "{micros:?}");
}
