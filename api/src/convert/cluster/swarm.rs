//! The cluster and the requests that change membership.

use shoal_api_wire::swarm::{Driver, cluster as wire};
use shoal_model::Failure;
use shoal_model::cluster::manager::{CaConfig, ExternalCa, RaftConfig};
use shoal_model::cluster::membership::Membership;
use shoal_model::cluster::request::{Init, Join};
use shoal_model::cluster::{Cluster, ClusterSpec};
use shoal_model::container::LogSpec;

use super::{
    Result, annotations, base64_out, duration, extensions, labels_out, meta, nanos, node,
    some_list, some_map,
};

/// Zero and absent fields have their defaults, as at `swarm init`.
pub(crate) fn spec(wire: wire::Spec) -> Result<ClusterSpec> {
    let default = ClusterSpec::default();
    let mut annotations = annotations(wire.name, wire.labels);
    if annotations.name.is_empty() {
        annotations.name = default.annotations.name;
    }
    let or = |value: std::time::Duration, default| if value.is_zero() { default } else { value };
    let drain_wait = extensions::drain_wait(&mut annotations.labels)?;
    let heartbeat = duration("heartbeat period", wire.dispatcher.heartbeat_period)?;
    Ok(ClusterSpec {
        annotations,
        task_history_limit: wire
            .orchestration
            .task_history_retention_limit
            .unwrap_or(default.task_history_limit),
        raft: raft(&wire.raft)?,
        heartbeat_period: or(heartbeat, default.heartbeat_period),
        ca: ca(wire.ca_config)?,
        drain_wait: drain_wait.unwrap_or(default.drain_wait),
        autolock: wire.encryption_config.auto_lock_managers,
        log: wire.task_defaults.log_driver.map(|driver| LogSpec {
            driver: driver.name,
            options: driver.options.unwrap_or_default(),
        }),
    })
}

fn raft(wire: &wire::Raft) -> Result<RaftConfig> {
    let default = RaftConfig::default();
    let or = |value: u32, default| if value == 0 { default } else { value };
    // Clients that read, change and write back send docker's ticks of a second as they are.
    let raft = RaftConfig {
        snapshot_interval: match wire.snapshot_interval {
            0 => default.snapshot_interval,
            interval => interval,
        },
        keep_old_snapshots: wire.keep_old_snapshots,
        entries_for_slow_followers: match wire.log_entries_for_slow_followers {
            0 => default.entries_for_slow_followers,
            entries => entries,
        },
        heartbeat_tick: or(wire.heartbeat_tick, default.heartbeat_tick),
        election_tick: or(wire.election_tick, default.election_tick),
    };
    if raft.election_tick <= raft.heartbeat_tick {
        return Err(Failure::invalid(
            "invalid Raft settings: ElectionTick must be greater than HeartbeatTick",
        ));
    }
    Ok(raft)
}

fn ca(wire: wire::CaConfig) -> Result<CaConfig> {
    let default = CaConfig::default();
    let expiry = duration("NodeCertExpiry", wire.node_cert_expiry)?;
    Ok(CaConfig {
        node_cert_expiry: if expiry.is_zero() { default.node_cert_expiry } else { expiry },
        external: wire
            .external_cas
            .unwrap_or_default()
            .into_iter()
            .map(|external| {
                if !external.protocol.eq_ignore_ascii_case("cfssl") {
                    return Err(Failure::invalid(format!(
                        "invalid CA protocol: {:?}",
                        external.protocol
                    )));
                }
                Ok(ExternalCa {
                    protocol: "cfssl".to_owned(),
                    url: external.url,
                    options: external.options.unwrap_or_default(),
                    ca_cert: external.ca_cert,
                })
            })
            .collect::<Result<_>>()?,
        signing_cert: wire.signing_ca_cert,
        signing_key: wire.signing_ca_key,
        force_rotate: wire.force_rotate,
    })
}

