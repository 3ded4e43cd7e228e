//! What a new daemon does with what the old one left.
//!
//! 1. Removals that had begun are finished; directories without a record are half-made containers and go.
//! 2. Every record becomes a container. Where its run directory exists, the shim is asked: a live
//!    container is taken over as it is; one that ended meanwhile is reported with its code; a shim that is
//!    gone is cleaned up after.
//! 3. The network side takes over the live sandboxes and removes all others.
//! 4. Leftovers without a record (shims, layers) are removed; file systems of volumes that nobody needs are
//!    unmounted.
//! 5. Restart policies and automatic removal are applied, each by the container's own owner.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use shoal_model::container::{Phase, State};
use shoal_model::error::Chain as Causes;
use shoal_model::{ContainerId, Timestamp};
use shoal_shim_protocol::message::{self, Request};
use shoal_shim_protocol::state::Outcome;
use tokio_util::sync::CancellationToken;

use super::exit::{self, Ended};
use super::owner::Run;
use super::record::{self, Paths, Record};
use super::restart_policy::{self, Found};
use super::unfinished::{self, Unfinished, detach_shared_memory, remove_directory};
use super::view::View;
use super::{Container, Owner, health, shim};
use crate::core::Core;
use crate::error::Error;
use crate::mounts::own_filesystem;
use crate::networking::{KeptDescriptor, NetworkSettings, RestoreSandbox};
use crate::shim_client::{Client, Connection};
use crate::{exec, list, prepare};

/// Takes over everything.
pub(crate) async fn restore(core: &Arc<Core>) -> Result<(), Error> {
    let records = read_records(core).await?;
    let found = join_all(records.into_iter().map(|record| look(core, record))).await;
    let mut settings = restore_networks(core, &found).await?;
    let known: BTreeSet<ContainerId> = found.iter().map(|one| one.record.id.clone()).collect();
    remove_leftovers(core, &known).await;
    restore_volumes(core, &found).await?;
    for mut one in found {
        one.network = settings.remove(&one.record.id);
        adopt(core, one);
    }
    Ok(())
}

/// A container as it was found.
struct Left {
    record: Record,
    paths: Paths,
    life: Life,
    network: Option<NetworkSettings>,
}

enum Life {
    /// Its shim answers and the container lives.
    Live { client: Client, events: Connection, state: Box<message::State> },
    /// It ended while nobody watched.
    Ended { ended: Ended, client: Option<Client>, ran: Ran },
    /// It did not run when the old daemon ended.
    Idle,
}

/// Whether a run that is over had really begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Yes,
    /// The start itself failed.
    No,
}

/// Reads all records; finishes removals and removes half-made containers on the way.
async fn read_records(core: &Arc<Core>) -> Result<Vec<Record>, Error> {
    let directory = core.config.containers();
    let failed = |source| Error::file("list", &directory)(source);
    let (mut records, mut unfinished) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(removal) = Unfinished::removal(core.disk.as_ref(), &path, &name) {
            unfinished.push(removal);
            continue;
        }
        let Some(id) = ContainerId::parse(&name) else { continue };
        match record::read(core.disk.as_ref(), &path.join(record::FILE)) {
            Ok(Some(record)) if record.id == id => records.push(record),
            Ok(_) => unfinished.push(Unfinished::Creation { path, id }),
            // Left alone: a newer release, or the user, may know what to do with it.
            Err(error) => {
                tracing::error!(container = %id, error = %Causes(&error), "not taken over");
            }
        }
    }
    if unfinished.is_empty() {
        return Ok(records);
    }
    let volumes = Arc::clone(&core.volumes);
    let finish = move || {
        unfinished::finish(&volumes, &unfinished, &records);
        records
    };
    Ok(shoal_base::blocking::run("finish removals and creations", finish).await?)
}

/// Finds out what became of a container.
async fn look(core: &Arc<Core>, record: Record) -> Left {
    let paths = Paths::new(&core.config.containers(), &core.config.shims(), &record.id);
    let life = if paths.run.exists() {
        ask_shim(core, &paths).await
    } else {
        detach_shared_memory(&paths.shared_memory());
        after_host_restart(&record, &paths, core.clock.now())
    };
    Left { record, paths, life, network: None }
}

