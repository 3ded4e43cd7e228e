//! Creation: name, merged spec, volumes, writable layer, record. Undoes itself on failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::ContainerId;
use shoal_model::container::{
    ContainerSpec, CreateRequest, Created, NetworkMode, Phase, RestartPolicy, State,
};
use shoal_model::network::Endpoint;

use super::record::{self, Paths, Record};
use super::view::View;
use super::{Container, Owner, attributes};
use crate::core::Core;
use crate::error::Error;
use crate::image_source::ImageFacts;
use crate::volumes::Release;
use crate::{attach_ahead, links, logs, names, prepare, signal};

/// Creates a container.
///
/// # Errors
/// Bad input, unknown image, taken name, or the disk's failure. Nothing is left then.
pub(crate) async fn create(core: &Arc<Core>, request: CreateRequest) -> Result<Created, Error> {
    // Most containers are started as soon as they are created.
    attach_ahead::expect(core);
    let CreateRequest { name, platform, spec } = request;
    let wanted = name.as_deref().filter(|name| !name.is_empty()).map(names::validate);
    let wanted = wanted.transpose()?;
    let image = core
        .images
        .find(&spec.image, platform.as_ref())
        .await
        .map_err(Error::part("create", wanted.unwrap_or(&spec.image)))?;
    let id = ContainerId::from_bytes(shoal_base::random::id32(core.random.as_ref()));
    let name = match wanted {
        Some(name) => {
            core.names.reserve(name, &id)?;
            name.to_owned()
        }
        None => core.names.reserve_random(core.random.as_ref(), &id),
    };
    match Box::pin(create_named(core, &id, &name, spec, &image)).await {
        Ok(created) => Ok(created),
        Err(error) => {
            core.names.release(&name, &id);
            Err(error)
        }
    }
}

async fn create_named(
    core: &Arc<Core>,
    id: &ContainerId,
    name: &str,
    spec: ContainerSpec,
    image: &ImageFacts,
) -> Result<Created, Error> {
    let paths = Paths::new(&core.config.containers(), &core.config.shims(), id);
    let (spec, warnings) = settle(core, id, name, spec, image, &paths)?;
    let mut made = Record {
        format: record::FORMAT,
        id: id.clone(),
        name: name.to_owned(),
        created: core.clock.now(),
        image: Some(image.id),
        path: String::new(),
        args: Vec::new(),
        endpoints: endpoints(&spec),
        spec,
        stopped_by_user: false,
        started_before: false,
        restart_count: 0,
        state: fresh_state(),
        mounts: Vec::new(),
    };
    let mut arguments = prepare::arguments(&made.spec).into_iter();
    made.path = arguments.next().unwrap_or_default();
    made.args = arguments.collect();
    let made = match materialise(core, &paths, made, image).await {
        Ok(made) => made,
        Err(error) => {
            undo(core, id, &paths).await;
            return Err(error);
        }
    };
    let view = View {
        state: made.state.clone(),
        record: Arc::new(made),
        network: None,
        exits: 0,
        failed_starts: 0,
        removed: false,
    };
    let container = adopt(core, paths, view);
    let attributes = attributes(&container.view.borrow(), &[]);
    core.publish(id, "create", attributes);
    Ok(Created { id: id.clone(), warnings })
}

/// Gives a container its owner and makes it known.
pub(crate) fn adopt(core: &Arc<Core>, paths: Paths, view: View) -> Arc<Container> {
    let (container, jobs) = Container::new(paths, view);
    core.insert(Arc::clone(&container));
    let owner = Owner::new(Arc::clone(core), Arc::clone(&container));
    core.tasks.spawn(shoal_base::tasks::TaskKind::ContainerMonitor, owner.serve(jobs));
    container
}

/// The state of a container that never ran.
fn fresh_state() -> State {
    State {
        phase: Phase::Created,
        pid: 0,
        started: None,
        exit: None,
        error: String::new(),
        health: None,
    }
}

