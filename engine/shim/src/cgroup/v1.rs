//! Limits as cgroup v1 wants them. Pure.
//!
//! Source: kernel `Documentation/admin-guide/cgroup-v1/`.

use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::spec::{DeviceRule, Resources};

use super::Write;
use crate::failure::{Result, failure};

/// The values to write, in order.
pub(crate) fn writes(resources: &Resources) -> Result<Vec<Write>> {
    if !resources.unified.is_empty() {
        let message = "linux.resources.unified needs cgroup v2, this host has v1";
        return Err(failure(FailureKind::InvalidArgument, message));
    }
    let mut out = Vec::new();
    let mut add = |controller: &'static str, file: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push(Write { controller, file: format!("{controller}.{file}"), value });
        }
    };
    if let Some(memory) = &resources.memory {
        add("memory", "limit_in_bytes", memory.limit.map(text));
        add("memory", "memsw.limit_in_bytes", memory.swap.map(text));
        add("memory", "soft_limit_in_bytes", memory.reservation.map(text));
        add("memory", "swappiness", memory.swappiness.map(text));
        let disable = memory.disable_oom_killer.filter(|disable| *disable);
        add("memory", "oom_control", disable.map(|_| "1".to_owned()));
    }
    if let Some(cpu) = &resources.cpu {
        add("cpu", "shares", cpu.shares.map(text));
        add("cpu", "cfs_period_us", cpu.period.map(text));
        add("cpu", "cfs_quota_us", cpu.quota.map(text));
        add("cpu", "rt_period_us", cpu.realtime_period.map(text));
        add("cpu", "rt_runtime_us", cpu.realtime_runtime.map(text));
        add("cpuset", "cpus", cpu.cpus.clone());
        add("cpuset", "mems", cpu.mems.clone());
    }
    let pids = resources.pids.map(|pids| pids.limit);
    add("pids", "max", pids.map(|limit| if limit > 0 { text(limit) } else { "max".to_owned() }));
    if let Some(block) = &resources.block_io {
        add("blkio", "weight", block.weight.map(text));
        for device in &block.weight_device {
            let value = format!("{}:{} {}", device.major, device.minor, device.weight);
            add("blkio", "weight_device", Some(value));
        }
        for (file, devices) in [
            ("throttle.read_bps_device", &block.throttle_read_bps_device),
            ("throttle.write_bps_device", &block.throttle_write_bps_device),
            ("throttle.read_iops_device", &block.throttle_read_iops_device),
            ("throttle.write_iops_device", &block.throttle_write_iops_device),
        ] {
            for device in devices {
                let value = format!("{}:{} {}", device.major, device.minor, device.rate);
                add("blkio", file, Some(value));
            }
        }
    }
    for huge in &resources.hugepage_limits {
        add("hugetlb", &format!("{}.limit_in_bytes", huge.page_size), Some(text(huge.limit)));
    }
    Ok(out)
}

/// The device rules to write, in order.
pub(crate) fn device_writes(rules: &[DeviceRule]) -> Vec<Write> {
    let write = |rule: &DeviceRule| {
        let number = |number: Option<i64>| {
            number.filter(|number| *number >= 0).map_or_else(|| "*".to_owned(), text)
        };
        let kind = rule.kind.as_deref().unwrap_or("a");
        let access = rule.access.as_deref().unwrap_or("rwm");
        let value = if kind == "a" {
            "a".to_owned()
        } else {
            format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
        };
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        Write { controller: "devices", file: file.to_owned(), value }
    };
    rules.iter().map(write).collect()
}

fn text(value: impl ToString) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_shim_protocol::spec::{Cpu, Memory, Pids};

    fn lines(writes: Vec<Write>) -> Vec<String> {
        writes.into_iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn limits() {
        let resources = Resources {
            memory: Some(Memory { limit: Some(64), swap: Some(-1), ..Default::default() }),
            cpu: Some(Cpu { shares: Some(512), cpus: Some("0".into()), ..Default::default() }),
            pids: Some(Pids { limit: -1 }),
            ..Default::default()
        };
        assert_eq!(
            lines(writes(&resources).unwrap()),
            [
                "memory.limit_in_bytes=64",
                "memory.memsw.limit_in_bytes=-1",
                "cpu.shares=512",
                "cpuset.cpus=0",
                "pids.max=max",
            ]
        );
    }

    #[test]
    fn devices() {
        let rules = [
            DeviceRule { access: Some("rwm".into()), ..Default::default() },
            DeviceRule {
                allow: true,
                kind: Some("c".into()),
                major: Some(1),
                minor: Some(-1),
                access: Some("m".into()),
            },
        ];
        assert_eq!(lines(device_writes(&rules)), ["devices.deny=a", "devices.allow=c 1:* m"]);
    }
}
