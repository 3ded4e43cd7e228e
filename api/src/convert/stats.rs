//! Statistics of the model to the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_api_wire::stats as wire;
use shoal_model::container::{BlkioEntry, CpuStats, MemoryStats, StatsSample};

use super::time;

/// A sample with the one before it.
pub(crate) fn stats(
    id: &str,
    name: &str,
    sample: &StatsSample,
    before: Option<&StatsSample>,
) -> wire::Stats {
    let entries = |entries: &[BlkioEntry]| {
        let each = |entry: &BlkioEntry| wire::BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.operation.clone(),
            value: entry.value,
        };
        (!entries.is_empty()).then(|| entries.iter().map(each).collect())
    };
    wire::Stats {
        name: format!("/{name}"),
        id: id.to_owned(),
        read: time::or_zero(sample.at),
        preread: time::or_zero(before.and_then(|before| before.at)),
        pids_stats: wire::Pids { current: sample.pids.current, limit: sample.pids.limit },
        blkio_stats: wire::Blkio {
            io_service_bytes_recursive: entries(&sample.blkio.service_bytes),
            io_serviced_recursive: entries(&sample.blkio.serviced),
            ..Default::default()
        },
        cpu_stats: cpu(&sample.cpu),
        precpu_stats: before.map(|before| cpu(&before.cpu)).unwrap_or_default(),
        memory_stats: memory(&sample.memory),
        networks: networks(sample),
        ..Default::default()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn cpu(cpu: &CpuStats) -> wire::Cpu {
    wire::Cpu {
        cpu_usage: wire::CpuUsage {
            total_usage: nanos(cpu.total),
            percpu_usage: (!cpu.per_cpu.is_empty())
                .then(|| cpu.per_cpu.iter().copied().map(nanos).collect()),
            usage_in_kernelmode: nanos(cpu.kernel),
            usage_in_usermode: nanos(cpu.user),
        },
        system_cpu_usage: nanos(cpu.system),
        online_cpus: cpu.online_cpus,
        throttling_data: wire::Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: nanos(cpu.throttled),
        },
    }
}

fn memory(memory: &MemoryStats) -> wire::Memory {
    wire::Memory {
        usage: memory.usage,
        max_usage: memory.max_usage.unwrap_or(0),
        stats: memory.details.clone(),
        failcnt: memory.fail_count.unwrap_or(0),
        limit: memory.limit,
    }
}

fn networks(sample: &StatsSample) -> Option<BTreeMap<String, wire::Interface>> {
    let each = |(name, counters): (&String, &shoal_model::container::InterfaceStats)| {
        let interface = wire::Interface {
            rx_bytes: counters.rx_bytes,
            rx_packets: counters.rx_packets,
            rx_errors: counters.rx_errors,
            rx_dropped: counters.rx_dropped,
            tx_bytes: counters.tx_bytes,
            tx_packets: counters.tx_packets,
            tx_errors: counters.tx_errors,
            tx_dropped: counters.tx_dropped,
        };
        (name.clone(), interface)
    };
    (!sample.networks.is_empty()).then(|| sample.networks.iter().map(each).collect())
}
