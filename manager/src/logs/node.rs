//! Logs of one node's tasks, over its node API.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::SharedClock;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, connect};
use shoal_model::Timestamp;
use shoal_model::cluster::logs::{LogLine, LogOrigin, LogQuery};
use shoal_model::cluster::{NodeId, ServiceId, TaskId};
use shoal_model::error::Chain;
use shoal_proto::codec;
use shoal_proto::node::node_client::NodeClient;
use shoal_proto::node::{Line, LogsRequest, LogsResponse};
use tonic::transport::Channel;

use super::plan::not_available;

/// A node that has not begun to answer within this time is not available.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one message: nodes put few lines into one.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What comes from a node.
#[derive(Debug)]
pub(super) enum Item {
    Line(LogLine),
    /// The log of a task is not whole.
    Unreadable(String),
    /// The node is out of reach, or its connection broke; nothing follows.
    Broken {
        reason: String,
    },
}

impl Item {
    /// What is no line need not wait for its turn.
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Line(line) => Some(line.at),
            Self::Unreadable(_) | Self::Broken { .. } => None,
        }
    }
}

/// How nodes are reached for one client.
///
/// Each client has connections of its own: one that reads slowly fills the windows of nobody else.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    pub(super) credentials: Credentials,
    pub(super) clock: SharedClock,
}

/// What is asked of a node.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) node: NodeId,
    /// Service of the tasks.
    pub(super) service: Option<ServiceId>,
    pub(super) tasks: Vec<TaskId>,
    pub(super) query: LogQuery,
}

impl Nodes {
    /// A connection, made when it is first used.
    pub(super) fn channel(&self, node: NodeId, address: &str) -> Result<Channel, connect::Error> {
        connect::channel(&self.credentials, address, Expected::Node(node))
    }

    /// The lines, and why there are not more. Nothing is asked before the stream is read.
    pub(super) fn lines(
        &self,
        channel: Result<Channel, connect::Error>,
        ask: Ask,
    ) -> BoxStream<'static, Item> {
        let clock = self.clock.clone();
        let opening = async move {
            let (node, service) = (ask.node, ask.service);
            let opened = tokio::select! {
                opened = open(channel, ask) => opened,
                () = clock.sleep(PATIENCE) => Err("it did not answer in time".to_owned()),
            };
            match opened {
                Ok(messages) => items(node, service, messages),
                Err(error) => {
                    tracing::info!(%node, error, "a node's logs cannot be read");
                    let broken = Item::Broken { reason: not_available(node) };
                    stream::iter([broken]).boxed()
                }
            }
        };
        stream::once(opening).flatten().boxed()
    }
}

async fn open(
    channel: Result<Channel, connect::Error>,
    ask: Ask,
) -> Result<tonic::Streaming<LogsResponse>, String> {
    let channel = channel.map_err(|error| Chain(&error).to_string())?;
    let LogQuery { follow, stdout, stderr, since, tail } = ask.query;
    let request = LogsRequest {
        tasks: ask.tasks.iter().map(|task| task.to_bytes().to_vec().into()).collect(),
        follow,
        stdout,
        stderr,
        since: since.map(Timestamp::nanos),
        tail,
    };
    let mut client = NodeClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.logs(request).await.map_err(|status| Chain(&status).to_string())?;
    Ok(answer.into_inner())
}

fn items(
    node: NodeId,
    service: Option<ServiceId>,
    messages: tonic::Streaming<LogsResponse>,
) -> BoxStream<'static, Item> {
    let broken = move |error: &dyn std::fmt::Display| {
        tracing::info!(%node, %error, "a node's logs broke off");
        Item::Broken { reason: format!("node {node} disconnected unexpectedly") }
    };
    messages
        .map(move |message| match message {
            Ok(message) => match read(node, service, message) {
                Ok(items) => items,
                Err(error) => vec![broken(&Chain(&error))],
            },
            Err(status) => vec![broken(&Chain(&status))],
        })
        .flat_map(stream::iter)
        .boxed()
}

fn read(
    node: NodeId,
    service: Option<ServiceId>,
    message: LogsResponse,
) -> Result<Vec<Item>, codec::Error> {
    let mut items = Vec::with_capacity(message.lines.len() + message.failures.len());
    for Line { task, at, is_error, line, details } in message.lines {
        let task = codec::id(&task).map(TaskId::from_bytes)?;
        items.push(Item::Line(LogLine {
            origin: LogOrigin { node, service, task },
            at: Timestamp::from_nanos(at),
            is_error,
            line: line.into(),
            details: details.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
        }));
    }
    for failure in message.failures {
        let task = codec::id(&failure.task).map(TaskId::from_bytes)?;
        items.push(Item::Unreadable(format!("task {task}: {}", failure.message)));
    }
    Ok(items)
}
