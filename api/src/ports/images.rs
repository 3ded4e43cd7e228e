//! The port to images and registries.

use async_trait::async_trait;
use shoal_model::filters::PruneFilters;
use shoal_model::image::{
    Credentials, DistributionDetails, HistoryEntry, ImageDetails, ImageListOptions, ImagePruned,
    ImageRemoval, ImageRemoveOptions, ImageSummary, ImportRequest, LoginOutcome, Platform,
    PullRequest, PushRequest, SearchHit, SearchRequest,
};
use shoal_model::{Failure, Progress, Reference};

use super::{ByteStream, Stream};

/// Images of this host, and the registries they come from.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// Lists, newest first.
    async fn list(&self, options: ImageListOptions) -> Result<Vec<ImageSummary>, Failure>;

    /// Everything about one; `name` is a reference, an id, or an id prefix.
    async fn inspect(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<ImageDetails, Failure>;

    /// Its history, newest first.
    async fn history(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<Vec<HistoryEntry>, Failure>;

    /// Gives it a further name.
    async fn tag(&self, name: &str, target: Reference) -> Result<(), Failure>;

    /// Untags, and deletes what then has no name and no user.
    async fn remove(
        &self,
        name: &str,
        options: ImageRemoveOptions,
    ) -> Result<Vec<ImageRemoval>, Failure>;

    /// Removes unused ones.
    async fn prune(&self, filters: PruneFilters) -> Result<ImagePruned, Failure>;

    /// Pulls. A failure before the first step (bad name, no registry) may be the call's own; later ones are the
    /// stream's last item. Dropping the stream stops the pull.
    async fn pull(&self, request: PullRequest) -> Result<Stream<Progress>, Failure>;

    /// Pushes; failures as with `pull`.
    async fn push(&self, request: PushRequest) -> Result<Stream<Progress>, Failure>;

    /// Loads an archive (docker or OCI layout; plain, gzip, zstd …).
    async fn load(
        &self,
        archive: ByteStream,
        platforms: Vec<Platform>,
    ) -> Result<Stream<Progress>, Failure>;

    /// Saves images to an archive.
    async fn save(
        &self,
        names: Vec<String>,
        platforms: Vec<Platform>,
    ) -> Result<ByteStream, Failure>;

    /// Makes an image of a root file system.
    async fn import(
        &self,
        request: ImportRequest,
        archive: ByteStream,
    ) -> Result<Stream<Progress>, Failure>;

    /// What the registry knows of a reference.
    async fn distribution(
        &self,
        reference: Reference,
        credentials: Option<Credentials>,
    ) -> Result<DistributionDetails, Failure>;

    /// Searches a registry.
    async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure>;

    /// Tries credentials at their registry. `Unauthorized` when it refuses them.
    async fn login(&self, credentials: Credentials) -> Result<LoginOutcome, Failure>;
}
