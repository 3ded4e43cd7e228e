//! Execs: additional processes in running containers.
//!
//! An exec's wish is also written to the shim's run directory when it starts, so that the next daemon
//! can show it; its process and exit are the shim's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::{ContainerId, ExecId};
use shoal_shim_protocol::config::{TerminalSize, UserLookup};
use shoal_shim_protocol::message::{self, ExecState, Request, Streams};
use shoal_shim_protocol::spec::{Capabilities, Process, Spec, User};
use tokio::sync::watch;

use crate::container::lifecycle::Verb;
use crate::container::session::Session;
use crate::container::{Container, Owner, attributes};
use crate::core::Core;
use crate::error::Error;
use crate::shim_client::Client;

/// An exec that ended is forgotten after this time, when others are created.
const KEPT_AFTER_END: Duration = Duration::from_secs(300);
/// Exit code while nobody knows a better one: the container went away with it.
const EXIT_KILLED: i32 = 137;

/// Where in its life an exec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Never started.
    Created,
    /// Somebody starts it.
    Starting,
    /// Its process runs.
    Running {
        /// On the host.
        pid: i32,
    },
    /// Its process ended, or could not be started.
    Ended {
        /// On the host; zero when it never ran.
        pid: i32,
        /// Exit code.
        code: i32,
        /// When, on the monotonic clock.
        at: Duration,
    },
}

/// One exec.
#[derive(Debug)]
pub struct Exec {
    /// Its id.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// The wish.
    pub spec: ExecSpec,
    phase: watch::Sender<Phase>,
}

impl Exec {
    fn new(id: ExecId, container: ContainerId, spec: ExecSpec, phase: Phase) -> Arc<Self> {
        Arc::new(Self { id, container, spec, phase: watch::Sender::new(phase) })
    }

    /// Where in its life it is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Everything about it.
    pub fn details(&self) -> ExecDetails {
        let (running, exit_code, pid) = match self.phase() {
            Phase::Created | Phase::Starting => (false, None, 0),
            Phase::Running { pid } => (true, None, pid),
            Phase::Ended { pid, code, .. } => (false, Some(code), pid),
        };
        ExecDetails {
            id: self.id.clone(),
            container: self.container.clone(),
            spec: self.spec.clone(),
            running,
            exit_code,
            pid,
            can_remove: false,
        }
    }

    /// Waits for its end.
    pub async fn ended(&self) -> i32 {
        let mut phase = self.phase.subscribe();
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended { .. })).await;
        match ended.as_deref() {
            Ok(Phase::Ended { code, .. }) => *code,
            _ => EXIT_KILLED,
        }
    }

    fn claim(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let free = *phase == Phase::Created;
            if free {
                *phase = Phase::Starting;
            }
            free
        })
    }

    fn runs(&self, process: i32) {
        // A quick one may have ended before its start was answered.
        self.phase.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting;
            if starting {
                *phase = Phase::Running { pid: process };
            } else if let Phase::Ended { pid, .. } = phase {
                *pid = process;
            }
            starting
        });
    }

    fn end(&self, code: i32, at: Duration) -> bool {
        self.phase.send_if_modified(|phase| {
            let pid = match *phase {
                Phase::Ended { .. } => return false,
                Phase::Running { pid } => pid,
                Phase::Created | Phase::Starting => 0,
            };
            *phase = Phase::Ended { pid, code, at };
            true
        })
    }

    /// The command as docker's events show it.
    fn command_line(&self) -> String {
        self.spec.command.join(" ")
    }
}

fn execs(core: &Core) -> std::sync::MutexGuard<'_, BTreeMap<ExecId, Arc<Exec>>> {
    core.execs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates an exec in a running container.
///
/// # Errors
/// When the container does not run, or the command is empty.
pub(crate) fn create(
    core: &Core,
    container: &Arc<Container>,
    spec: ExecSpec,
) -> Result<ExecId, Error> {
    if spec.command.is_empty() {
        return Err(Error::Invalid {
            field: "Cmd",
            reason: "no exec command specified".to_owned(),
        });
    }
    container.permit(Verb::Exec)?;
    Ok(register(core, container, spec).id.clone())
}

