//! `docker commit`: an image of a container's settings and changes.

use std::path::Path;

use shoal_base::blocking;
use shoal_engine::Engine;
use shoal_engine_images::archive::make::CommitOptions;
use shoal_engine_images::image::Images;
use shoal_model::container::{CommitRequest, ContainerDetails, Phase};
use shoal_model::error::Chain;
use shoal_model::image::ImageDefaults;
use shoal_model::{Digest, ErrorKind, Failure};

use super::lost;

/// Makes an image of a container, frozen meanwhile when it runs and that is asked for.
pub(super) async fn commit(
    engine: &Engine,
    images: &Images,
    frozen: &Path,
    request: CommitRequest,
) -> Result<Digest, Failure> {
    let details = engine.inspect(&request.container, false).await?;
    let name = details.id.as_str().to_owned();
    let freeze = request.pause && details.state.phase == Phase::Running;
    let marker = frozen.join(&name);
    if freeze {
        // A daemon that dies meanwhile must not leave the container frozen: see `thaw`.
        std::fs::create_dir_all(frozen).and_then(|()| std::fs::write(&marker, "")).map_err(
            |error| {
                Failure::new(
                    ErrorKind::Internal,
                    format!("failed to mark container `{name}` as frozen: {error}"),
                )
            },
        )?;
        engine.pause(&name).await?;
    }
    let reference = request.reference.clone();
    let images = images.clone();
    let made = blocking::run("commit a container", move || make(&images, &details, request)).await;
    if freeze {
        // Also when the commit failed: the container must go on.
        engine.unpause(&name).await?;
        remove(&marker);
    }
    let id = made.map_err(lost)??;
    let named = reference.map(|reference| reference.familiar()).unwrap_or_default();
    engine.publish(&name, "commit", &[("comment", named), ("imageID", id.to_string())])?;
    Ok(id)
}

/// Lets containers go on that a commit had frozen when the previous daemon died. A user's own pause stays.
pub(crate) async fn thaw(engine: &Engine, frozen: &Path) {
    for entry in std::fs::read_dir(frozen).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let paused = engine
            .inspect(&name, false)
            .await
            .is_ok_and(|found| found.state.phase == Phase::Paused);
        if paused && let Err(error) = engine.unpause(&name).await {
            tracing::warn!(container = name, error = %Chain(&error), "left frozen by a commit");
            continue;
        }
        remove(&entry.path());
    }
}

fn remove(marker: &Path) {
    if let Err(error) = std::fs::remove_file(marker) {
        tracing::warn!(path = %marker.display(), %error, "cannot remove the mark of a commit");
    }
}

fn make(
    images: &Images,
    details: &ContainerDetails,
    request: CommitRequest,
) -> Result<Digest, Failure> {
    let parent = details.image_id.and_then(|id| images.get(id));
    let spec = &details.spec;
    let defaults = request.overrides.unwrap_or_else(|| ImageDefaults {
        user: spec.user.clone(),
        exposed_ports: spec.exposed_ports.clone(),
        env: spec.env.clone(),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        volumes: spec.volumes.clone(),
        working_dir: spec.working_dir.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        healthcheck: spec.healthcheck.clone(),
        shell: spec.shell.clone(),
        on_build: spec.on_build.clone(),
    });
    let options = CommitOptions {
        defaults,
        changes: request.changes,
        author: request.author,
        comment: request.comment,
        created_by: std::iter::once(&details.path)
            .chain(&details.args)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
        parent: parent.as_ref().map(|parent| parent.id),
        parent_config: parent
            .as_ref()
            .map(|parent| parent.config_json.clone().into_bytes())
            .unwrap_or_default(),
    };
    let base = parent.as_ref().map(|parent| parent.layers.clone()).unwrap_or_default();
    let image = images.commit(&details.id, &base, &options)?;
    if let Some(reference) = request.reference {
        images.tag(&reference.or_latest(), image.id)?;
    }
    Ok(image.id)
}
