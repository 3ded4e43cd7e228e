//! The download and unpacking of one layer, shared by all pulls that want it.
//!
//! A flight is a task of its own: a client that leaves stops it only when it was the last. What was
//! received stays in the store's ingest and the next flight goes on there.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shoal_base::blocking;
use shoal_base::tasks::TaskKind;
use shoal_engine_registry::{Download, Piece, Repository};
use shoal_model::Digest;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::pipe::{self, Counted, Counter, Inlet};
use super::steps::PERIOD;
use super::transfers::Transfers;
use crate::content::{self, Expected, Ingest, Lease};
use crate::image::{self, Images, LayerBlob};
use crate::unpack::Limits;

/// Pieces between the connection and the disk.
const QUEUE: usize = 8;
const BUSY_WAIT: Duration = Duration::from_millis(50);
const BUSY_ATTEMPTS: u32 = 200;

/// How far a flight is.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Queued,
    Waiting,
    Downloading { current: u64 },
    Retrying { after: Duration },
    Verifying,
    Downloaded,
    Extracting { current: u64 },
    Done(Result<(), Arc<Error>>),
}

/// What passengers see of a flight. They may miss stages, but not that there was a download.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// Whether bytes came from the registry.
    pub(super) fetched: bool,
}

/// The pilot's end of a flight's progress.
struct Log(watch::Sender<Progress>);

impl Log {
    fn enter(&self, stage: Stage) {
        self.0.send_modify(|progress| {
            progress.fetched |= matches!(stage, Stage::Downloading { .. } | Stage::Verifying);
            progress.stage = stage;
        });
    }

    /// Counts bytes of the extraction, if that is where the flight is.
    fn extracted(&self, bytes: u64) {
        self.0.send_if_modified(|progress| match &mut progress.stage {
            Stage::Extracting { current } => {
                *current = bytes;
                true
            }
            _ => false,
        });
    }
}

/// Flights by blob and diff id.
#[derive(Debug, Default)]
pub(super) struct Flights {
    map: Mutex<HashMap<(Digest, Digest), Entry>>,
}

#[derive(Debug)]
struct Entry {
    progress: watch::Receiver<Progress>,
    passengers: usize,
    stop: CancellationToken,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Digest, Digest), Entry>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pull that waits for a flight. The last one to leave stops it.
pub(super) struct Passenger {
    pub(super) progress: watch::Receiver<Progress>,
    transfers: Transfers,
    key: (Digest, Digest),
    stop: CancellationToken,
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let mut flights = self.transfers.shared.flights.lock();
        // A flight that ended is no longer listed, or another one of the same layer is.
        let Some(entry) = flights.get_mut(&self.key) else { return };
        if !entry.progress.same_channel(&self.progress) {
            return;
        }
        entry.passengers -= 1;
        if entry.passengers == 0 {
            flights.remove(&self.key);
            self.stop.cancel();
        }
    }
}

impl Transfers {
    /// Joins the flight of a layer, or starts one.
    pub(super) fn board(&self, repository: &Arc<Repository>, layer: &LayerBlob) -> Passenger {
        let key = (layer.digest, layer.diff_id);
        let mut flights = self.shared.flights.lock();
        if let Some(entry) = flights.get_mut(&key) {
            entry.passengers += 1;
            let (progress, stop) = (entry.progress.clone(), entry.stop.clone());
            return Passenger { progress, transfers: self.clone(), key, stop };
        }
        let start = Progress { stage: Stage::Queued, fetched: false };
        let (sender, progress) = watch::channel(start);
        let log = Log(sender);
        let stop = CancellationToken::new();
        let entry = Entry { progress: progress.clone(), passengers: 1, stop: stop.clone() };
        flights.insert(key, entry);
        let (this, repository, layer) = (self.clone(), Arc::clone(repository), layer.clone());
        let stopped = stop.clone();
        let own = progress.clone();
        self.shared.tasks.spawn(TaskKind::ImageTransfer, async move {
            let flown = stopped.run_until_cancelled(this.fly(&repository, &layer, &log)).await;
            let result = flown.unwrap_or(Err(Error::Stopped { digest: layer.digest }));
            let mut flights = this.shared.flights.lock();
            if flights.get(&key).is_some_and(|entry| entry.progress.same_channel(&own)) {
                flights.remove(&key);
            }
            drop(flights);
            log.enter(Stage::Done(result.map_err(Arc::new)));
        });
        Passenger { progress, transfers: self.clone(), key, stop }
    }

