//! The API's port to images.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use shoal_api::ports::{ByteStream, Images, Stream};
use shoal_base::blocking;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_engine::Engine;
use shoal_engine_images::archive::load;
use shoal_engine_images::archive::make::ImportOptions;
use shoal_engine_images::image::filter::{Filter, Intermediate, Label};
use shoal_engine_images::image::remove::{self, Removed, User};
use shoal_engine_images::image::{self, Image};
use shoal_engine_images::pull::Transfers;
use shoal_model::filters::{ImageFilters, LabelFilter, PruneFilters};
use shoal_model::image::{
    Credentials, DistributionDetails, GraphDriver, HistoryEntry, ImageDetails, ImageListOptions,
    ImagePruned, ImageRemoval, ImageRemoveOptions, ImageSummary, ImportRequest, LoginOutcome,
    ManifestRef, Platform, PullRequest, PushRequest, SearchHit, SearchRequest,
};
use shoal_model::progress::LayerStep;
use shoal_model::{Digest, ErrorKind, EventKind, Failure, Progress, Reference};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::bytes::{reader, written};
use super::{lost, transfer};

/// Steps that a slow client may be behind.
const STEPS: usize = 64;

/// Images of this host and the registries they come from.
#[derive(Debug, Clone)]
pub(crate) struct HostImages {
    pub(crate) images: image::Images,
    pub(crate) transfers: Transfers,
    pub(crate) engine: Engine,
    pub(crate) tasks: Tasks,
}

impl HostImages {
    /// How many images there are.
    pub(crate) fn count(&self) -> u64 {
        self.images.all().len() as u64
    }

    /// Bytes of all layers, each once.
    pub(crate) async fn layer_bytes(&self) -> Result<u64, Failure> {
        Ok(self.usage().await?.layers)
    }

    async fn usage(&self) -> Result<shoal_engine_images::image::describe::DiskUsage, Failure> {
        let engine = self.engine.clone();
        self.run("measure images", move |images| {
            images.disk_usage(&|id| !engine.users_of_image(&id).is_empty())
        })
        .await
    }

    async fn run<T, E>(
        &self,
        name: &'static str,
        job: impl FnOnce(&image::Images) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let images = self.images.clone();
        blocking::run(name, move || job(&images)).await.map_err(lost)?.map_err(Into::into)
    }

    /// Runs a job that tells its steps, in a task; the stream ends with the job's failure, if it fails.
    fn told<F>(&self, name: &'static str, job: F) -> Stream<Progress>
    where
        F: FnOnce(&image::Images, &(dyn Fn(Progress) + Sync)) -> Result<(), Failure>
            + Send
            + 'static,
    {
        let (sender, steps) = mpsc::channel(STEPS);
        let images = self.images.clone();
        self.tasks.spawn(TaskKind::ImageTransfer, async move {
            let failures = sender.clone();
            let result = blocking::run(name, move || {
                job(&images, &|step| {
                    // A client that left needs no steps; the job goes on.
                    let _ = sender.blocking_send(Ok(step));
                })
            });
            if let Err(failure) = result.await.map_err(lost).flatten() {
                let _ = failures.send(Err(failure)).await;
            }
        });
        ReceiverStream::new(steps).boxed()
    }

    fn publish(&self, action: &str, actor: &str, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.engine.events().publish(EventKind::Image, action, actor, attributes);
    }

    fn publish_removals(&self, removed: &[Removed]) {
        for removal in removed {
            match removal {
                Removed::Untagged(name) => self.publish("untag", name, name),
                Removed::Deleted(id) => self.publish("delete", &id.to_string(), &id.to_string()),
            }
        }
    }
}

/// The containers of an image, as the image store asks for them.
fn users(engine: &Engine) -> impl Fn(Digest) -> Vec<User> {
    move |id| {
        let users = engine.users_of_image(&id).into_iter();
        users
            .map(|(container, running)| User { container: container.short().to_owned(), running })
            .collect()
    }
}

#[async_trait]
impl Images for HostImages {
    async fn list(&self, options: ImageListOptions) -> Result<Vec<ImageSummary>, Failure> {
        let intermediate = if options.all { Intermediate::Show } else { Intermediate::Hide };
        let shared = if options.shared_size { Some(self.usage().await?.shared) } else { None };
        let filter = filter(options.filters);
        let listed =
            self.run("list images", move |images| images.list(&filter, intermediate)).await?;
        let summaries = listed.into_iter().map(|one| ImageSummary {
            id: one.image.id,
            parent: one.image.parent,
            tags: one.references,
            digests: one.repo_digests,
            created: one.image.config.created,
            size: one.image.size,
            shared_size: shared.as_ref().map(|shared: &HashMap<Digest, u64>| {
                shared.get(&one.image.id).copied().unwrap_or(0)
            }),
            labels: one.image.config.defaults.labels.clone(),
            containers: options
                .shared_size
                .then(|| self.engine.users_of_image(&one.image.id).len() as u64),
        });
        Ok(summaries.collect())
    }

