//! `HostConfig` of the wire to the model's host spec.

use std::collections::BTreeMap;

use shoal_api_wire::host_config::{HostConfig, ThrottleDevice};
use shoal_api_wire::network as wire_network;
use shoal_model::Failure;
use shoal_model::container::{
    BlkioDevice, Device, DeviceRequest, HostSpec, IpcMode, LogSpec, NamespaceMode, NetworkMode,
    PortBinding, Resources, RestartPolicy, Ulimit,
};

use super::mounts::{self, Bind};
use super::validate;

type Result<T> = std::result::Result<T, Failure>;

/// The host spec, and the targets of anonymous volumes in `Binds`.
pub(crate) fn host(wire: HostConfig) -> Result<(HostSpec, Vec<String>)> {
    validate::host(&wire)?;
    let resources = resources(&wire)?;
    let restart_policy = restart_policy(&wire)?;
    let mut binds = Vec::new();
    let mut anonymous = Vec::new();
    for text in wire.binds.iter().flatten() {
        match mounts::bind(text)? {
            Bind::Mount(mount) => binds.push(mount),
            Bind::Anonymous(target) => anonymous.push(target),
        }
    }
    let list = |list: Option<Vec<String>>| list.unwrap_or_default();
    let host = HostSpec {
        resources,
        binds,
        mounts: wire.mounts.iter().flatten().map(mounts::mount).collect::<Result<_>>()?,
        tmpfs: wire.tmpfs.unwrap_or_default(),
        volumes_from: wire
            .volumes_from
            .iter()
            .flatten()
            .map(|text| mounts::volumes_from(text))
            .collect::<Result<_>>()?,
        volume_driver: wire.volume_driver,
        container_id_file: wire.container_id_file,
        log: (!wire.log_config.r#type.is_empty() || !wire.log_config.config.is_empty())
            .then_some(LogSpec { driver: wire.log_config.r#type, options: wire.log_config.config }),
        network_mode: network_mode(&wire.network_mode)?,
        port_bindings: port_bindings(wire.port_bindings.unwrap_or_default())?,
        publish_all_ports: wire.publish_all_ports,
        restart_policy,
        auto_remove: wire.auto_remove,
        console_size: (wire.console_size != [0, 0])
            .then_some((wire.console_size[0], wire.console_size[1])),
        annotations: wire.annotations.unwrap_or_default(),
        cap_add: wire.cap_add.unwrap_or_default().0,
        cap_drop: wire.cap_drop.unwrap_or_default().0,
        cgroupns_mode: namespace("cgroup namespace", &wire.cgroupns_mode)?,
        dns: list(wire.dns),
        dns_options: list(wire.dns_options),
        dns_search: list(wire.dns_search),
        extra_hosts: list(wire.extra_hosts),
        group_add: list(wire.group_add),
        ipc_mode: ipc_mode(&wire.ipc_mode)?,
        cgroup: wire.cgroup,
        links: list(wire.links),
        oom_score_adj: i32::try_from(wire.oom_score_adj).unwrap_or(0),
        pid_mode: namespace("PID", &wire.pid_mode)?,
        privileged: wire.privileged,
        readonly_rootfs: wire.readonly_rootfs,
        security_opt: list(wire.security_opt),
        storage_opt: wire.storage_opt.unwrap_or_default(),
        uts_mode: namespace("UTS", &wire.uts_mode)?,
        userns_mode: namespace("user namespace", &wire.userns_mode)?,
        shm_size: wire.shm_size,
        sysctls: wire.sysctls.unwrap_or_default(),
        runtime: wire.runtime,
        init: wire.init,
        masked_paths: wire.masked_paths,
        readonly_paths: wire.readonly_paths,
        isolation: wire.isolation,
    };
    Ok((host, anonymous))
}

pub(crate) fn restart_policy(wire: &HostConfig) -> Result<RestartPolicy> {
    let wire = &wire.restart_policy;
    let count = wire.maximum_retry_count;
    let policy = match wire.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let max_retries = u32::try_from(count).map_err(|_| {
                Failure::invalid("invalid restart policy: maximum retry count cannot be negative")
            })?;
            return Ok(RestartPolicy::OnFailure { max_retries });
        }
        other => {
            return Err(Failure::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', \
                 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if count == 0 {
        return Ok(policy);
    }
    let negative = if count < 0 { " and cannot be negative" } else { "" };
    Err(Failure::invalid(format!(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
    )))
}

pub(crate) fn network_mode(text: &str) -> Result<NetworkMode> {
    Ok(match text {
        "" | "default" => NetworkMode::Default,
        "bridge" => NetworkMode::Bridge,
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        _ => match text.strip_prefix("container:") {
            Some("") => {
                return Err(Failure::invalid(
                    "Invalid network mode: invalid container format container:<name|id>",
                ));
            }
            Some(container) => NetworkMode::Container(container.to_owned()),
            None => NetworkMode::Named(text.to_owned()),
        },
    })
}

fn namespace(what: &str, text: &str) -> Result<NamespaceMode> {
    Ok(match text {
        "" => NamespaceMode::Default,
        "private" => NamespaceMode::Private,
        "host" => NamespaceMode::Host,
        _ => match text.strip_prefix("container:") {
            Some(container) if !container.is_empty() => {
                NamespaceMode::Container(container.to_owned())
            }
            _ => return Err(Failure::invalid(format!("invalid {what} mode: {text}"))),
        },
    })
}

fn ipc_mode(text: &str) -> Result<IpcMode> {
    Ok(match text {
        "" => IpcMode::Default,
        "none" => IpcMode::None,
        "private" => IpcMode::Private,
        "shareable" => IpcMode::Shareable,
        "host" => IpcMode::Host,
        _ => match text.strip_prefix("container:") {
            Some(container) if !container.is_empty() => IpcMode::Container(container.to_owned()),
            _ => return Err(Failure::invalid(format!("invalid IPC mode: {text}"))),
        },
    })
}

fn port_bindings(
    wire: BTreeMap<String, Option<Vec<wire_network::PortBinding>>>,
) -> Result<BTreeMap<String, Vec<PortBinding>>> {
    let binding = |wire: wire_network::PortBinding| {
        validate::host_port(&wire.host_port)?;
        let host_ip = match wire.host_ip.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Failure::invalid(format!("invalid port binding: \"{text}\" is no IP address"))
            })?),
        };
        Ok(PortBinding { host_ip, host_port: wire.host_port })
    };
    let each = |(port, bindings): (String, Option<Vec<_>>)| {
        let port = validate::port(&port)?;
        let bindings = bindings.unwrap_or_default().into_iter().map(binding);
        Ok((port, bindings.collect::<Result<Vec<_>>>()?))
    };
    wire.into_iter().map(each).collect()
}

