//! Giving a container another name.

use std::sync::Arc;

use super::lifecycle::Verb;
use super::owner::Owner;
use super::{Container, permit};
use crate::error::Error;
use crate::names;

/// Renames a container.
///
/// # Errors
/// When the name is invalid, taken, or the container's own.
pub(crate) async fn rename(container: &Arc<Container>, to: &str) -> Result<(), Error> {
    let to = names::validate(to)?.to_owned();
    container.ask(move |owner| Box::pin(owner.rename(to))).await?
}

impl Owner {
    async fn rename(&mut self, to: String) -> Result<(), Error> {
        permit(&self.container.view.borrow(), Verb::Rename)?;
        let from = self.view().name().to_owned();
        if from == to {
            return Err(Error::SameName { name: to });
        }
        let id = self.container.id.clone();
        self.core.names.reserve(&to, &id)?;
        let renamed = self.rename_reserved(&from, &to).await;
        let released = if renamed.is_ok() { &from } else { &to };
        self.core.names.release(released, &id);
        renamed
    }

    async fn rename_reserved(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let id = self.container.id.clone();
        if self.run.is_some() {
            let renamed = self.core.networking.rename(&id, to).await;
            renamed.map_err(Error::part("rename", from))?;
        }
        if let Err(error) = self.save(|record| to.clone_into(&mut record.name)).await {
            self.change(|view| from.clone_into(&mut Arc::make_mut(&mut view.record).name));
            if let Err(failure) = self.core.networking.rename(&id, from).await {
                tracing::warn!(container = %id, error = %failure, "a DNS name stays renamed");
            }
            return Err(error);
        }
        self.publish("rename", &[("oldName", format!("/{from}"))]);
        Ok(())
    }
}
