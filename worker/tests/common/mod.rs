//! A fake executor, a fake manager over real gRPC on loopback, and a fast clock.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod executor;
pub(crate) mod manager;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{Clock, SystemClock, SystemDisk};
use shoal_model::Timestamp;
use shoal_model::error::{ErrorKind, Failure};
use shoal_worker::agent::{Options, Ports, Worker};
use shoal_worker::session::Connector;
use shoal_worker::storage::{Sealer, SecretCache};
use tonic::transport::{Channel, Endpoint};

use executor::FakeExecutor;

/// How much faster the worker's clock runs.
pub(crate) const SPEED: u32 = 20;

#[derive(Debug)]
pub(crate) struct FastClock;

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() * SPEED
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration / SPEED)
    }
}

struct Plain;

#[async_trait]
impl Connector for Plain {
    async fn connect(&self, address: &str) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let failed = |error: tonic::transport::Error| {
            Failure::new(ErrorKind::Unavailable, error.to_string())
        };
        endpoint.connect().await.map_err(failed)
    }
}

struct Reverse;

impl Sealer for Reverse {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        plain.iter().rev().copied().collect()
    }
    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.seal(sealed))
    }
}

/// A worker and what it runs on.
pub(crate) struct Node {
    pub(crate) worker: Worker,
    pub(crate) tasks: Tasks,
}

/// Starts a worker. Its containers live in `executor`, which outlives it.
pub(crate) async fn start(
    directory: &std::path::Path,
    executor: &Arc<FakeExecutor>,
    seeds: &[&str],
) -> Node {
    let tasks = Tasks::new();
    let ports = Ports {
        executor: Arc::<FakeExecutor>::clone(executor),
        networks: Arc::<FakeExecutor>::clone(executor),
        connector: Arc::new(Plain),
        clock: Arc::new(FastClock),
        random: Arc::new(SystemRandom),
        disk: Arc::new(SystemDisk),
        tasks: tasks.clone(),
    };
    let options = Options {
        directory: directory.to_owned(),
        seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
        secrets: SecretCache::Disk(Arc::new(Reverse)),
    };
    let worker = Worker::start(options, ports).await.unwrap();
    Node { worker, tasks }
}

/// Waits until a condition holds, or fails after ten seconds.
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    condition: impl Fn() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        for _ in 0..6000 {
            if condition() {
                return;
            }
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not happen ({place})");
    }
}

/// Lets time pass in which something must not happen.
pub(crate) async fn a_while() {
    SystemClock.sleep(Duration::from_millis(300)).await;
}