    async fn inspect(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<ImageDetails, Failure> {
        let image = self.images.resolve(name)?;
        only_platform(&image, name, platform.as_ref())?;
        Ok(details(&self.images, &image))
    }

    async fn history(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<Vec<HistoryEntry>, Failure> {
        let image = self.images.resolve(name)?;
        only_platform(&image, name, platform.as_ref())?;
        let lines = self.run("read a history", move |images| images.history(&image)).await?;
        let entries = lines.into_iter().map(|line| HistoryEntry {
            id: line.id,
            created: Some(line.created),
            created_by: line.created_by,
            tags: line.tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
            size: line.size,
            comment: line.comment,
        });
        Ok(entries.collect())
    }

    async fn tag(&self, name: &str, target: Reference) -> Result<(), Failure> {
        let image = self.images.resolve(name)?;
        let familiar = target.familiar();
        let id = image.id;
        self.run("tag an image", move |images| images.tag(&target, id)).await?;
        self.publish("tag", &id.to_string(), &familiar);
        Ok(())
    }

    async fn remove(
        &self,
        name: &str,
        options: ImageRemoveOptions,
    ) -> Result<Vec<ImageRemoval>, Failure> {
        if !options.platforms.is_empty() {
            let message = "removing single platforms of an image is not implemented: Shoal keeps one platform per image";
            return Err(Failure::new(ErrorKind::NotImplemented, message));
        }
        let options =
            remove::RemoveOptions { force: options.force, keep_parents: options.no_prune };
        let (name, engine) = (name.to_owned(), self.engine.clone());
        let removed = self
            .run("remove an image", move |images| images.remove(&name, options, &users(&engine)))
            .await?;
        self.publish_removals(&removed);
        Ok(removed.into_iter().map(removal).collect())
    }

    async fn prune(&self, filters: PruneFilters) -> Result<ImagePruned, Failure> {
        let filter = Filter {
            dangling: Some(!filters.all),
            labels: labels(&filters.labels),
            not_labels: labels(&filters.without_labels),
            until: filters.until,
            ..Filter::default()
        };
        let engine = self.engine.clone();
        let pruned =
            self.run("prune images", move |images| images.prune(&filter, &users(&engine))).await?;
        self.publish_removals(&pruned.removed);
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), pruned.freed.to_string())]);
        self.engine.events().publish(EventKind::Image, "prune", "", reclaimed);
        Ok(ImagePruned {
            removed: pruned.removed.into_iter().map(removal).collect(),
            reclaimed: pruned.freed,
        })
    }

    async fn pull(&self, request: PullRequest) -> Result<Stream<Progress>, Failure> {
        let familiar = request.reference.familiar();
        let owner = self.clone();
        let steps = transfer::pull(&self.transfers, &self.tasks, request);
        Ok(steps
            .inspect(move |step| {
                if let Ok(Progress::Digest(_)) = step {
                    owner.publish("pull", &familiar, &familiar);
                }
            })
            .boxed())
    }

    async fn push(&self, request: PushRequest) -> Result<Stream<Progress>, Failure> {
        let familiar = request.reference.familiar();
        let owner = self.clone();
        let steps = transfer::push(&self.transfers, &self.tasks, request);
        Ok(steps
            .inspect(move |step| {
                if let Ok(Progress::Pushed { .. }) = step {
                    owner.publish("push", &familiar, &familiar);
                }
            })
            .boxed())
    }

    async fn load(
        &self,
        archive: ByteStream,
        platforms: Vec<Platform>,
    ) -> Result<Stream<Progress>, Failure> {
        let platform = single(platforms)?;
        let input = reader(archive);
        let owner = self.clone();
        Ok(self.told("load an archive", move |images, tell| {
            let options = load::Options { platform, limits: Default::default() };
            let loaded = images.load(input, &options, &|load::Progress::Layer { diff_id, current, total }| {
                tell(Progress::Layer { id: diff_id.short(), step: LayerStep::Loading { current, total } });
            })?;
            for image in loaded {
                for (name, old) in image.renamed {
                    tell(Progress::Note(format!(
                        "The image {} already exists, renaming the old one with ID {old} to empty string",
                        name.familiar()
                    )));
                }
                let id = image.id;
                owner.publish("load", &id.to_string(), &id.to_string());
                if image.names.is_empty() {
                    tell(Progress::Loaded { reference: None, id });
                }
                image.names.into_iter().for_each(|name| tell(Progress::Loaded { reference: Some(name), id }));
            }
            Ok(())
        }))
    }

    async fn save(
        &self,
        names: Vec<String>,
        platforms: Vec<Platform>,
    ) -> Result<ByteStream, Failure> {
        for name in &names {
            // A bare repository is resolved by `save` itself.
            if let Ok(image) = self.images.resolve(name) {
                platforms
                    .iter()
                    .try_for_each(|platform| only_platform(&image, name, Some(platform)))?;
                self.publish("save", &image.id.to_string(), &image.id.to_string());
            }
        }
        let images = self.images.clone();
        let mut written =
            written(&self.tasks, "save images", move |out| Ok(images.save(&names, out)?));
        // What fails before the first byte is the call's own failure: the client then gets a status.
        match written.next().await {
            Some(Err(failure)) => Err(failure),
            Some(first) => Ok(futures_util::stream::iter([first]).chain(written).boxed()),
            None => Ok(written),
        }
    }

    async fn import(
        &self,
        request: ImportRequest,
        archive: ByteStream,
    ) -> Result<Stream<Progress>, Failure> {
        let input = reader(archive);
        let owner = self.clone();
        Ok(self.told("import an archive", move |images, tell| {
            let options = ImportOptions {
                changes: request.changes,
                message: request.message,
                platform: request.platform,
                limits: Default::default(),
            };
            let image = images.import(input, &options)?;
            if let Some(reference) = request.reference {
                images.tag(&reference.or_latest(), image.id)?;
            }
            owner.publish("import", &image.id.to_string(), &image.id.to_string());
            tell(Progress::Imported { id: image.id });
            Ok(())
        }))
    }

    async fn distribution(
        &self,
        reference: Reference,
        credentials: Option<Credentials>,
    ) -> Result<DistributionDetails, Failure> {
        transfer::distribution(&self.transfers, &reference, credentials).await
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        transfer::search(&self.transfers, request).await
    }

    async fn login(&self, credentials: Credentials) -> Result<LoginOutcome, Failure> {
        transfer::login(&self.transfers, credentials).await
    }
}

