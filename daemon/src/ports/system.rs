//! The API's port to the daemon itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use shoal_api::ports::{Images, Stream, System};
use shoal_base::{SharedClock, blocking};
use shoal_engine::Engine;
use shoal_model::container::{ContainerSummary, ListOptions, Phase};
use shoal_model::image::ImageListOptions;
use shoal_model::system::{
    ComponentInfo, ContainerCounts, DiskUsage, DiskUsageParts, SystemInfo, VersionInfo,
};
use shoal_model::volume::{Volume, VolumeUsage};
use shoal_model::{Event, EventQuery, Failure};

use super::lost;
use crate::facts::HostFacts;

/// The daemon, for `info`, `version`, `system df` and `events`.
#[derive(Debug)]
pub(crate) struct HostSystem {
    pub(crate) engine: Engine,
    pub(crate) images: Arc<super::HostImages>,
    pub(crate) clock: SharedClock,
    pub(crate) facts: HostFacts,
    /// What the configuration says; the rest of `info` is asked for each time.
    pub(crate) fixed: SystemInfo,
}

impl HostSystem {
    async fn containers(&self, size: bool) -> Result<Vec<ContainerSummary>, Failure> {
        let options = ListOptions { all: true, size, ..ListOptions::default() };
        Ok(self.engine.list(options).await?)
    }

    async fn volumes(&self) -> Result<Vec<(Volume, VolumeUsage)>, Failure> {
        let volumes = self.engine.volumes();
        let measured = blocking::run("measure volumes", move || {
            let all = volumes.list(&shoal_engine::volumes::Filter::default()).into_iter();
            // A volume that goes away while it is measured is left out.
            all.filter_map(|(volume, _)| {
                volumes.usage(&volume.name).ok().map(|usage| (volume, usage))
            })
            .collect()
        });
        measured.await.map_err(lost)
    }
}

#[async_trait]
impl System for HostSystem {
    async fn info(&self) -> Result<SystemInfo, Failure> {
        let mut counts = ContainerCounts::default();
        for container in self.containers(false).await? {
            match container.state.phase {
                Phase::Running | Phase::Restarting => counts.running += 1,
                Phase::Paused => counts.paused += 1,
                Phase::Created | Phase::Removing | Phase::Exited | Phase::Dead => {
                    counts.stopped += 1
                }
            }
        }
        let count = |directory: &str| {
            std::fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
        };
        Ok(SystemInfo {
            containers: counts,
            images: self.images.count(),
            time: Some(self.clock.now()),
            file_descriptors: count("/proc/self/fd"),
            tasks: count("/proc/self/task"),
            ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|v| v.trim() == "1"),
            ..self.fixed.clone()
        })
    }

    fn version(&self) -> VersionInfo {
        VersionInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: option_env!("SHOAL_COMMIT").unwrap_or_default().to_owned(),
            build_time: String::new(),
            kernel: self.facts.kernel.clone(),
            architecture: shoal_model::image::Platform::host().architecture,
            components: vec![ComponentInfo {
                name: "shoal-shim".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                details: BTreeMap::new(),
            }],
        }
    }

    async fn disk_usage(&self, parts: DiskUsageParts) -> Result<DiskUsage, Failure> {
        let options =
            ImageListOptions { all: true, shared_size: true, ..ImageListOptions::default() };
        Ok(DiskUsage {
            layers: self.images.layer_bytes().await?,
            images: if parts.images { Some(self.images.list(options).await?) } else { None },
            containers: if parts.containers { Some(self.containers(true).await?) } else { None },
            volumes: if parts.volumes { Some(self.volumes().await?) } else { None },
        })
    }

    async fn events(&self, query: EventQuery) -> Result<Stream<Event>, Failure> {
        Ok(self.engine.events().follow(query).map(Ok).boxed())
    }
}
