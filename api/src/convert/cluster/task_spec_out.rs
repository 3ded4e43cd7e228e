//! Specs of tasks, to the wire.

use shoal_api_wire::host_config::Ulimit;
use shoal_api_wire::swarm::node::{Platform, Resources};
use shoal_api_wire::swarm::{Driver, service as wire};
use shoal_model::cluster::TaskSpec;
use shoal_model::cluster::node::GenericResource;
use shoal_model::cluster::task::{
    FileTarget, Placement, Privileges, ResourceRequirements, RestartCondition, RestartPolicy,
    TaskRuntime,
};
use shoal_model::container::HostSpec;

use super::{base64_out, nanos, service_out, some_list, some_map};
use crate::convert::{container, mounts};

pub(crate) fn spec(spec: &TaskSpec) -> wire::TaskSpec {
    let is_attachment = spec.runtime == TaskRuntime::Attachment;
    wire::TaskSpec {
        container_spec: (!is_attachment).then(|| container_spec(spec)),
        plugin_spec: None,
        network_attachment_spec: is_attachment.then(wire::NetworkAttachmentSpec::default),
        resources: spec.resources.as_ref().map(resources),
        restart_policy: spec.restart.as_ref().map(restart),
        placement: spec.placement.as_ref().map(placement),
        networks: service_out::networks(&spec.networks),
        log_driver: spec
            .log
            .as_ref()
            .map(|log| Driver { name: log.driver.clone(), options: some_map(&log.options) }),
        force_update: spec.force_update,
        runtime: if is_attachment { "attachment" } else { "container" }.to_owned(),
    }
}

fn container_spec(spec: &TaskSpec) -> wire::ContainerSpec {
    let container = &spec.container;
    let host = &container.host;
    let ulimit = |limit: &shoal_model::container::Ulimit| Ulimit {
        name: limit.name.clone(),
        hard: limit.hard,
        soft: limit.soft,
    };
    wire::ContainerSpec {
        image: container.image.clone(),
        labels: some_map(&container.labels),
        command: container.entrypoint.clone(),
        args: container.command.clone(),
        hostname: container.hostname.clone(),
        env: some_list(&container.env),
        dir: container.working_dir.clone(),
        user: container.user.clone(),
        groups: some_list(&host.group_add),
        privileges: spec.privileges.as_ref().map(privileges),
        init: host.init,
        stop_signal: container.stop_signal.clone().unwrap_or_default(),
        tty: container.tty,
        open_stdin: container.open_stdin,
        read_only: host.readonly_rootfs,
        mounts: some_list(&host.mounts.iter().map(mounts::mount_out).collect::<Vec<_>>()),
        stop_grace_period: spec.stop_grace_period.map(nanos),
        healthcheck: container.healthcheck.as_ref().map(container::healthcheck),
        hosts: some_list(
            &host.extra_hosts.iter().map(|entry| host_line(entry)).collect::<Vec<_>>(),
        ),
        dns_config: dns(host),
        secrets: some_list(&spec.secrets.iter().map(secret).collect::<Vec<_>>()),
        configs: some_list(&spec.configs.iter().map(config).collect::<Vec<_>>()),
        isolation: if host.isolation.is_empty() { "default" } else { &host.isolation }.to_owned(),
        sysctls: some_map(&host.sysctls),
        capability_add: some_list(&host.cap_add),
        capability_drop: some_list(&host.cap_drop),
        ulimits: some_list(&host.resources.ulimits.iter().map(ulimit).collect::<Vec<_>>()),
        oom_score_adj: host.oom_score_adj.into(),
    }
}

/// `name:address` to `address name`; the address may hold colons.
fn host_line(entry: &str) -> String {
    let (name, address) = entry.split_once(':').unwrap_or((entry, ""));
    format!("{address} {name}")
}

fn dns(host: &HostSpec) -> Option<wire::DnsConfig> {
    let config = wire::DnsConfig {
        nameservers: some_list(&host.dns),
        search: some_list(&host.dns_search),
        options: some_list(&host.dns_options),
    };
    (config != wire::DnsConfig::default()).then_some(config)
}

