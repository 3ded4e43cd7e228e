//! The filters: each checks a node, and explains how many nodes it turned away.
//!
//! Source: swarmkit `manager/scheduler/filter.go` (order and words), `pipeline.go Explain`.

use std::cmp::Reverse;

use shoal_model::cluster::node::{Availability, NodeState, Platform};
use shoal_model::cluster::task::{Filter, FilterVerdict};
use shoal_model::cluster::{Node, ServiceId};

use super::demand::Demand;
use super::index::{Entry, Index};
use crate::constraint;

/// Whether a node takes new tasks at all.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

/// Asks all filters in their order about one node. Mounts of cluster volumes do not exist in the model, so
/// that `Volumes` turns nothing away.
///
/// # Errors
/// The first filter that turns the node away.
pub(super) fn check(
    index: &Index,
    entry: &Entry,
    demand: &Demand,
    service: Option<ServiceId>,
) -> Result<(), Filter> {
    let Some(node) = entry.node.as_deref().filter(|node| is_ready(node)) else {
        return Err(Filter::Ready);
    };
    if !has_resources(entry, node, demand) {
        return Err(Filter::Resources);
    }
    if !has_plugins(node, demand) {
        return Err(Filter::Plugins);
    }
    if demand.unreadable || !constraint::matches(&demand.constraints, node) {
        return Err(Filter::Constraints);
    }
    if !demand.platforms.is_empty() && !runs_one_of(entry, &demand.platforms) {
        return Err(Filter::Platform);
    }
    if demand.ports.iter().any(|port| entry.ports.contains_key(port)) {
        return Err(Filter::HostPorts);
    }
    let held = || service.map_or(0, |service| u64::from(index.tasks_of(service, entry.position)));
    if demand.max_replicas > 0 && held() >= demand.max_replicas {
        return Err(Filter::MaxReplicas);
    }
    Ok(())
}

fn has_resources(entry: &Entry, node: &Node, demand: &Demand) -> bool {
    if demand.nano_cpus == 0 && demand.memory == 0 && demand.generic.is_empty() {
        return true;
    }
    let (nano_cpus, memory) = entry.free();
    (demand.nano_cpus == 0 || demand.nano_cpus <= nano_cpus)
        && (demand.memory == 0 || demand.memory <= memory)
        && (demand.generic.is_empty() || {
            let declared =
                node.description.as_ref().map(|about| about.resources.generic.as_slice());
            entry.generic.claim(declared.unwrap_or_default(), &demand.generic).is_some()
        })
}

/// Both sides are normalised already.
fn runs_one_of(entry: &Entry, wanted: &[Platform]) -> bool {
    let Some(given) = &entry.platform else { return false };
    wanted.iter().any(|wanted| {
        (wanted.os.is_empty() || wanted.os == given.os)
            && (wanted.architecture.is_empty() || wanted.architecture == given.architecture)
    })
}

/// Plugins of the old style are known without a tag, those of the new one as `name:latest`. A node that says
/// nothing of log drivers is taken to have them all.
fn has_plugins(node: &Node, demand: &Demand) -> bool {
    demand.plugins.iter().all(|(kind, name)| {
        let Some(description) = &node.description else { return false };
        let plugins = &description.plugins;
        let has = |name: String| plugins.contains(&((*kind).to_owned(), name));
        has(name.clone())
            || has(format!("{name}:latest"))
            || (*kind == "Log" && !plugins.iter().any(|(other, _)| other == "Log"))
    })
}

/// Counts nodes by the first filter that turned them away, in the order of the filters.
pub(super) fn verdict(failures: impl Iterator<Item = Filter>) -> Vec<FilterVerdict> {
    let mut counts = [0_u32; ALL.len()];
    for filter in failures {
        counts[filter as usize] += 1;
    }
    let counted = ALL.into_iter().zip(counts).filter(|(_, nodes)| *nodes > 0);
    counted.map(|(filter, nodes)| FilterVerdict { filter, nodes }).collect()
}

const ALL: [Filter; 8] = [
    Filter::Ready,
    Filter::Resources,
    Filter::Plugins,
    Filter::Constraints,
    Filter::Platform,
    Filter::HostPorts,
    Filter::MaxReplicas,
    Filter::Volumes,
];

/// Why no node was found, in Docker's words: the filter that turned most nodes away first.
pub fn explain(verdict: &[FilterVerdict]) -> String {
    let mut sorted = verdict.to_vec();
    sorted.sort_by_key(|verdict| (Reverse(verdict.nodes), verdict.filter));
    sorted.into_iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// The whole sentence for a task that may run anywhere.
pub(super) fn no_suitable_node(verdict: &[FilterVerdict], demand: &Demand) -> String {
    let mut text = "no suitable node".to_owned();
    if !verdict.is_empty() {
        text += &format!(" ({})", explain(verdict));
    }
    if let Some(unknown) = constraint::unknown_keys(&demand.constraints) {
        text += &format!(": {unknown}");
    }
    text
}

fn reason(verdict: FilterVerdict) -> String {
    let FilterVerdict { filter, nodes } = verdict;
    let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    match filter {
        Filter::Ready => format!("{nodes} not available for new tasks"),
        Filter::Resources => format!("insufficient resources on {nodes}"),
        Filter::Plugins => format!("missing plugin on {nodes}"),
        Filter::Constraints => format!("scheduling constraints not satisfied on {nodes}"),
        Filter::Platform => format!("unsupported platform on {nodes}"),
        Filter::HostPorts => format!("host-mode port already in use on {nodes}"),
        Filter::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        Filter::Volumes => format!("cannot fulfill requested CSI volume mounts on {nodes}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_numbered_in_their_order() {
        for (position, filter) in ALL.into_iter().enumerate() {
            assert_eq!(filter as usize, position);
        }
    }

    #[test]
    fn most_nodes_first_then_the_filters_order() {
        let failures = [
            Filter::Constraints,
            Filter::Resources,
            Filter::Resources,
            Filter::Ready,
            Filter::MaxReplicas,
        ];
        let verdict = verdict(failures.into_iter());
        assert_eq!(
            no_suitable_node(&verdict, &Demand::default()),
            "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks; \
             scheduling constraints not satisfied on 1 node; max replicas per node limit exceed)"
        );
        assert_eq!(no_suitable_node(&[], &Demand::default()), "no suitable node");
    }
}
