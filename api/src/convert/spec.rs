//! A create request of the wire to the model's container spec, by version.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use shoal_api_wire::container::{ContainerConfig, HealthConfig, NetworkingConfig};
use shoal_api_wire::host_config::HostConfig;
use shoal_api_wire::{ApiVersion, json};
use shoal_model::Failure;
use shoal_model::container::{ContainerSpec, EndpointSpec, Healthcheck, IpcMode, NamespaceMode};

use super::{host, network, validate};

type Result<T> = std::result::Result<T, Failure>;

/// The three parts of a create body.
#[derive(Debug, Default)]
pub(crate) struct CreateParts {
    pub(crate) config: ContainerConfig,
    pub(crate) host: HostConfig,
    pub(crate) networking: NetworkingConfig,
}

/// Takes a create body apart, so that an error names the field by its whole path.
pub(crate) fn parts(bytes: &[u8]) -> Result<CreateParts> {
    let text = |error: json::Error| Failure::invalid(error.to_string());
    let mut value: Value = json::decode(bytes).map_err(text)?;
    let Some(members) = value.as_object_mut().filter(|members| !members.is_empty()) else {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    };
    let host = members.remove("HostConfig");
    let networking = members.remove("NetworkingConfig");
    Ok(CreateParts {
        host: part("HostConfig", host)?,
        networking: part("NetworkingConfig", networking)?,
        config: json::decode_value(value).map_err(text)?,
    })
}

fn part<T: serde::de::DeserializeOwned + Default>(name: &str, value: Option<Value>) -> Result<T> {
    let Some(value) = value else { return Ok(T::default()) };
    json::decode_value(value).map_err(|error| {
        Failure::invalid(match error {
            json::Error::Field { path, source } if path != "." => {
                format!("invalid JSON: field {name}.{path}: {source}")
            }
            json::Error::Field { source, .. } => format!("invalid JSON: field {name}: {source}"),
            syntax @ json::Error::Syntax(_) => syntax.to_string(),
        })
    })
}