fn privileges(privileges: &Privileges) -> wire::Privileges {
    wire::Privileges {
        credential_spec: None,
        se_linux_context: privileges.selinux.as_ref().map(|context| wire::SeLinuxContext {
            disable: context.disable,
            user: context.user.clone(),
            role: context.role.clone(),
            r#type: context.kind.clone(),
            level: context.level.clone(),
        }),
        seccomp: privileges.seccomp_mode.as_ref().map(|mode| wire::SeccompOpts {
            mode: mode.clone(),
            profile: base64_out(&privileges.seccomp_profile),
        }),
        app_armor: privileges
            .apparmor_mode
            .as_ref()
            .map(|mode| wire::AppArmorOpts { mode: mode.clone() }),
        no_new_privileges: privileges.no_new_privileges,
    }
}

fn file(file: &FileTarget) -> wire::FileTarget {
    wire::FileTarget {
        name: file.name.clone(),
        uid: file.uid.clone(),
        gid: file.gid.clone(),
        mode: file.mode,
    }
}

fn secret(secret: &shoal_model::cluster::task::SecretReference) -> wire::SecretReference {
    wire::SecretReference {
        file: secret.file.as_ref().map(file),
        secret_id: secret.id.to_string(),
        secret_name: secret.name.clone(),
    }
}

fn config(config: &shoal_model::cluster::task::ConfigReference) -> wire::ConfigReference {
    wire::ConfigReference {
        file: config.file.as_ref().map(file),
        runtime: None,
        config_id: config.id.to_string(),
        config_name: config.name.clone(),
    }
}

fn resources(resources: &ResourceRequirements) -> wire::ResourceRequirements {
    wire::ResourceRequirements {
        limits: resources.limits.as_ref().map(|limits| wire::Limit {
            nano_cpus: limits.nano_cpus,
            memory_bytes: limits.memory,
            pids: limits.pids,
        }),
        reservations: resources.reservations.as_ref().map(|reservations| Resources {
            nano_cpus: reservations.nano_cpus,
            memory_bytes: reservations.memory,
            generic_resources: generic(&reservations.generic),
        }),
        swap_bytes: resources.swap_bytes,
        memory_swappiness: resources.memory_swappiness,
    }
}

pub(crate) fn generic(resources: &[GenericResource]) -> Option<Vec<wire::GenericResource>> {
    let one = |resource: &GenericResource| match resource.clone() {
        GenericResource::Discrete { kind, value } => wire::GenericResource {
            discrete_resource_spec: Some(wire::DiscreteResource { kind, value }),
            ..Default::default()
        },
        GenericResource::Named { kind, value } => wire::GenericResource {
            named_resource_spec: Some(wire::NamedResource { kind, value }),
            ..Default::default()
        },
    };
    some_list(&resources.iter().map(one).collect::<Vec<_>>())
}

fn restart(policy: &RestartPolicy) -> wire::RestartPolicy {
    wire::RestartPolicy {
        condition: match policy.condition {
            None => "",
            Some(RestartCondition::None) => "none",
            Some(RestartCondition::OnFailure) => "on-failure",
            Some(RestartCondition::Any) => "any",
        }
        .to_owned(),
        delay: policy.delay.map(nanos),
        max_attempts: policy.max_attempts,
        window: policy.window.map(nanos),
    }
}

fn placement(placement: &Placement) -> wire::Placement {
    let spread = |descriptor: &String| wire::PlacementPreference {
        spread: Some(wire::SpreadOver { spread_descriptor: descriptor.clone() }),
    };
    let platform = |platform: &shoal_model::cluster::node::Platform| Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
    };
    wire::Placement {
        constraints: some_list(&placement.constraints),
        preferences: some_list(&placement.spread.iter().map(spread).collect::<Vec<_>>()),
        max_replicas: placement.max_replicas,
        platforms: some_list(&placement.platforms.iter().map(platform).collect::<Vec<_>>()),
    }
}
