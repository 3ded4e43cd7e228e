//! The ports: what the API needs from an engine. The daemon implements them over the real one, tests
//! over a fake. Every failure crosses as a [`Failure`]; `name` is always a name, id or id prefix as the
//! client wrote it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use shoal_base::SharedClock;
use shoal_base::tasks::Tasks;
use shoal_model::Failure;
use shoal_model::container::{Input, Output};
use tokio::sync::mpsc;

mod cluster;
mod containers;
mod exec;
mod images;
mod networks;
mod system;
mod volumes;

pub use cluster::Cluster;
pub use containers::{Containers, Exit, Inside, Logs};
pub use exec::Execs;
pub use images::Images;
pub use networks::Networks;
pub use system::System;
pub use volumes::Volumes;

/// A stream that can fail in the middle. Dropping it stops its producer.
pub type Stream<T> = BoxStream<'static, Result<T, Failure>>;

/// Bytes of an archive.
pub type ByteStream = Stream<Bytes>;

/// A client attached to a process.
pub struct Session {
    /// Ends when the process has closed its outputs. Dropping it detaches.
    pub output: Stream<Output>,
    /// Where the client's stdin goes; `None` when the process has none or the client sends none.
    pub input: Option<mpsc::Sender<Input>>,
    /// Whether the process has a terminal: output is then not framed.
    pub tty: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("tty", &self.tty)
            .field("input", &self.input.is_some())
            .finish_non_exhaustive()
    }
}

/// How much of what was written to a unix socket its peer has not read, as the kernel counts it.
pub type Unread = Arc<dyn Fn(BorrowedFd<'_>) -> io::Result<u32> + Send + Sync>;

/// All ports together.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Ports {
    pub containers: Arc<dyn Containers>,
    pub execs: Arc<dyn Execs>,
    pub images: Arc<dyn Images>,
    pub volumes: Arc<dyn Volumes>,
    pub networks: Arc<dyn Networks>,
    pub system: Arc<dyn System>,
    /// `None`: this host cannot be a member of a cluster.
    pub cluster: Option<Arc<dyn Cluster>>,
    pub clock: SharedClock,
    /// Owner of the tasks that move hijacked streams.
    pub tasks: Tasks,
    pub unread: Unread,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
