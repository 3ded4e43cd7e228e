//! Specs of services, checked on their own: without looking at the cluster. The words are docker's.
//!
//! Source: swarmkit `manager/controlapi/service.go`, `common.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::time::Duration;

use shoal_model::Reference;
use shoal_model::cluster::service::{
    EndpointMode, EndpointSpec, PublishMode, ServiceMode, UpdateConfig,
};
use shoal_model::cluster::task::{FileTarget, ResourceRequirements, TaskRuntime};
use shoal_model::cluster::{ServiceSpec, TaskSpec};
use shoal_model::container::Healthcheck;

use super::{Error, Result};
use crate::constraint;

/// Times of health checks are at least so long, or zero.
const HEALTH_MIN: Duration = Duration::from_millis(1);
const CPUS_MIN: i64 = 1_000_000;
const MEMORY_MIN: i64 = 4 * 1024 * 1024;

/// Names of services and networks: labels of DNS.
pub(super) fn dns_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("meta: name must be provided"));
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.bytes().all(inner) || !has_alphanumeric_ends(name) {
        return Err(Error::invalid("name must be valid as a DNS name component"));
    }
    if name.len() > 63 {
        return Err(Error::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// Names of secrets and configs.
pub(super) fn object_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("name must be provided"));
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() > 64 || !name.bytes().all(inner) || !has_alphanumeric_ends(name) {
        return Err(Error::invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must \
             be [a-zA-Z0-9]",
        ));
    }
    Ok(())
}

fn has_alphanumeric_ends(name: &str) -> bool {
    let ends = [name.bytes().next(), name.bytes().next_back()];
    ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric())
}

/// The whole spec of a service.
pub(super) fn service(spec: &ServiceSpec) -> Result<()> {
    dns_name(&spec.annotations.name)?;
    task(&spec.task)?;
    mode(spec.mode)?;
    if spec.mode.is_job() {
        if spec.update.is_some() {
            return Err(Error::invalid("Jobs may not have an update config"));
        }
    } else {
        spec.update.iter().chain(&spec.rollback).try_for_each(update)?;
    }
    spec.endpoint.as_ref().map_or(Ok(()), endpoint)
}

fn task(spec: &TaskSpec) -> Result<()> {
    if let Some(resources) = &spec.resources {
        requirements(resources)?;
    }
    if let Some(placement) = &spec.placement {
        constraint::parse_all(&placement.constraints)
            .map_err(|error| Error::invalid(error.to_string()))?;
    }
    let secrets = spec.secrets.iter().map(|secret| (&secret.name, secret.file.as_ref()));
    if spec.secrets.iter().any(|secret| secret.file.is_none() && !secret.name.is_empty()) {
        return Err(Error::invalid("malformed secret reference, no target provided"));
    }
    targets("secret", secrets)?;
    targets("config", spec.configs.iter().map(|config| (&config.name, config.file.as_ref())))?;
    if spec.runtime == TaskRuntime::Attachment {
        return Err(Error::unimplemented("RuntimeSpec: unimplemented runtime in service spec"));
    }
    container(spec)
}

fn requirements(resources: &ResourceRequirements) -> Result<()> {
    if let Some(limits) = &resources.limits {
        amounts(limits.nano_cpus, limits.memory)?;
        if limits.pids < 0 {
            return Err(Error::invalid(format!("invalid pids limit {}", limits.pids)));
        }
    }
    if let Some(reservations) = &resources.reservations {
        amounts(reservations.nano_cpus, reservations.memory)?;
    }
    match resources.memory_swappiness {
        Some(value) if !(0..=100).contains(&value) => {
            Err(Error::invalid(format!("invalid memory swappiness {value}: range is 0-100")))
        }
        _ => Ok(()),
    }
}

fn amounts(nano_cpus: i64, memory: i64) -> Result<()> {
    if nano_cpus != 0 && nano_cpus < CPUS_MIN {
        let cpus = cpus_in_words(nano_cpus);
        return Err(Error::invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if memory != 0 && memory < MEMORY_MIN {
        return Err(Error::invalid(format!(
            "invalid memory value {memory}: Must be at least 4MiB"
        )));
    }
    Ok(())
}

/// As Go's `%g`: with an exponent below 1e-4.
fn cpus_in_words(nano_cpus: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown only; values here are small")]
    let cpus = nano_cpus as f64 / 1e9;
    if cpus.abs() < 1e-4 { format!("{cpus:e}").replace("e-", "e-0") } else { cpus.to_string() }
}

/// Files of secrets or configs: each needs a name, and one name is for one file.
fn targets<'a>(
    kind: &str,
    references: impl Iterator<Item = (&'a String, Option<&'a FileTarget>)>,
) -> Result<()> {
    let mut taken = BTreeMap::<&str, &str>::new();
    for (name, file) in references {
        if name.is_empty() {
            return Err(Error::invalid(format!("malformed {kind} reference")));
        }
        let Some(file) = file else { continue };
        if file.name.is_empty() {
            return Err(Error::invalid(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        if let Some(other) = taken.insert(&file.name, name) {
            return Err(Error::invalid(format!(
                "{kind} references '{other}' and '{name}' have a conflicting target: '{}'",
                file.name
            )));
        }
    }
    Ok(())
}

fn container(spec: &TaskSpec) -> Result<()> {
    let image = &spec.container.image;
    if image.is_empty() {
        return Err(Error::invalid("ContainerSpec: image reference must be provided"));
    }
    if Reference::from_str(image).is_err() {
        return Err(Error::invalid(format!(
            "ContainerSpec: {image:?} is not a valid repository/tag"
        )));
    }
    let mut mounted = BTreeSet::new();
    for mount in &spec.container.host.mounts {
        if !mounted.insert(&mount.target) {
            let target = &mount.target;
            return Err(Error::invalid(format!("ContainerSpec: duplicate mount point: {target}")));
        }
    }
    spec.container.healthcheck.as_ref().map_or(Ok(()), healthcheck)
}

fn healthcheck(check: &Healthcheck) -> Result<()> {
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    let short = |(_, time): &(&str, Duration)| !time.is_zero() && *time < HEALTH_MIN;
    match times.into_iter().find(short) {
        Some((field, _)) => Err(Error::invalid(format!(
            "ContainerSpec: {field} in HealthConfig cannot be less than 1ms"
        ))),
        None => Ok(()),
    }
}

fn mode(mode: ServiceMode) -> Result<()> {
    let negative = |value: Option<u64>| value.is_some_and(|value| i64::try_from(value).is_err());
    match mode {
        ServiceMode::Replicated { replicas } if negative(replicas) => {
            Err(Error::invalid("Number of replicas must be non-negative"))
        }
        ServiceMode::ReplicatedJob { max_concurrent, .. } if negative(max_concurrent) => {
            Err(Error::invalid("Maximum concurrent jobs must not be negative"))
        }
        ServiceMode::ReplicatedJob { total_completions, .. } if negative(total_completions) => {
            Err(Error::invalid("Total completed jobs must not be negative"))
        }
        _ => Ok(()),
    }
}

fn update(config: &UpdateConfig) -> Result<()> {
    if (0.0..=1.0).contains(&config.max_failure_ratio) {
        Ok(())
    } else {
        Err(Error::invalid(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ))
    }
}

fn endpoint(spec: &EndpointSpec) -> Result<()> {
    let mut published = BTreeSet::new();
    for port in &spec.ports {
        if spec.mode == EndpointMode::DnsRoundRobin && port.mode == PublishMode::Ingress {
            return Err(Error::invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published != 0 && !published.insert((port.published, port.protocol)) {
            return Err(Error::invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}
