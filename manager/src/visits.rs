//! The containers of tasks, wherever they run: attach, files, statistics, ports (ADR 0008). A manager keeps nothing about
//! them and passes on what the node of the task says.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use shoal_model::cluster::TaskId;
use shoal_model::container::visit::{Visit, Visited};
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, PathStat, StatsSample, WaitCondition, WaitOutcome,
};
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::node::archive_response::What as Sent;
use shoal_proto::node::exec_input::What as In;
use shoal_proto::node::node_client::NodeClient;
use shoal_proto::node::unarchive_request::What as Received;
use shoal_proto::node::{
    ArchiveRequest, ArchiveResponse, AttachBegin, ForwardBegin, StatsRequest, UnarchiveBegin,
    UnarchiveEnd, UnarchiveRequest, VisitRequest,
};
use shoal_proto::{codec, status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::execs::{Session, inputs, session};
use crate::reach::Reach;

/// Messages of an archive that wait for a node that does not read.
const QUEUE: usize = 4;

/// A tar archive.
pub type Archive = BoxStream<'static, Result<Bytes, Failure>>;

/// Reaches containers of tasks. Clones are the same.
#[derive(Debug, Clone)]
pub struct Visits {
    reach: Reach,
}

/// The container of one task. Its node was there a moment ago.
#[derive(Debug, Clone)]
pub struct Remote {
    reach: Reach,
    task: TaskId,
    client: NodeClient<Channel>,
}

impl Visits {
    /// Over the node APIs of tasks.
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    /// The container of a task, named by the task's id or a prefix of it.
    ///
    /// # Errors
    /// When there is no such task or no leader, or its node is out of reach.
    pub async fn of_task(&self, task: &str) -> Result<Remote, Failure> {
        let (task, client) = self.reach.find(task).await?;
        Ok(Remote { reach: self.reach.clone(), task, client })
    }
}

/// Errors are those of the connection to the node, and what the node says.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Remote {
    fn id(&self) -> Bytes {
        self.task.to_bytes().to_vec().into()
    }

    /// Asks a question, or has something done; not for waiting.
    pub async fn visit(&self, visit: &Visit) -> Result<Visited, Failure> {
        let request = VisitRequest { task: self.id(), visit: codec::encode(visit) };
        let answer = self.reach.answer(self.client.clone().visit(request)).await?;
        decoded("answer", &answer.visited)
    }

    /// Waits for the container, however long that takes.
    pub async fn wait(&self, condition: WaitCondition) -> Result<WaitOutcome, Failure> {
        let visit = codec::encode(&Visit::Wait { condition });
        let request = VisitRequest { task: self.id(), visit };
        let answer = self.client.clone().visit(request).await;
        let answer = answer.map_err(|error| status::failure(&error))?.into_inner();
        match decoded("answer", &answer.visited)? {
            Visited::Ended(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Attaches to the first process.
    pub async fn attach(&self, options: AttachOptions) -> Result<Session, Failure> {
        let options = codec::encode(&options);
        self.session(In::Attach(AttachBegin { task: self.id(), options })).await
    }

    /// Connects to a port, as a process within the container would.
    pub async fn forward(&self, port: u16) -> Result<Session, Failure> {
        self.session(In::Forward(ForwardBegin { task: self.id(), port: port.into() })).await
    }

    async fn session(&self, first: In) -> Result<Session, Failure> {
        let (input, inputs) = inputs(first);
        let outputs = self.reach.answer(self.client.clone().attach(inputs)).await?;
        let ended = || Failure::new(ErrorKind::Unavailable, "the node attached nothing");
        session(outputs, input).await?.ok_or_else(ended)
    }

    /// One sample at once, then one each second until the container is removed.
    pub async fn stats(&self) -> Result<BoxStream<'static, Result<StatsSample, Failure>>, Failure> {
        let request = StatsRequest { task: self.id() };
        let samples = self.reach.answer(self.client.clone().stats(request)).await?;
        let sample =
            |message: Result<shoal_proto::node::StatsResponse, tonic::Status>| match message {
                Ok(message) => decoded("sample", &message.sample),
                Err(error) => Err(status::failure(&error)),
            };
        Ok(samples.map(sample).boxed())
    }

    /// A path as a tar archive.
    pub async fn archive(&self, path: &str) -> Result<(PathStat, Archive), Failure> {
        let request = ArchiveRequest { task: self.id(), path: path.to_owned() };
        let mut messages = self.reach.answer(self.client.clone().archive(request)).await?;
        let first = messages.message().await.map_err(|error| status::failure(&error))?;
        let Some(ArchiveResponse { what: Some(Sent::Stat(stat)) }) = first else {
            return Err(Failure::new(ErrorKind::Unavailable, "the node ended the call"));
        };
        let bytes = messages.filter_map(async |message| match message {
            Ok(ArchiveResponse { what: Some(Sent::Data(bytes)) }) => Some(Ok(bytes)),
            Ok(ArchiveResponse { what: Some(Sent::Stat(_)) | None }) => None,
            Err(error) => Some(Err(status::failure(&error))),
        });
        Ok((decoded("file's description", &stat)?, bytes.boxed()))
    }

    /// Unpacks a tar archive into a directory. When the archive breaks off, its failure is what is told.
    pub async fn unarchive(
        &self,
        path: &str,
        options: ArchivePutOptions,
        archive: Archive,
    ) -> Result<(), Failure> {
        let options = codec::encode(&options);
        let begin = UnarchiveBegin { task: self.id(), path: path.to_owned(), options };
        let (messages, received) = mpsc::channel(QUEUE);
        let mut client = self.client.clone();
        let call = client.unarchive(ReceiverStream::new(received));
        let feed = feed(begin, archive, messages);
        tokio::pin!(call);
        let answer = tokio::select! {
            // The node may answer before it has seen all: it refuses.
            answer = &mut call => answer,
            // Dropping the call tells the node that the archive broke off.
            fed = feed => { fed?; call.await }
        };
        answer.map(drop).map_err(|error| status::failure(&error))
    }
}

/// Sends an archive, and its end when it came to it.
async fn feed(
    begin: UnarchiveBegin,
    mut archive: Archive,
    messages: mpsc::Sender<UnarchiveRequest>,
) -> Result<(), Failure> {
    let mut next = Received::Begin(begin);
    loop {
        let is_end = matches!(next, Received::End(_));
        let sent = messages.send(UnarchiveRequest { what: Some(next) }).await;
        if is_end || sent.is_err() {
            // Nobody listens any more: the answer says why.
            return Ok(());
        }
        next = match archive.next().await.transpose()? {
            Some(bytes) => Received::Data(bytes),
            None => Received::End(UnarchiveEnd {}),
        };
    }
}

fn decoded<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Failure> {
    codec::decode(what, bytes).map_err(|error| Failure::new(ErrorKind::DataLoss, error.to_string()))
}

/// A node of another release that does not know the question.
pub fn unexpected(answer: &Visited) -> Failure {
    Failure::new(ErrorKind::Internal, format!("the node answered {answer:?} to another question"))
}
