//! The filters of a list. Pure.
//!
//! Values of one key are alternatives, keys must all match; labels must all match.
//!
//! Source: moby `daemon/list.go`.

use std::collections::BTreeMap;

use shoal_model::container::Phase;
use shoal_model::filters::{ContainerFilters, PortFilter, all_labels};

use super::{Bounds, name_pattern, ports, volume_name};
use crate::container::view::View;
use crate::image_source::ImageSource;

/// Label that marks containers of tasks.
const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub view: &'a View,
    pub bounds: Bounds,
    /// Names of the networks that the filter's values mean.
    pub networks: &'a BTreeMap<String, Option<String>>,
    pub images: &'a dyn ImageSource,
}

/// Whether a container passes all filters.
pub(crate) fn matches(filters: &ContainerFilters, facts: &Facts<'_>) -> bool {
    let view = facts.view;
    let record = &view.record;
    let state = &view.state;
    let exited = |code: &i32| {
        state.phase == Phase::Exited && state.exit.as_ref().is_some_and(|exit| exit.code == *code)
    };
    let health = state.health.as_ref().map(|health| health.status);
    any(&filters.ids, |id| record.id.as_str().starts_with(id.as_str()))
        && any(&filters.names, |pattern| name_pattern::matches(pattern, &record.name))
        && all_labels(&filters.labels, &record.spec.labels)
        && any(&filters.exited, exited)
        && any(&filters.phases, |phase| *phase == state.phase)
        && any(&filters.ancestors, |ancestor| is_ancestor(facts, ancestor))
        && facts.bounds.before.is_none_or(|before| record.created < before)
        && facts.bounds.since.is_none_or(|since| record.created > since)
        && any(&filters.volumes, |volume| has_volume(view, volume))
        && any(&filters.networks, |network| has_network(facts, network))
        && any(&filters.publish, |range| has_port(view, range, Published::Yes))
        && any(&filters.expose, |range| has_port(view, range, Published::Any))
        && any(&filters.health, |wanted| *wanted == health)
        && filters
            .is_task
            .is_none_or(|wanted| record.spec.labels.contains_key(TASK_LABEL) == wanted)
}

fn any<T>(values: &[T], test: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(test)
}

fn is_ancestor(facts: &Facts<'_>, ancestor: &str) -> bool {
    let record = &facts.view.record;
    record.image.is_some_and(|image| facts.images.is_ancestor(ancestor, &image))
}

fn has_volume(view: &View, volume: &str) -> bool {
    view.record
        .mounts
        .iter()
        .any(|mount| mount.target == volume || volume_name(mount) == Some(volume))
}

fn has_network(facts: &Facts<'_>, wanted: &str) -> bool {
    let named = facts.networks.get(wanted).and_then(Option::as_deref);
    facts.view.record.endpoints.iter().any(|(name, endpoint)| {
        name == wanted
            || Some(name.as_str()) == named
            || (!endpoint.network_id.is_empty() && endpoint.network_id == wanted)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Published {
    Yes,
    Any,
}

fn has_port(view: &View, range: &PortFilter, published: Published) -> bool {
    ports(view).iter().any(|port| match (published, port.host_port) {
        (Published::Yes, Some(host)) => range.matches(host, &port.protocol),
        (Published::Yes, None) => false,
        (Published::Any, _) => range.matches(port.container_port, &port.protocol),
    })
}
