//! Reaches into the containers of tasks: the worker's port `Visits`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use shoal_base::blocking;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_engine::container::session as engine;
use shoal_model::cluster::TaskId;
use shoal_model::container::visit::{Visit, Visited};
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, ContainerDetails, Input, Output, OutputKind, PathStat,
    WaitOutcome,
};
use shoal_model::error::{ErrorKind, Failure};
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_worker::executor::Session;
use shoal_worker::visits::{Archive, Samples, Visits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::HostExecutor;

/// A connection within a host that is not made by then is refused by a full queue.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes read from a forwarded connection at once.
const READ_MAX: usize = 32 << 10;
/// Messages that wait for a connection that does not read.
const INPUT_QUEUE: usize = 16;

#[async_trait]
impl Visits for HostExecutor {
    async fn visit(&self, task: TaskId, visit: Visit) -> Result<Visited, Failure> {
        let details = self.required(task).await?;
        let id = details.id.as_str();
        Ok(match visit {
            Visit::Called => Visited::Called { id: details.id.to_string(), name: details.name },
            Visit::Resize { rows, columns } => {
                self.engine.resize(id, rows, columns).await?;
                Visited::Done
            }
            Visit::Kill { signal } => {
                self.engine.kill(id, &signal).await?;
                Visited::Done
            }
            Visit::Wait { condition } => {
                let WaitOutcome { code, error } = self.engine.wait(id, condition)?.await;
                Visited::Ended(WaitOutcome { code, error })
            }
            Visit::Look { path } => Visited::Seen(self.engine.path_stat(id, &path).await?),
        })
    }

    async fn attach(&self, task: TaskId, options: AttachOptions) -> Result<Session, Failure> {
        // Otherwise the client would wait for a start that never comes: a task runs once.
        let id = self.running(task).await?.id;
        let session = self.engine.attach(id.as_str(), options).await?;
        let engine::Session { output, input, tty } = session;
        Ok(Session { output, input, tty })
    }

    async fn forward(&self, task: TaskId, port: u16) -> Result<Session, Failure> {
        let details = self.running(task).await?;
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", details.state.pid));
        let connected =
            blocking::run("connect within a container", move || connect_within(&namespace, port));
        let connected = connected
            .await
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        let stream = connected.and_then(|stream| {
            tokio::net::TcpStream::from_std(stream).context("watching the connection")
        });
        let stream = stream.map_err(|error| {
            let message = format!("port {port} of task `{task}` cannot be reached: {error:#}");
            Failure::new(ErrorKind::Unavailable, message)
        })?;
        Ok(carry(stream, &self.tasks))
    }

    async fn stats(&self, task: TaskId) -> Result<Samples, Failure> {
        let id = self.required(task).await?.id;
        Ok(self.engine.stats(id.as_str())?)
    }

    async fn archive(&self, task: TaskId, path: &str) -> Result<(PathStat, Archive), Failure> {
        let id = self.required(task).await?.id;
        Ok(self.engine.archive(id.as_str(), path).await?)
    }

    async fn unarchive(
        &self,
        task: TaskId,
        path: &str,
        options: ArchivePutOptions,
        archive: Archive,
    ) -> Result<(), Failure> {
        let id = self.required(task).await?.id;
        Ok(self.engine.unarchive(id.as_str(), path, options, archive).await?)
    }
}

impl HostExecutor {
    async fn running(&self, task: TaskId) -> Result<ContainerDetails, Failure> {
        let details = self.required(task).await?;
        if details.state.phase.is_live() {
            return Ok(details);
        }
        let message = format!("the container of task `{task}` does not run");
        Err(Failure::new(ErrorKind::Conflict, message))
    }
}

/// A connection to a port as processes within the network namespace make it: by IPv4, else by IPv6.
fn connect_within(namespace: &std::path::Path, port: u16) -> anyhow::Result<TcpStream> {
    let namespace = Namespace::open(namespace).context("entering the container's network")?;
    let connect =
        |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_MAX);
    let connected = namespace.run(|| {
        connect(Ipv4Addr::LOCALHOST.into()).or_else(|first| {
            // What IPv4 said tells more: most programs listen there.
            connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| first)
        })
    });
    let stream = connected
        .context("entering the container's network")?
        .context("connecting to the container's loopback address")?;
    stream.set_nonblocking(true).context("preparing the connection")?;
    Ok(stream)
}

/// A connection as a session: what comes is output, what is sent is input.
fn carry(stream: tokio::net::TcpStream, tasks: &Tasks) -> Session {
    let (reader, writer) = stream.into_split();
    let (input, inputs) = mpsc::channel(INPUT_QUEUE);
    tasks.spawn(TaskKind::Stream, send(writer, inputs));
    Session { output: stream::unfold(Some(reader), receive).boxed(), input: Some(input), tty: true }
}

type Received = (Result<Output, Failure>, Option<OwnedReadHalf>);

async fn receive(reader: Option<OwnedReadHalf>) -> Option<Received> {
    let mut reader = reader?;
    let mut bytes = vec![0; READ_MAX];
    match reader.read(&mut bytes).await {
        Ok(0) => None,
        Ok(length) => {
            bytes.truncate(length);
            Some((Ok(Output { kind: OutputKind::Stdout, bytes }), Some(reader)))
        }
        Err(error) => {
            let message = format!("the connection broke: {error}");
            Some((Err(Failure::new(ErrorKind::Unavailable, message)), None))
        }
    }
}

/// Sends what comes until its end, which is passed on; a client that vanished lets the connection go.
async fn send(mut writer: OwnedWriteHalf, mut inputs: mpsc::Receiver<Input>) {
    while let Some(input) = inputs.recv().await {
        let sent = match input {
            Input::Data(bytes) => writer.write_all(&Bytes::from(bytes)).await,
            Input::End | Input::Detached => break,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a forwarded connection takes no more");
            return;
        }
    }
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%error, "a forwarded connection was closed already");
    }
}