async fn ask_shim(core: &Arc<Core>, paths: &Paths) -> Life {
    let client = Client::new(paths.socket());
    let spawned = paths.socket().exists();
    let asked = async {
        client.handshake().await?;
        client.subscribe().await
    };
    let now = core.clock.now();
    match asked.await {
        Ok((events, state)) => match &state.phase {
            message::Phase::Running => Life::Live { client, events, state: Box::new(state) },
            message::Phase::Exited(exit) => {
                Life::Ended { ended: Ended::from_exit(exit), client: Some(client), ran: Ran::Yes }
            }
            message::Phase::Failed(failure) => {
                let mut ended = Ended::of_failed_start(i32::from(failure.kind.exit_code()), now);
                ended.error.clone_from(&failure.message);
                Life::Ended { ended, client: Some(client), ran: Ran::No }
            }
            // The daemon was killed in the middle of a start: that start never happened.
            message::Phase::New | message::Phase::Created => {
                if let Err(error) = client.command(&Request::Shutdown { kill: true }).await {
                    tracing::warn!(error = %Causes(&error), "a half-started shim stays");
                }
                remove_directory(&paths.run);
                detach_shared_memory(&paths.shared_memory());
                Life::Idle
            }
        },
        Err(error) => {
            tracing::warn!(run = %paths.run.display(), error = %Causes(&error), "a shim is gone");
            if let Err(error) = shim::clean_up_after_killed(core, &paths.run).await {
                tracing::error!(error = %Causes(&error), "failed to clean up after a shim");
            }
            match exit::read_outcome(&paths.outcome()) {
                Some(outcome) => ended_by(&outcome, now),
                // The daemon was killed before the shim existed: that start never happened.
                None if !spawned => Life::Idle,
                None => {
                    let ended = Ended::unknown(now, "the shim of the container was killed");
                    Life::Ended { ended, client: None, ran: Ran::Yes }
                }
            }
        }
    }
}

fn ended_by(outcome: &Outcome, now: Timestamp) -> Life {
    let ran = match outcome {
        Outcome::Exited(_) => Ran::Yes,
        Outcome::StartFailed(_) => Ran::No,
    };
    Life::Ended { ended: Ended::from_outcome(outcome, now), client: None, ran }
}

/// Without a run directory it was idle, unless the host went down under it: then its record says that it
/// ran, or an outcome tells of an end that the record does not know.
fn after_host_restart(record: &Record, paths: &Paths, now: Timestamp) -> Life {
    let known = record.state.exit.as_ref().map(|exit| exit.at);
    match exit::read_outcome(&paths.outcome()) {
        Some(outcome)
            if known.is_none_or(|known| Ended::from_outcome(&outcome, now).status.at > known) =>
        {
            ended_by(&outcome, now)
        }
        _ if record.state.phase.is_live() => {
            let ended = Ended::unknown(now, "the host went down");
            Life::Ended { ended, client: None, ran: Ran::Yes }
        }
        _ => Life::Idle,
    }
}

/// Hands the live sandboxes to the network side.
async fn restore_networks(
    core: &Arc<Core>,
    found: &[Left],
) -> Result<std::collections::BTreeMap<ContainerId, NetworkSettings>, Error> {
    let mut sandboxes = Vec::new();
    for one in found {
        let Life::Live { client, .. } = &one.life else { continue };
        if let Some(sandbox) = sandbox(one, client).await {
            sandboxes.push(sandbox);
        }
    }
    let mut remembered: std::collections::BTreeMap<ContainerId, NetworkSettings> = sandboxes
        .iter()
        .map(|sandbox| (sandbox.request.container.clone(), sandbox.settings.clone()))
        .collect();
    let restored = core
        .networking
        .restore(sandboxes)
        .await
        .map_err(Error::part("restore the networks of", "all containers"))?;
    for (id, result) in restored {
        match result {
            Ok(settings) => {
                remembered.insert(id, settings);
            }
            Err(failure) => {
                tracing::error!(container = %id, error = %failure, "its network is not restored");
            }
        }
    }
    Ok(remembered)
}

async fn sandbox(one: &Left, client: &Client) -> Option<RestoreSandbox> {
    let bytes = std::fs::read(one.paths.network()).ok()?;
    let settings: NetworkSettings = serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::error!(container = %one.record.id, %error, "network unknown"))
        .ok()?;
    let view = view_of(&one.record, one.record.state.clone());
    let request = prepare::attach_request(&view).ok()??;
    let kept = client
        .get_descriptors()
        .await
        .inspect_err(|error| tracing::error!(container = %one.record.id, %error, "no descriptors"))
        .unwrap_or_default();
    let descriptors =
        kept.into_iter().map(|(name, descriptor)| KeptDescriptor { name, descriptor }).collect();
    Some(RestoreSandbox { request, settings, descriptors })
}

fn view_of(record: &Record, state: State) -> View {
    View {
        record: Arc::new(record.clone()),
        state,
        network: None,
        exits: 0,
        failed_starts: 0,
        removed: false,
    }
}

/// Shims and layers of containers that do not exist.
async fn remove_leftovers(core: &Arc<Core>, known: &BTreeSet<ContainerId>) {
    for entry in std::fs::read_dir(core.config.shims()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if ContainerId::parse(&name).is_some_and(|id| known.contains(&id)) {
            continue;
        }
        let client = Client::new(path.join(shoal_shim_protocol::SOCKET_FILE));
        if shim::shut_down(&client).await.is_err() || path.exists() {
            let cleaned = shim::clean_up_after_killed(core, &path).await;
            if let Err(error) = cleaned {
                tracing::error!(error = %Causes(&error), "a leftover of a shim stays");
            }
        }
    }
    let layers = match core.images.containers().await {
        Ok(layers) => layers,
        Err(failure) => {
            tracing::error!(error = %failure, "layers without container are not removed");
            return;
        }
    };
    for id in layers.iter().filter(|id| !known.contains(id)) {
        if let Err(failure) = core.images.remove(id).await {
            tracing::error!(container = %id, error = %failure, "a leftover layer stays");
        }
    }
}

