//! Specs of tasks, from the wire.
//!
//! Source of the texts: moby `daemon/cluster/convert/container.go`, `convert/service.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shoal_api_wire::swarm::node::Resources;
use shoal_api_wire::swarm::service as wire;
use shoal_model::Failure;
use shoal_model::cluster::node::{GenericResource, Platform};
use shoal_model::cluster::task::{
    ConfigReference, FileTarget, Limits, Placement, Privileges, Reservations, ResourceRequirements,
    RestartCondition, RestartPolicy, SecretReference, SelinuxContext, TaskRuntime, TaskSpec,
};
use shoal_model::cluster::{ConfigId, SecretId};
use shoal_model::container::{
    ContainerSpec, HostSpec, LogSpec, Resources as HostResources, Ulimit,
};

use super::{Result, base64_in, duration};
use crate::convert::{mounts, spec as container};

pub(crate) fn spec(wire: wire::TaskSpec) -> Result<TaskSpec> {
    let given = [
        wire.container_spec.is_some(),
        wire.plugin_spec.is_some(),
        wire.network_attachment_spec.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Failure::invalid("must specify only one runtime spec"));
    }
    if wire.plugin_spec.is_some() || wire.runtime == "plugin" {
        return Err(Failure::not_implemented("services of plugins are not implemented by Shoal"));
    }
    if wire.network_attachment_spec.is_some() || wire.runtime == "attachment" {
        return Err(Failure::invalid(
            "NetworkAttachmentSpec is not for users: use `docker network connect`",
        ));
    }
    if !matches!(wire.runtime.as_str(), "" | "container") {
        return Err(Failure::invalid(format!("invalid task spec runtime: {}", wire.runtime)));
    }
    let Some(container) = wire.container_spec else {
        return Err(Failure::invalid("ContainerSpec: missing in task spec"));
    };
    Ok(TaskSpec {
        runtime: TaskRuntime::Container,
        resources: wire.resources.map(resources).transpose()?,
        restart: wire.restart_policy.map(restart).transpose()?,
        placement: wire.placement.map(placement),
        networks: super::service::networks(wire.networks),
        log: wire.log_driver.map(|driver| LogSpec {
            driver: driver.name,
            options: driver.options.unwrap_or_default(),
        }),
        force_update: wire.force_update,
        ..container_parts(container)?
    })
}

/// The fields of a task spec that come from the wire's container spec.
fn container_parts(wire: wire::ContainerSpec) -> Result<TaskSpec> {
    let secrets = wire.secrets.unwrap_or_default();
    let configs = wire.configs.unwrap_or_default();
    let dns = wire.dns_config.unwrap_or_default();
    let mounts = wire.mounts.unwrap_or_default();
    let host = HostSpec {
        mounts: mounts.iter().map(mount).collect::<Result<_>>()?,
        cap_add: wire.capability_add.unwrap_or_default(),
        cap_drop: wire.capability_drop.unwrap_or_default(),
        dns: dns.nameservers.unwrap_or_default(),
        dns_search: dns.search.unwrap_or_default(),
        dns_options: dns.options.unwrap_or_default(),
        extra_hosts: wire.hosts.unwrap_or_default().iter().flat_map(|line| hosts(line)).collect(),
        group_add: wire.groups.unwrap_or_default(),
        readonly_rootfs: wire.read_only,
        sysctls: wire.sysctls.unwrap_or_default(),
        init: wire.init,
        // What is shown for "not said" must mean the same when it is sent back.
        isolation: Some(wire.isolation).filter(|text| text != "default").unwrap_or_default(),
        oom_score_adj: i32::try_from(wire.oom_score_adj)
            .ok()
            .filter(|score| (-1000..=1000).contains(score))
            .ok_or_else(|| {
                Failure::invalid("Invalid value for OomScoreAdj: range is [-1000, 1000]")
            })?,
        resources: HostResources {
            ulimits: wire
                .ulimits
                .unwrap_or_default()
                .into_iter()
                .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
                .collect(),
            ..HostResources::default()
        },
        ..HostSpec::default()
    };
    Ok(TaskSpec {
        container: ContainerSpec {
            image: wire.image,
            labels: wire.labels.unwrap_or_default(),
            entrypoint: wire.command.filter(|words| !words.is_empty()),
            command: wire.args.filter(|words| !words.is_empty()),
            hostname: wire.hostname,
            env: wire.env.unwrap_or_default(),
            working_dir: wire.dir,
            user: wire.user,
            stop_signal: Some(wire.stop_signal).filter(|signal| !signal.is_empty()),
            tty: wire.tty,
            open_stdin: wire.open_stdin,
            healthcheck: wire.healthcheck.as_ref().map(container::healthcheck),
            volumes: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            host,
            ..ContainerSpec::default()
        },
        stop_grace_period: wire
            .stop_grace_period
            .map(|nanos| duration("ContainerSpec: StopGracePeriod", nanos))
            .transpose()?,
        privileges: wire.privileges.map(privileges).transpose()?,
        secrets: secrets.into_iter().map(secret).collect::<Result<_>>()?,
        configs: configs.into_iter().map(config).collect::<Result<_>>()?,
        ..TaskSpec::default()
    })
}

fn mount(wire: &shoal_api_wire::host_config::Mount) -> Result<shoal_model::container::Mount> {
    match wire.r#type.as_str() {
        "cluster" => {
            Err(Failure::not_implemented("volumes of the cluster are not implemented by Shoal"))
        }
        "npipe" => Err(Failure::invalid("invalid MountType: \"npipe\"")),
        _ => mounts::mount(wire),
    }
}

