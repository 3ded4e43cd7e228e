//! The API's port to volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use shoal_api::ports::Volumes;
use shoal_base::blocking;
use shoal_engine::events::Bus;
use shoal_engine::volumes::{Error, Filter, LabelFilter, Local, PruneScope, Removal};
use shoal_model::container::Pruned;
use shoal_model::filters::{self, PruneFilters, VolumeFilters};
use shoal_model::volume::{Volume, VolumeSpec};
use shoal_model::{EventKind, Failure};

use super::lost;

/// Volumes of the local driver.
#[derive(Debug)]
pub(crate) struct HostVolumes {
    pub(crate) volumes: Arc<Local>,
    pub(crate) events: Bus,
}

impl HostVolumes {
    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce(&Local) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let volumes = Arc::clone(&self.volumes);
        Ok(blocking::run(name, move || job(&volumes)).await.map_err(lost)??)
    }

    fn publish(&self, action: &str, volume: &str) {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        self.events.publish(EventKind::Volume, action, volume, attributes);
    }
}

#[async_trait]
impl Volumes for HostVolumes {
    async fn list(&self, filters: VolumeFilters) -> Result<Vec<Volume>, Failure> {
        let VolumeFilters { dangling, drivers, labels, names } = filters;
        let filter = Filter { names, drivers, labels: has(&labels), dangling };
        Ok(self.volumes.list(&filter).into_iter().map(|(volume, _)| volume).collect())
    }

    async fn create(&self, spec: VolumeSpec) -> Result<Volume, Failure> {
        let known = !spec.name.is_empty() && self.volumes.inspect(&spec.name).is_ok();
        let volume = self.run("create a volume", move |volumes| volumes.create(&spec)).await?;
        if !known {
            self.publish("create", &volume.name);
        }
        Ok(volume)
    }

    async fn inspect(&self, name: &str) -> Result<Volume, Failure> {
        Ok(self.volumes.inspect(name)?)
    }

    async fn remove(&self, name: &str, force: bool) -> Result<(), Failure> {
        let removal = if force { Removal::Force } else { Removal::Strict };
        let known = self.volumes.inspect(name).is_ok();
        let doomed = name.to_owned();
        self.run("remove a volume", move |volumes| volumes.remove(&doomed, removal)).await?;
        if known {
            self.publish("destroy", name);
        }
        Ok(())
    }

    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure> {
        let scope = if filters.all { PruneScope::All } else { PruneScope::Anonymous };
        let lacks = filters.without_labels.iter().map(|label| LabelFilter::Lacks(text(label)));
        let labels = has(&filters.labels).into_iter().chain(lacks).collect();
        let filter = Filter { labels, ..Filter::default() };
        let pruned =
            self.run("prune volumes", move |volumes| Ok(volumes.prune(&filter, scope))).await?;
        pruned.volumes.iter().for_each(|volume| self.publish("destroy", volume));
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), pruned.bytes.to_string())]);
        self.events.publish(EventKind::Volume, "prune", "", reclaimed);
        Ok(Pruned { removed: pruned.volumes, reclaimed: pruned.bytes })
    }
}

fn has(labels: &[filters::LabelFilter]) -> Vec<LabelFilter> {
    labels.iter().map(|label| LabelFilter::Has(text(label))).collect()
}

fn text(label: &filters::LabelFilter) -> String {
    match &label.value {
        Some(value) => format!("{}={value}", label.key),
        None => label.key.clone(),
    }
}
