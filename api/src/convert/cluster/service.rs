//! Specs of services, from the wire.
//!
//! Source of the texts: swarmkit `manager/controlapi/service.go`, moby `daemon/cluster/convert/service.go`.

use std::sync::Arc;

use shoal_api_wire::swarm::service as wire;
use shoal_model::Failure;
use shoal_model::cluster::ServiceSpec;
use shoal_model::cluster::service::{
    EndpointMode, EndpointSpec, FailureAction, PortConfig, Protocol, PublishMode, ServiceMode,
    UpdateConfig, UpdateOrder,
};
use shoal_model::cluster::task::NetworkWish;

use super::{Result, annotations, duration, extensions, settings, task_spec};

pub(crate) fn spec(wire: wire::ServiceSpec, auth: &str) -> Result<ServiceSpec> {
    let mut annotations = annotations(wire.name, wire.labels);
    let mut task = task_spec::spec(wire.task_template)?;
    settings::take(&mut annotations.labels, &mut task.container.host)?;
    let extensions = extensions::take(&mut annotations.labels)?;
    auth.clone_into(&mut task.registry_auth);
    Ok(ServiceSpec {
        annotations,
        task: Arc::new(task),
        mode: mode(wire.mode)?,
        update: wire.update_config.map(update_config).transpose()?,
        rollback: wire.rollback_config.map(rollback_config).transpose()?,
        endpoint: wire.endpoint_spec.map(endpoint_spec).transpose()?,
        networks: networks(wire.networks),
        extensions,
    })
}

pub(crate) fn networks(wire: Option<Vec<wire::NetworkAttachmentConfig>>) -> Vec<NetworkWish> {
    let wish = |network: wire::NetworkAttachmentConfig| NetworkWish {
        target: network.target,
        aliases: network.aliases.unwrap_or_default(),
        driver_opts: network.driver_opts.unwrap_or_default(),
        addresses: Vec::new(),
    };
    wire.unwrap_or_default().into_iter().map(wish).collect()
}

fn mode(wire: wire::ServiceMode) -> Result<ServiceMode> {
    let given = [
        wire.replicated.is_some(),
        wire.global.is_some(),
        wire.replicated_job.is_some(),
        wire.global_job.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Failure::invalid("must specify only one service mode"));
    }
    if wire.global.is_some() {
        return Ok(ServiceMode::Global);
    }
    if wire.global_job.is_some() {
        return Ok(ServiceMode::GlobalJob);
    }
    if let Some(job) = wire.replicated_job {
        let most = job.max_concurrent.unwrap_or(1);
        return Ok(ServiceMode::ReplicatedJob {
            max_concurrent: Some(most),
            total_completions: Some(job.total_completions.unwrap_or(most)),
        });
    }
    // Said even where it was not: docker's CLI knows the mode of a service by its number alone.
    let replicas = wire.replicated.unwrap_or_default().replicas;
    Ok(ServiceMode::Replicated { replicas: Some(replicas.unwrap_or(1)) })
}

fn update_config(wire: wire::UpdateConfig) -> Result<UpdateConfig> {
    let action = match wire.failure_action.as_str() {
        "" | "pause" => FailureAction::Pause,
        "continue" => FailureAction::Continue,
        "rollback" => FailureAction::Rollback,
        other => {
            return Err(Failure::invalid(format!("unrecognized update failure action {other}")));
        }
    };
    config(wire, action, "update")
}

fn rollback_config(wire: wire::UpdateConfig) -> Result<UpdateConfig> {
    let action = match wire.failure_action.as_str() {
        "" | "pause" => FailureAction::Pause,
        "continue" => FailureAction::Continue,
        other => {
            return Err(Failure::invalid(format!("unrecognized rollback failure action {other}")));
        }
    };
    config(wire, action, "rollback")
}

fn config(wire: wire::UpdateConfig, action: FailureAction, what: &str) -> Result<UpdateConfig> {
    let order = match wire.order.as_str() {
        "" | "stop-first" => UpdateOrder::StopFirst,
        "start-first" => UpdateOrder::StartFirst,
        other => return Err(Failure::invalid(format!("unrecognized {what} order {other}"))),
    };
    if !(0.0..=1.0).contains(&wire.max_failure_ratio) {
        return Err(Failure::invalid(format!(
            "TaskSpec: {what}-maxfailureratio cannot be less than 0 or bigger than 1"
        )));
    }
    Ok(UpdateConfig {
        parallelism: wire.parallelism,
        delay: duration(&format!("TaskSpec: {what}-delay"), wire.delay)?,
        failure_action: action,
        monitor: Some(duration(&format!("TaskSpec: {what}-monitor"), wire.monitor)?)
            .filter(|monitor| !monitor.is_zero()),
        max_failure_ratio: wire.max_failure_ratio,
        order,
    })
}

fn endpoint_spec(wire: wire::EndpointSpec) -> Result<EndpointSpec> {
    let mode = match wire.mode.as_str() {
        "" | "vip" => EndpointMode::Vip,
        "dnsrr" => EndpointMode::DnsRoundRobin,
        other => return Err(Failure::invalid(format!("invalid resolution mode: {other:?}"))),
    };
    let ports = wire.ports.unwrap_or_default().into_iter().map(port).collect::<Result<Vec<_>>>()?;
    Ok(EndpointSpec { mode, ports })
}

fn port(wire: wire::PortConfig) -> Result<PortConfig> {
    let number = |what: &str, value: u32| {
        u16::try_from(value)
            .map_err(|_| Failure::invalid(format!("invalid {what} port {value}: at most 65535")))
    };
    let protocol = match wire.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(Failure::invalid(format!("invalid protocol value {other:?}"))),
    };
    let mode = match wire.publish_mode.to_ascii_lowercase().as_str() {
        "" | "ingress" => PublishMode::Ingress,
        "host" => PublishMode::Host,
        other => return Err(Failure::invalid(format!("invalid publish mode {other:?}"))),
    };
    let target = number("target", wire.target_port)?;
    if target == 0 {
        return Err(Failure::invalid(
            "EndpointSpec: target port of a published port must not be 0",
        ));
    }
    Ok(PortConfig {
        name: wire.name,
        protocol,
        target,
        published: number("published", wire.published_port)?,
        mode,
    })
}
