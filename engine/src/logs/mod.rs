//! Reading the logs that shims write: history, tail, and following without polling.
//!
//! A tail counts records before any other choice is applied, as docker does; `since`, `until` and the
//! choice of streams then filter. Rotated files are read oldest first; compressed ones too.
//!
//! Source: moby `daemon/logger/loggerutils/logfile.go`, `daemon/logs.go`.

mod follow;
mod format;
mod history;
mod options;
pub mod sinks;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use shoal_base::tasks::TaskKind;
use shoal_model::container::{LogOptions, LogRecord, OutputKind, WaitCondition};
use shoal_model::{Failure, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::container::{Container, wait};
use crate::core::Core;
use crate::error::Error;
use format::Format;

/// Records that wait for a slow reader.
const QUEUE: usize = 256;

/// Where a container's readable log is. `None`: it keeps none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub path: PathBuf,
    pub format: Format,
}

/// Opens the log of a container.
///
/// # Errors
/// When its driver keeps nothing that can be read.
pub(crate) async fn open(
    core: &Arc<Core>,
    container: &Arc<Container>,
    options: LogOptions,
) -> Result<BoxStream<'static, Result<LogRecord, Failure>>, Error> {
    if !options.stdout && !options.stderr {
        return Err(Error::Invalid {
            field: "stdout, stderr",
            reason: "you must choose at least one stream".to_owned(),
        });
    }
    let view = container.view();
    let place =
        sinks::readable(&view.record.spec, &container.paths.directory).ok_or_else(|| {
            Error::NotImplemented("configured logging driver does not support reading".to_owned())
        })?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let ended = (options.follow && view.counts_as_running())
        .then(|| wait::register(container.view.subscribe(), WaitCondition::NotRunning));
    let core = Arc::clone(core);
    let tasks = core.tasks.clone();
    tasks.spawn(TaskKind::Stream, async move {
        let sink = Sink { sender, filter: Filter::new(&options) };
        let copied = copy(&core, place, &options, ended, &sink).await;
        if let Err(error) = copied
            && sink.sender.send(Err(error.into())).await.is_err()
        {
            tracing::debug!("a log reader went away");
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
}

async fn copy(
    core: &Core,
    place: Place,
    options: &LogOptions,
    ended: Option<futures_util::future::BoxFuture<'static, shoal_model::container::WaitOutcome>>,
    sink: &Sink,
) -> Result<(), Error> {
    // The watch begins before the history is read: nothing falls between.
    let follower = match &ended {
        Some(_) => Some(follow::Follower::new(&place)?),
        None => None,
    };
    let (past, tail) = (sink.clone(), options.tail);
    let from = place.clone();
    let position = shoal_base::blocking::run("read a container's log", move || {
        history::read(&from, tail, &past)
    })
    .await??;
    let (Some(follower), Some(ended), Some(position)) = (follower, ended, position) else {
        return Ok(());
    };
    let until = options.until.map(|until| until.since(core.clock.now()));
    let deadline = async {
        match until {
            Some(left) => core.clock.sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = follower.run(position, ended, sink) => result,
        () = deadline => Ok(()),
        () = sink.sender.closed() => Ok(()),
    }
}

/// Which records a reader wants. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    stdout: bool,
    stderr: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// What a filter says to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Take,
    Skip,
    /// Nothing of interest can follow.
    Stop,
}

impl Filter {
    pub(crate) fn new(options: &LogOptions) -> Self {
        let LogOptions { stdout, stderr, since, until, .. } = *options;
        Self { stdout, stderr, since, until }
    }

    pub(crate) fn judge(&self, record: &LogRecord) -> Verdict {
        if self.until.is_some_and(|until| record.at > until) {
            return Verdict::Stop;
        }
        let wanted = match record.kind {
            OutputKind::Stdout => self.stdout,
            OutputKind::Stderr => self.stderr,
        };
        if wanted && self.since.is_none_or(|since| record.at >= since) {
            Verdict::Take
        } else {
            Verdict::Skip
        }
    }
}

/// Where records go.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    sender: mpsc::Sender<Result<LogRecord, Failure>>,
    filter: Filter,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

impl Sink {
    /// Delivers a record from a thread that may block.
    pub(crate) fn put_blocking(&self, record: LogRecord) -> Flow {
        match self.filter.judge(&record) {
            Verdict::Skip => Flow::Continue,
            Verdict::Stop => Flow::Stop,
            Verdict::Take if self.sender.blocking_send(Ok(record)).is_ok() => Flow::Continue,
            Verdict::Take => Flow::Stop,
        }
    }

    /// Delivers a record.
    pub(crate) async fn put(&self, record: LogRecord) -> Flow {
        match self.filter.judge(&record) {
            Verdict::Skip => Flow::Continue,
            Verdict::Stop => Flow::Stop,
            Verdict::Take if self.sender.send(Ok(record)).await.is_ok() => Flow::Continue,
            Verdict::Take => Flow::Stop,
        }
    }
}

#[cfg(test)]
mod tests;
