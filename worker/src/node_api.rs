//! What this node serves of its tasks, to managers only.
//!
//! Who may call is decided by `shoal_identity::rules`, before anything here is asked.

mod exec;
mod logs;
mod visits;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_identity::{Credentials, listen};
use shoal_model::error::Chain;
use shoal_proto::node::node_server::{Node, NodeServer};
use shoal_proto::node::{
    ArchiveRequest, ArchiveResponse, ExecCreateRequest, ExecCreateResponse, ExecInput,
    ExecInspectRequest, ExecInspectResponse, ExecOutput, ExecResizeRequest, ExecResizeResponse,
    LogsRequest, LogsResponse, StatsRequest, StatsResponse, UnarchiveRequest, UnarchiveResponse,
    VisitRequest, VisitResponse,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::executor::Executor;

/// Listens on `ip`: on `port` when it is free, else on any other.
///
/// # Errors
/// When the host has no such address, or no free port.
pub async fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::new(ip, port)).await {
        Err(error) if port != 0 && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::info!(port, "the node API's port is taken; using another");
            TcpListener::bind(SocketAddr::new(ip, 0)).await
        }
        bound => bound,
    }
}

/// Serves managers until `tasks` end.
pub fn serve(
    listener: TcpListener,
    credentials: &Credentials,
    executor: Arc<dyn Executor>,
    tasks: &Tasks,
) {
    let stop = tasks.stopping();
    let handler = Handler { executor, tasks: tasks.clone() };
    let router = listen::server(credentials).add_service(NodeServer::new(handler));
    let incoming = listen::accept(listener, credentials, tasks);
    tasks.spawn(TaskKind::ClusterListener, async move {
        let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(error = %Chain(&error), "the node API's server ended");
        }
    });
}

struct Handler {
    executor: Arc<dyn Executor>,
    tasks: Tasks,
}

#[tonic::async_trait]
impl Node for Handler {
    type LogsStream = BoxStream<'static, Result<LogsResponse, Status>>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let asked = logs::Asked::read(request.into_inner())?;
        let lines = logs::stream(Arc::clone(&self.executor), asked);
        Ok(Response::new(self.while_serving(lines.map(Ok).boxed())))
    }

    type ExecStartStream = BoxStream<'static, Result<ExecOutput, Status>>;

    async fn exec_create(
        &self,
        request: Request<ExecCreateRequest>,
    ) -> Result<Response<ExecCreateResponse>, Status> {
        exec::create(&*self.executor, request.into_inner()).await.map(Response::new)
    }

    async fn exec_start(
        &self,
        request: Request<tonic::Streaming<ExecInput>>,
    ) -> Result<Response<Self::ExecStartStream>, Status> {
        let output = exec::start(&*self.executor, request.into_inner(), &self.tasks).await?;
        Ok(Response::new(self.while_serving(output)))
    }

    async fn exec_resize(
        &self,
        request: Request<ExecResizeRequest>,
    ) -> Result<Response<ExecResizeResponse>, Status> {
        exec::resize(&*self.executor, request.into_inner()).await.map(Response::new)
    }

    async fn exec_inspect(
        &self,
        request: Request<ExecInspectRequest>,
    ) -> Result<Response<ExecInspectResponse>, Status> {
        exec::inspect(&*self.executor, request.into_inner()).await.map(Response::new)
    }

    type AttachStream = BoxStream<'static, Result<ExecOutput, Status>>;

    async fn attach(
        &self,
        request: Request<tonic::Streaming<ExecInput>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let output = visits::attach(&*self.executor, request.into_inner(), &self.tasks).await?;
        Ok(Response::new(self.while_serving(output)))
    }

    async fn visit(
        &self,
        request: Request<VisitRequest>,
    ) -> Result<Response<VisitResponse>, Status> {
        let stop = self.tasks.stopping();
        tokio::select! {
            visited = visits::visit(&*self.executor, request.into_inner()) => {
                visited.map(Response::new)
            }
            () = stop.cancelled() => Err(Status::unavailable("the node stops")),
        }
    }

    type StatsStream = BoxStream<'static, Result<StatsResponse, Status>>;

    async fn stats(
        &self,
        request: Request<StatsRequest>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        let samples = visits::stats(&*self.executor, request.into_inner()).await?;
        Ok(Response::new(self.while_serving(samples)))
    }

    type ArchiveStream = BoxStream<'static, Result<ArchiveResponse, Status>>;

    async fn archive(
        &self,
        request: Request<ArchiveRequest>,
    ) -> Result<Response<Self::ArchiveStream>, Status> {
        let archive = visits::archive(&*self.executor, request.into_inner()).await?;
        Ok(Response::new(self.while_serving(archive)))
    }

    async fn unarchive(
        &self,
        request: Request<tonic::Streaming<UnarchiveRequest>>,
    ) -> Result<Response<UnarchiveResponse>, Status> {
        visits::unarchive(&*self.executor, request.into_inner()).await.map(Response::new)
    }
}

impl Handler {
    /// A stream that goes on for ever would hold the server's end up.
    fn while_serving<T: Send + 'static>(
        &self,
        stream: BoxStream<'static, T>,
    ) -> BoxStream<'static, T> {
        stream.take_until(self.tasks.stopping().cancelled_owned()).boxed()
    }
}
