//! Services, to the wire.

use shoal_api_wire::shape::Empty;
use shoal_api_wire::swarm::Version;
use shoal_api_wire::swarm::service as wire;
use shoal_model::cluster::request::{ServiceCounts, ServiceView};
use shoal_model::cluster::service::{
    Endpoint, EndpointMode, EndpointSpec, FailureAction, JobStatus, PortConfig, PublishMode,
    Service, ServiceMode, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus, VirtualIp,
};
use shoal_model::cluster::task::NetworkWish;
use shoal_model::cluster::{IpPrefix, ServiceSpec};

use super::{extensions, meta, nanos, settings, some_list, some_map, task_spec_out};
use crate::convert::time;

/// `insert_defaults`: what the user left out is filled in, as `docker service inspect --pretty` wants it.
pub(crate) fn service(view: &ServiceView, insert_defaults: bool) -> wire::Service {
    let Service { id, spec, previous, endpoint, update, job, .. } = &*view.service;
    let mut out = wire::Service {
        id: id.to_string(),
        meta: meta(&view.service.meta),
        spec: self::spec(spec),
        previous_spec: previous.as_ref().map(|previous| self::spec(&previous.spec)),
        endpoint: endpoint.as_ref().map(endpoint_out).unwrap_or_default(),
        update_status: update.as_ref().map(update_status),
        service_status: view.counts.map(counts),
        job_status: job.map(job_status),
    };
    if insert_defaults {
        fill_in(spec, &mut out.spec);
    }
    out
}

fn counts(counts: ServiceCounts) -> wire::ServiceStatus {
    wire::ServiceStatus {
        running_tasks: counts.running,
        desired_tasks: counts.desired,
        completed_tasks: counts.completed,
    }
}

fn job_status(job: JobStatus) -> wire::JobStatus {
    wire::JobStatus {
        job_iteration: Version { index: job.iteration.0 },
        last_execution: time::rfc3339(job.last_execution),
    }
}

pub(crate) fn spec(spec: &ServiceSpec) -> wire::ServiceSpec {
    let mut labels = spec.annotations.labels.clone();
    extensions::put(&spec.extensions, &mut labels);
    settings::put(&spec.task.container.host, &mut labels);
    wire::ServiceSpec {
        name: spec.annotations.name.clone(),
        labels: Some(labels),
        task_template: task_spec_out::spec(&spec.task),
        mode: mode(spec.mode),
        update_config: spec.update.as_ref().map(update_config),
        rollback_config: spec.rollback.as_ref().map(update_config),
        networks: networks(&spec.networks),
        endpoint_spec: spec.endpoint.as_ref().map(endpoint_spec),
    }
}

pub(crate) fn networks(wishes: &[NetworkWish]) -> Option<Vec<wire::NetworkAttachmentConfig>> {
    let wish = |wish: &NetworkWish| wire::NetworkAttachmentConfig {
        target: wish.target.clone(),
        aliases: some_list(&wish.aliases),
        driver_opts: some_map(&wish.driver_opts),
    };
    some_list(&wishes.iter().map(wish).collect::<Vec<_>>())
}

fn mode(mode: ServiceMode) -> wire::ServiceMode {
    let mut out = wire::ServiceMode::default();
    match mode {
        ServiceMode::Replicated { replicas } => {
            let replicas = Some(replicas.unwrap_or(1));
            out.replicated = Some(wire::ReplicatedService { replicas });
        }
        ServiceMode::Global => out.global = Some(Empty {}),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            out.replicated_job = Some(wire::ReplicatedJob { max_concurrent, total_completions });
        }
        ServiceMode::GlobalJob => out.global_job = Some(Empty {}),
    }
    out
}

fn update_config(config: &UpdateConfig) -> wire::UpdateConfig {
    wire::UpdateConfig {
        parallelism: config.parallelism,
        delay: nanos(config.delay),
        failure_action: match config.failure_action {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        }
        .to_owned(),
        monitor: config.monitor.map_or(0, nanos),
        max_failure_ratio: config.max_failure_ratio,
        order: match config.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        }
        .to_owned(),
    }
}

fn update_status(status: &UpdateStatus) -> wire::UpdateStatus {
    wire::UpdateStatus {
        state: match status.state {
            UpdateState::Updating => "updating",
            UpdateState::Paused => "paused",
            UpdateState::Completed => "completed",
            UpdateState::RollbackStarted => "rollback_started",
            UpdateState::RollbackPaused => "rollback_paused",
            UpdateState::RollbackCompleted => "rollback_completed",
        }
        .to_owned(),
        started_at: Some(time::rfc3339(status.started)),
        completed_at: status.completed.map(time::rfc3339),
        message: status.message.clone(),
    }
}

fn endpoint_out(endpoint: &Endpoint) -> wire::Endpoint {
    let prefix = |network: &VirtualIp, prefix: IpPrefix| wire::VirtualIp {
        network_id: network.network.to_string(),
        addr: prefix.to_string(),
    };
    let virtual_ips: Vec<_> = endpoint
        .virtual_ips
        .iter()
        .flat_map(|vip| vip.ipv4.into_iter().chain(vip.ipv6).map(move |addr| prefix(vip, addr)))
        .collect();
    wire::Endpoint {
        spec: endpoint_spec(&endpoint.spec),
        ports: ports(&endpoint.ports),
        virtual_ips: some_list(&virtual_ips),
    }
}

fn endpoint_spec(spec: &EndpointSpec) -> wire::EndpointSpec {
    let mode = match spec.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::DnsRoundRobin => "dnsrr",
    };
    wire::EndpointSpec { mode: mode.to_owned(), ports: ports(&spec.ports) }
}

pub(crate) fn ports(ports: &[PortConfig]) -> Option<Vec<wire::PortConfig>> {
    some_list(&ports.iter().map(port).collect::<Vec<_>>())
}

fn port(port: &PortConfig) -> wire::PortConfig {
    wire::PortConfig {
        name: port.name.clone(),
        protocol: port.protocol.as_str().to_owned(),
        target_port: port.target.into(),
        published_port: port.published.into(),
        publish_mode: match port.mode {
            PublishMode::Ingress => "ingress",
            PublishMode::Host => "host",
        }
        .to_owned(),
    }
}

/// Docker's defaults of what was left out.
///
/// Source: swarmkit `api/defaults/service.go`.
fn fill_in(spec: &ServiceSpec, out: &mut wire::ServiceSpec) {
    const SECOND: i64 = 1_000_000_000;
    if let Some(container) = &mut out.task_template.container_spec {
        container.stop_grace_period.get_or_insert(10 * SECOND);
        container.dns_config.get_or_insert_default();
    }
    out.task_template.resources.get_or_insert_default();
    let restart = out.task_template.restart_policy.get_or_insert_default();
    if restart.condition.is_empty() {
        restart.condition = "any".to_owned();
    }
    restart.delay.get_or_insert(5 * SECOND);
    restart.max_attempts.get_or_insert(0);
    out.task_template.placement.get_or_insert_default();
    if !spec.mode.is_job() {
        let default = || wire::UpdateConfig {
            monitor: 5 * SECOND,
            ..update_config(&UpdateConfig::default())
        };
        out.update_config.get_or_insert_with(default);
        out.rollback_config.get_or_insert_with(default);
    }
    let endpoint = out.endpoint_spec.get_or_insert_default();
    if endpoint.mode.is_empty() {
        endpoint.mode = "vip".to_owned();
    }
}