/// Makes an exec known and publishes it; forgets those that ended long ago.
pub(crate) fn register(core: &Core, container: &Container, spec: ExecSpec) -> Arc<Exec> {
    let id = ExecId::from_bytes(shoal_base::random::id32(core.random.as_ref()));
    let exec = Exec::new(id.clone(), container.id.clone(), spec, Phase::Created);
    let now = core.clock.monotonic();
    let mut all = execs(core);
    all.retain(|_, exec| match exec.phase() {
        Phase::Ended { at, .. } => now < at + KEPT_AFTER_END,
        Phase::Created | Phase::Starting | Phase::Running { .. } => true,
    });
    all.insert(id, Arc::clone(&exec));
    drop(all);
    publish(core, container, &exec, format!("exec_create: {}", exec.command_line()), &[]);
    exec
}

/// Finds an exec.
///
/// # Errors
/// When there is none.
pub(crate) fn find(core: &Core, id: &str) -> Result<Arc<Exec>, Error> {
    let missing = || Error::NoSuchExec { id: id.to_owned() };
    let parsed = ExecId::parse(id).ok_or_else(missing)?;
    execs(core).get(&parsed).cloned().ok_or_else(missing)
}

/// Ids of the execs of one container that run or were not started yet, in order.
pub(crate) fn of_container(core: &Core, container: &ContainerId) -> Vec<ExecId> {
    let live = |exec: &&Arc<Exec>| {
        exec.container == *container && !matches!(exec.phase(), Phase::Ended { .. })
    };
    execs(core).values().filter(live).map(|exec| exec.id.clone()).collect()
}

/// Forgets an exec.
pub(crate) fn forget(core: &Core, id: &ExecId) {
    execs(core).remove(id);
}

fn publish(
    core: &Core,
    container: &Container,
    exec: &Exec,
    action: String,
    extra: &[(&str, String)],
) {
    let mut attributes = attributes(&container.view.borrow(), extra);
    attributes.insert("execID".to_owned(), exec.id.to_string());
    core.publish(&container.id, action, attributes);
}

/// Starts an exec; a session unless `start.detach`.
///
/// # Errors
/// When it was started before, the container does not run, or the program cannot be started.
pub(crate) async fn start(
    core: &Core,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    start: ExecStart,
) -> Result<Option<Session>, Error> {
    container.permit(Verb::Exec)?;
    if !exec.claim() {
        return Err(Error::Conflict {
            container: container.view().name().to_owned(),
            reason: format!("exec `{}` was started already", exec.id),
        });
    }
    let streams = (!start.detach).then_some(Streams {
        stdin: exec.spec.attach_stdin,
        stdout: exec.spec.attach_stdout,
        stderr: exec.spec.attach_stderr,
    });
    match run(core, container, exec, start, streams).await {
        Ok(session) => Ok(session),
        Err(error) => {
            let code = match &error {
                Error::StartFailed { exit_code, .. } => *exit_code,
                _ => 126,
            };
            exec.end(code, core.clock.monotonic());
            Err(error)
        }
    }
}

async fn run(
    core: &Core,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    start: ExecStart,
    streams: Option<Streams>,
) -> Result<Option<Session>, Error> {
    let client = Client::new(container.paths.socket());
    let all = crate::prepare::all_capabilities(core);
    let request = request(container, exec, start, streams, all)?;
    remember(container, exec)?;
    publish(core, container, exec, format!("exec_start: {}", exec.command_line()), &[]);
    let (connection, pid) = client.exec(request).await.map_err(|error| match error.refusal() {
        Some(failure) if matches!(failure.kind.exit_code(), 126 | 127) => Error::StartFailed {
            exit_code: i32::from(failure.kind.exit_code()),
            reason: failure.message.clone(),
        },
        _ => Error::Shim { container: container.id.clone(), source: error },
    })?;
    exec.runs(i32::try_from(pid).unwrap_or(0));
    Ok(streams.map(|streams| {
        let ended = Arc::clone(exec);
        // Clients ask for the exit code as soon as the stream ends.
        Session::connected(&core.tasks, connection, streams, exec.spec.tty).ending_after(
            async move {
                ended.ended().await;
            },
        )
    }))
}

