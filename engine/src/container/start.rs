//! Starting: network and runtime spec, shim, run. Undoes itself on failure.
//!
//! Nothing on this path is fsynced and no program but the shim is run. What a crash leaves is found by
//! [`super::restore`]: the run directory exists before the shim does.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::container::{ExitStatus, NetworkMode, Phase};
use shoal_shim_protocol::message::{FailureKind, Request, Streams};
use tokio_util::sync::CancellationToken;

use super::lifecycle::Verb;
use super::networks::donor;
use super::owner::{Owner, Run};
use super::restart_policy::Chain;
use super::session::PendingAttach;
use super::{Container, health, permit, shim};
use crate::error::{Error, Part};
use crate::networking::{Attached, NetworkSettings};
use crate::shim_client::{self, Client};
use crate::{attach_ahead, prepare};

/// Between a start and the writing of the record.
const SAVE_DELAY: Duration = Duration::from_secs(1);

/// Who wants the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// The user: the restart policy begins anew.
    User,
    /// The restart policy, or the daemon at its start.
    Policy,
}

/// Starts a container.
pub(crate) async fn start(container: &Arc<Container>) -> Result<(), Error> {
    container.ask(|owner| Box::pin(owner.start(Starter::User))).await?
}

/// What a successful launch made.
struct Launched {
    run: Run,
    pid: u32,
    started: Timestamp,
    network: Option<NetworkSettings>,
}

impl Owner {
    /// Starts the container, whoever wants it.
    pub(crate) async fn start(&mut self, starter: Starter) -> Result<(), Error> {
        permit(&self.container.view.borrow(), Verb::Start)?;
        self.restart_at = None;
        if starter == Starter::User {
            self.chain = Chain::default();
        }
        let pending = self.container.take_pending();
        match Box::pin(self.launch(pending)).await {
            Ok(launched) => {
                self.publish_networks("connect", &self.joined_networks()).await;
                self.started(launched, starter);
                Ok(())
            }
            Err(error) => {
                self.start_failed(&error, starter).await;
                Err(error)
            }
        }
    }

