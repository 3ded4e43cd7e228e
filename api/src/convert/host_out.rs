//! The model's host spec to `HostConfig` of the wire.

use std::collections::BTreeMap;

use shoal_api_wire::host_config as wire;
use shoal_api_wire::network as wire_network;
use shoal_model::container::{BlkioDevice, HostSpec, NetworkMode, PortBinding, RestartPolicy};

use super::mounts;
use super::spec::{ipc_out, namespace_out};

pub(crate) fn host(host: &HostSpec) -> wire::HostConfig {
    let resources = &host.resources;
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let list = |list: &Vec<String>| Some(list.clone());
    let throttle = |devices: &Vec<BlkioDevice>| {
        let each = |d: &BlkioDevice| wire::ThrottleDevice { path: d.path.clone(), rate: d.value };
        (!devices.is_empty()).then(|| devices.iter().map(each).collect())
    };
    let log = host.log.clone().unwrap_or_default();
    let console = host.console_size.unwrap_or_default();
    wire::HostConfig {
        binds: (!host.binds.is_empty()).then(|| host.binds.iter().map(mounts::bind_out).collect()),
        container_id_file: host.container_id_file.clone(),
        log_config: wire::LogConfig { r#type: log.driver, config: log.options },
        network_mode: network_mode(&host.network_mode),
        port_bindings: Some(port_bindings(&host.port_bindings)),
        restart_policy: restart_policy(&host.restart_policy),
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: volumes_from(host),
        console_size: [console.0, console.1],
        annotations: map(&host.annotations),
        cap_add: some(&host.cap_add).map(Into::into),
        cap_drop: some(&host.cap_drop).map(Into::into),
        cgroupns_mode: namespace_out(&host.cgroupns_mode),
        dns: list(&host.dns),
        dns_options: list(&host.dns_options),
        dns_search: list(&host.dns_search),
        extra_hosts: some(&host.extra_hosts),
        group_add: some(&host.group_add),
        ipc_mode: ipc_out(&host.ipc_mode),
        cgroup: host.cgroup.clone(),
        links: some(&host.links),
        oom_score_adj: host.oom_score_adj.into(),
        pid_mode: namespace_out(&host.pid_mode),
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: some(&host.security_opt),
        storage_opt: map(&host.storage_opt),
        tmpfs: map(&host.tmpfs),
        uts_mode: namespace_out(&host.uts_mode),
        userns_mode: namespace_out(&host.userns_mode),
        shm_size: host.shm_size,
        sysctls: map(&host.sysctls),
        runtime: host.runtime.clone(),
        isolation: host.isolation.clone(),
        cpu_shares: resources.cpu_shares,
        memory: resources.memory,
        nano_cpus: resources.nano_cpus,
        cgroup_parent: resources.cgroup_parent.clone(),
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: Some(weights(&resources.blkio_weight_device)),
        blkio_device_read_bps: throttle(&resources.blkio_read_bps),
        blkio_device_write_bps: throttle(&resources.blkio_write_bps),
        blkio_device_read_iops: throttle(&resources.blkio_read_iops),
        blkio_device_write_iops: throttle(&resources.blkio_write_iops),
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_realtime_period: resources.cpu_rt_period,
        cpu_realtime_runtime: resources.cpu_rt_runtime,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        devices: Some(devices(host)),
        device_cgroup_rules: some(&resources.device_cgroup_rules),
        device_requests: device_requests(host),
        kernel_memory: 0,
        kernel_memory_tcp: resources.kernel_memory_tcp,
        memory_reservation: resources.memory_reservation,
        memory_swap: resources.memory_swap,
        memory_swappiness: resources.memory_swappiness,
        oom_kill_disable: resources.oom_kill_disable,
        pids_limit: resources.pids_limit,
        ulimits: Some(ulimits(host)),
        cpu_count: 0,
        cpu_percent: 0,
        io_maximum_iops: 0,
        io_maximum_bandwidth: 0,
        mounts: (!host.mounts.is_empty())
            .then(|| host.mounts.iter().map(mounts::mount_out).collect()),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        init: host.init,
    }
}

fn map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

pub(crate) fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default | NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(container) => format!("container:{container}"),
        NetworkMode::Named(name) => name.clone(),
    }
}

fn restart_policy(policy: &RestartPolicy) -> wire::RestartPolicy {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max_retries } => ("on-failure", *max_retries),
    };
    wire::RestartPolicy { name: name.to_owned(), maximum_retry_count: count.into() }
}

fn port_bindings(
    ports: &BTreeMap<String, Vec<PortBinding>>,
) -> BTreeMap<String, Option<Vec<wire_network::PortBinding>>> {
    let binding = |binding: &PortBinding| wire_network::PortBinding {
        host_ip: binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: binding.host_port.clone(),
    };
    let each = |(port, bindings): (&String, &Vec<PortBinding>)| {
        (port.clone(), Some(bindings.iter().map(binding).collect()))
    };
    ports.iter().map(each).collect()
}

fn volumes_from(host: &HostSpec) -> Option<Vec<String>> {
    let from = host.volumes_from.iter().map(|from| match from.mode.as_str() {
        "" => from.container.clone(),
        mode => format!("{}:{mode}", from.container),
    });
    (!host.volumes_from.is_empty()).then(|| from.collect())
}

fn weights(devices: &[BlkioDevice]) -> Vec<wire::WeightDevice> {
    let weight = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let devices = devices.iter();
    devices.map(|d| wire::WeightDevice { path: d.path.clone(), weight: weight(d.value) }).collect()
}

fn devices(host: &HostSpec) -> Vec<wire::DeviceMapping> {
    let devices = host.resources.devices.iter();
    devices
        .map(|device| wire::DeviceMapping {
            path_on_host: device.path_on_host.clone(),
            path_in_container: device.path_in_container.clone(),
            cgroup_permissions: device.permissions.clone(),
        })
        .collect()
}

fn device_requests(host: &HostSpec) -> Option<Vec<wire::DeviceRequest>> {
    let requests = &host.resources.device_requests;
    let each = |request: &shoal_model::container::DeviceRequest| wire::DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: Some(request.device_ids.clone()),
        capabilities: Some(request.capabilities.clone()),
        options: Some(request.options.clone()),
    };
    (!requests.is_empty()).then(|| requests.iter().map(each).collect())
}

fn ulimits(host: &HostSpec) -> Vec<wire::Ulimit> {
    let limits = host.resources.ulimits.iter();
    limits
        .map(|limit| wire::Ulimit { name: limit.name.clone(), hard: limit.hard, soft: limit.soft })
        .collect()
}
