//! Limits as cgroup v2 wants them. Pure.
//!
//! Source: kernel `Documentation/admin-guide/cgroup-v2.rst`; conversions of shares, weights and swap
//! as in runc `libcontainer/cgroups/utils.go`.

use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::{Memory, Resources};

use super::Write;
use crate::failure::{Result, failure};

/// The values to write, in order.
pub(crate) fn writes(resources: &Resources) -> Result<Vec<Write>> {
    let mut out = Vec::new();
    let mut add = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push(Write { controller: "unified", file: file.to_owned(), value });
        }
    };
    if let Some(memory) = &resources.memory {
        add("memory.swap.max", swap_max(memory)?);
        add("memory.max", memory.limit.map(bytes));
        add("memory.low", memory.reservation.map(bytes));
    }
    if let Some(cpu) = &resources.cpu {
        if cpu.realtime_runtime.is_some() || cpu.realtime_period.is_some() {
            let message = "real-time limits of processor time need cgroup v1, this host has v2";
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        add("cpu.weight", cpu.shares.filter(|shares| *shares > 0).map(weight_of_shares));
        if cpu.quota.is_some() || cpu.period.is_some() {
            let quota = cpu.quota.filter(|quota| *quota > 0);
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let period = cpu.period.map(|period| format!(" {period}")).unwrap_or_default();
            add("cpu.max", Some(quota + &period));
        }
        add("cpuset.cpus", cpu.cpus.clone());
        add("cpuset.mems", cpu.mems.clone());
    }
    add("pids.max", resources.pids.map(|pids| bytes(if pids.limit > 0 { pids.limit } else { -1 })));
    if let Some(block) = &resources.block_io {
        let weight = |weight: u16| (1 + (u64::from(weight).max(10) - 10) * 9999 / 990).to_string();
        add(
            "io.weight",
            block
                .weight
                .filter(|value| *value > 0)
                .map(|value| format!("default {}", weight(value))),
        );
        for device in &block.weight_device {
            let value = format!("{}:{} {}", device.major, device.minor, weight(device.weight));
            add("io.weight", Some(value));
        }
        for (key, devices) in [
            ("rbps", &block.throttle_read_bps_device),
            ("wbps", &block.throttle_write_bps_device),
            ("riops", &block.throttle_read_iops_device),
            ("wiops", &block.throttle_write_iops_device),
        ] {
            for device in devices {
                let rate =
                    if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
                add("io.max", Some(format!("{}:{} {key}={rate}", device.major, device.minor)));
            }
        }
    }
    for huge in &resources.hugepage_limits {
        add(&format!("hugetlb.{}.max", huge.page_size), Some(huge.limit.to_string()));
    }
    for (file, value) in &resources.unified {
        if file.contains('/') {
            let message = format!("linux.resources.unified `{file}` is not the name of a file");
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        add(file, Some(value.clone()));
    }
    Ok(out)
}

fn bytes(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Docker's swap includes memory, the kernel's does not.
fn swap_max(memory: &Memory) -> Result<Option<String>> {
    match (memory.swap, memory.limit) {
        (None | Some(0), _) => Ok(None),
        (Some(-1), _) => Ok(Some("max".to_owned())),
        (Some(swap), Some(limit)) if limit >= 0 && swap >= limit => {
            Ok(Some((swap - limit).to_string()))
        }
        (Some(_), _) => Err(failure(
            FailureKind::InvalidArgument,
            "linux.resources.memory.swap must be at least the limit of memory, which must be set",
        )),
    }
}

/// 2–262144 → 1–10000.
fn weight_of_shares(shares: u64) -> String {
    (1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_shim_protocol::spec::{Cpu, Pids};

    #[test]
    fn shares_become_weight() {
        let weights = [2, 1024, 262_144, 0].map(weight_of_shares);
        assert_eq!(weights, ["1", "39", "10000", "1"]);
    }

    #[test]
    fn limits() {
        let resources = Resources {
            memory: Some(Memory { limit: Some(100), swap: Some(150), ..Default::default() }),
            cpu: Some(Cpu { quota: Some(50), period: Some(100), ..Default::default() }),
            pids: Some(Pids { limit: 0 }),
            ..Default::default()
        };
        let lines: Vec<_> = writes(&resources)
            .unwrap()
            .into_iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect();
        assert_eq!(
            lines,
            ["memory.swap.max=50", "memory.max=100", "cpu.max=50 100", "pids.max=max"]
        );
    }

    #[test]
    fn swap_below_memory_is_refused() {
        let memory = Memory { limit: Some(100), swap: Some(50), ..Default::default() };
        assert!(swap_max(&memory).is_err());
    }
}
