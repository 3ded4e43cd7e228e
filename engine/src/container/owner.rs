//! The owner of one container: runs jobs one at a time, hears the shim, starts again when it is due.

use std::sync::Arc;
use std::time::Duration;

use shoal_shim_protocol::message::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::restart_policy::Chain;
use super::view::View;
use super::{Container, Job, attributes};
use crate::core::Core;
use crate::error::Error;
use crate::shim_client::{Client, Connection};

/// The only one who changes a container.
#[derive(Debug)]
pub(crate) struct Owner {
    pub core: Arc<Core>,
    pub container: Arc<Container>,
    /// The live shim.
    pub run: Option<Run>,
    /// Memory of the restart policy.
    pub chain: Chain,
    /// When the policy starts it again, on the monotonic clock.
    pub restart_at: Option<Duration>,
    /// A restart is under way: `--rm` does not remove it this time.
    pub keep_once: bool,
}

/// A container's life in one shim.
#[derive(Debug)]
pub(crate) struct Run {
    pub client: Client,
    /// Events of the shim.
    pub events: Connection,
    /// The shim, where this daemon is its parent: kept so that it is reaped.
    pub child: Option<tokio::process::Child>,
    /// Ends what accompanies the run (health probes).
    pub ended: CancellationToken,
}

/// What woke the owner.
enum Wake {
    Job(Job),
    Shim(Option<Event>),
    RestartDue,
    NoMoreJobs,
}

impl Owner {
    /// The owner of a container that does not run.
    pub(crate) fn new(core: Arc<Core>, container: Arc<Container>) -> Self {
        Self {
            core,
            container,
            run: None,
            chain: Chain::default(),
            restart_at: None,
            keep_once: false,
        }
    }

    /// Serves the container until it is removed or nobody can ask for anything any more.
    pub(crate) async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while !self.container.view.borrow().removed {
            match self.next(&mut jobs).await {
                Wake::Job(job) => job(&mut self).await,
                Wake::Shim(event) => Box::pin(self.heard(event)).await,
                Wake::RestartDue => Box::pin(self.restart_by_policy()).await,
                Wake::NoMoreJobs => return,
            }
        }
    }

    async fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Wake {
        let clock = &self.core.clock;
        let run = &mut self.run;
        let restart_at = self.restart_at;
        tokio::select! {
            biased; // an exit that was heard is handled before a job that might depend on it
            event = async {
                match run {
                    Some(run) => run.events.next_event().await,
                    None => std::future::pending().await,
                }
            } => match event {
                Ok(event) => Wake::Shim(event),
                Err(error) => {
                    tracing::warn!(container = %self.container.id, %error, "lost a shim");
                    Wake::Shim(None)
                }
            },
            job = jobs.recv() => job.map_or(Wake::NoMoreJobs, Wake::Job),
            () = async {
                match restart_at {
                    Some(at) => clock.sleep(at.saturating_sub(clock.monotonic())).await,
                    None => std::future::pending().await,
                }
            } => Wake::RestartDue,
        }
    }

    async fn heard(&mut self, event: Option<Event>) {
        match event {
            // The start itself tells when it began to run.
            Some(Event::Started { .. }) => {}
            Some(Event::Oom) => self.publish("oom", &[]),
            Some(Event::Exited(exit)) => self.exited(super::exit::Ended::from_exit(&exit)).await,
            Some(Event::ExecExited { exec, exit }) => self.exec_exited(&exec, i32::from(exit.code)),
            None => self.shim_died().await,
        }
    }

    /// The picture as it is now.
    pub(crate) fn view(&self) -> View {
        self.container.view.borrow().clone()
    }

    /// Changes the picture and tells the watchers.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        self.container.view.send_modify(change);
    }

    /// Publishes an event of this container.
    pub(crate) fn publish(&self, action: impl Into<String>, extra: &[(&str, String)]) {
        let attributes = attributes(&self.container.view.borrow(), extra);
        self.core.publish(&self.container.id, action, attributes);
    }

    /// Changes the record and writes it durably.
    pub(crate) async fn save(
        &self,
        change: impl FnOnce(&mut super::record::Record),
    ) -> Result<(), Error> {
        self.change(|view| change(Arc::make_mut(&mut view.record)));
        self.write_record().await
    }

    /// Writes the record as it is, with the present state.
    pub(crate) async fn write_record(&self) -> Result<(), Error> {
        let view = self.view();
        let mut record = (*view.record).clone();
        record.state = view.state;
        let disk = Arc::clone(&self.core.disk);
        let paths = self.container.paths.clone();
        shoal_base::blocking::run("write a container record", move || {
            super::record::write(disk.as_ref(), &paths, &record)
        })
        .await?
    }

    /// The live shim's client.
    pub(crate) fn client(&self) -> Option<Client> {
        self.run.as_ref().map(|run| run.client.clone())
    }

    /// Wraps an error of the shim.
    pub(crate) fn shim_error(&self) -> impl FnOnce(crate::shim_client::Error) -> Error + use<> {
        let container = self.container.id.clone();
        move |source| Error::Shim { container, source }
    }
}
