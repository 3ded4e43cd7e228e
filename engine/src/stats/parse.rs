//! The texts of `/proc` and of cgroups. Pure. What is malformed counts nothing.

use std::collections::BTreeMap;

use super::{BlockIoEntry, NANOS_PER_TICK, Network};

/// A number alone; `max` is none.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Numbers separated by blanks.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// `key value` lines.
pub(super) fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), number(value)?))
    };
    text.lines().filter_map(pair).collect()
}

/// `8:0 Read 4096` lines.
pub(super) fn block_io_v1(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let operation = words.next()?.to_owned();
        Some(BlockIoEntry { major, minor, operation, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=1 wbytes=2 …` lines.
pub(super) fn block_io_v2(text: &str) -> Vec<BlockIoEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let values: BTreeMap<&str, u64> = words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
            .collect();
        for (key, operation) in [("rbytes", "read"), ("wbytes", "write")] {
            let value = values.get(key).copied().unwrap_or(0);
            entries.push(BlockIoEntry { major, minor, operation: operation.to_owned(), value });
        }
    }
    entries
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Time of all processors since boot in nanoseconds, from user to softirq, and their number.
pub(super) fn host_cpu(stat: &str) -> (u64, u32) {
    let mut system = 0;
    let mut online = 0;
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cpu") => {
                let ticks: u64 = words.take(7).filter_map(|word| word.parse::<u64>().ok()).sum();
                system = ticks.saturating_mul(NANOS_PER_TICK);
            }
            Some(word) if word.starts_with("cpu") => online += 1,
            _ => {}
        }
    }
    (system, online)
}

/// `MemTotal` in bytes.
pub(super) fn memory_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// `/proc/<pid>/net/dev`, without the loopback.
pub(super) fn networks(text: &str) -> BTreeMap<String, Network> {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters = numbers(counters);
        let at = |place: usize| counters.get(place).copied();
        let network = Network {
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        };
        Some((name.trim().to_owned(), network)).filter(|(name, _)| name != "lo")
    };
    text.lines().skip(2).filter_map(interface).collect()
}
