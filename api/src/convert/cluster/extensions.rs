//! What Docker's specs lack, as labels `io.shoal.*` of the wire.
//!
//! The docker CLI reads, changes and writes back whole specs through its own types; a label survives that.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_api_wire::swarm::labels::{DEPENDS_ON, HOST, PREFIX};
use shoal_model::Failure;
use shoal_model::cluster::service::{
    Condition, Dependency, OnDisconnect, PortExtension, PortPolicy, Protocol, REVISIONS_MAX,
    ServiceExtensions,
};

use crate::convert::time::go_duration;

const UPDATE_DEADLINE: &str = "io.shoal.update.deadline";
const ON_DISCONNECT: &str = "io.shoal.on-disconnect";
/// Of the cluster.
const DRAIN_WAIT: &str = "io.shoal.drain-wait";
/// Tasks must be able to stop.
const DRAIN_WAIT_MAX: Duration = Duration::from_mins(10);
const REVISIONS: &str = "io.shoal.revisions";
/// Followed by a target port with its protocol, and by what is said of it: `io.shoal.publish.80/tcp.policy`.
const PUBLISH: &str = "io.shoal.publish.";
/// How a label of a port looks, in messages.
const PUBLISH_SHOWN: &str = "io.shoal.publish.PORT/PROTOCOL.{policy,address,interface}";

/// Takes the cluster's wait for nodes that are slow to forget a task out of `labels`.
pub(super) fn drain_wait(
    labels: &mut BTreeMap<String, String>,
) -> Result<Option<Duration>, Failure> {
    let Some(value) = labels.remove(DRAIN_WAIT) else { return Ok(None) };
    let wait = parse_duration(DRAIN_WAIT, &value)?;
    if wait > DRAIN_WAIT_MAX {
        return Err(Failure::invalid(format!("label {DRAIN_WAIT} is at most 10m, not {value}")));
    }
    Ok(Some(wait))
}

pub(super) fn put_drain_wait(wait: Duration, labels: &mut BTreeMap<String, String>) {
    labels.insert(DRAIN_WAIT.to_owned(), shown(wait));
}

/// Takes Shoal's labels out of `labels`.
pub(crate) fn take(labels: &mut BTreeMap<String, String>) -> Result<ServiceExtensions, Failure> {
    let ours: Vec<String> = labels.keys().filter(|key| key.starts_with(PREFIX)).cloned().collect();
    let mut extensions = ServiceExtensions::default();
    for key in ours {
        let value = labels.remove(&key).unwrap_or_default();
        match key.as_str() {
            UPDATE_DEADLINE => {
                extensions.update_deadline = Some(deadline(&key, &value)?);
            }
            ON_DISCONNECT => extensions.on_disconnect = Some(on_disconnect(&key, &value)?),
            REVISIONS => extensions.revisions = Some(revisions(&key, &value)?),
            DEPENDS_ON => extensions.depends_on = dependencies(&value)?,
            _ if key.starts_with(PUBLISH) => take_port(&key, &value, &mut extensions.ports)?,
            _ => {
                return Err(Failure::invalid(format!(
                    "unknown label {key}: labels that begin with {PREFIX} are Shoal's own ({UPDATE_DEADLINE}, {ON_DISCONNECT}, {REVISIONS}, {DEPENDS_ON}, {HOST}*, {PUBLISH_SHOWN})"
                )));
            }
        }
    }
    Ok(extensions)
}

/// Puts them back.
pub(crate) fn put(extensions: &ServiceExtensions, labels: &mut BTreeMap<String, String>) {
    if let Some(deadline) = extensions.update_deadline {
        labels.insert(UPDATE_DEADLINE.to_owned(), shown(deadline));
    }
    if let Some(revisions) = extensions.revisions {
        labels.insert(REVISIONS.to_owned(), revisions.to_string());
    }
    if !extensions.depends_on.is_empty() {
        let all: Vec<String> = extensions.depends_on.iter().map(dependency_out).collect();
        labels.insert(DEPENDS_ON.to_owned(), all.join(","));
    }
    match extensions.on_disconnect {
        None => {}
        Some(OnDisconnect::Keep) => {
            labels.insert(ON_DISCONNECT.to_owned(), "keep".to_owned());
        }
        Some(OnDisconnect::Stop(after)) => {
            labels.insert(ON_DISCONNECT.to_owned(), format!("stop:{}", shown(after)));
        }
    }
    for port in &extensions.ports {
        put_port(port, labels);
    }
}

