//! Lists: order, limits and filters.

mod filter;
mod name_pattern;
mod show;

pub(crate) use filter::{Facts, matches};
pub(crate) use show::{details, ports, summary};

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::container::{ContainerSummary, ListOptions, Phase};
use shoal_model::{ContainerId, ErrorKind, Timestamp};

use crate::container::Container;
use crate::container::view::View;
use crate::core::Core;
use crate::error::Error;
use crate::resolve;

/// Lists containers, newest first.
///
/// # Errors
/// When `before` or `since` name no container.
pub(crate) async fn list(
    core: &Arc<Core>,
    options: ListOptions,
) -> Result<Vec<ContainerSummary>, Error> {
    let bounds = Bounds {
        before: created(core, options.filters.before.as_deref())?,
        since: created(core, options.filters.since.as_deref())?,
    };
    let networks = network_names(core, &options.filters.networks).await?;
    let mut views: Vec<(Arc<Container>, View)> = core
        .all()
        .into_iter()
        .map(|container| {
            let view = container.view();
            (container, view)
        })
        .collect();
    views.sort_by(|(_, a), (_, b)| {
        (b.record.created, &a.record.id).cmp(&(a.record.created, &b.record.id))
    });
    let chosen = views.into_iter().filter(|(_, view)| {
        let facts = Facts { view, bounds, networks: &networks, images: core.images.as_ref() };
        shown(&options, view) && matches(&options.filters, &facts)
    });
    let mut rows = Vec::new();
    for (container, view) in chosen.take(options.limit.unwrap_or(usize::MAX)) {
        let mut row = summary(core, &view);
        if options.size {
            match core.images.size(&container.id).await {
                Ok(size) => row.size = Some(size),
                // Removed in this moment.
                Err(failure) if failure.kind() == ErrorKind::NotFound => continue,
                Err(failure) => return Err(Error::part("measure", view.name())(failure)),
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Times of the containers that bound a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub before: Option<Timestamp>,
    pub since: Option<Timestamp>,
}

/// Without `all`, a limit, or a filter on phases only what runs is shown.
fn shown(options: &ListOptions, view: &View) -> bool {
    let filters = &options.filters;
    let everything = options.all
        || options.limit.is_some()
        || !filters.phases.is_empty()
        || !filters.exited.is_empty()
        || filters.before.is_some()
        || filters.since.is_some();
    everything || matches!(view.state.phase, Phase::Running | Phase::Paused | Phase::Restarting)
}

fn created(core: &Core, name: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let Some(name) = name else { return Ok(None) };
    let container = resolve::container(core, name)?;
    Ok(Some(container.view().record.created))
}

/// Names of the networks that a filter means; unknown ones are matched as they are written.
async fn network_names(
    core: &Core,
    wanted: &[String],
) -> Result<BTreeMap<String, Option<String>>, Error> {
    let mut names = BTreeMap::new();
    for text in wanted {
        let found = core.networking.resolve(text).await.ok();
        names.insert(text.clone(), found.map(|network| network.name));
    }
    Ok(names)
}

/// Which containers refer to a volume.
pub(crate) fn users_of_volume(core: &Core, volume: &str) -> Vec<ContainerId> {
    core.all()
        .into_iter()
        .filter(|container| {
            let view = container.view.borrow();
            view.record.mounts.iter().any(|mount| volume_name(mount) == Some(volume))
        })
        .map(|container| container.id.clone())
        .collect()
}

/// The volume behind a mount, if one is.
pub(crate) fn volume_name(mount: &crate::mounts::Resolved) -> Option<&str> {
    match &mount.source {
        crate::mounts::Source::Volume { name, .. } => Some(name),
        _ => None,
    }
}
