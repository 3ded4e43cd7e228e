//! Pull and push against Debian's `docker-registry` and against registries that misbehave by script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with the registry client's tests")]
#[path = "../../../registry/tests/it/debian.rs"]
mod debian;
#[allow(dead_code, reason = "shared with the registry client's tests")]
#[path = "../../../registry/tests/it/server.rs"]
mod server;

mod faults;
mod round_trip;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::SystemClock;
use shoal_base::tasks::Tasks;
use shoal_engine_images::image::{Images, LayerBlob, NewImage};
use shoal_engine_images::pull::{Concurrency, Error, Event, PullStep, Request, Scope, Transfers};
use shoal_engine_images::unpack::Limits;
use shoal_engine_registry::{Client, Credentials, Insecure, Proxy, Settings, Timeouts};
use shoal_model::Digest;
use tokio::sync::mpsc;

/// One data root and what moves its images.
struct Host {
    _directory: tempfile::TempDir,
    images: Images,
    transfers: Transfers,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::open(directory.path(), Arc::new(SystemClock)).unwrap();
        let none: [&str; 0] = [];
        let settings = Settings {
            mirrors: Vec::new(),
            insecure: Insecure::with_loopback(&none).unwrap(),
            certs_dir: Path::new("/nonexistent").to_owned(),
            proxy: Proxy::default(),
            user_agent: "shoal-test".to_owned(),
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                answer: Duration::from_secs(5),
                idle: Duration::from_secs(5),
            },
            attempts: 3,
        };
        let client = Client::new(settings, Arc::new(SystemClock));
        let transfers =
            Transfers::new(images.clone(), client, Tasks::new(), Concurrency::default());
        Self { _directory: directory, images, transfers }
    }

    /// An image of plain layers, tagged.
    fn image(&self, layers: &[Vec<u8>], name: &str) -> Digest {
        let lease = self.images.lease();
        let blobs: Vec<LayerBlob> = layers
            .iter()
            .map(|tar| {
                let digest = self.images.content().put(tar, &lease).unwrap();
                let layer = LayerBlob {
                    digest,
                    size: tar.len() as u64,
                    media_type: "application/vnd.docker.image.rootfs.diff.tar".to_owned(),
                    diff_id: digest,
                };
                self.images.unpack_layer(&layer, &Limits::default(), &lease).unwrap();
                layer
            })
            .collect();
        let config_json = config(&blobs.iter().map(|blob| blob.diff_id).collect::<Vec<_>>());
        let new = NewImage { config_json, layers: blobs, manifest: None, parent: None };
        let image = self.images.register(new, &lease).unwrap();
        self.images.tag(&name.parse().unwrap(), image.id).unwrap();
        image.id
    }

    async fn pull(&self, name: &str) -> (Vec<Event>, Result<(), Error>) {
        self.pull_as(&request(name)).await
    }

    async fn pull_as(&self, request: &Request) -> (Vec<Event>, Result<(), Error>) {
        let (sender, events) = mpsc::channel(4);
        let (pulled, events) = tokio::join!(
            async {
                let sender = sender;
                self.transfers.pull(request, &sender).await
            },
            collect(events)
        );
        (events, pulled.map(drop))
    }

    async fn push_as(&self, request: &Request) -> (Vec<Event>, Result<Vec<Digest>, Error>) {
        let (sender, events) = mpsc::channel(4);
        let (pushed, events) = tokio::join!(
            async {
                let sender = sender;
                self.transfers.push(request, &sender).await
            },
            collect(events)
        );
        (events, pushed.map(|all| all.into_iter().map(|pushed| pushed.digest).collect()))
    }
}

async fn collect(mut events: mpsc::Receiver<Event>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = events.recv().await {
        all.push(event);
    }
    all
}

fn request(name: &str) -> Request {
    Request {
        reference: name.parse().unwrap(),
        scope: Scope::One,
        credentials: Credentials::default(),
        platform: None,
    }
}

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    let platform = shoal_model::image::Platform::host();
    serde_json::json!({
        "architecture": platform.architecture, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes()
}

/// A tar with one file of `size` bytes that do not compress to nothing.
fn tar(name: &str, size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    builder.append_data(&mut header, name, &content[..]).unwrap();
    builder.into_inner().unwrap()
}

/// The steps of one layer without byte counts.
fn pull_steps(events: &[Event], wanted: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for event in events {
        let Event::Pull { id, step } = event else { continue };
        let name = match step {
            PullStep::PullingFsLayer => "fs",
            PullStep::Waiting => "wait",
            PullStep::Downloading { .. } => "down",
            PullStep::Retrying { .. } => "retry",
            PullStep::VerifyingChecksum => "verify",
            PullStep::DownloadComplete => "downloaded",
            PullStep::Extracting { .. } => "extract",
            PullStep::PullComplete => "complete",
            PullStep::AlreadyExists => "exists",
        };
        if id == wanted && names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}