    async fn launch(&mut self, pending: Vec<PendingAttach>) -> Result<Launched, Error> {
        attach_ahead::expect(&self.core);
        self.take_hostname()?;
        let view = self.view();
        let name = view.name().to_owned();
        let paths = self.container.paths.clone();
        // A leftover directory would make the new shim's socket impossible to bind.
        shim::remove_run_directory(&paths.run)?;
        // The end of an earlier run must not be taken for that of this one.
        match std::fs::remove_file(paths.outcome()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", paths.outcome())(error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&paths.run).map_err(Error::file("create", &paths.run))?;
        let attached = match prepare::attach_request(&view)? {
            None => None,
            Some(request) => {
                let made = self.core.networking.attach(request).await;
                Some(made.map_err(|failure| Error::Networking {
                    container: name,
                    source: Part(failure),
                })?)
            }
        };
        let settings = attached.as_ref().map(|attached| &attached.settings);
        let prepared = prepare::prepare(&self.core, &self.container, &view, settings).await?;
        let (client, child) =
            shim::spawn(&self.core.config.shim, &paths, &prepared.shim, &prepared.spec)?;
        self.run_shim(client, child, attached, pending).await
    }

    /// Who shares a stack shares its name: that of a container which did not exist before is taken now.
    fn take_hostname(&mut self) -> Result<(), Error> {
        let view = self.view();
        let NetworkMode::Container(other) = &view.record.spec.host.network_mode else {
            return Ok(());
        };
        let donor = donor(&self.core, &view, other)?;
        if view.record.spec.hostname.is_empty() {
            let hostname = donor.record.spec.hostname.clone();
            self.change(|view| Arc::make_mut(&mut view.record).spec.hostname = hostname);
        }
        Ok(())
    }

    async fn run_shim(
        &self,
        client: Client,
        child: tokio::process::Child,
        attached: Option<Attached>,
        pending: Vec<PendingAttach>,
    ) -> Result<Launched, Error> {
        let network = match attached {
            None => None,
            Some(Attached { settings, descriptors }) => {
                let kept: Vec<_> =
                    descriptors.into_iter().map(|kept| (kept.name, kept.descriptor)).collect();
                client.put_descriptors(&kept).await.map_err(self.shim_error())?;
                Some(settings)
            }
        };
        // Before the program begins: a daemon that is killed now must leave a running container its network.
        if let Some(settings) = &network {
            self.remember_network(settings)?;
        }
        let (events, _) = client.subscribe().await.map_err(self.shim_error())?;
        let ran = if pending.is_empty() {
            client.run(&Request::Run).await
        } else {
            run_attached(&client, pending).await
        };
        let (pid, started_ns) = ran.map_err(|error| self.not_started(error))?;
        let run = Run { client, events, child: Some(child), ended: CancellationToken::new() };
        Ok(Launched { run, pid, started: Timestamp::from_nanos(started_ns), network })
    }

    /// Writes the network settings for the next daemon. Volatile, as the network itself.
    pub(crate) fn remember_network(&self, settings: &NetworkSettings) -> Result<(), Error> {
        let bytes = serde_json::to_vec(settings)
            .map_err(|source| Error::Encode { what: "network settings", source })?;
        let path = self.container.paths.network();
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(Error::file("write", path))
    }

    /// The shim's refusal to create or start, in docker's terms.
    fn not_started(&self, error: shim_client::Error) -> Error {
        match error.refusal() {
            Some(failure) if failure.kind == FailureKind::UnknownUser => {
                Error::UnknownUser { message: failure.message.clone() }
            }
            Some(failure) => Error::StartFailed {
                exit_code: i32::from(failure.kind.exit_code()),
                reason: failure.message.clone(),
            },
            None => self.shim_error()(error),
        }
    }

    fn started(&mut self, launched: Launched, starter: Starter) {
        let Launched { run, pid, started, network } = launched;
        let check = health::check(
            self.container.view.borrow().record.spec.healthcheck.as_ref(),
            self.container.view.borrow().record.spec.shell.as_deref(),
        );
        let ended = run.ended.clone();
        self.run = Some(run);
        let count = self.chain.restarts;
        let first = !self.container.view.borrow().record.started_before;
        let stopped_before = self.container.view.borrow().record.stopped_by_user;
        self.change(|view| {
            view.state.phase = Phase::Running;
            view.state.pid = i32::try_from(pid).unwrap_or(0);
            view.state.started = Some(started);
            view.state.error.clear();
            view.state.health = check.as_ref().map(|_| health::starting());
            view.network = network.map(Arc::new);
            let record = Arc::make_mut(&mut view.record);
            record.stopped_by_user = false;
            record.started_before = true;
            record.restart_count = count;
        });
        self.publish("start", &[]);
        if let Some(check) = check {
            super::probe::spawn(&self.core, &self.container, check, started, ended);
        }
        if first || stopped_before || starter == Starter::Policy {
            self.save_later();
        }
    }

    /// Writes the record a while after the answer was given: whether it ever ran matters only after a
    /// crash of the host, and a container that is removed at once never pays for the disk.
    fn save_later(&self) {
        let container = Arc::clone(&self.container);
        let pause = self.core.clock.sleep(SAVE_DELAY);
        self.core.tasks.spawn(shoal_base::tasks::TaskKind::Cleanup, async move {
            pause.await;
            let saved = container.ask(|owner| Box::pin(async { owner.write_record().await })).await;
            if let Ok(Err(error)) = saved {
                tracing::error!(container = %container.id, error = %shoal_model::error::Chain(&error),
                    "failed to write a record");
            }
        });
    }

    async fn start_failed(&mut self, error: &Error, starter: Starter) {
        let code = match error {
            Error::StartFailed { exit_code, .. } => *exit_code,
            _ => 128,
        };
        self.clean_up(None).await;
        let at = self.core.clock.now();
        let text = error.state_text();
        self.change(|view| {
            view.state.phase =
                if view.state.started.is_some() { Phase::Exited } else { Phase::Created };
            view.state.pid = 0;
            view.state.error.clone_from(&text);
            view.state.exit = Some(ExitStatus { code, oom_killed: false, at });
            view.state.health = None;
            view.network = None;
            view.failed_starts += 1;
        });
        self.publish("die", &[("exitCode", code.to_string()), ("execDuration", "0".to_owned())]);
        if starter == Starter::Policy && !self.container.view.borrow().record.stopped_by_user {
            self.decide_restart(super::exit::Ended::of_failed_start(code, at));
        }
        if self.restart_at.is_none() && self.container.view.borrow().record.spec.host.auto_remove {
            self.remove_automatically().await;
        } else {
            self.save_later();
        }
    }
}

/// Creates, connects the clients that wait, then releases: they miss no byte.
async fn run_attached(
    client: &Client,
    pending: Vec<PendingAttach>,
) -> Result<(u32, i64), shim_client::Error> {
    client.call(&Request::Create).await?;
    for PendingAttach { streams, connect } in pending {
        if connect.is_closed() {
            continue;
        }
        let (connection, _) = client.attach(&attach_request(streams)).await?;
        // A client that went away in this moment is simply closed.
        let _ = connect.send(connection);
    }
    client.run(&Request::Start).await
}

pub(crate) fn attach_request(streams: Streams) -> Request {
    Request::Attach { exec: None, streams }
}
