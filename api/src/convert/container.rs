//! Containers of the model to the wire: list and inspect, by version.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_api_wire::ApiVersion;
use shoal_api_wire::container as wire;
use shoal_api_wire::network::{EndpointSettings, PortBinding};
use shoal_api_wire::shape::Empty;
use shoal_model::Timestamp;
use shoal_model::container::{
    ContainerDetails, ContainerNetwork, ContainerSpec, ContainerSummary, HealthStatus, Healthcheck,
    MountPoint, PathStat, Phase, Propagation, State,
};
use shoal_model::network::PublishedPort;

use super::{host_out, network, time};

pub(crate) fn summary(
    container: &ContainerSummary,
    version: ApiVersion,
    now: Timestamp,
) -> wire::ContainerSummary {
    let mut names = vec![format!("/{}", container.name)];
    names.extend(container.link_names.iter().map(|name| format!("/{name}")));
    let state = &container.state;
    let health = state.health.as_ref().map_or_else(
        || wire::HealthSummary { status: "none".to_owned(), failing_streak: 0 },
        |health| wire::HealthSummary {
            status: health.status.as_str().to_owned(),
            failing_streak: health.failing_streak.into(),
        },
    );
    let size = container.size.unwrap_or_default();
    let annotations =
        if version.at_least(46) { container.annotations.clone() } else { BTreeMap::new() };
    wire::ContainerSummary {
        id: container.id.to_string(),
        names,
        image: container.image.clone(),
        image_id: container.image_id.map(|id| id.to_string()).unwrap_or_default(),
        image_manifest_descriptor: None,
        command: command_line(&container.command),
        created: container.created.seconds(),
        ports: ports(&container.ports),
        size_rw: signed(size.writable),
        size_root_fs: signed(size.total),
        labels: container.labels.clone(),
        state: state.phase.as_str().to_owned(),
        status: status(state, now),
        health: version.at_least(52).then_some(health),
        host_config: wire::HostConfigSummary {
            network_mode: host_out::network_mode(&container.network_mode),
            annotations,
        },
        network_settings: wire::NetworkSettingsSummary {
            networks: endpoints(&container.endpoints),
        },
        mounts: container.mounts.iter().map(mount_point).collect(),
    }
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn endpoints(
    endpoints: &BTreeMap<String, shoal_model::network::Endpoint>,
) -> BTreeMap<String, EndpointSettings> {
    endpoints.iter().map(|(name, endpoint)| (name.clone(), network::endpoint(endpoint))).collect()
}

/// As the list shows it: arguments that need it are quoted.
fn command_line(command: &[String]) -> String {
    let quote = |word: &String| {
        if word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    let mut words = command.iter();
    let first = words.next().cloned().into_iter();
    first.chain(words.map(quote)).collect::<Vec<_>>().join(" ")
}

fn ports(ports: &[PublishedPort]) -> Vec<wire::PortSummary> {
    let each = |port: &PublishedPort| wire::PortSummary {
        ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        private_port: port.container_port,
        public_port: port.host_port.unwrap_or(0),
        r#type: port.protocol.clone(),
    };
    ports.iter().map(each).collect()
}

/// `Up 3 minutes (healthy)`.
///
/// Source: moby `daemon/container/state.go State.String`.
pub(crate) fn status(state: &State, now: Timestamp) -> String {
    let ago = |at: Option<Timestamp>| time::human(at.map_or(Duration::ZERO, |at| now.since(at)));
    let code = state.exit.as_ref().map_or(0, |exit| exit.code);
    let ended = || ago(state.exit.as_ref().map(|exit| exit.at));
    match state.phase {
        Phase::Running => {
            let up = ago(state.started);
            match state.health.as_ref().map(|health| health.status) {
                None => format!("Up {up}"),
                Some(HealthStatus::Starting) => format!("Up {up} (health: starting)"),
                Some(verdict) => format!("Up {up} ({})", verdict.as_str()),
            }
        }
        Phase::Paused => format!("Up {} (Paused)", ago(state.started)),
        Phase::Restarting => format!("Restarting ({code}) {} ago", ended()),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
        Phase::Created => "Created".to_owned(),
        Phase::Exited => format!("Exited ({code}) {} ago", ended()),
    }
}

fn mount_point(mount: &MountPoint) -> wire::MountPoint {
    wire::MountPoint {
        r#type: mount.kind.as_str().to_owned(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.writable,
        propagation: mount.propagation.map_or("", Propagation::as_str).to_owned(),
    }
}

pub(crate) fn inspect(container: &ContainerDetails, version: ApiVersion) -> wire::ContainerInspect {
    let execs = container.execs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut host = host_out::host(&container.spec.host);
    if !version.at_least(43) {
        host.annotations = None;
    }
    wire::ContainerInspect {
        id: container.id.to_string(),
        created: time::rfc3339(container.created),
        path: container.path.clone(),
        args: container.args.clone(),
        state: state(&container.state),
        image: container.image_id.map(|id| id.to_string()).unwrap_or_default(),
        resolv_conf_path: container.paths.resolv_conf.clone(),
        hostname_path: container.paths.hostname.clone(),
        hosts_path: container.paths.hosts.clone(),
        log_path: container.paths.log.clone(),
        name: format!("/{}", container.name),
        restart_count: container.restart_count.into(),
        driver: container.graph.name.clone(),
        platform: container.platform.clone(),
        mount_label: container.mount_label.clone(),
        process_label: container.process_label.clone(),
        app_armor_profile: container.apparmor_profile.clone(),
        exec_ids: (!execs.is_empty()).then_some(execs),
        host_config: host,
        graph_driver: graph(&container.graph),
        size_rw: container.size.map(|size| signed(size.writable)),
        size_root_fs: container.size.map(|size| signed(size.total)),
        mounts: container.mounts.iter().map(mount_point).collect(),
        config: config(container),
        network_settings: network_settings(&container.network, version),
    }
}

pub(crate) fn graph(graph: &shoal_model::image::GraphDriver) -> wire::GraphDriver {
    let data = (!graph.data.is_empty()).then(|| graph.data.clone());
    wire::GraphDriver { data, name: graph.name.clone() }
}

fn state(state: &State) -> wire::ContainerState {
    wire::ContainerState {
        status: state.phase.as_str().to_owned(),
        running: state.phase.is_live() || state.phase == Phase::Restarting,
        paused: state.phase == Phase::Paused,
        restarting: state.phase == Phase::Restarting,
        oom_killed: state.exit.as_ref().is_some_and(|exit| exit.oom_killed),
        dead: state.phase == Phase::Dead,
        pid: state.pid.into(),
        exit_code: if state.phase.is_live() {
            0
        } else {
            state.exit.as_ref().map_or(0, |exit| exit.code.into())
        },
        error: state.error.clone(),
        started_at: time::or_zero(state.started),
        finished_at: time::or_zero(state.exit.as_ref().map(|exit| exit.at)),
        health: state.health.as_ref().map(|health| wire::Health {
            status: health.status.as_str().to_owned(),
            failing_streak: health.failing_streak.into(),
            log: health
                .log
                .iter()
                .map(|probe| wire::HealthProbe {
                    start: time::rfc3339(probe.start),
                    end: time::rfc3339(probe.end),
                    exit_code: probe.exit_code.into(),
                    output: probe.output.clone(),
                })
                .collect(),
        }),
    }
}

fn config(container: &ContainerDetails) -> wire::ContainerConfig {
    let spec = &container.spec;
    let hostname = match spec.hostname.as_str() {
        "" => container.id.short().to_owned(),
        name => name.to_owned(),
    };
    wire::ContainerConfig { hostname, ..config_of(spec) }
}

fn config_of(spec: &ContainerSpec) -> wire::ContainerConfig {
    let keys = |set: &std::collections::BTreeSet<String>| {
        (!set.is_empty()).then(|| set.iter().map(|key| (key.clone(), Empty {})).collect())
    };
    let words = |words: &Option<Vec<String>>| words.clone().map(Into::into);
    wire::ContainerConfig {
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        user: spec.user.clone(),
        attach_stdin: spec.attach_stdin,
        attach_stdout: spec.attach_stdout,
        attach_stderr: spec.attach_stderr,
        exposed_ports: keys(&spec.exposed_ports),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        env: Some(spec.env.clone()),
        cmd: words(&spec.command),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck),
        args_escaped: false,
        image: spec.image.clone(),
        volumes: keys(&spec.volumes),
        working_dir: spec.working_dir.clone(),
        entrypoint: words(&spec.entrypoint),
        network_disabled: spec.network_disabled,
        mac_address: String::new(),
        on_build: (!spec.on_build.is_empty()).then(|| spec.on_build.clone()),
        labels: Some(spec.labels.clone()),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        stop_timeout: spec.stop_timeout,
        shell: words(&spec.shell),
    }
}

pub(crate) fn healthcheck(check: &Healthcheck) -> wire::HealthConfig {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    wire::HealthConfig {
        test: (!check.test.is_empty()).then(|| check.test.clone()),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries.into(),
    }
}

fn network_settings(net: &ContainerNetwork, version: ApiVersion) -> wire::NetworkSettings {
    let mut ports = BTreeMap::<String, Option<Vec<PortBinding>>>::new();
    for port in &net.ports {
        let bindings =
            ports.entry(format!("{}/{}", port.container_port, port.protocol)).or_default();
        if let Some(host_port) = port.host_port {
            bindings.get_or_insert_default().push(PortBinding {
                host_ip: port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
                host_port: host_port.to_string(),
            });
        }
    }
    let networks = endpoints(&net.endpoints);
    wire::NetworkSettings {
        bridge: String::new(),
        sandbox_id: net.sandbox_id.clone(),
        sandbox_key: net.sandbox_key.clone(),
        ports,
        legacy: (!version.at_least(52)).then(|| legacy(networks.get("bridge"))),
        networks,
    }
}

fn legacy(bridge: Option<&EndpointSettings>) -> wire::LegacyNetworkSettings {
    let Some(bridge) = bridge else { return wire::LegacyNetworkSettings::default() };
    wire::LegacyNetworkSettings {
        endpoint_id: bridge.endpoint_id.clone(),
        gateway: bridge.gateway.clone(),
        global_ipv6_address: bridge.global_ipv6_address.clone(),
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        ip_address: bridge.ip_address.clone(),
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway.clone(),
        mac_address: bridge.mac_address.clone(),
        ..Default::default()
    }
}

pub(crate) fn path_stat(stat: &PathStat) -> shoal_api_wire::container::PathStat {
    wire::PathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: time::rfc3339(stat.modified),
        link_target: stat.link_target.clone(),
    }
}

/// Go's `os.FileMode` of a kernel mode.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special =
        bits.iter().filter(|(kernel, _)| mode & kernel != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::container::ExitStatus;

    #[test]
    fn tells_the_status() {
        let now = Timestamp::from_parts(1000, 0);
        let mut state = State {
            phase: Phase::Exited,
            pid: 0,
            started: Some(Timestamp::from_parts(800, 0)),
            exit: Some(ExitStatus {
                code: 3,
                oom_killed: false,
                at: Timestamp::from_parts(995, 0),
            }),
            error: String::new(),
            health: None,
        };
        assert_eq!(status(&state, now), "Exited (3) 5 seconds ago");
        state.phase = Phase::Running;
        assert_eq!(status(&state, now), "Up 3 minutes");
        state.phase = Phase::Paused;
        assert_eq!(status(&state, now), "Up 3 minutes (Paused)");
        state.phase = Phase::Restarting;
        assert_eq!(status(&state, now), "Restarting (3) 5 seconds ago");
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 0x8000_0000 | 0o755);
        assert_eq!(go_mode(0o041_777), 0x8000_0000 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o020_620), 1 << 26 | 1 << 21 | 0o620);
    }
}
