//! The download and unpacking of one layer, shared by all pulls that want it.
//!
//! A flight is a task of its own: a client that leaves stops it only when it was the last. What was
//! received stays in the store's ingest and the next flight goes on there.

use std::collections::HashMap;
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
use super::transfers::Transfers;
use crate::content::{self, Expected, Ingest, Lease};
use crate::image::LayerBlob;
use crate::unpack::Limits;

/// Pieces between the connection and the disk.
const QUEUE: usize = 8;
const BUSY_WAIT: Duration = Duration::from_millis(50);
const BUSY_ATTEMPTS: u32 = 200;

/// How far a flight is. Later stages compare greater, but for a retry.
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

/// Flights by blob and diff id.
#[derive(Debug, Default)]
pub(super) struct Flights {
    map: Mutex<HashMap<(Digest, Digest), Entry>>,
}

#[derive(Debug)]
struct Entry {
    stage: watch::Receiver<Stage>,
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
    pub(super) stage: watch::Receiver<Stage>,
    transfers: Transfers,
    key: (Digest, Digest),
    stop: CancellationToken,
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let mut flights = self.transfers.shared.flights.lock();
        // A flight that ended is no longer listed, or another one of the same layer is.
        let Some(entry) = flights.get_mut(&self.key) else { return };
        if !entry.stage.same_channel(&self.stage) {
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
            let (stage, stop) = (entry.stage.clone(), entry.stop.clone());
            return Passenger { stage, transfers: self.clone(), key, stop };
        }
        let (sender, stage) = watch::channel(Stage::Queued);
        let stop = CancellationToken::new();
        let entry = Entry { stage: stage.clone(), passengers: 1, stop: stop.clone() };
        flights.insert(key, entry);
        let (this, repository, layer) = (self.clone(), Arc::clone(repository), layer.clone());
        let stopped = stop.clone();
        let own_stage = stage.clone();
        self.shared.tasks.spawn(TaskKind::ImageTransfer, async move {
            let flown = stopped.run_until_cancelled(this.fly(&repository, &layer, &sender)).await;
            let result = flown.unwrap_or(Err(Error::Stopped { digest: layer.digest }));
            let mut flights = this.shared.flights.lock();
            if flights.get(&key).is_some_and(|entry| entry.stage.same_channel(&own_stage)) {
                flights.remove(&key);
            }
            drop(flights);
            sender.send_replace(Stage::Done(result.map_err(Arc::new)));
        });
        Passenger { stage, transfers: self.clone(), key, stop }
    }

    async fn fly(
        &self,
        repository: &Arc<Repository>,
        layer: &LayerBlob,
        stage: &watch::Sender<Stage>,
    ) -> Result<(), Error> {
        let lease = Arc::new(self.shared.images.lease());
        lease.hold(layer.digest);
        lease.hold(layer.diff_id);
        let stored = self.shared.images.content().stat(layer.digest)?;
        if stored.is_none_or(|blob| blob.size != layer.size) {
            let _permit = match self.shared.downloads.try_acquire() {
                Ok(permit) => permit,
                Err(_) => {
                    stage.send_replace(Stage::Waiting);
                    self.shared.downloads.acquire().await.expect("is never closed")
                }
            };
            self.receive(repository, layer, &lease, stage).await?;
        }
        stage.send_replace(Stage::Downloaded);
        let _permit = self.shared.unpacks.acquire().await.expect("is never closed");
        stage.send_replace(Stage::Extracting { current: 0 });
        let layer = layer.clone();
        self.with_images("unpack layer", move |images| {
            images.unpack_layer(&layer, &Limits::default(), &lease)?;
            Ok(())
        })
        .await
    }

    /// Downloads a blob into the store. A beginning of an earlier attempt that turns out to be damaged is
    /// thrown away once.
    async fn receive(
        &self,
        repository: &Arc<Repository>,
        layer: &LayerBlob,
        lease: &Arc<Lease>,
        stage: &watch::Sender<Stage>,
    ) -> Result<(), Error> {
        loop {
            let mut ingest = self.open_ingest(layer.digest).await?;
            if ingest.offset() > layer.size {
                ingest.reset()?;
            }
            let resumed = ingest.offset() > 0;
            let ingest = self.fill(repository, layer, ingest, stage).await?;
            stage.send_replace(Stage::Verifying);
            let expected = Expected { digest: Some(layer.digest), size: Some(layer.size) };
            let lease = Arc::clone(lease);
            let committed =
                blocking::run("commit layer", move || ingest.commit(expected, &lease)).await?;
            match committed {
                Err(content::Error::DigestMismatch { .. }) if resumed => {
                    tracing::warn!(digest = %layer.digest, "a resumed download was damaged; starting again");
                }
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Opens the ingest of a blob. A flight that was stopped may still be putting down its last piece.
    async fn open_ingest(&self, digest: Digest) -> Result<Ingest, Error> {
        let key = digest.hex();
        let mut attempt = 0;
        loop {
            let key = key.clone();
            let opened = self
                .with_images("open ingest", move |images| Ok(images.content().ingest(&key)))
                .await?;
            attempt += 1;
            match opened {
                Err(content::Error::Busy { .. }) if attempt < BUSY_ATTEMPTS => {
                    self.shared.images.clock().sleep(BUSY_WAIT).await;
                }
                other => return Ok(other?),
            }
        }
    }

    /// Moves bytes from the registry to the ingest: the connection on this task, hashing and the disk on a
    /// thread.
    async fn fill(
        &self,
        repository: &Arc<Repository>,
        layer: &LayerBlob,
        mut ingest: Ingest,
        stage: &watch::Sender<Stage>,
    ) -> Result<Ingest, Error> {
        let blob = super::descriptor(layer);
        let mut download = Download::new(Arc::clone(repository), &blob, ingest.offset());
        let (pieces, mut arriving) = mpsc::channel::<Bytes>(QUEUE);
        let feed = async move {
            loop {
                let next = download.next().await.map_err(|source| Error::Pull {
                    reference: repository.name().clone(),
                    source,
                })?;
                match next {
                    None => return Ok::<_, Error>(()),
                    Some(Piece::Retry { after }) => {
                        stage.send_replace(Stage::Retrying { after });
                    }
                    Some(Piece::Bytes(bytes)) => {
                        stage.send_replace(Stage::Downloading { current: download.position() });
                        // The writer ended: its error says why.
                        let Ok(()) = pieces.send(bytes).await else { return Ok(()) };
                    }
                }
            }
        };
        let write = blocking::run("receive layer", move || {
            while let Some(bytes) = arriving.blocking_recv() {
                ingest.write_bytes(&bytes)?;
            }
            Ok::<_, content::Error>(ingest)
        });
        let ((), written) = tokio::try_join!(feed, async { Ok(write.await?) })?;
        Ok(written?)
    }
}
