//! Removal: what the user sees goes first, and what is left after a crash is removed by the next daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_model::container::{Phase, RemoveOptions, WaitCondition};
use shoal_model::error::Chain as Causes;

use super::kill::Wish;
use super::lifecycle::Verb;
use super::owner::Owner;
use super::record::{REMOVING_PREFIX, REMOVING_VOLUMES_PREFIX};
use super::{Container, permit, wait};
use crate::error::Error;
use crate::signal;
use crate::volumes::Release;

/// Removes a container.
///
/// # Errors
/// When it runs and `force` is not given, or something stays behind (it is then `dead`).
pub(crate) async fn remove(
    container: &Arc<Container>,
    options: RemoveOptions,
) -> Result<(), Error> {
    if options.link {
        return Err(Error::NotImplemented(
            "removal of legacy links is not supported: links are part of the container".to_owned(),
        ));
    }
    let verb = if options.force { Verb::RemoveForced } else { Verb::Remove };
    loop {
        container.permit(verb)?;
        let auto_remove = container.view().record.spec.host.auto_remove;
        if options.force && container.view.borrow().counts_as_running() {
            let removed = wait::register(container.view.subscribe(), WaitCondition::Removed);
            kill(container).await?;
            if auto_remove {
                removed.await;
                return Ok(());
            }
        }
        return match container.ask(move |owner| Box::pin(owner.remove(options))).await {
            // A start that was under way came first.
            Ok(Err(Error::Phase { .. }))
                if options.force && container.view.borrow().counts_as_running() =>
            {
                continue;
            }
            Ok(result) => result,
            // Removed by its own policy in this moment.
            Err(Error::NoSuchContainer { .. }) if container.view.borrow().removed => Ok(()),
            Err(error) => Err(error),
        };
    }
}

/// Ends a run and waits for that.
async fn kill(container: &Arc<Container>) -> Result<(), Error> {
    let ended = wait::register(container.view.subscribe(), WaitCondition::NotRunning);
    match container.ask(|owner| Box::pin(owner.kill(signal::KILL, Wish::StayDown))).await? {
        // It ended in this moment.
        Ok(()) | Err(Error::Phase { .. }) => {}
        Err(error) => return Err(error),
    }
    ended.await;
    Ok(())
}

impl Owner {
    /// `--rm`: removal with the anonymous volumes after the end.
    pub(crate) async fn remove_automatically(&mut self) {
        if std::mem::take(&mut self.keep_once) {
            return;
        }
        let options = RemoveOptions { volumes: true, force: false, link: false };
        if let Err(error) = Box::pin(self.remove(options)).await {
            tracing::error!(container = %self.container.id, error = %Causes(&error),
                "automatic removal failed");
        }
    }

    /// Removes what does not run.
    pub(crate) async fn remove(&mut self, options: RemoveOptions) -> Result<(), Error> {
        let before = self.view();
        permit(&before, Verb::Remove)?;
        self.restart_at = None;
        self.change(|view| view.state.phase = Phase::Removing);
        if let Err(error) = self.remove_everything(options).await {
            let text = error.state_text();
            self.change(|view| {
                view.state.phase = Phase::Dead;
                view.state.error.clone_from(&text);
            });
            return Err(error);
        }
        self.core.forget(&self.container.id);
        // Clients that attached and will never be connected.
        drop(self.container.take_pending());
        self.core.names.release(before.name(), &self.container.id);
        self.publish("destroy", &[]);
        self.change(|view| {
            view.state = before.state;
            view.removed = true;
        });
        Ok(())
    }

    /// First the directory gets a name under which no container is found after a crash, then its parts
    /// go.
    async fn remove_everything(&self, options: RemoveOptions) -> Result<(), Error> {
        let id = &self.container.id;
        let view = self.view();
        let directory = self.container.paths.directory.clone();
        // Gone with the run, unless unmounting failed then.
        crate::mounts::shared_memory::detach(&self.container.paths.shared_memory())
            .map_err(Error::part("remove", view.name()))?;
        let doomed = self.doom(&directory, options)?;
        self.core.images.remove(id).await.map_err(Error::part("remove", view.name()))?;
        let release = if options.volumes { Release::RemoveAnonymous } else { Release::Keep };
        crate::prepare::forget_volumes(&self.core, id, release).await;
        std::fs::remove_dir_all(&doomed).map_err(Error::file("remove", doomed))
    }

    /// Gives the directory the name that says what a later daemon has to remove.
    fn doom(&self, directory: &Path, options: RemoveOptions) -> Result<PathBuf, Error> {
        let named = |prefix| {
            let name = format!("{prefix}{}", self.container.id);
            self.core.config.containers().join(name)
        };
        let (plain, volumes) = (named(REMOVING_PREFIX), named(REMOVING_VOLUMES_PREFIX));
        let (doomed, other) = if options.volumes { (volumes, plain) } else { (plain, volumes) };
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match std::fs::rename(directory, &doomed) {
            // A removal that failed half-way goes on where it was.
            Err(error) if missing(&error) && doomed.exists() => {}
            Err(error) if missing(&error) && other.exists() => {
                std::fs::rename(&other, &doomed).map_err(Error::file("rename", &other))?;
            }
            renamed => renamed.map_err(Error::file("remove", directory))?,
        }
        Ok(doomed)
    }
}