pub(crate) fn spec_out(spec: &ClusterSpec) -> wire::Spec {
    let mut labels = spec.annotations.labels.clone();
    if spec.drain_wait != ClusterSpec::default().drain_wait {
        extensions::put_drain_wait(spec.drain_wait, &mut labels);
    }
    let external = |external: &ExternalCa| wire::ExternalCa {
        protocol: external.protocol.clone(),
        url: external.url.clone(),
        options: some_map(&external.options),
        ca_cert: external.ca_cert.clone(),
    };
    wire::Spec {
        name: spec.annotations.name.clone(),
        labels: labels_out(&labels),
        orchestration: wire::Orchestration {
            task_history_retention_limit: Some(spec.task_history_limit),
        },
        raft: wire::Raft {
            snapshot_interval: spec.raft.snapshot_interval,
            keep_old_snapshots: Some(spec.raft.keep_old_snapshots.unwrap_or(0)),
            log_entries_for_slow_followers: spec.raft.entries_for_slow_followers,
            election_tick: spec.raft.election_tick,
            heartbeat_tick: spec.raft.heartbeat_tick,
        },
        dispatcher: wire::Dispatcher { heartbeat_period: nanos(spec.heartbeat_period) },
        ca_config: wire::CaConfig {
            node_cert_expiry: nanos(spec.ca.node_cert_expiry),
            external_cas: some_list(&spec.ca.external.iter().map(external).collect::<Vec<_>>()),
            // The root is in TLSInfo; its key is never shown.
            signing_ca_cert: String::new(),
            signing_ca_key: String::new(),
            force_rotate: spec.ca.force_rotate,
        },
        task_defaults: wire::TaskDefaults {
            log_driver: spec
                .log
                .as_ref()
                .map(|log| Driver { name: log.driver.clone(), options: some_map(&log.options) }),
        },
        encryption_config: wire::EncryptionConfig { auto_lock_managers: spec.autolock },
    }
}

pub(crate) fn info(cluster: &Cluster) -> wire::ClusterInfo {
    wire::ClusterInfo {
        id: cluster.id.to_string(),
        meta: meta(&cluster.meta),
        spec: spec_out(&cluster.spec),
        tls_info: wire::TlsInfo {
            trust_root: cluster.root.certificate.clone(),
            cert_issuer_subject: base64_out(&cluster.root.issuer_subject),
            cert_issuer_public_key: base64_out(&cluster.root.issuer_public_key),
        },
        root_rotation_in_progress: cluster.root.rotation.is_some(),
        default_addr_pool: Some(cluster.default_address_pool.clone()),
        subnet_size: cluster.subnet_size,
        data_path_port: cluster.data_path_port.into(),
    }
}

pub(crate) fn swarm(cluster: &Cluster) -> wire::Swarm {
    wire::Swarm {
        info: info(cluster),
        join_tokens: wire::JoinTokens {
            worker: cluster.root.join_tokens.worker.clone(),
            manager: cluster.root.join_tokens.manager.clone(),
        },
    }
}

pub(crate) fn init(wire: wire::InitRequest) -> Result<Init> {
    let mut spec = spec(wire.spec)?;
    spec.autolock |= wire.auto_lock_managers;
    if wire.data_path_port != 0 && !(1024..=49151).contains(&wire.data_path_port) {
        return Err(Failure::invalid(format!(
            "invalid port number {}: the data path port number must be between 1024 and 49151",
            wire.data_path_port
        )));
    }
    Ok(Init {
        listen: wire.listen_addr,
        advertise: wire.advertise_addr,
        data_path: wire.data_path_addr,
        data_path_port: u16::try_from(wire.data_path_port).unwrap_or_default(),
        force_new_cluster: wire.force_new_cluster,
        spec,
        availability: node::availability(&wire.availability)?,
        address_pools: wire.default_addr_pool.unwrap_or_default(),
        subnet_size: wire.subnet_size,
    })
}

pub(crate) fn join(wire: wire::JoinRequest) -> Result<Join> {
    Ok(Join {
        listen: wire.listen_addr,
        advertise: wire.advertise_addr,
        data_path: wire.data_path_addr,
        remotes: wire.remote_addrs.unwrap_or_default(),
        token: wire.join_token,
        availability: node::availability(&wire.availability)?,
    })
}

/// `Swarm` of `GET /info`. `cluster` and the counts of nodes and managers: of a manager only.
pub(crate) fn swarm_info(
    membership: &Membership,
    cluster: Option<&Cluster>,
    nodes: u64,
    managers: u64,
) -> wire::SwarmInfo {
    let peers: Vec<_> = membership
        .managers
        .iter()
        .map(|(id, address)| wire::Peer { node_id: id.to_string(), addr: address.to_string() })
        .collect();
    wire::SwarmInfo {
        node_id: membership.node.map(|id| id.to_string()).unwrap_or_default(),
        node_addr: membership.address.clone(),
        local_node_state: membership.state.as_str().to_owned(),
        control_available: membership.is_manager,
        error: membership.error.clone(),
        remote_managers: some_list(&peers),
        nodes,
        managers,
        cluster: cluster.map(info),
    }
}
