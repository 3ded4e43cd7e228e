//! Pull, push and questions to registries, for the API's port to images.

use futures_util::StreamExt as _;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_engine_images::pull::{
    Error, Event, Events, PullStep, PushStep, Request, Scope, Transfers,
};
use shoal_engine_registry as registry;
use shoal_model::image::{
    Credentials, DistributionDetails, LoginOutcome, ManifestRef, Platform, PullRequest,
    PushRequest, SearchHit, SearchRequest,
};
use shoal_model::progress::LayerStep;
use shoal_model::{Failure, Progress, Reference};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use shoal_api::ports::Stream;

/// Steps that a slow client may be behind.
const STEPS: usize = 64;

pub(super) fn pull(transfers: &Transfers, tasks: &Tasks, request: PullRequest) -> Stream<Progress> {
    let scope = if request.all_tags { Scope::AllTags } else { Scope::One };
    let transfers = transfers.clone();
    let request = Request {
        reference: request.reference,
        scope,
        credentials: credentials(request.credentials),
        platform: request.platform,
    };
    run(tasks, move |events| async move { transfers.pull(&request, &events).await.map(drop) })
}

pub(super) fn push(transfers: &Transfers, tasks: &Tasks, request: PushRequest) -> Stream<Progress> {
    let scope = if request.reference.tag().is_none() { Scope::AllTags } else { Scope::One };
    let transfers = transfers.clone();
    let request = Request {
        reference: request.reference,
        scope,
        credentials: credentials(request.credentials),
        platform: request.platform,
    };
    run(tasks, move |events| async move { transfers.push(&request, &events).await.map(drop) })
}

/// Runs a transfer in a task and gives its steps. The transfer ends when the stream is dropped.
fn run<F, Fut>(tasks: &Tasks, transfer: F) -> Stream<Progress>
where
    F: FnOnce(Events) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (events, steps) = mpsc::channel(STEPS);
    let (failure, failed) = mpsc::channel(1);
    tasks.spawn(TaskKind::ImageTransfer, async move {
        let gone = events.clone();
        tokio::select! {
            result = transfer(events) => if let Err(error) = result {
                // Nobody listens any more: there is nobody to tell.
                let _ = failure.send(Err(Failure::from(error))).await;
            },
            () = gone.closed() => {}
        }
    });
    let steps = ReceiverStream::new(steps).map(|event| Ok(progress(event)));
    steps.chain(ReceiverStream::new(failed)).boxed()
}

fn progress(event: Event) -> Progress {
    match event {
        Event::PullingFrom { repository, target } => {
            Progress::PullingFrom { repository, tag: target }
        }
        Event::Pull { id, step } => Progress::Layer { id, step: pull_step(step) },
        Event::Digest(digest) => Progress::Digest(digest),
        Event::Downloaded { reference } => {
            Progress::Note(format!("Status: Downloaded newer image for {reference}"))
        }
        Event::UpToDate { reference } => {
            Progress::Note(format!("Status: Image is up to date for {reference}"))
        }
        Event::PlatformDiffers { reference, wanted, actual } => Progress::Note(format!(
            "WARNING: image with reference {reference} was found but its platform ({}) does not match the specified platform ({})",
            show(&actual),
            show(&wanted)
        )),
        Event::PushTo { repository } => {
            Progress::Note(format!("The push refers to repository [{repository}]"))
        }
        Event::Push { id, step } => push_step(id, step),
        Event::Pushed { tag, digest, size } => Progress::Pushed { tag, digest, size },
    }
}

fn show(platform: &Platform) -> String {
    let Platform { os, architecture, variant } = platform;
    if variant.is_empty() {
        format!("{os}/{architecture}")
    } else {
        format!("{os}/{architecture}/{variant}")
    }
}

fn pull_step(step: PullStep) -> LayerStep {
    match step {
        PullStep::PullingFsLayer => LayerStep::PullingFsLayer,
        PullStep::Waiting => LayerStep::Waiting,
        PullStep::Downloading { current, total } => LayerStep::Downloading { current, total },
        PullStep::Retrying { seconds } => LayerStep::Retrying { seconds },
        PullStep::VerifyingChecksum => LayerStep::Verifying,
        PullStep::DownloadComplete => LayerStep::DownloadComplete,
        PullStep::Extracting { current, total } => LayerStep::Extracting { current, total },
        PullStep::PullComplete => LayerStep::PullComplete,
        PullStep::AlreadyExists => LayerStep::AlreadyExists,
    }
}

fn push_step(id: String, step: PushStep) -> Progress {
    let step = match step {
        PushStep::Preparing => LayerStep::Preparing,
        PushStep::Waiting => LayerStep::Waiting,
        PushStep::Pushing { current, total } => LayerStep::Pushing { current, total },
        PushStep::Pushed => LayerStep::Pushed,
        PushStep::LayerAlreadyExists => LayerStep::LayerExists,
        PushStep::MountedFrom { repository } => LayerStep::MountedFrom { repository },
        PushStep::SkippedForeign => return Progress::Note(format!("{id}: Skipped foreign layer")),
    };
    Progress::Layer { id, step }
}

pub(super) async fn distribution(
    transfers: &Transfers,
    reference: &Reference,
    user: Option<Credentials>,
) -> Result<DistributionDetails, Failure> {
    let inspected = transfers.inspect(reference, &credentials(user)).await?;
    let registry::Descriptor { media_type, digest, size, .. } = inspected.descriptor;
    let platforms = inspected.platforms.into_iter().map(|platform| Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
    });
    Ok(DistributionDetails {
        descriptor: ManifestRef { media_type, digest, size },
        platforms: platforms.collect(),
    })
}

pub(super) async fn login(
    transfers: &Transfers,
    user: Credentials,
) -> Result<LoginOutcome, Failure> {
    let server = user.server.clone();
    let login = transfers.client().login(&server, &credentials(Some(user))).await?;
    Ok(LoginOutcome { identity_token: login.identity_token })
}

pub(super) async fn search(
    transfers: &Transfers,
    request: SearchRequest,
) -> Result<Vec<SearchHit>, Failure> {
    let limit = request.limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let found = transfers
        .client()
        .search(&request.term, limit, &credentials(request.credentials.clone()))
        .await?;
    let hits = found.into_iter().map(|found| SearchHit {
        name: found.name,
        description: found.description,
        stars: u64::try_from(found.star_count).unwrap_or(0),
        is_official: found.is_official,
        is_automated: found.is_automated,
    });
    Ok(hits.filter(|hit| wanted(&request, hit)).collect())
}

fn wanted(request: &SearchRequest, hit: &SearchHit) -> bool {
    request.is_official.is_none_or(|official| official == hit.is_official)
        && request.is_automated.is_none_or(|automated| automated == hit.is_automated)
        && hit.stars >= request.stars
}

fn credentials(user: Option<Credentials>) -> registry::Credentials {
    let user = user.unwrap_or_default();
    registry::Credentials {
        username: user.username,
        password: user.password,
        identity_token: user.identity_token,
        registry_token: user.registry_token,
    }
}
