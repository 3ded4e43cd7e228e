//! Logs of this node's tasks as one stream.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::merge;
use shoal_model::Timestamp;
use shoal_model::cluster::TaskId;
use shoal_model::cluster::logs::LogQuery;
use shoal_model::container::{LogRecord, OutputKind};
use shoal_model::error::{Chain, Failure};
use shoal_proto::codec;
use shoal_proto::node::{Line, LogFailure, LogsRequest, LogsResponse};
use tonic::Status;

use crate::executor::Executor;

/// Lines that travel in one message at most. Lines are 16 KiB at most, as long as the shim cuts them.
const LINES_MAX: usize = 64;
/// Logs that are merged at one time: each that is read occupies a thread. Further tasks follow, the newer after the
/// older.
const MERGED_MAX: usize = 32;

/// What a manager asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    tasks: Vec<TaskId>,
    query: LogQuery,
}

impl Asked {
    pub(super) fn read(request: LogsRequest) -> Result<Self, Status> {
        let id = |bytes: &bytes::Bytes| codec::id(bytes).map(TaskId::from_bytes);
        let tasks = request.tasks.iter().map(id).collect::<Result<_, _>>();
        let tasks = tasks.map_err(|error| Status::invalid_argument(Chain(&error).to_string()))?;
        let LogsRequest { follow, stdout, stderr, since, tail, .. } = request;
        let since = since.map(Timestamp::from_nanos);
        Ok(Self { tasks, query: LogQuery { follow, stdout, stderr, since, tail } })
    }
}

/// A line or why there is none.
struct Item {
    task: TaskId,
    record: Result<LogRecord, Failure>,
}

impl Item {
    /// Failures need not wait for their turn.
    fn at(&self) -> Option<Timestamp> {
        self.record.as_ref().ok().map(|record| record.at)
    }
}

/// The messages for a request. Nothing is read before the stream is.
pub(super) fn stream(
    executor: Arc<dyn Executor>,
    asked: Asked,
) -> BoxStream<'static, LogsResponse> {
    let Asked { tasks, query } = asked;
    let follow = query.follow;
    let open = move |task| lines(Arc::clone(&executor), task, query.clone());
    let items = if follow {
        stream::select_all(tasks.into_iter().map(open)).boxed()
    } else {
        let parts: Vec<Vec<_>> = tasks.chunks(MERGED_MAX).map(<[_]>::to_vec).collect();
        stream::iter(parts)
            .flat_map(move |part| {
                merge::in_order(part.into_iter().map(&open).collect(), Item::at).boxed()
            })
            .boxed()
    };
    items.ready_chunks(LINES_MAX).map(message).boxed()
}

fn lines(executor: Arc<dyn Executor>, task: TaskId, query: LogQuery) -> BoxStream<'static, Item> {
    let opening = async move { executor.logs(task, query).await };
    let records = stream::once(opening).flat_map(|opened| match opened {
        Ok(Some(records)) => records,
        Ok(None) => stream::empty().boxed(),
        Err(failure) => stream::iter([Err(failure)]).boxed(),
    });
    records.map(move |record| Item { task, record }).boxed()
}

fn message(items: Vec<Item>) -> LogsResponse {
    let mut message = LogsResponse::default();
    for Item { task, record } in items {
        let task = task.to_bytes().to_vec().into();
        match record {
            Ok(record) => message.lines.push(Line {
                task,
                at: record.at.nanos(),
                is_error: record.kind == OutputKind::Stderr,
                line: record.line.into(),
                details: record.attributes.into_iter().collect(),
            }),
            Err(failure) => {
                message.failures.push(LogFailure { task, message: failure.chain() });
            }
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let request = LogsRequest {
            tasks: vec![vec![7; 16].into()],
            follow: true,
            stdout: true,
            stderr: false,
            since: Some(5),
            tail: Some(0),
        };
        let asked = Asked::read(request.clone()).unwrap();
        let query = LogQuery {
            follow: true,
            stdout: true,
            stderr: false,
            since: Some(Timestamp::from_nanos(5)),
            tail: Some(0),
        };
        assert_eq!(asked, Asked { tasks: vec![TaskId::from_bytes([7; 16])], query });
        let short = LogsRequest { tasks: vec![vec![7; 3].into()], ..request };
        let error = Asked::read(short).unwrap_err();
        assert_eq!(error.message(), "an id has 3 bytes instead of 16");
    }
}
