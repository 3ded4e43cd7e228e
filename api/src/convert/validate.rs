//! What dockerd refuses in a container's wish before it looks at the host, in its words.
//!
//! Source: moby `daemon/container.go verifyContainerSettings`, `daemon/daemon_unix.go
//! verifyPlatformContainerResources`, `daemon/internal/runconfig/hostconfig_unix.go`.

use shoal_api_wire::container::{ContainerConfig, HealthConfig};
use shoal_api_wire::host_config::HostConfig;
use shoal_model::Failure;

type Result<T> = std::result::Result<T, Failure>;

const MEMORY_MIN: i64 = 6 << 20;

fn refuse(condition: bool, message: &str) -> Result<()> {
    if condition { Err(Failure::invalid(message)) } else { Ok(()) }
}

pub(crate) fn host(wire: &HostConfig) -> Result<()> {
    let restarts = !matches!(wire.restart_policy.name.as_str(), "" | "no");
    refuse(
        wire.auto_remove && restarts,
        "can't create 'AutoRemove' container with restart policy",
    )?;
    refuse(wire.shm_size < 0, "SHM size can not be less than 0")?;
    if !(-1000..=1000).contains(&wire.oom_score_adj) {
        return Err(Failure::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            wire.oom_score_adj
        )));
    }
    if !matches!(wire.isolation.as_str(), "" | "default") {
        let text = format!("invalid isolation '{}' on linux", wire.isolation);
        return Err(Failure::invalid(text));
    }
    for host in wire.extra_hosts.iter().flatten() {
        if host.split_once(':').is_none_or(|(name, _)| name.is_empty()) {
            return Err(Failure::invalid(format!("bad format for add-host: \"{host}\"")));
        }
    }
    Ok(())
}

pub(crate) fn resources(wire: &HostConfig) -> Result<()> {
    let (memory, swap) = (wire.memory, wire.memory_swap);
    refuse(memory != 0 && memory < MEMORY_MIN, "Minimum memory limit allowed is 6MB")?;
    refuse(
        memory > 0 && swap > 0 && swap < memory,
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    )?;
    refuse(
        memory == 0 && swap > 0,
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    )?;
    if let Some(value) = wire.memory_swappiness
        && !(-1..=100).contains(&value)
    {
        return Err(Failure::invalid(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        )));
    }
    let reservation = wire.memory_reservation;
    refuse(
        reservation > 0 && reservation < MEMORY_MIN,
        "Minimum memory reservation allowed is 6MB",
    )?;
    refuse(
        memory > 0 && reservation > 0 && memory < reservation,
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    )?;
    cpu(wire)?;
    refuse(
        wire.blkio_weight > 0 && !(10..=1000).contains(&wire.blkio_weight),
        "Range of blkio weight is from 10 to 1000",
    )?;
    for limit in wire.ulimits.iter().flatten() {
        if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
            return Err(Failure::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            )));
        }
    }
    Ok(())
}

fn cpu(wire: &HostConfig) -> Result<()> {
    let nano = wire.nano_cpus > 0;
    refuse(
        nano && wire.cpu_period > 0,
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    )?;
    refuse(
        nano && wire.cpu_quota > 0,
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    )?;
    refuse(
        wire.cpu_period != 0 && !(1000..=1_000_000).contains(&wire.cpu_period),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    )?;
    refuse(
        wire.cpu_quota > 0 && wire.cpu_quota < 1000,
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    )
}

pub(crate) fn config(config: &ContainerConfig) -> Result<()> {
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Failure::invalid(format!("invalid environment variable: {entry}")));
        }
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Failure::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    config.healthcheck.as_ref().map_or(Ok(()), healthcheck)
}

fn healthcheck(check: &HealthConfig) -> Result<()> {
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < 1_000_000 {
            let text = format!("{name} in Healthcheck cannot be less than 1ms");
            return Err(Failure::invalid(text));
        }
    }
    refuse(check.retries < 0, "Retries in Healthcheck cannot be negative")
}

/// Options that contradict the network mode.
pub(crate) fn network(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let links = host.links.as_ref().is_some_and(|links| !links.is_empty());
    refuse(
        host.network_mode == "host" && links,
        "conflicting options: host type networking can't be used with links. This would result in \
         undefined behavior",
    )?;
    if !host.network_mode.starts_with("container:") {
        return Ok(());
    }
    refuse(!config.hostname.is_empty(), "conflicting options: hostname and the network mode")?;
    refuse(
        links,
        "conflicting options: container type network can't be used with links. This would result in \
         undefined behavior",
    )?;
    let dns = host.dns.as_ref().is_some_and(|dns| !dns.is_empty());
    refuse(dns, "conflicting options: dns and the network mode")?;
    let hosts = host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty());
    refuse(hosts, "conflicting options: custom host-to-IP mapping and the network mode")?;
    let published = host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    refuse(
        published || host.publish_all_ports,
        "conflicting options: port publishing and the container type network mode",
    )?;
    let exposed = config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty());
    refuse(exposed, "conflicting options: port exposing and the container type network mode")
}

/// `port[/protocol]` with the protocol always there.
pub(crate) fn port(text: &str) -> Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let wrong = || Failure::invalid(format!("invalid port specification: \"{number}\""));
    let valid = |port: &str| port.parse::<u16>().is_ok();
    let (first, last) = number.split_once('-').unwrap_or((number, number));
    if !valid(first) || !valid(last) {
        return Err(wrong());
    }
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Failure::invalid(format!("invalid proto: {protocol}")));
    }
    Ok(format!("{number}/{protocol}"))
}

/// A port of the host: empty, a number, or a range.
pub(crate) fn host_port(text: &str) -> Result<()> {
    let number = |port: &str| port.parse::<u16>().ok();
    let fits = match text.split_once('-') {
        _ if text.is_empty() => true,
        Some((first, last)) => {
            number(first).zip(number(last)).is_some_and(|(first, last)| first <= last)
        }
        None => number(text).is_some(),
    };
    refuse(!fits, &format!("invalid port specification: \"{text}\""))
}

/// A name for a container.
pub(crate) fn name(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let fits = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() > 1
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    refuse(
        !fits,
        &format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    )
}