/// `address name…` to `name:address`, one for each name.
fn hosts(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let address = words.next().unwrap_or_default();
    words.map(|name| format!("{name}:{address}")).collect()
}

fn privileges(wire: wire::Privileges) -> Result<Privileges> {
    if wire.credential_spec.is_some_and(|value| value != serde_json::Value::Null) {
        return Err(Failure::invalid("credential specs are for Windows only"));
    }
    let seccomp = wire.seccomp.unwrap_or_default();
    let seccomp_profile = base64_in("Privileges.Seccomp.Profile", &seccomp.profile)?;
    match seccomp.mode.as_str() {
        "custom" if seccomp_profile.is_empty() => {
            return Err(Failure::invalid(
                "Seccomp mode \"custom\" needs a profile in Privileges.Seccomp.Profile",
            ));
        }
        "" | "default" | "unconfined" if !seccomp_profile.is_empty() => {
            return Err(Failure::invalid(
                "a custom seccomp profile needs Privileges.Seccomp.Mode \"custom\"",
            ));
        }
        "" | "default" | "unconfined" | "custom" => {}
        other => return Err(Failure::invalid(format!("unknown seccomp mode {other:?}"))),
    }
    let apparmor = wire.app_armor.unwrap_or_default().mode;
    if !matches!(apparmor.as_str(), "" | "default" | "disabled") {
        return Err(Failure::invalid(format!("unknown AppArmor mode {apparmor:?}")));
    }
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Privileges {
        no_new_privileges: wire.no_new_privileges,
        seccomp_mode: given(seccomp.mode),
        seccomp_profile,
        apparmor_mode: given(apparmor),
        selinux: wire.se_linux_context.map(|context| SelinuxContext {
            disable: context.disable,
            user: context.user,
            role: context.role,
            kind: context.r#type,
            level: context.level,
        }),
    })
}

fn file(wire: wire::FileTarget) -> FileTarget {
    FileTarget { name: wire.name, uid: wire.uid, gid: wire.gid, mode: wire.mode }
}

fn secret(wire: wire::SecretReference) -> Result<SecretReference> {
    if wire.secret_name.is_empty() {
        return Err(Failure::invalid("malformed secret reference: SecretName is empty"));
    }
    Ok(SecretReference {
        id: SecretId::parse(&wire.secret_id)
            .ok_or_else(|| Failure::invalid("malformed secret reference"))?,
        name: wire.secret_name,
        file: wire.file.map(file),
    })
}

fn config(wire: wire::ConfigReference) -> Result<ConfigReference> {
    if wire.config_name.is_empty() {
        return Err(Failure::invalid("malformed config reference: ConfigName is empty"));
    }
    Ok(ConfigReference {
        id: ConfigId::parse(&wire.config_id)
            .ok_or_else(|| Failure::invalid("malformed config reference"))?,
        name: wire.config_name,
        file: wire.file.map(file),
    })
}

fn resources(wire: wire::ResourceRequirements) -> Result<ResourceRequirements> {
    let limits = wire.limits.map(|limits| Limits {
        nano_cpus: limits.nano_cpus,
        memory: limits.memory_bytes,
        pids: limits.pids,
    });
    Ok(ResourceRequirements {
        limits,
        reservations: wire.reservations.map(reservations).transpose()?,
        swap_bytes: wire.swap_bytes,
        memory_swappiness: wire.memory_swappiness,
    })
}

fn reservations(wire: Resources) -> Result<Reservations> {
    let generic = wire.generic_resources.unwrap_or_default();
    Ok(Reservations {
        nano_cpus: wire.nano_cpus,
        memory: wire.memory_bytes,
        generic: generic.into_iter().map(generic_resource).collect::<Result<_>>()?,
    })
}

pub(crate) fn generic_resource(wire: wire::GenericResource) -> Result<GenericResource> {
    match (wire.named_resource_spec, wire.discrete_resource_spec) {
        (None, Some(discrete)) => {
            Ok(GenericResource::Discrete { kind: discrete.kind, value: discrete.value })
        }
        (Some(named), None) => Ok(GenericResource::Named { kind: named.kind, value: named.value }),
        _ => Err(Failure::invalid("a generic resource is either named or discrete")),
    }
}

fn restart(wire: wire::RestartPolicy) -> Result<RestartPolicy> {
    let condition = match wire.condition.as_str() {
        "" => None,
        "none" => Some(RestartCondition::None),
        "on-failure" => Some(RestartCondition::OnFailure),
        "any" => Some(RestartCondition::Any),
        other => return Err(Failure::invalid(format!("invalid RestartCondition: {other:?}"))),
    };
    let time = |what: &str, nanos: Option<i64>| -> Result<Option<Duration>> {
        nanos.map(|nanos| duration(what, nanos)).transpose()
    };
    Ok(RestartPolicy {
        condition,
        delay: time("TaskSpec: restart-delay", wire.delay)?,
        max_attempts: wire.max_attempts,
        window: time("TaskSpec: restart-window", wire.window)?,
    })
}

fn placement(wire: wire::Placement) -> Placement {
    let spread = wire.preferences.unwrap_or_default().into_iter();
    let platform = |platform: shoal_api_wire::swarm::node::Platform| Platform {
        architecture: platform.architecture,
        os: platform.os,
    };
    Placement {
        constraints: wire.constraints.unwrap_or_default(),
        spread: spread
            .filter_map(|preference| preference.spread)
            .map(|spread| spread.spread_descriptor)
            .collect(),
        max_replicas: wire.max_replicas,
        platforms: wire.platforms.unwrap_or_default().into_iter().map(platform).collect(),
    }
}