fn take_port(key: &str, value: &str, ports: &mut Vec<PortExtension>) -> Result<(), Failure> {
    let unknown =
        || Failure::invalid(format!("unknown label {key}: labels of ports are {PUBLISH_SHOWN}"));
    let invalid =
        |use_: &str| Failure::invalid(format!("invalid value {value:?} for label {key}: {use_}"));
    let (port, field) =
        key.strip_prefix(PUBLISH).and_then(|rest| rest.rsplit_once('.')).ok_or_else(unknown)?;
    let (target, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let target: u16 = target.parse().ok().filter(|port| *port != 0).ok_or_else(unknown)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(unknown()),
    };
    let place = ports
        .binary_search_by_key(&(target, protocol), |one| (one.target, one.protocol))
        .unwrap_or_else(|place| {
            ports.insert(place, PortExtension { target, protocol, ..PortExtension::default() });
            place
        });
    let extension = &mut ports[place];
    match field {
        "policy" => {
            extension.policy = match value {
                "mesh" => PortPolicy::Mesh,
                "local-first" => PortPolicy::LocalFirst,
                "local-only" => PortPolicy::LocalOnly,
                _ => return Err(invalid("use mesh, local-first or local-only")),
            };
        }
        "address" => {
            let address = value.parse().map_err(|_| invalid("use an address of the nodes"))?;
            extension.address = Some(address);
        }
        "interface" if (1..=15).contains(&value.len()) => {
            value.clone_into(&mut extension.interface)
        }
        "interface" => return Err(invalid("use the name of a link of the nodes")),
        _ => return Err(unknown()),
    }
    if extension.address.is_some() && !extension.interface.is_empty() {
        return Err(invalid("a port has either an address or an interface"));
    }
    Ok(())
}

fn put_port(port: &PortExtension, labels: &mut BTreeMap<String, String>) {
    let protocol = port.protocol.as_str();
    let key = |field: &str| format!("{PUBLISH}{}/{protocol}.{field}", port.target);
    let policy = match port.policy {
        PortPolicy::Mesh => None,
        PortPolicy::LocalFirst => Some("local-first"),
        PortPolicy::LocalOnly => Some("local-only"),
    };
    let address = port.address.map(|address| address.to_string());
    let interface = Some(port.interface.clone()).filter(|interface| !interface.is_empty());
    // What is the default was said by somebody who wants to read it again.
    let nothing = address.is_none() && interface.is_none();
    let policy = policy.or_else(|| nothing.then_some("mesh")).map(str::to_owned);
    for (field, value) in [("policy", policy), ("address", address), ("interface", interface)] {
        labels.extend(value.map(|value| (key(field), value)));
    }
}

fn on_disconnect(key: &str, value: &str) -> Result<OnDisconnect, Failure> {
    match value.split_once(':') {
        None if value == "keep" => Ok(OnDisconnect::Keep),
        Some(("stop", after)) => parse_duration(key, after).map(OnDisconnect::Stop),
        _ => Err(Failure::invalid(format!(
            "invalid value {value:?} for label {key}: use keep or stop:DURATION"
        ))),
    }
}

/// Without any time each update would fail at once.
fn deadline(key: &str, value: &str) -> Result<Duration, Failure> {
    let deadline = parse_duration(key, value)?;
    if deadline.is_zero() {
        return Err(Failure::invalid(format!("label {key} must be longer than nothing")));
    }
    Ok(deadline)
}

fn revisions(key: &str, value: &str) -> Result<u32, Failure> {
    value.parse().ok().filter(|kept| *kept <= REVISIONS_MAX).ok_or_else(|| {
        Failure::invalid(format!(
            "invalid value {value:?} for label {key}: use 0 to {REVISIONS_MAX}"
        ))
    })
}

const CONDITIONS: [(&str, Condition); 3] = [
    ("started", Condition::Started),
    ("healthy", Condition::Healthy),
    ("completed", Condition::Completed),
];

fn dependencies(value: &str) -> Result<Vec<Dependency>, Failure> {
    let one = |text: &str| {
        let refuse = || {
            Failure::invalid(format!(
                "invalid value {text:?} for label {DEPENDS_ON}: use SERVICE:started|healthy|completed[:optional]"
            ))
        };
        let mut words = text.split(':');
        let service = words.next().filter(|name| !name.is_empty()).ok_or_else(refuse)?;
        let wanted = words.next().unwrap_or("started");
        let (_, condition) =
            CONDITIONS.into_iter().find(|(word, _)| *word == wanted).ok_or_else(refuse)?;
        let required = match (words.next(), words.next()) {
            (None, None) => true,
            (Some("optional"), None) => false,
            _ => return Err(refuse()),
        };
        Ok(Dependency { service: service.to_owned(), condition, required })
    };
    value.split(',').map(str::trim).map(one).collect()
}