pub(crate) fn resources(wire: &HostConfig) -> Result<Resources> {
    validate::resources(wire)?;
    let throttle = |list: &Option<Vec<ThrottleDevice>>| {
        let devices = list.iter().flatten();
        devices.map(|d| BlkioDevice { path: d.path.clone(), value: d.rate }).collect()
    };
    Ok(Resources {
        cpu_shares: wire.cpu_shares,
        memory: wire.memory,
        cgroup_parent: wire.cgroup_parent.clone(),
        blkio_weight: wire.blkio_weight,
        blkio_weight_device: wire
            .blkio_weight_device
            .iter()
            .flatten()
            .map(|d| BlkioDevice { path: d.path.clone(), value: d.weight.into() })
            .collect(),
        blkio_read_bps: throttle(&wire.blkio_device_read_bps),
        blkio_write_bps: throttle(&wire.blkio_device_write_bps),
        blkio_read_iops: throttle(&wire.blkio_device_read_iops),
        blkio_write_iops: throttle(&wire.blkio_device_write_iops),
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpu_rt_period: wire.cpu_realtime_period,
        cpu_rt_runtime: wire.cpu_realtime_runtime,
        nano_cpus: wire.nano_cpus,
        cpuset_cpus: wire.cpuset_cpus.clone(),
        cpuset_mems: wire.cpuset_mems.clone(),
        devices: devices(wire),
        device_cgroup_rules: wire.device_cgroup_rules.clone().unwrap_or_default(),
        device_requests: device_requests(wire),
        kernel_memory_tcp: wire.kernel_memory_tcp,
        memory_reservation: wire.memory_reservation,
        memory_swap: wire.memory_swap,
        memory_swappiness: wire.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: wire.oom_kill_disable,
        pids_limit: wire.pids_limit,
        ulimits: wire
            .ulimits
            .iter()
            .flatten()
            .map(|u| Ulimit { name: u.name.clone(), soft: u.soft, hard: u.hard })
            .collect(),
    })
}

fn devices(wire: &HostConfig) -> Vec<Device> {
    let devices = wire.devices.iter().flatten();
    devices
        .map(|device| Device {
            path_on_host: device.path_on_host.clone(),
            path_in_container: device.path_in_container.clone(),
            permissions: device.cgroup_permissions.clone(),
        })
        .collect()
}

fn device_requests(wire: &HostConfig) -> Vec<DeviceRequest> {
    let requests = wire.device_requests.iter().flatten();
    requests
        .map(|request| DeviceRequest {
            driver: request.driver.clone(),
            count: request.count,
            device_ids: request.device_ids.clone().unwrap_or_default(),
            capabilities: request.capabilities.clone().unwrap_or_default(),
            options: request.options.clone().unwrap_or_default(),
        })
        .collect()
}