fn file_of(container: &Container, id: &str) -> PathBuf {
    container.paths.run.join("execs").join(format!("{id}.json"))
}

fn remember(container: &Container, exec: &Exec) -> Result<(), Error> {
    let path = file_of(container, exec.id.as_str());
    let bytes = serde_json::to_vec(&exec.spec)
        .map_err(|source| Error::Encode { what: "an exec", source })?;
    let directory = container.paths.run.join("execs");
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&path, bytes))
        .map_err(Error::file("write", path))
}

/// The request to the shim: the container's process with what the exec changes.
fn request(
    container: &Container,
    exec: &Exec,
    start: ExecStart,
    streams: Option<Streams>,
    all: Vec<String>,
) -> Result<message::Exec, Error> {
    let path = container.paths.run.join("config.json");
    let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
    let spec: Spec =
        serde_json::from_slice(&bytes).map_err(|source| Error::DamagedRecord { path, source })?;
    let config = &container.view.borrow().record.spec;
    let size = start.console_size.or(exec.spec.console_size);
    let user = if exec.spec.user.is_empty() { &config.user } else { &exec.spec.user };
    let lookup =
        UserLookup { user: user.clone(), additional_groups: config.host.group_add.clone() };
    Ok(message::Exec {
        id: exec.id.to_string(),
        process: process(spec.process, &exec.spec, size, all),
        user: Some(lookup),
        open_stdin: exec.spec.attach_stdin,
        attach: streams,
    })
}

/// Makes an exec's process from the container's. Pure.
fn process(
    base: Process,
    exec: &ExecSpec,
    size: Option<(u32, u32)>,
    all_capabilities: Vec<String>,
) -> Process {
    let mut process = base;
    process.terminal = exec.tty;
    process.console_size = size.filter(|_| exec.tty).map(|(height, width)| {
        let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        shoal_shim_protocol::spec::ConsoleSize { height: small(height), width: small(width) }
    });
    process.user = User::default();
    process.args.clone_from(&exec.command);
    if exec.tty && !process.env.iter().any(|variable| variable.starts_with("TERM=")) {
        process.env.push("TERM=xterm".to_owned());
    }
    // The shim finds the home of the exec's own user.
    process.env.retain(|variable| !variable.starts_with("HOME="));
    for variable in &exec.env {
        let name = variable.split('=').next().unwrap_or_default();
        process.env.retain(|other| other.split('=').next() != Some(name));
        if variable.contains('=') {
            process.env.push(variable.clone());
        }
    }
    if !exec.working_dir.is_empty() {
        process.cwd.clone_from(&exec.working_dir);
    }
    if exec.privileged {
        process.capabilities = Some(Capabilities {
            bounding: all_capabilities.clone(),
            effective: all_capabilities.clone(),
            permitted: all_capabilities,
            ..Capabilities::default()
        });
    }
    process
}

/// Changes the size of an exec's terminal.
///
/// # Errors
/// When it does not run.
pub(crate) async fn resize(
    container: &Container,
    exec: &Exec,
    size: TerminalSize,
) -> Result<(), Error> {
    if !matches!(exec.phase(), Phase::Running { .. } | Phase::Starting) {
        return Err(Error::Conflict {
            container: container.view().name().to_owned(),
            reason: format!("exec `{}` does not run", exec.id),
        });
    }
    let client = Client::new(container.paths.socket());
    let request = Request::Resize { exec: Some(exec.id.to_string()), size };
    client
        .command(&request)
        .await
        .map_err(|source| Error::Shim { container: container.id.clone(), source })
}

/// Kills an exec's process; one that is gone is fine.
pub(crate) async fn kill(container: &Container, exec: &Exec) {
    let request = Request::KillExec { exec: exec.id.to_string(), signal: 9 };
    if let Err(error) = Client::new(container.paths.socket()).command(&request).await {
        tracing::debug!(container = %container.id, exec = %exec.id, %error, "exec was gone");
    }
}

