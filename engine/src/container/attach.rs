//! Attaching to the init process, also before the start.

use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt, stream};
use shoal_model::container::{AttachOptions, LogOptions, Output, Phase};
use shoal_shim_protocol::message::Streams;
use tokio::sync::oneshot;

use super::lifecycle::Verb;
use super::owner::Owner;
use super::session::{PendingAttach, Session};
use super::{Container, permit, start};
use crate::core::Core;
use crate::error::Error;
use crate::logs;

/// Attaches a client.
///
/// # Errors
/// When the container is paused or restarting.
pub(crate) async fn attach(
    core: &Arc<Core>,
    container: &Arc<Container>,
    options: AttachOptions,
) -> Result<Session, Error> {
    container.permit(Verb::Attach)?;
    let view = container.view();
    let tty = view.record.spec.tty;
    let streams = Streams {
        stdin: options.stdin && view.record.spec.open_stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    let mut session = if options.stream {
        container.ask(move |owner| Box::pin(owner.attach(streams))).await??
    } else {
        Session { output: stream::empty().boxed(), input: None, tty }
    };
    if options.logs {
        let (stdout, stderr) = (options.stdout, options.stderr);
        // What is logged from now on comes by the stream.
        let until = options.stream.then(|| core.clock.now());
        let wanted = LogOptions { stdout, stderr, until, ..LogOptions::default() };
        let past = logs::open(core, container, wanted).await?;
        let past = past.map(|record| record.map(|r| Output { kind: r.kind, bytes: r.line }));
        session.output = past.chain(session.output).boxed();
    }
    container.ask(|owner| Box::pin(async { owner.publish("attach", &[]) })).await?;
    Ok(session)
}

impl Owner {
    async fn attach(&mut self, streams: Streams) -> Result<Session, Error> {
        permit(&self.container.view.borrow(), Verb::Attach)?;
        let tty = self.container.view.borrow().record.spec.tty;
        let tasks = &self.core.tasks;
        if self.container.view.borrow().state.phase == Phase::Running
            && let Some(client) = self.client()
        {
            let attached = client.attach(&start::attach_request(streams)).await;
            let (connection, _) = attached.map_err(self.shim_error())?;
            return Ok(Session::connected(tasks, connection, streams, tty));
        }
        let (connect, connection) = oneshot::channel();
        let mut pending = self.container.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|attach| !attach.connect.is_closed());
        pending.push(PendingAttach { streams, connect });
        drop(pending);
        let later = async move { connection.await.ok() };
        Ok(Session::later(tasks, later, streams, tty))
    }
}