/// Merges the defaults of image and daemon into the wish and checks what can be checked before anything
/// is made.
fn settle(
    core: &Core,
    id: &ContainerId,
    name: &str,
    spec: ContainerSpec,
    image: &ImageFacts,
    paths: &Paths,
) -> Result<(ContainerSpec, Vec<String>), Error> {
    let (mut spec, warnings) = prepare::settle(core, id, spec, &image.defaults)?;
    if spec.host.log.as_ref().is_none_or(|log| log.driver.is_empty()) {
        let mut log = core.config.log.clone();
        log.options.extend(spec.host.log.take().unwrap_or_default().options);
        spec.host.log = Some(log);
    }
    let image_id = image.id.to_string();
    let who =
        logs::sinks::Identity { id, name, image_id: &image_id, hostname: &core.config.hostname };
    logs::sinks::sinks(&spec, &paths.directory, who)?;
    check(core, &spec)?;
    Ok((spec, warnings))
}

fn check(core: &Core, spec: &ContainerSpec) -> Result<(), Error> {
    let invalid = |field, reason: String| Err(Error::Invalid { field, reason });
    if let Some(text) = spec.stop_signal.as_deref().filter(|text| !text.is_empty())
        && signal::parse(text).is_none()
    {
        return invalid("StopSignal", format!("invalid signal: {text}"));
    }
    if spec.host.auto_remove && spec.host.restart_policy != RestartPolicy::No {
        return invalid(
            "RestartPolicy",
            "can't create 'AutoRemove' container with restart policy".to_owned(),
        );
    }
    if spec.host.network_mode == NetworkMode::Host && !spec.host.links.is_empty() {
        return invalid(
            "Links",
            "conflicting options: host type networking can't be used with links".to_owned(),
        );
    }
    links::check(core, spec)?;
    let runtime = &spec.host.runtime;
    if !core.knows_runtime(runtime) {
        return invalid("Runtime", format!("unknown or invalid runtime name: {runtime}"));
    }
    if let Some(check) = &spec.healthcheck {
        let kind = check.test.first().map_or("", String::as_str);
        if !matches!(kind, "" | "NONE" | "CMD" | "CMD-SHELL") {
            return invalid(
                "Healthcheck.Test",
                format!("Unknown healthcheck type '{kind}' (expected 'CMD')"),
            );
        }
    }
    Ok(())
}

/// The networks a container belongs to, before anything is known about them but their names.
fn endpoints(spec: &ContainerSpec) -> BTreeMap<String, Endpoint> {
    prepare::endpoint_requests(spec)
        .into_iter()
        .map(|request| {
            let endpoint = Endpoint { spec: request.spec, ..Endpoint::default() };
            (request.network, endpoint)
        })
        .collect()
}

/// Makes what is on disk: first the directory, then layer and volumes, last the record. A directory
/// without a record is a half-made container, which the next daemon removes.
async fn materialise(
    core: &Arc<Core>,
    paths: &Paths,
    made: Record,
    image: &ImageFacts,
) -> Result<Record, Error> {
    std::fs::create_dir(&paths.directory).map_err(Error::file("create", &paths.directory))?;
    let name = made.name.clone();
    core.images.prepare(&made.id, &image.id).await.map_err(Error::part("create", &name))?;
    let made = prepare::volumes(core, made).await?;
    let disk = Arc::clone(&core.disk);
    let paths = paths.clone();
    shoal_base::blocking::run("write a container record", move || {
        record::write(disk.as_ref(), &paths, &made).map(|()| made)
    })
    .await?
}

async fn undo(core: &Arc<Core>, id: &ContainerId, paths: &Paths) {
    prepare::forget_volumes(core, id, Release::RemoveAnonymous).await;
    if let Err(failure) = core.images.remove(id).await {
        tracing::warn!(container = %id, error = %failure, "a layer of a failed create stays");
    }
    match std::fs::remove_dir_all(&paths.directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(container = %id, %error, "a directory of a failed create stays");
        }
        _ => {}
    }
}