/// Takes over the execs that a previous daemon left in a shim.
pub(crate) fn restore(core: &Core, container: &Container, found: &[ExecState]) {
    for state in found {
        let Some(id) = ExecId::parse(&state.id) else { continue };
        let spec = std::fs::read(file_of(container, &state.id))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let pid = i32::try_from(state.pid).unwrap_or(0);
        let phase = match &state.exit {
            None => Phase::Running { pid },
            Some(exit) => {
                Phase::Ended { pid, code: i32::from(exit.code), at: core.clock.monotonic() }
            }
        };
        execs(core).insert(id.clone(), Exec::new(id, container.id.clone(), spec, phase));
    }
}

impl Owner {
    /// The shim says that an exec ended.
    pub(crate) fn exec_exited(&self, id: &str, code: i32) {
        // The shim need not remember what the engine knows now.
        let client = self.client();
        let delete = Request::ExecDelete { exec: id.to_owned() };
        let file = file_of(&self.container, id);
        self.core.tasks.spawn(shoal_base::tasks::TaskKind::Cleanup, async move {
            let Some(client) = client else { return };
            if let Err(error) = client.command(&delete).await {
                tracing::debug!(%error, "a shim keeps an exec");
            }
            // Absent when the daemon before this one could not write it.
            let _ = std::fs::remove_file(file);
        });
        let Ok(exec) = find(&self.core, id) else { return };
        if exec.end(code, self.core.clock.monotonic()) {
            let extra = [("exitCode", code.to_string())];
            publish(&self.core, &self.container, &exec, "exec_die".to_owned(), &extra);
        }
    }

    /// The container ended, and all its execs with it.
    pub(crate) fn exec_sessions_ended(&self) {
        let all: Vec<Arc<Exec>> = execs(&self.core)
            .values()
            .filter(|exec| exec.container == self.container.id)
            .cloned()
            .collect();
        for exec in all {
            let running = matches!(exec.phase(), Phase::Running { .. } | Phase::Starting);
            if running && exec.end(EXIT_KILLED, self.core.clock.monotonic()) {
                let extra = [("exitCode", EXIT_KILLED.to_string())];
                publish(&self.core, &self.container, &exec, "exec_die".to_owned(), &extra);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execs_process_differs_from_the_containers_only_where_asked() {
        let base = Process {
            args: vec!["sleep".to_owned(), "9".to_owned()],
            env: ["PATH=/bin", "HOME=/root", "A=1"].map(str::to_owned).to_vec(),
            cwd: "/w".to_owned(),
            no_new_privileges: true,
            ..Process::default()
        };
        let wish = ExecSpec {
            command: vec!["id".to_owned()],
            env: ["A=2", "PATH", "B=3"].map(str::to_owned).to_vec(),
            tty: true,
            ..ExecSpec::default()
        };
        let made = process(base.clone(), &wish, Some((24, 80)), Vec::new());
        assert_eq!(made.args, ["id"]);
        assert_eq!(made.env, ["TERM=xterm", "A=2", "B=3"]);
        assert_eq!((made.cwd.as_str(), made.terminal, made.no_new_privileges), ("/w", true, true));
        assert_eq!(made.console_size.map(|size| (size.height, size.width)), Some((24, 80)));
        let plain = ExecSpec { working_dir: "/x".to_owned(), tty: false, ..wish };
        let made = process(base, &plain, Some((24, 80)), Vec::new());
        assert_eq!((made.cwd.as_str(), made.console_size), ("/x", None));
    }

    #[test]
    fn a_quick_end_is_not_undone_by_the_late_answer() {
        let id = ExecId::from_bytes([1; 32]);
        let container = ContainerId::from_bytes([2; 32]);
        let exec = Exec::new(id, container, ExecSpec::default(), Phase::Created);
        assert!(exec.claim());
        assert!(!exec.claim());
        assert!(exec.end(7, Duration::ZERO));
        exec.runs(42);
        assert_eq!(exec.phase(), Phase::Ended { pid: 42, code: 7, at: Duration::ZERO });
        assert!(!exec.end(8, Duration::ZERO));
    }
}
