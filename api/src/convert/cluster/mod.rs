//! Objects of the cluster, both ways.

pub(crate) mod extensions;
pub(crate) mod filters;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod overview;
pub(crate) mod report;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod service_out;
pub(crate) mod settings;
pub(crate) mod swarm;
pub(crate) mod task;
pub(crate) mod task_spec;
pub(crate) mod task_spec_out;

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_api_wire::swarm as wire;
use shoal_model::Failure;
use shoal_model::cluster::secret::DriverSpec;
use shoal_model::cluster::{Annotations, Meta};

use super::time;

type Result<T> = std::result::Result<T, Failure>;

pub(crate) fn meta(meta: &Meta) -> wire::Meta {
    wire::Meta {
        version: wire::Version { index: meta.version.0 },
        created_at: time::rfc3339(meta.created),
        updated_at: time::rfc3339(meta.updated),
    }
}

fn annotations(name: String, labels: wire::Labels) -> Annotations {
    Annotations { name, labels: labels.unwrap_or_default() }
}

/// Docker's labels of specs are `{}` where there are none.
#[expect(clippy::unnecessary_wraps, reason = "the wire's field is optional")]
fn labels_out(labels: &BTreeMap<String, String>) -> wire::Labels {
    Some(labels.clone())
}

fn driver(wire: wire::Driver) -> DriverSpec {
    DriverSpec { name: wire.name, options: wire.options.unwrap_or_default() }
}

fn driver_out(driver: &DriverSpec) -> wire::Driver {
    wire::Driver { name: driver.name.clone(), options: some_map(&driver.options) }
}

fn some_map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

fn some_list<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Nanoseconds that must not be negative; `what` names the field in the error.
fn duration(what: &str, nanos: i64) -> Result<Duration> {
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| Failure::invalid(format!("{what} cannot be negative")))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn base64_in(what: &str, text: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_| Failure::invalid(format!("{what} is not valid base64")))
}

fn base64_out(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;