fn dependency_out(Dependency { service, condition, required }: &Dependency) -> String {
    let word = CONDITIONS.iter().find(|(_, known)| known == condition).map_or("", |(word, _)| word);
    format!("{service}:{word}{}", if *required { "" } else { ":optional" })
}

fn parse_duration(key: &str, value: &str) -> Result<Duration, Failure> {
    go_duration(value).ok_or_else(|| {
        Failure::invalid(format!("invalid duration {value:?} for label {key}: use e.g. 90s or 10m"))
    })
}

fn shown(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ns", duration.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_wait_is_a_label() {
        let of = |text: &str| BTreeMap::from([(DRAIN_WAIT.to_owned(), text.to_owned())]);
        let mut labels = of("90s");
        assert_eq!(drain_wait(&mut labels).unwrap(), Some(Duration::from_secs(90)));
        assert!(labels.is_empty());
        assert_eq!(drain_wait(&mut labels).unwrap(), None);
        for refused in ["", "soon", "11m"] {
            assert!(drain_wait(&mut of(refused)).is_err(), "{refused}");
        }
        put_drain_wait(Duration::from_secs(90), &mut labels);
        assert_eq!(labels, of("90s"));
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn labels_come_back() {
        let before = labels(&[
            ("a", "b"),
            (UPDATE_DEADLINE, "600s"),
            (ON_DISCONNECT, "stop:90s"),
            (REVISIONS, "3"),
            (DEPENDS_ON, "db:healthy,cache:started:optional"),
        ]);
        let mut rest = before.clone();
        let extensions = take(&mut rest).unwrap();
        assert_eq!(rest, labels(&[("a", "b")]));
        assert_eq!(extensions.update_deadline, Some(Duration::from_secs(600)));
        put(&extensions, &mut rest);
        assert_eq!(rest, before);
    }

    #[test]
    fn labels_of_ports_come_back() {
        let before = labels(&[
            ("io.shoal.publish.53/udp.policy", "mesh"),
            ("io.shoal.publish.80/tcp.interface", "eth1"),
            ("io.shoal.publish.80/tcp.policy", "local-first"),
            ("io.shoal.publish.81/tcp.address", "192.0.2.1"),
        ]);
        let mut rest = before.clone();
        let extensions = take(&mut rest).unwrap();
        let ports: Vec<_> = extensions.ports.iter().map(|one| (one.target, one.policy)).collect();
        let expected =
            [(53, PortPolicy::Mesh), (80, PortPolicy::LocalFirst), (81, PortPolicy::Mesh)];
        assert_eq!(ports, expected);
        put(&extensions, &mut rest);
        assert_eq!(rest, before);
        let mut both = labels(&[
            ("io.shoal.publish.80/tcp.address", "192.0.2.1"),
            ("io.shoal.publish.80/tcp.interface", "eth1"),
        ]);
        assert!(take(&mut both).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (key, value, expected) in [
            (
                ON_DISCONNECT,
                "no",
                "invalid value \"no\" for label io.shoal.on-disconnect: use keep or stop:DURATION",
            ),
            (
                UPDATE_DEADLINE,
                "x",
                "invalid duration \"x\" for label io.shoal.update.deadline: use e.g. 90s or 10m",
            ),
            (
                "io.shoal.foo",
                "",
                "unknown label io.shoal.foo: labels that begin with io.shoal. are Shoal's own \
                 (io.shoal.update.deadline, io.shoal.on-disconnect, io.shoal.revisions, io.shoal.depends-on, io.shoal.host.*, \
                 io.shoal.publish.PORT/PROTOCOL.{policy,address,interface})",
            ),
            (
                DEPENDS_ON,
                "db:soon",
                "invalid value \"db:soon\" for label io.shoal.depends-on: use \
                 SERVICE:started|healthy|completed[:optional]",
            ),
            (
                "io.shoal.publish.80/tcp.policy",
                "near",
                "invalid value \"near\" for label io.shoal.publish.80/tcp.policy: \
                 use mesh, local-first or local-only",
            ),
            (
                "io.shoal.publish.web.policy",
                "mesh",
                "unknown label io.shoal.publish.web.policy: labels of ports are \
                 io.shoal.publish.PORT/PROTOCOL.{policy,address,interface}",
            ),
            (UPDATE_DEADLINE, "0s", "label io.shoal.update.deadline must be longer than nothing"),
            (REVISIONS, "101", "invalid value \"101\" for label io.shoal.revisions: use 0 to 100"),
            (REVISIONS, "-1", "invalid value \"-1\" for label io.shoal.revisions: use 0 to 100"),
        ] {
            assert_eq!(take(&mut labels(&[(key, value)])).unwrap_err().chain(), expected);
        }
    }
}
