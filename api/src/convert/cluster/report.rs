//! What a cluster says of its own work, in JSON of our own: ADR 7.

use serde_json::{Value, json};
use shoal_model::cluster::Service;
use shoal_model::cluster::report::{DrainReport, Finding, ServiceReport};
use shoal_model::cluster::task::Filter;

use super::service_out;
use crate::convert::time;

/// For `GET /shoal/services/{name}/explain`.
pub(crate) fn explanation(report: &ServiceReport) -> Value {
    json!({
        "Service": report.service,
        "EndpointError": report.endpoint_error,
        "Placement": report.placement,
        "Update": report.update,
        "Settled": report.settled,
        "Findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let verdict = finding
        .verdict
        .iter()
        .map(|verdict| json!({ "Filter": filter(verdict.filter), "Nodes": verdict.nodes }));
    json!({
        "TaskID": finding.task.to_string(),
        "Name": finding.name,
        "State": finding.observed.as_str(),
        "DesiredState": finding.desired.as_str(),
        "Since": time::rfc3339(finding.at),
        "Seconds": finding.since.as_secs(),
        "Node": finding.node,
        "Reason": finding.reason,
        "Verdict": verdict.collect::<Vec<_>>(),
        "Advice": finding.advice,
    })
}

const fn filter(filter: Filter) -> &'static str {
    match filter {
        Filter::Ready => "readiness",
        Filter::Resources => "resources",
        Filter::Plugins => "plugins",
        Filter::Constraints => "constraints",
        Filter::Platform => "platform",
        Filter::HostPorts => "host ports",
        Filter::MaxReplicas => "replicas per node",
        Filter::Volumes => "volumes",
    }
}

/// For `GET /shoal/nodes/{name}/drain`.
pub(crate) fn drain(report: &DrainReport) -> Value {
    json!({
        "NodeID": report.node.to_string(),
        "Hostname": report.hostname,
        "Draining": report.draining,
        "Waiting": report.waiting,
        "Stopping": report.stopping,
    })
}

/// For `GET /shoal/services/{name}/revisions`: the newest first, which is the present one.
pub(crate) fn revisions(service: &Service) -> Value {
    let revision = |number: u64, since, spec, present: bool| {
        json!({
            "Number": number,
            "Present": present,
            "Since": time::rfc3339(Option::unwrap_or(since, service.meta.created)),
            "Spec": service_out::spec(spec),
        })
    };
    let own = &service.revisions;
    let present = revision(own.present, own.since, &service.spec, true);
    let earlier = own.earlier.iter().rev();
    let earlier = earlier.map(|one| revision(one.number, one.since, &one.spec, false));
    Value::Array(std::iter::once(present).chain(earlier).collect())
}