fn single(mut platforms: Vec<Platform>) -> Result<Option<Platform>, Failure> {
    if platforms.len() > 1 {
        let message = "loading several platforms of an image is not implemented: Shoal keeps one platform per image";
        return Err(Failure::new(ErrorKind::NotImplemented, message));
    }
    Ok(platforms.pop())
}

fn only_platform(image: &Image, name: &str, platform: Option<&Platform>) -> Result<(), Failure> {
    let actual = &image.config.platform;
    let fits = |wanted: &&Platform| {
        wanted.os == actual.os
            && wanted.architecture == actual.architecture
            && (wanted.variant.is_empty() || wanted.variant == actual.variant)
    };
    match platform {
        Some(wanted) if !fits(&wanted) => Err(Failure::new(
            ErrorKind::NotFound,
            format!(
                "image with reference {name} was found but does not provide the specified platform ({}/{})",
                wanted.os, wanted.architecture
            ),
        )),
        _ => Ok(()),
    }
}

fn removal(removed: Removed) -> ImageRemoval {
    match removed {
        Removed::Untagged(name) => ImageRemoval::Untagged(name),
        Removed::Deleted(id) => ImageRemoval::Deleted(id),
    }
}

fn labels(filters: &[LabelFilter]) -> Vec<Label> {
    filters
        .iter()
        .map(|label| Label { key: label.key.clone(), value: label.value.clone() })
        .collect()
}

fn filter(filters: ImageFilters) -> Filter {
    Filter {
        dangling: filters.dangling,
        labels: labels(&filters.labels),
        not_labels: Vec::new(),
        before: filters.before.into_iter().collect(),
        since: filters.since.into_iter().collect(),
        until: filters.until,
        references: filters.references,
    }
}

fn details(images: &image::Images, image: &Image) -> ImageDetails {
    let config = &image.config;
    let paths: Vec<String> = config
        .diff_ids
        .iter()
        .rev()
        .map(|diff_id| images.snapshots().layer_path(*diff_id).display().to_string())
        .collect();
    let mut data = BTreeMap::new();
    if let Some((upper, lowers)) = paths.split_first() {
        data.insert("UpperDir".to_owned(), upper.clone());
        if !lowers.is_empty() {
            data.insert("LowerDir".to_owned(), lowers.join(":"));
        }
    }
    ImageDetails {
        id: image.id,
        parent: image.parent,
        tags: image.references.iter().cloned().collect(),
        digests: image.repo_digests.iter().cloned().collect(),
        comment: config.comment.clone(),
        created: config.created,
        author: config.author.clone(),
        defaults: config.defaults.clone(),
        platform: config.platform.clone(),
        os_version: config.os_version.clone(),
        size: image.size,
        graph: GraphDriver { name: crate::STORAGE_DRIVER.to_owned(), data },
        diff_ids: config.diff_ids.clone(),
        last_tagged: image.last_tagged,
        manifest: image.manifests.last().map(|manifest| ManifestRef {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest,
            size: manifest.size,
        }),
    }
}
