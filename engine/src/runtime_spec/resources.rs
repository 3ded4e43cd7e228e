//! Cgroup limits and ulimits. Pure.
//!
//! Source: moby `daemon/daemon_unix.go getMemoryResources … getPidsLimit`, `oci_linux.go WithRlimits`.

use shoal_model::container::{BlkioDevice, Resources as Wish, Ulimit};

use super::Error;
use super::devices::HostDevices;
use super::oci::{BlockIo, Cpu, Memory, Pids, Resources, Rlimit, ThrottleDevice, WeightDevice};

/// Names that `--ulimit` knows.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The limits of a container; device rules are added elsewhere. Also used for `update`.
///
/// # Errors
/// When a value is out of range or a block device was not gathered.
pub fn limits(wish: &Wish, devices: &HostDevices) -> Result<Resources, Error> {
    Ok(Resources {
        devices: Vec::new(),
        memory: memory(wish)?,
        cpu: cpu(wish)?,
        pids: wish.pids_limit.map(|limit| Pids { limit: if limit <= 0 { -1 } else { limit } }),
        block_io: block_io(wish, devices)?,
    })
}

fn memory(wish: &Wish) -> Result<Option<Memory>, Error> {
    let swappiness = match wish.memory_swappiness {
        None | Some(-1) => None,
        Some(value) if (0..=100).contains(&value) => u64::try_from(value).ok(),
        Some(value) => return Err(Error::Swappiness { value }),
    };
    let swap = match (wish.memory, wish.memory_swap) {
        (memory, 0) if memory > 0 => Some(memory.saturating_mul(2)),
        (_, 0) => None,
        (_, swap) => Some(swap),
    };
    let memory = Memory {
        limit: positive(wish.memory),
        reservation: positive(wish.memory_reservation),
        swap,
        kernel_tcp: positive(wish.kernel_memory_tcp),
        swappiness,
        disable_oom_killer: wish.oom_kill_disable.filter(|disable| *disable),
    };
    Ok((memory != Memory::default()).then_some(memory))
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

fn cpu(wish: &Wish) -> Result<Option<Cpu>, Error> {
    let unsigned = |field: &'static str, value: i64| {
        u64::try_from(value).map_err(|_| Error::Negative { field, value })
    };
    let non_zero = |value: u64| (value > 0).then_some(value);
    let mut cpu = Cpu {
        shares: non_zero(unsigned("CpuShares", wish.cpu_shares)?),
        quota: (wish.cpu_quota != 0).then_some(wish.cpu_quota),
        period: non_zero(unsigned("CpuPeriod", wish.cpu_period)?),
        realtime_runtime: (wish.cpu_rt_runtime != 0).then_some(wish.cpu_rt_runtime),
        realtime_period: non_zero(unsigned("CpuRealtimePeriod", wish.cpu_rt_period)?),
        cpus: wish.cpuset_cpus.clone(),
        mems: wish.cpuset_mems.clone(),
    };
    if wish.nano_cpus > 0 {
        const PERIOD: i64 = 100_000;
        let quota = i128::from(wish.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
        cpu.period = Some(unsigned("CpuPeriod", PERIOD)?);
        cpu.quota = Some(i64::try_from(quota).unwrap_or(i64::MAX));
    }
    Ok((cpu != Cpu::default()).then_some(cpu))
}

fn block_io(wish: &Wish, devices: &HostDevices) -> Result<Option<BlockIo>, Error> {
    let find = |limit: &BlkioDevice| {
        let missing = || Error::DeviceNotGathered { path: limit.path.clone() };
        devices.block.get(&limit.path).copied().ok_or_else(missing)
    };
    let throttles = |limits: &[BlkioDevice]| {
        let one = |limit: &BlkioDevice| {
            find(limit).map(|(major, minor)| ThrottleDevice { major, minor, rate: limit.value })
        };
        limits.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let weight = |limit: &BlkioDevice| {
        let (major, minor) = find(limit)?;
        let weight = u16::try_from(limit.value)
            .ok()
            .filter(|weight| (10..=1000).contains(weight))
            .ok_or(Error::BlkioWeight { value: limit.value })?;
        Ok::<_, Error>(WeightDevice { major, minor, weight })
    };
    if wish.blkio_weight > 0 && !(10..=1000).contains(&wish.blkio_weight) {
        return Err(Error::BlkioWeight { value: wish.blkio_weight.into() });
    }
    let block_io = BlockIo {
        weight: (wish.blkio_weight > 0).then_some(wish.blkio_weight),
        weight_device: wish
            .blkio_weight_device
            .iter()
            .map(weight)
            .collect::<Result<Vec<_>, Error>>()?,
        throttle_read_bps_device: throttles(&wish.blkio_read_bps)?,
        throttle_write_bps_device: throttles(&wish.blkio_write_bps)?,
        throttle_read_iops_device: throttles(&wish.blkio_read_iops)?,
        throttle_write_iops_device: throttles(&wish.blkio_write_iops)?,
    };
    Ok((block_io != BlockIo::default()).then_some(block_io))
}

/// The container's ulimits, then those of the daemon that it does not name.
///
/// # Errors
/// When a name is unknown or a soft limit exceeds the hard one.
pub(super) fn rlimits(own: &[Ulimit], daemon: &[Ulimit]) -> Result<Vec<Rlimit>, Error> {
    let inherited = daemon.iter().filter(|limit| !own.iter().any(|other| other.name == limit.name));
    own.iter().chain(inherited).map(rlimit).collect()
}

fn rlimit(limit: &Ulimit) -> Result<Rlimit, Error> {
    if !ULIMITS.contains(&limit.name.as_str()) {
        return Err(Error::UnknownUlimit { name: limit.name.clone() });
    }
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let (soft, hard) = (number(limit.soft), number(limit.hard));
    if soft > hard {
        return Err(Error::UlimitOrder { soft: limit.soft, hard: limit.hard });
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", limit.name.to_uppercase()), hard, soft })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, soft: i64, hard: i64) -> Ulimit {
        Ulimit { name: name.into(), soft, hard }
    }

    #[test]
    fn a_container_overrides_the_daemons_ulimits() {
        let got = rlimits(&[limit("nofile", 5, -1)], &[limit("nofile", 1, 1), limit("core", 0, 0)]);
        assert_eq!(
            got.unwrap(),
            [
                Rlimit { kind: "RLIMIT_NOFILE".into(), hard: u64::MAX, soft: 5 },
                Rlimit { kind: "RLIMIT_CORE".into(), hard: 0, soft: 0 },
            ]
        );
    }

    #[test]
    fn bad_ulimits_are_refused() {
        let refused = |limit| rlimits(&[limit], &[]).unwrap_err().to_string();
        assert_eq!(refused(limit("air", 1, 1)), "invalid ulimit type: air");
        assert_eq!(
            refused(limit("nofile", 2, 1)),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
        );
    }

    #[test]
    fn swap_defaults_to_twice_the_memory_and_may_be_unlimited() {
        let swap = |memory, memory_swap| {
            let wish = Wish { memory, memory_swap, ..Wish::default() };
            memory_of(&wish).and_then(|memory| memory.swap)
        };
        assert_eq!(swap(100, 0), Some(200));
        assert_eq!(swap(100, -1), Some(-1));
        assert_eq!(swap(100, 150), Some(150));
        assert_eq!(swap(0, 0), None);
    }

    fn memory_of(wish: &Wish) -> Option<Memory> {
        limits(wish, &HostDevices::default()).unwrap().memory
    }

    #[test]
    fn cpus_become_a_quota() {
        let wish = Wish { nano_cpus: 1_500_000_000, ..Wish::default() };
        let cpu = limits(&wish, &HostDevices::default()).unwrap().cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    }

    #[test]
    fn a_pids_limit_of_zero_is_unlimited() {
        let pids = |limit| {
            let wish = Wish { pids_limit: limit, ..Wish::default() };
            limits(&wish, &HostDevices::default()).unwrap().pids.map(|pids| pids.limit)
        };
        assert_eq!(
            [pids(None), pids(Some(0)), pids(Some(-1)), pids(Some(7))],
            [None, Some(-1), Some(-1), Some(7)]
        );
    }

    #[test]
    fn a_weight_out_of_range_is_refused() {
        let wish = Wish { blkio_weight: 5, ..Wish::default() };
        let error = limits(&wish, &HostDevices::default()).unwrap_err();
        assert_eq!(error.to_string(), "range of blkio weight is from 10 to 1000, not 5");
    }
}