/// Undoes what `version` does not have, and checks what depends on it. Gives warnings.
pub(crate) fn adapt(parts: &mut CreateParts, version: ApiVersion) -> Result<Vec<String>> {
    let CreateParts { config, host, networking } = parts;
    if !version.at_least(41) && host.cgroupns_mode.is_empty() {
        host.cgroupns_mode = "host".to_owned();
    }
    for mount in host.mounts.iter_mut().flatten() {
        if !version.at_least(42) {
            if mount.r#type != "volume" {
                mount.volume_options = None;
            }
            if mount.r#type != "tmpfs" {
                mount.tmpfs_options = None;
            }
            mount.bind_options.iter_mut().for_each(|options| options.create_mountpoint = false);
        }
        let bind = mount.bind_options.clone().unwrap_or_default();
        if !version.at_least(44) && bind.read_only_force_recursive {
            return Err(Failure::invalid(
                "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
            ));
        }
        // Before 1.44 a read-only mount was not so beneath; on a writable one the option is a conflict.
        if !version.at_least(44) && mount.r#type == "bind" && mount.read_only {
            let options = mount.bind_options.get_or_insert_default();
            options.read_only_non_recursive = true;
        }
        let subpath = mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty());
        if !version.at_least(45) && subpath {
            return Err(Failure::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
    }
    if !version.at_least(42) {
        host.console_size = [0, 0];
    }
    if !version.at_least(43) {
        host.annotations = None;
    }
    if !version.at_least(44) {
        config.healthcheck.iter_mut().for_each(|check| check.start_interval = 0);
        let names: Vec<&str> =
            networking.endpoints_config.iter().flatten().map(|(name, _)| name.as_str()).collect();
        if names.len() > 1 {
            return Err(Failure::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    mac_address(config, host, networking, version)
}

/// Moves the container's MAC address of old clients to its main endpoint.
fn mac_address(
    config: &mut ContainerConfig,
    host: &HostConfig,
    networking: &mut NetworkingConfig,
    version: ApiVersion,
) -> Result<Vec<String>> {
    let mac = std::mem::take(&mut config.mac_address);
    let endpoints = networking.endpoints_config.get_or_insert_default();
    let old = !version.at_least(44);
    if mac.is_empty() {
        if old {
            endpoints.values_mut().for_each(|endpoint| endpoint.mac_address.clear());
        }
        return Ok(Vec::new());
    }
    let mode = match host.network_mode.as_str() {
        "" | "default" => "bridge",
        mode => mode,
    };
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return match old {
            true => Err(Failure::invalid("conflicting options: mac-address and the network mode")),
            false => Ok(vec![MAC_WARNING.to_owned()]),
        };
    }
    let key = if endpoints.contains_key(mode) || endpoints.is_empty() {
        mode.to_owned()
    } else if old {
        endpoints.keys().next().cloned().unwrap_or_default()
    } else {
        return Err(Failure::invalid(
            "unable to migrate container-wide MAC address to a specific network: \
             HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
        ));
    };
    let endpoint = endpoints.entry(key).or_default();
    if !old && !endpoint.mac_address.is_empty() && endpoint.mac_address != mac {
        return Err(Failure::invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main \
             network, or be left empty",
        ));
    }
    endpoint.mac_address = mac;
    Ok(if old { Vec::new() } else { vec![MAC_WARNING.to_owned()] })
}

const MAC_WARNING: &str = "The container-wide MacAddress field is now deprecated. It should be \
                           specified in EndpointsConfig instead.";

/// The wish, checked as far as it can be without looking at the host.
pub(crate) fn spec(parts: CreateParts) -> Result<ContainerSpec> {
    validate::config(&parts.config)?;
    validate::network(&parts.config, &parts.host)?;
    let (host, anonymous) = host::host(parts.host)?;
    let config = parts.config;
    let mut volumes: std::collections::BTreeSet<String> =
        config.volumes.unwrap_or_default().into_keys().collect();
    volumes.extend(anonymous);
    let ports = config.exposed_ports.unwrap_or_default();
    Ok(ContainerSpec {
        image: config.image,
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: ports.keys().map(|port| validate::port(port)).collect::<Result<_>>()?,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env.unwrap_or_default(),
        command: config.cmd.map(|words| words.0),
        entrypoint: config.entrypoint.map(|words| words.0),
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        volumes,
        working_dir: config.working_dir,
        network_disabled: config.network_disabled,
        labels: config.labels.unwrap_or_default(),
        stop_signal: Some(config.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: config.stop_timeout,
        shell: config.shell.map(|words| words.0),
        on_build: config.on_build.unwrap_or_default(),
        host,
        endpoints: endpoints(parts.networking)?,
    })
}

fn endpoints(networking: NetworkingConfig) -> Result<BTreeMap<String, EndpointSpec>> {
    let endpoints = networking.endpoints_config.unwrap_or_default();
    endpoints
        .into_iter()
        .map(|(name, endpoint)| {
            let name = if name == "default" { "bridge".to_owned() } else { name };
            Ok((name, network::endpoint_spec(endpoint)?))
        })
        .collect()
}

pub(crate) fn healthcheck(wire: &HealthConfig) -> Healthcheck {
    let nanos = |value: i64| Duration::from_nanos(u64::try_from(value).unwrap_or(0));
    Healthcheck {
        test: wire.test.clone().unwrap_or_default(),
        interval: nanos(wire.interval),
        timeout: nanos(wire.timeout),
        retries: u32::try_from(wire.retries).unwrap_or(u32::MAX),
        start_period: nanos(wire.start_period),
        start_interval: nanos(wire.start_interval),
    }
}

pub(crate) fn namespace_out(mode: &NamespaceMode) -> String {
    match mode {
        NamespaceMode::Default => String::new(),
        NamespaceMode::Private => "private".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(container) => format!("container:{container}"),
    }
}

pub(crate) fn ipc_out(mode: &IpcMode) -> String {
    match mode {
        IpcMode::Default => String::new(),
        IpcMode::None => "none".to_owned(),
        IpcMode::Private => "private".to_owned(),
        IpcMode::Shareable => "shareable".to_owned(),
        IpcMode::Host => "host".to_owned(),
        IpcMode::Container(container) => format!("container:{container}"),
    }
}

#[cfg(test)]
mod tests;