    async fn fly(
        &self,
        repository: &Arc<Repository>,
        layer: &LayerBlob,
        log: &Log,
    ) -> Result<(), Error> {
        let flight = Flight {
            transfers: self,
            repository,
            layer,
            lease: Arc::new(self.shared.images.lease()),
            log,
        };
        flight.lease.hold(layer.digest);
        flight.lease.hold(layer.diff_id);
        flight.run().await
    }
}

/// One flight under way.
struct Flight<'a> {
    transfers: &'a Transfers,
    repository: &'a Arc<Repository>,
    layer: &'a LayerBlob,
    lease: Arc<Lease>,
    log: &'a Log,
}

impl Flight<'_> {
    async fn run(&self) -> Result<(), Error> {
        let shared = &self.transfers.shared;
        let stored = shared.images.content().stat(self.layer.digest)?;
        if stored.is_none_or(|blob| blob.size != self.layer.size) {
            let _permit = match shared.downloads.try_acquire() {
                Ok(permit) => permit,
                Err(_) => {
                    self.log.enter(Stage::Waiting);
                    shared.downloads.acquire().await.expect("is never closed")
                }
            };
            let ingest = self.open_ingest().await?;
            if ingest.offset() == 0 && !self.is_unpacked()? {
                return self.receive_and_unpack(ingest).await;
            }
            self.receive(ingest, None).await?;
        }
        self.log.enter(Stage::Downloaded);
        if self.is_unpacked()? {
            return Ok(());
        }
        let _permit = shared.unpacks.acquire().await.expect("is never closed");
        self.log.enter(Stage::Extracting { current: 0 });
        let blob = shared.images.content().open_blob(self.layer.digest)?;
        // A verified blob that is its own diff id is a plain tar whose digest is known already.
        let known = (self.layer.digest == self.layer.diff_id).then_some(self.layer.diff_id);
        self.unpack(blob, known).await
    }

    fn is_unpacked(&self) -> Result<bool, Error> {
        let images = &self.transfers.shared.images;
        let layer = images.snapshots().layer(self.layer.diff_id);
        Ok(layer.map_err(image::Error::from)?.is_some())
    }

    /// Unpacks while the bytes come. Nothing unverified is published: a layer counts only when the
    /// uncompressed stream has its diff id, a blob only when it has its digest.
    async fn receive_and_unpack(&self, ingest: Ingest) -> Result<(), Error> {
        let (inlet, outlet) = pipe::open();
        let receive = async {
            self.receive(ingest, Some(inlet)).await?;
            self.log.enter(Stage::Downloaded);
            self.log.enter(Stage::Extracting { current: 0 });
            Ok::<_, Error>(())
        };
        let (received, unpacked) = tokio::join!(receive, self.unpack(outlet, None));
        // A download that failed explains why the unpacker failed too.
        received.and(unpacked)
    }

    /// Unpacks what `input` gives, and shows how far it is once the download is done.
    async fn unpack(
        &self,
        input: impl Read + Send + 'static,
        known: Option<Digest>,
    ) -> Result<(), Error> {
        let counter = Counter::default();
        let input = Counted { inner: input, counter: Arc::clone(&counter) };
        let (lease, diff_id) = (Arc::clone(&self.lease), self.layer.diff_id);
        let work = self.transfers.with_images("unpack layer", move |images| {
            let unpacked =
                images.snapshots().unpack(diff_id, Box::new(input), known, &Limits::default());
            drop(lease); // held until the layer is there
            unpacked.map(drop).map_err(|source| image::Error::from(source).into())
        });
        let mut work = std::pin::pin!(work);
        let clock = self.transfers.shared.images.clock();
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = clock.sleep(PERIOD) => {}
            }
            self.log.extracted(counter.load(Ordering::Relaxed));
        }
    }

    /// Downloads a blob into the store. A beginning of an earlier attempt that turns out to be damaged is
    /// thrown away once.
    async fn receive(&self, mut ingest: Ingest, mut inlet: Option<Inlet>) -> Result<(), Error> {
        loop {
            let resumed = ingest.offset() > 0;
            let filled = self.fill(ingest, inlet.take()).await?;
            self.log.enter(Stage::Verifying);
            let layer = self.layer;
            let expected = Expected { digest: Some(layer.digest), size: Some(layer.size) };
            let lease = Arc::clone(&self.lease);
            let committed =
                blocking::run("commit layer", move || filled.commit(expected, &lease)).await?;
            match committed {
                Err(content::Error::DigestMismatch { .. }) if resumed => {
                    tracing::warn!(digest = %layer.digest, "a resumed download was damaged");
                    ingest = self.open_ingest().await?;
                }
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Opens the ingest of a blob. A flight that was stopped may still be putting down its last piece.
    async fn open_ingest(&self) -> Result<Ingest, Error> {
        let size = self.layer.size;
        let mut attempt = 0;
        loop {
            let key = self.layer.digest.hex();
            let open = move |images: &Images| {
                let mut ingest = match images.content().ingest(&key) {
                    Err(content::Error::Busy { .. }) => return Ok(None),
                    other => other?,
                };
                if ingest.offset() > size {
                    ingest.reset()?;
                }
                Ok(Some(ingest))
            };
            if let Some(ingest) = self.transfers.with_images("open ingest", open).await? {
                return Ok(ingest);
            }
            attempt += 1;
            if attempt == BUSY_ATTEMPTS {
                return Err(content::Error::Busy { key: self.layer.digest.hex() }.into());
            }
            self.transfers.shared.images.clock().sleep(BUSY_WAIT).await;
        }
    }

    /// Moves bytes from the registry to the ingest: the connection on this task, hashing and the disk on a
    /// thread.
    async fn fill(&self, mut ingest: Ingest, inlet: Option<Inlet>) -> Result<Ingest, Error> {
        let blob = super::descriptor(self.layer);
        let mut download = Download::new(Arc::clone(self.repository), &blob, ingest.offset());
        let (pieces, mut arriving) = mpsc::channel::<Option<Bytes>>(QUEUE);
        let feed = async move {
            loop {
                let next = download.next().await.map_err(|source| Error::Pull {
                    reference: self.repository.name().clone(),
                    source: Box::new(source),
                })?;
                let piece = match next {
                    None => None,
                    Some(Piece::Retry { after }) => {
                        self.log.enter(Stage::Retrying { after });
                        continue;
                    }
                    Some(Piece::Bytes(bytes)) => {
                        let current = download.position();
                        self.log.enter(Stage::Downloading { current });
                        Some(bytes)
                    }
                };
                let last = piece.is_none();
                // A writer that has ended says why.
                if pieces.send(piece).await.is_err() || last {
                    return Ok::<_, Error>(());
                }
            }
        };
        let write = blocking::run("receive layer", move || {
            while let Some(piece) = arriving.blocking_recv() {
                let Some(bytes) = piece else {
                    inlet.map(Inlet::finish).unwrap_or_default();
                    break;
                };
                ingest.write_bytes(&bytes)?;
                if let Some(inlet) = &inlet {
                    inlet.pour(&bytes);
                }
            }
            Ok::<_, content::Error>(ingest)
        });
        let ((), written) = tokio::try_join!(feed, async { Ok(write.await?) })?;
        Ok(written?)
    }
}
