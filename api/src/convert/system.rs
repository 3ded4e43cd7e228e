//! Version, info, events, disk usage: model to wire, by version.

use std::collections::BTreeMap;

use shoal_api_wire::system as wire;
use shoal_api_wire::{ApiVersion, version};
use shoal_model::system::{DiskUsage, SystemInfo, VersionInfo};
use shoal_model::{Event, EventKind, Timestamp};

use super::cluster::task_spec_out;
use super::container::{self, signed};
use super::{image, time, volume};

pub(crate) fn version(info: &VersionInfo) -> wire::Version {
    let mut engine = BTreeMap::from([
        ("ApiVersion".to_owned(), version::MAX.to_string()),
        ("Arch".to_owned(), info.architecture.clone()),
        ("BuildTime".to_owned(), info.build_time.clone()),
        ("Experimental".to_owned(), "false".to_owned()),
        ("GitCommit".to_owned(), info.git_commit.clone()),
        ("GoVersion".to_owned(), String::new()),
        ("KernelVersion".to_owned(), info.kernel.clone()),
        ("MinAPIVersion".to_owned(), version::MIN.to_string()),
        ("Os".to_owned(), "linux".to_owned()),
    ]);
    engine.retain(|name, _| name != "BuildTime" || !info.build_time.is_empty());
    let mut components = vec![wire::Component {
        name: "Engine".to_owned(),
        version: info.version.clone(),
        details: engine,
    }];
    components.extend(info.components.iter().map(|part| wire::Component {
        name: part.name.clone(),
        version: part.version.clone(),
        details: part.details.clone(),
    }));
    wire::Version {
        platform: wire::VersionPlatform { name: "Shoal".to_owned() },
        components,
        version: info.version.clone(),
        api_version: version::MAX.to_string(),
        min_api_version: version::MIN.to_string(),
        git_commit: info.git_commit.clone(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: info.architecture.clone(),
        kernel_version: info.kernel.clone(),
        experimental: false,
        build_time: info.build_time.clone(),
    }
}

pub(crate) fn info(
    info: &SystemInfo,
    swarm: shoal_api_wire::swarm::cluster::SwarmInfo,
    version: ApiVersion,
) -> wire::Info {
    let counts = info.containers;
    let limits = info.limits;
    let runtime = |path: &String| wire::Runtime { path: path.clone(), runtime_args: Vec::new() };
    let pool = |(base, size): &(String, u8)| wire::AddressPool { base: base.clone(), size: *size };
    let commit =
        || wire::Commit { id: String::new(), expected: (!version.at_least(48)).then(String::new) };
    wire::Info {
        id: info.id.clone(),
        containers: counts.running + counts.paused + counts.stopped,
        containers_running: counts.running,
        containers_paused: counts.paused,
        containers_stopped: counts.stopped,
        images: info.images,
        driver: info.storage_driver.clone(),
        driver_status: info.storage_status.iter().map(|(k, v)| [k.clone(), v.clone()]).collect(),
        plugins: wire::PluginsInfo {
            volume: info.volume_drivers.clone(),
            network: info.network_drivers.clone(),
            authorization: None,
            log: info.log_drivers.clone(),
        },
        memory_limit: limits.memory,
        swap_limit: limits.swap,
        kernel_memory_tcp: limits.kernel_memory_tcp.then_some(true),
        cpu_cfs_period: limits.cpu_cfs_period,
        cpu_cfs_quota: limits.cpu_cfs_quota,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpuset,
        pids_limit: limits.pids,
        ipv4_forwarding: info.ipv4_forwarding,
        bridge_nf_iptables: (!version.at_least(50)).then_some(true),
        bridge_nf_ip6tables: (!version.at_least(50)).then_some(true),
        debug: info.debug,
        n_fd: info.file_descriptors,
        oom_kill_disable: limits.oom_kill_disable,
        n_goroutines: info.tasks,
        system_time: time::or_zero(info.time),
        logging_driver: info.log_driver.clone(),
        cgroup_driver: info.cgroup_driver.clone(),
        cgroup_version: info.cgroup_version.to_string(),
        n_events_listener: info.event_listeners,
        kernel_version: info.kernel.clone(),
        operating_system: info.operating_system.clone(),
        os_version: info.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: info.architecture.clone(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(info, version),
        n_cpu: info.cpus,
        mem_total: info.memory,
        generic_resources: task_spec_out::generic(&info.generic_resources),
        docker_root_dir: info.root_dir.clone(),
        http_proxy: info.http_proxy.clone(),
        https_proxy: info.https_proxy.clone(),
        no_proxy: info.no_proxy.clone(),
        name: info.name.clone(),
        labels: info.labels.clone(),
        experimental_build: false,
        server_version: info.version.clone(),
        runtimes: info.runtimes.iter().map(|(name, path)| (name.clone(), runtime(path))).collect(),
        default_runtime: info.default_runtime.clone(),
        swarm,
        // Shims outlive the daemon: live restore is how it always works.
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: info.init_binary.clone(),
        containerd_commit: commit(),
        runc_commit: commit(),
        init_commit: commit(),
        security_options: info.security_options.clone(),
        default_address_pools: info.address_pools.iter().map(pool).collect(),
        cdi_spec_dirs: version.at_least(46).then(|| info.cdi_dirs.clone()),
        warnings: (!info.warnings.is_empty()).then(|| info.warnings.clone()),
    }
}

fn registries(info: &SystemInfo, version: ApiVersion) -> wire::RegistryConfig {
    let config = &info.registries;
    let index = |name: &str, secure, official| wire::IndexInfo {
        name: name.to_owned(),
        mirrors: if official { config.mirrors.clone() } else { Vec::new() },
        secure,
        official,
    };
    let mut indexes = BTreeMap::from([("docker.io".to_owned(), index("docker.io", true, true))]);
    let hosts = config.insecure_hosts.iter();
    indexes.extend(hosts.map(|host| (host.clone(), index(host, false, false))));
    let legacy = (!version.at_least(47)).then(Vec::new);
    wire::RegistryConfig {
        allow_nondistributable_cidrs: legacy.clone(),
        allow_nondistributable_hostnames: legacy,
        insecure_registry_cidrs: config.insecure_cidrs.clone(),
        index_configs: indexes,
        mirrors: (!config.mirrors.is_empty()).then(|| config.mirrors.clone()),
    }
}

pub(crate) fn event(event: &Event, version: ApiVersion) -> wire::EventMessage {
    let mut message = wire::EventMessage {
        kind: event.kind.as_str().to_owned(),
        action: event.action.clone(),
        actor: wire::EventActor { id: event.actor.clone(), attributes: event.attributes.clone() },
        scope: event.scope.as_str().to_owned(),
        time: event.at.seconds(),
        time_nano: event.at.nanos(),
        ..Default::default()
    };
    if !version.at_least(52) && matches!(event.kind, EventKind::Container | EventKind::Image) {
        message.status.clone_from(&event.action);
        message.id.clone_from(&event.actor);
        if event.kind == EventKind::Container {
            message.from = event.attributes.get("image").cloned().unwrap_or_default();
        }
    }
    message
}

/// `verbose`: since 1.52 the items of the sums are only given on demand.
pub(crate) fn disk_usage(
    usage: &DiskUsage,
    version: ApiVersion,
    verbose: bool,
    now: Timestamp,
) -> wire::DiskUsage {
    let images = usage
        .images
        .as_ref()
        .map(|list| list.iter().map(|item| image::summary(item, version)).collect::<Vec<_>>());
    let containers = usage.containers.as_ref().map(|list| {
        list.iter().map(|item| container::summary(item, version, now)).collect::<Vec<_>>()
    });
    let volumes = usage.volumes.as_ref().map(|list| {
        list.iter().map(|(item, usage)| volume::volume(item, Some(*usage))).collect::<Vec<_>>()
    });
    // Clients that ask for the newest version without knowing it (docker-py) find the members of old beside
    // the sums, as in dockerd; who asks to be told all knows better.
    let legacy = if version.at_least(52) && verbose {
        wire::DiskUsage::default()
    } else {
        wire::DiskUsage {
            layers_size: images.is_some().then_some(signed(usage.layers)),
            images: images.clone(),
            containers: containers.clone(),
            volumes: volumes.clone(),
            build_cache: Some(Vec::new()),
            ..Default::default()
        }
    };
    if !version.at_least(52) {
        return legacy;
    }
    wire::DiskUsage {
        image_usage: images.map(|items| {
            let unused = |i: &&shoal_api_wire::image::ImageSummary| i.containers <= 0;
            let freed = items.iter().filter(unused).map(|i| i.size - i.shared_size.max(0)).sum();
            let active = items.iter().filter(|i| i.containers > 0).count();
            sums(items, active, signed(usage.layers), freed, verbose)
        }),
        container_usage: containers.map(|items| {
            let live = |c: &&shoal_api_wire::container::ContainerSummary| {
                matches!(c.state.as_str(), "running" | "paused" | "restarting")
            };
            let total = items.iter().map(|c| c.size_rw).sum();
            let freed = items.iter().filter(|c| !live(c)).map(|c| c.size_rw).sum();
            let active = items.iter().filter(live).count();
            sums(items, active, total, freed, verbose)
        }),
        volume_usage: volumes.map(|items| {
            let size =
                |v: &shoal_api_wire::volume::Volume| v.usage_data.map_or(0, |u| u.size.max(0));
            let used =
                |v: &shoal_api_wire::volume::Volume| v.usage_data.is_some_and(|u| u.ref_count > 0);
            let total = items.iter().map(size).sum();
            let freed = items.iter().filter(|v| !used(v)).map(size).sum();
            let active = items.iter().filter(|v| used(v)).count();
            sums(items, active, total, freed, verbose)
        }),
        build_cache_usage: Some(wire::Usage::default()),
        ..legacy
    }
}

fn sums<T>(items: Vec<T>, active: usize, total: i64, freed: i64, verbose: bool) -> wire::Usage<T> {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    wire::Usage {
        active_count: count(active),
        total_count: count(items.len()),
        reclaimable: freed,
        total_size: total,
        items: verbose.then_some(items),
    }
}
