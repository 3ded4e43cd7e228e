//! Settings of a service's containers that Docker's specs lack, as labels `io.shoal.host.<member of HostConfig>`.
//!
//! The names and the meaning of values are those of `POST /containers/create`; one conversion serves both.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shoal_api_wire::host_config::HostConfig;
use shoal_api_wire::swarm::labels::{HOST, HOST_MEMBERS};
use shoal_model::Failure;
use shoal_model::container::{HostSpec, IpcMode, NamespaceMode, Resources};

use crate::convert::{host, host_out};

/// Takes the labels out of `labels`, and adds to `spec` what they say.
pub(crate) fn take(
    labels: &mut BTreeMap<String, String>,
    spec: &mut HostSpec,
) -> Result<(), Failure> {
    let ours: Vec<String> = labels.keys().filter(|key| key.starts_with(HOST)).cloned().collect();
    if ours.is_empty() {
        return Ok(());
    }
    let mut members = Map::new();
    for key in ours {
        let value = labels.remove(&key).unwrap_or_default();
        let member = &key[HOST.len()..];
        if !HOST_MEMBERS.contains(&member) {
            let known = HOST_MEMBERS.join(", ");
            return Err(Failure::invalid(format!(
                "unknown label {key}: behind {HOST} comes one of {known}"
            )));
        }
        let value = parse(member, value)
            .map_err(|why| Failure::invalid(format!("invalid value of label {key}: {why}")))?;
        members.insert(member.to_owned(), value);
    }
    let wire: HostConfig = serde_json::from_value(Value::Object(members))
        .map_err(|why| Failure::invalid(format!("invalid value of a label {HOST}*: {why}")))?;
    let (given, _) = host::host(wire)?;
    check(&given)?;
    adopt(given, spec);
    Ok(())
}

/// The value of one member: JSON where that is one of the right kind, else a text.
fn parse(member: &str, text: String) -> Result<Value, serde_json::Error> {
    let plain = Value::String(text.clone());
    let value = serde_json::from_str(&text).unwrap_or_else(|_| plain.clone());
    let one = |value: Value| Value::Object(Map::from_iter([(member.to_owned(), value)]));
    if serde_json::from_value::<HostConfig>(one(value.clone())).is_ok() {
        return Ok(value);
    }
    serde_json::from_value::<HostConfig>(one(plain.clone())).map(|_| plain)
}

/// Tasks come and go on any node: they share nothing with a certain container.
fn check(given: &HostSpec) -> Result<(), Failure> {
    let namespaces = [&given.pid_mode, &given.uts_mode, &given.userns_mode, &given.cgroupns_mode];
    let shares = namespaces.into_iter().any(|mode| matches!(mode, NamespaceMode::Container(_)))
        || matches!(given.ipc_mode, IpcMode::Container(_));
    if shares {
        return Err(Failure::invalid(
            "a service cannot share namespaces with a container: its tasks run on any node",
        ));
    }
    Ok(())
}

/// Moves what [`HOST_MEMBERS`] name.
fn adopt(given: HostSpec, into: &mut HostSpec) {
    into.annotations = given.annotations;
    into.cgroupns_mode = given.cgroupns_mode;
    into.ipc_mode = given.ipc_mode;
    into.pid_mode = given.pid_mode;
    into.privileged = given.privileged;
    into.runtime = given.runtime;
    into.security_opt = given.security_opt;
    into.shm_size = given.shm_size;
    into.storage_opt = given.storage_opt;
    into.tmpfs = given.tmpfs;
    into.uts_mode = given.uts_mode;
    into.userns_mode = given.userns_mode;
    let from = given.resources;
    into.resources = Resources {
        blkio_read_bps: from.blkio_read_bps,
        blkio_read_iops: from.blkio_read_iops,
        blkio_write_bps: from.blkio_write_bps,
        blkio_write_iops: from.blkio_write_iops,
        blkio_weight: from.blkio_weight,
        blkio_weight_device: from.blkio_weight_device,
        cgroup_parent: from.cgroup_parent,
        cpu_period: from.cpu_period,
        cpu_quota: from.cpu_quota,
        cpu_rt_period: from.cpu_rt_period,
        cpu_rt_runtime: from.cpu_rt_runtime,
        cpu_shares: from.cpu_shares,
        cpuset_cpus: from.cpuset_cpus,
        device_cgroup_rules: from.device_cgroup_rules,
        device_requests: from.device_requests,
        devices: from.devices,
        oom_kill_disable: from.oom_kill_disable,
        ..std::mem::take(&mut into.resources)
    };
}

/// Puts the labels back.
pub(crate) fn put(spec: &HostSpec, labels: &mut BTreeMap<String, String>) {
    let (given, unset) = (shown(spec), shown(&HostSpec::default()));
    for member in HOST_MEMBERS {
        let value = given.get(member).filter(|value| Some(*value) != unset.get(member));
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                labels.insert(format!("{HOST}{member}"), text.clone());
            }
            Some(other) => {
                labels.insert(format!("{HOST}{member}"), other.to_string());
            }
        }
    }
}

fn shown(spec: &HostSpec) -> Map<String, Value> {
    match serde_json::to_value(host_out::host(spec)) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (format!("{HOST}{k}"), (*v).to_owned())).collect()
    }

    #[test]
    fn settings_come_back_as_they_were_given() {
        let given = labels(&[
            ("Privileged", "true"),
            ("PidMode", "host"),
            ("ShmSize", "67108865"),
            ("CpusetCpus", "0"),
            ("SecurityOpt", r#"["seccomp=unconfined"]"#),
            ("Tmpfs", r#"{"/run":"size=1m"}"#),
            (
                "Devices",
                r#"[{"CgroupPermissions":"rwm","PathInContainer":"/dev/fuse","PathOnHost":"/dev/fuse"}]"#,
            ),
        ]);
        let mut rest = given.clone();
        rest.insert("a".into(), "b".into());
        let mut spec = HostSpec::default();
        take(&mut rest, &mut spec).unwrap();
        assert_eq!(rest, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert!(spec.privileged);
        assert_eq!(spec.pid_mode, NamespaceMode::Host);
        assert_eq!((spec.shm_size, spec.resources.cpuset_cpus.as_str()), (67_108_865, "0"));
        let mut back = BTreeMap::new();
        put(&spec, &mut back);
        assert_eq!(back, given);
    }

    #[test]
    fn other_settings_stay() {
        let mut spec = HostSpec::default();
        spec.resources.memory = 5;
        spec.readonly_rootfs = true;
        take(&mut labels(&[("Privileged", "true")]), &mut spec).unwrap();
        assert_eq!((spec.resources.memory, spec.readonly_rootfs, spec.privileged), (5, true, true));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |member: &str, value: &str| {
            take(&mut labels(&[(member, value)]), &mut HostSpec::default()).unwrap_err().chain()
        };
        assert!(refused("Memory", "5").starts_with("unknown label io.shoal.host.Memory: "));
        let wrong = refused("Privileged", "maybe");
        assert!(wrong.starts_with("invalid value of label io.shoal.host.Privileged: "), "{wrong}");
        assert_eq!(
            refused("PidMode", "container:x"),
            "a service cannot share namespaces with a container: its tasks run on any node"
        );
    }
}
