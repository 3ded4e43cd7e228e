//! Readings of made-up groups, and of this process.

use super::*;

fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

#[test]
fn a_v1_group_is_read() {
    let dir = group(&[
        ("cpuacct.usage", "5000\n"),
        ("cpuacct.usage_percpu", "2000 3000 \n"),
        ("cpuacct.stat", "user 3\nsystem 2\n"),
        ("cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 77\n"),
        ("memory.usage_in_bytes", "100\n"),
        ("memory.max_usage_in_bytes", "200\n"),
        ("memory.failcnt", "1\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.stat", "cache 5\ntotal_inactive_file 3\n"),
        ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 10\n8:0 Total 10\nTotal 10\n"),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
    ]);
    let controllers = ["cpu", "cpuacct", "memory", "blkio", "pids"];
    let directories = controllers.map(|name| (name.to_owned(), dir.path().to_owned())).into();
    let sample = sample(&Cgroups::V1(directories), None, Timestamp::from_nanos(0)).unwrap();
    assert_eq!((sample.cpu.total, &sample.cpu.per_cpu), (5000, &vec![2000, 3000]));
    assert_eq!((sample.cpu.user, sample.cpu.kernel), (30_000_000, 20_000_000));
    assert_eq!(
        (sample.cpu.periods, sample.cpu.throttled_periods, sample.cpu.throttled_time),
        (9, 4, 77)
    );
    assert!(sample.cpu.system > 0 && sample.cpu.online_cpus > 0);
    let memory = &sample.memory;
    assert_eq!((memory.usage, memory.max_usage, memory.failures), (100, 200, 1));
    assert!(memory.limit > 1 << 20 && memory.limit < 1 << 60, "the host's memory");
    assert_eq!(memory.stats["total_inactive_file"], 3);
    let entry = |operation: &str| BlockIoEntry {
        major: 8,
        minor: 0,
        operation: operation.into(),
        value: 10,
    };
    assert_eq!(sample.block_io.bytes, [entry("Read"), entry("Total")]);
    assert_eq!(sample.pids, Pids { current: 2, limit: None });
}

#[test]
fn a_v2_group_is_read() {
    let dir = group(&[
        (
            "cpu.stat",
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 4\n",
        ),
        ("memory.current", "100\n"),
        ("memory.max", "4096\n"),
        ("memory.stat", "anon 5\ninactive_file 3\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
        ("pids.current", "2\n"),
        ("pids.max", "50\n"),
    ]);
    let sample =
        sample(&Cgroups::V2(dir.path().to_owned()), None, Timestamp::from_nanos(0)).unwrap();
    assert_eq!((sample.cpu.total, sample.cpu.user, sample.cpu.kernel), (5000, 3000, 2000));
    assert_eq!((sample.cpu.throttled_periods, sample.cpu.throttled_time), (1, 4000));
    assert_eq!((sample.memory.usage, sample.memory.limit), (100, 4096));
    let entry = |operation: &str, value| BlockIoEntry {
        major: 8,
        minor: 0,
        operation: operation.into(),
        value,
    };
    assert_eq!(sample.block_io.bytes, [entry("read", 1), entry("write", 2)]);
    assert_eq!(sample.pids, Pids { current: 2, limit: Some(50) });
}

#[test]
fn this_process_is_in_a_group_that_lists_it() {
    let own = i32::try_from(std::process::id()).unwrap();
    let cgroups = Cgroups::of_process(own).unwrap();
    let sample = sample(&cgroups, Some(own), Timestamp::from_nanos(0)).unwrap();
    assert!(!sample.networks.contains_key("lo"));
    assert!(processes(&cgroups).unwrap().contains(&own));
}

#[test]
fn interfaces_are_counted() {
    let text = "Inter-|   Receive                                                |  Transmit\n \
                face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                eth0:10 11 12 13 0 0 0 0 20 21 22 23 0 0 0 0\n";
    let expected = Network {
        rx_bytes: 10,
        rx_packets: 11,
        rx_errors: 12,
        rx_dropped: 13,
        tx_bytes: 20,
        tx_packets: 21,
        tx_errors: 22,
        tx_dropped: 23,
    };
    assert_eq!(parse::networks(text), [("eth0".to_owned(), expected)].into());
}

#[test]
fn the_hosts_time_excludes_steal() {
    assert_eq!(
        parse::host_cpu("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\ncpu1 1\nintr 5\n"),
        (28 * NANOS_PER_TICK, 2)
    );
}