/// Tells the volumes who uses them, and which of their file systems living containers need; the others are
/// unmounted.
async fn restore_volumes(core: &Arc<Core>, found: &[Left]) -> Result<(), Error> {
    for Left { record, life, .. } in found {
        let names = record.mounts.iter().filter_map(list::volume_name).map(str::to_owned);
        core.volumes.restore(&record.id, names.collect::<Vec<_>>());
        if matches!(life, Life::Live { .. }) {
            let held = record.mounts.iter().filter_map(own_filesystem);
            held.for_each(|name| core.volumes.adopt(name, &record.id));
        }
    }
    let volumes = Arc::clone(&core.volumes);
    let settled =
        shoal_base::blocking::run("unmount leftover volumes", move || volumes.settle()).await?;
    if let Err(error) = settled {
        tracing::error!(error = %Causes(&error), "a volume stays mounted");
    }
    Ok(())
}

/// Gives a container its owner, in the state it was found in, and lets the owner do what is due.
fn adopt(core: &Arc<Core>, one: Left) {
    let Left { record, paths, life, network } = one;
    if let Err(error) = core.names.reserve(&record.name, &record.id) {
        tracing::error!(container = %record.id, %error, "two containers have one name");
    }
    let mut view = view_of(&record, idle_state(&record));
    if let Life::Live { state, .. } = &life {
        view.state = live_state(&record, state);
        view.network = network.map(Arc::new);
    }
    // The old daemon may have been killed before it wrote that the container began to run.
    if matches!(life, Life::Live { .. } | Life::Ended { ran: Ran::Yes, .. }) {
        Arc::make_mut(&mut view.record).started_before = true;
    }
    let (container, jobs) = Container::new(paths, view);
    if let Life::Live { state, .. } = &life {
        exec::restore(core, &container, &state.execs);
    }
    core.insert(Arc::clone(&container));
    let mut owner = Owner::new(Arc::clone(core), Arc::clone(&container));
    owner.chain.restarts = record.restart_count;
    let core = Arc::clone(core);
    core.tasks.clone().spawn(shoal_base::tasks::TaskKind::ContainerMonitor, async move {
        Box::pin(owner.begin_after_restore(life)).await;
        owner.serve(jobs).await;
    });
}

fn idle_state(record: &Record) -> State {
    let mut state = record.state.clone();
    state.pid = 0;
    state.health = None;
    if state.phase != Phase::Created {
        state.phase = Phase::Exited;
    }
    state
}

fn live_state(record: &Record, live: &message::State) -> State {
    let check = health::check(record.spec.healthcheck.as_ref(), record.spec.shell.as_deref());
    State {
        phase: if live.paused { Phase::Paused } else { Phase::Running },
        pid: live.pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0),
        started: live.started_at_ns.map(Timestamp::from_nanos),
        exit: record.state.exit.clone(),
        error: String::new(),
        health: check.map(|_| health::starting()),
    }
}

impl Owner {
    /// The first thing an owner does after a restart of the daemon.
    async fn begin_after_restore(&mut self, life: Life) {
        let unwatched = matches!(life, Life::Ended { .. });
        match life {
            Life::Live { client, events, .. } => {
                self.resume(client, events);
                return;
            }
            Life::Ended { ended, client, .. } => {
                // The restart decision below is the daemon's, not that of a plain exit.
                self.report_end(&ended);
                if let Some(client) = client
                    && let Err(error) = shim::shut_down(&client).await
                {
                    tracing::warn!(container = %self.container.id, error = %Causes(&error),
                        "failed to end a shim");
                }
                self.clean_up(None).await;
                self.publish_networks("disconnect", &self.joined_networks()).await;
            }
            Life::Idle => {}
        }
        let view = self.view();
        let found = Found {
            started_before: view.record.started_before,
            stopped_by_user: view.record.stopped_by_user,
            ended_unwatched: unwatched,
            code: view.state.exit.as_ref().map_or(0, |exit| exit.code),
            restarts: view.record.restart_count,
        };
        let host = &view.record.spec.host;
        if restart_policy::at_daemon_start(&host.restart_policy, found) {
            self.restart_by_policy().await;
        } else if host.auto_remove && (unwatched || view.record.started_before) {
            self.remove_automatically().await;
        } else if unwatched && let Err(error) = self.write_record().await {
            tracing::error!(container = %self.container.id, error = %Causes(&error),
                "failed to write a record");
        }
    }

    fn resume(&mut self, client: Client, events: Connection) {
        let ended = CancellationToken::new();
        let view = self.view();
        let spec = &view.record.spec;
        if let (Some(check), Some(started)) =
            (health::check(spec.healthcheck.as_ref(), spec.shell.as_deref()), view.state.started)
        {
            super::probe::spawn(&self.core, &self.container, check, started, ended.clone());
        }
        self.run = Some(Run { client, events, child: None, ended });
    }
}
