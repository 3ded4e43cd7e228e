//! The container of this shim: its phases and what is done in each. Effects.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use shoal_shim_protocol::STATE_FILE;
use shoal_shim_protocol::config::{CgroupDriver, ShimConfig};
use shoal_shim_protocol::message::{self, Event, ExecState, Failure, FailureKind, Phase, State};
use shoal_shim_protocol::spec::Spec;
use shoal_shim_protocol::state::{Exit, Outcome, STATE_FORMAT, StateFile};

use crate::cgroup::{Cgroups, Frozen};
use crate::failure::{Context, Result, failure};
use crate::foreign::Foreign;
use crate::logs::Logs;
use crate::own::{self, Blocked, Made};
use crate::stdio::Streams;
use crate::{files, reaper, sys};

/// A container and its execs.
#[derive(Debug)]
pub(crate) struct Container {
    directory: PathBuf,
    pub(crate) config: ShimConfig,
    pub(crate) phase: Phase,
    paused: bool,
    blocked: Option<Blocked>,
    pub(crate) init: Option<u32>,
    made: Made,
    started_at_ns: Option<i64>,
    cgroups: Option<Cgroups>,
    foreign: Option<Foreign>,
    pub(crate) oom_watch: Option<OwnedFd>,
    oom_kills: u64,
    pub(crate) streams: Option<Streams>,
    pub(crate) logs: Option<Logs>,
    pub(crate) execs: Vec<Execution>,
}

/// An exec.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pid: u32,
    pub(crate) streams: Option<Streams>,
    started_at_ns: i64,
    pub(crate) exit: Option<Exit>,
}

fn conflict(message: &str) -> Failure {
    failure(FailureKind::Conflict, message)
}

impl Container {
    pub(crate) fn new(directory: PathBuf, config: ShimConfig) -> Self {
        let foreign = Foreign::of(&config, &directory);
        Self {
            directory,
            config,
            phase: Phase::New,
            paused: false,
            blocked: None,
            init: None,
            made: Made::default(),
            started_at_ns: None,
            cgroups: None,
            foreign,
            oom_watch: None,
            oom_kills: 0,
            streams: None,
            logs: None,
            execs: Vec::new(),
        }
    }

    /// Makes the container, blocked.
    pub(crate) fn create(&mut self) -> Result<u32> {
        if self.phase != Phase::New {
            return Err(conflict("the container was made already"));
        }
        match self.try_create() {
            Ok(blocked) => {
                self.blocked = blocked;
                let pid = self.init.expect("a container that was made has a process");
                self.phase = Phase::Created;
                self.save_state()?;
                Ok(pid)
            }
            Err(failed) => Err(self.give_up(failed)),
        }
    }

    fn try_create(&mut self) -> Result<Option<Blocked>> {
        let systemd = self.config.cgroup_driver == CgroupDriver::Systemd;
        if systemd && self.foreign.is_none() {
            let message = "the systemd cgroup driver is not served by this runtime";
            return Err(failure(FailureKind::NotImplemented, message));
        }
        let spec: Spec = files::read_json(&self.config.bundle.join("config.json"))?;
        let own = self.foreign.is_none();
        if own && spec.linux.seccomp.is_some() && self.config.seccomp.is_none() {
            let message = "linux.seccomp is given, but no compiled filter";
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        let seccomp = self.seccomp()?;
        self.logs = Some(Logs::open(&self.config, &self.directory)?);
        let mount_point = self.directory.join(files::ROOTFS);
        std::fs::create_dir_all(&mount_point)
            .doing(|| format!("make `{}`", mount_point.display()))?;
        if let Some(path) = spec.linux.cgroups_path.as_ref().filter(|_| !systemd) {
            self.cgroups = Some(Cgroups::locate(path)?);
            self.save_state()?; // what is made next can be found after a kill
            let resources = spec.linux.resources.clone().unwrap_or_default();
            if let Some(cgroups) = self.cgroups.as_ref().filter(|_| own) {
                cgroups.make(&resources)?;
            }
        }
        if let Some(foreign) = &self.foreign {
            let (pid, streams) = foreign.create(&self.config, spec, &mount_point)?;
            self.init = Some(pid);
            self.streams = Some(streams);
            self.made = Made { own_pid_namespace: true, own_user_namespace: false };
            return Ok(None);
        }
        let init = &mut self.init;
        let (blocked, made) = own::create(
            &self.config,
            &spec,
            self.cgroups.as_ref(),
            &seccomp,
            &mount_point,
            &mut |pid| *init = Some(pid),
        )?;
        self.made = made;
        Ok(Some(blocked))
    }

    /// Undoes a failed birth.
    fn give_up(&mut self, failed: Failure) -> Failure {
        if let Some(pid) = self.init.take() {
            let _gone = sys::kill(pid, libc::SIGKILL);
            let _status = sys::wait_for(pid);
        }
        self.blocked = None;
        self.streams = None;
        if let Some(foreign) = &self.foreign {
            let _absent = foreign.delete();
        }
        if let Some(cgroups) = &self.cgroups {
            let _kept = cgroups.remove();
        }
        self.phase = Phase::Failed(failed.clone());
        let _unwritten = files::write_outcome(&self.config, Outcome::StartFailed(failed.clone()));
        failed
    }

    /// Releases the container.
    pub(crate) fn start(&mut self) -> Result<(u32, i64)> {
        if self.phase != Phase::Created {
            return Err(conflict("the container is not created"));
        }
        match self.release() {
            Ok(pid) => {
                let now = sys::now_ns();
                self.oom_watch = self.cgroups.as_ref().and_then(Cgroups::watch_oom);
                self.phase = Phase::Running;
                self.started_at_ns = Some(now);
                self.save_state()?;
                sys::trim_memory();
                Ok((pid, now))
            }
            Err(failed) => Err(self.give_up(failed)),
        }
    }

    fn release(&mut self) -> Result<u32> {
        let ended = || conflict("the container is not created");
        if let Some(foreign) = &self.foreign {
            foreign.start()?;
            return self.init.ok_or_else(ended);
        }
        let (pid, streams) = self.blocked.take().ok_or_else(ended)?.release()?;
        self.streams = Some(streams);
        Ok(pid)
    }

    fn seccomp(&self) -> Result<Vec<libc::sock_filter>> {
        let Some(program) = &self.config.seccomp else { return Ok(Vec::new()) };
        let bytes = std::fs::read(&program.path)
            .doing(|| format!("read seccomp filter `{}`", program.path.display()))?;
        parse_filter(&bytes).ok_or_else(|| {
            let message = format!("seccomp filter `{}` is malformed", program.path.display());
            failure(FailureKind::InvalidArgument, message)
        })
    }

    fn save_state(&self) -> Result<()> {
        let shim = files::process_id(std::process::id())
            .ok_or_else(|| failure(FailureKind::Internal, "`/proc` is not mounted"))?;
        let state = StateFile {
            format: STATE_FORMAT,
            container: self.config.container.clone(),
            shim,
            init: self.init.and_then(files::process_id),
            started_at_ns: self.started_at_ns,
            cgroups: self.cgroups.as_ref().map(Cgroups::directories).unwrap_or_default(),
        };
        files::write_json(&self.directory.join(STATE_FILE), &state)
    }

    /// Takes an ended child. Its outputs were read to the end already.
    pub(crate) fn ended(&mut self, pid: u32, status: i32, events: &mut Vec<Event>) {
        let (code, signal) = reaper::exit_code(status);
        let finished_at_ns = sys::now_ns();
        let exit = |started_at_ns, oom_killed| Exit {
            pid,
            code,
            signal,
            oom_killed,
            started_at_ns,
            finished_at_ns,
        };
        if self.init == Some(pid) {
            let oom_killed = self.cgroups.as_ref().is_some_and(|groups| groups.oom_kills() > 0);
            let exit = exit(self.started_at_ns.unwrap_or(0), oom_killed);
            // The kernel counts a kill before it sends the signal: what killed this one is counted.
            events.extend(self.new_oom_kills());
            self.oom_watch = None;
            self.exited(exit, events);
        } else if let Some(exec) = self.execs.iter_mut().find(|exec| exec.pid == pid) {
            let exit = exit(exec.started_at_ns, false);
            // Its outputs stay open for what it left in the background, until the exec is deleted.
            exec.exit = Some(exit.clone());
            events.push(Event::ExecExited { exec: exec.id.clone(), exit });
        }
    }

    /// The memory killer struck since the last call.
    pub(crate) fn take_oom(&mut self) -> Option<Event> {
        if let Some(watch) = &self.oom_watch {
            let _none = rustix::io::read(watch, &mut [0; 512]);
        }
        // Version 1 tells of the shortage, a moment before it counts the kill.
        for _ in 0..5 {
            if let Some(event) = self.new_oom_kills() {
                return Some(event);
            }
            if self.init.is_none() {
                break;
            }
            sys::sleep_ms(1);
        }
        self.new_oom_kills()
    }

    /// Kills that were counted since the last call.
    fn new_oom_kills(&mut self) -> Option<Event> {
        let kills = self.cgroups.as_ref().map_or(0, Cgroups::oom_kills);
        let struck = kills > self.oom_kills;
        self.oom_kills = self.oom_kills.max(kills);
        struck.then_some(Event::Oom)
    }

    fn exited(&mut self, exit: Exit, events: &mut Vec<Event>) {
        self.init = None;
        self.blocked = None;
        self.streams = None;
        self.paused = false;
        self.phase = Phase::Exited(exit.clone());
        // On a full disk the outcome stays in memory, and is served from there.
        let _unwritten = files::write_outcome(&self.config, Outcome::Exited(exit.clone()));
        events.push(Event::Exited(exit));
    }

    /// Kills what the init process left in a pid namespace that is not its own.
    pub(crate) fn kill_leftovers(&self) {
        if let Some(cgroups) = self.cgroups.as_ref().filter(|_| !self.made.own_pid_namespace) {
            cgroups.kill_all();
        }
    }

    /// After the exit was reported: removes the cgroups.
    pub(crate) fn remove_remains(&mut self) {
        if let Some(foreign) = &self.foreign {
            let _absent = foreign.delete();
        }
        if let Some(cgroups) = &self.cgroups {
            let _kept = cgroups.remove();
        }
    }

    /// Whether processes of the container live or may be released.
    pub(crate) fn is_alive(&self) -> bool {
        self.init.is_some()
    }

    fn running(&self) -> Result<u32> {
        match (&self.phase, self.init) {
            (Phase::Running, Some(pid)) => Ok(pid),
            _ => Err(conflict("the container is not running")),
        }
    }

    /// Runs a process in the container.
    pub(crate) fn exec(&mut self, request: &message::Exec) -> Result<u32> {
        let init = self.running()?;
        if self.paused {
            return Err(conflict("the container is paused"));
        }
        if self.execs.iter().any(|exec| exec.id == request.id) {
            return Err(conflict("an exec of this id exists"));
        }
        let (pid, streams) = match &self.foreign {
            Some(foreign) => foreign.exec(request, init)?,
            None => {
                let filter = self.seccomp()?;
                let flags = self.config.seccomp.as_ref().map_or(0, |program| program.flags);
                let seccomp = (filter.as_slice(), flags);
                own::exec(request, init, &self.made, self.cgroups.as_ref(), seccomp)?
            }
        };
        self.execs.push(Execution {
            id: request.id.clone(),
            pid,
            streams: Some(streams),
            started_at_ns: sys::now_ns(),
            exit: None,
        });
        Ok(pid)
    }

    pub(crate) fn find_exec(&self, id: &str) -> Result<&Execution> {
        let exec = self.execs.iter().find(|exec| exec.id == id);
        exec.ok_or_else(|| failure(FailureKind::NotFound, format!("no such exec: `{id}`")))
    }

    /// Forgets an ended exec.
    pub(crate) fn delete_exec(&mut self, id: &str) -> Result<()> {
        if self.find_exec(id)?.exit.is_none() {
            return Err(conflict("the exec is running"));
        }
        self.execs.retain(|exec| exec.id != id);
        Ok(())
    }

    /// Streams of the init process (`None`) or an exec.
    pub(crate) fn streams_mut(&mut self, exec: Option<&str>) -> Option<&mut Streams> {
        match exec {
            None => self.streams.as_mut().or_else(|| self.blocked.as_mut().map(|b| &mut b.streams)),
            Some(id) => self.execs.iter_mut().find(|exec| exec.id == id)?.streams.as_mut(),
        }
    }

    pub(crate) fn kill(&mut self, signal: i32, all: bool) -> Result<()> {
        let pid = self.init.ok_or_else(|| conflict("the container is not running"))?;
        let failed = || format!("send signal {signal}");
        if all {
            for pid in self.cgroups()?.pids() {
                match sys::kill(pid, signal) {
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    result => result.doing(failed)?,
                }
            }
        } else {
            sys::kill(pid, signal).doing(failed)?;
        }
        if self.paused && signal == libc::SIGKILL {
            self.freeze(Frozen::No)?; // the frozen do not die
        }
        Ok(())
    }

    pub(crate) fn kill_exec(&self, id: &str, signal: i32) -> Result<()> {
        let exec = self.find_exec(id)?;
        if exec.exit.is_some() {
            return Err(conflict("the exec has ended"));
        }
        sys::kill(exec.pid, signal).doing(|| format!("send signal {signal}"))
    }

    fn cgroups(&self) -> Result<&Cgroups> {
        self.cgroups.as_ref().ok_or_else(|| conflict("the container has no cgroup"))
    }

    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        Ok(self.cgroups()?.pids())
    }

    pub(crate) fn update(&self, resources: &shoal_shim_protocol::spec::Resources) -> Result<()> {
        if !self.is_alive() {
            return Err(conflict("the container is not running"));
        }
        match &self.foreign {
            Some(foreign) => foreign.update(resources),
            None => self.cgroups()?.apply(resources),
        }
    }

    /// Freezes or thaws all processes.
    pub(crate) fn freeze(&mut self, frozen: Frozen) -> Result<()> {
        self.running()?;
        if self.paused == (frozen == Frozen::Yes) {
            let word = if self.paused { "already" } else { "not" };
            return Err(conflict(&format!("the container is {word} paused")));
        }
        match (&self.foreign, frozen) {
            (Some(foreign), Frozen::Yes) => foreign.pause()?,
            (Some(foreign), Frozen::No) => foreign.resume()?,
            (None, _) => self.cgroups()?.freeze(frozen)?,
        }
        self.paused = frozen == Frozen::Yes;
        Ok(())
    }

    pub(crate) fn exec_state(exec: &Execution) -> ExecState {
        ExecState { id: exec.id.clone(), pid: exec.pid, exit: exec.exit.clone() }
    }

    pub(crate) fn state(&self) -> State {
        State {
            phase: self.phase.clone(),
            paused: self.paused,
            pid: self.init,
            started_at_ns: self.started_at_ns,
            cgroups: self.cgroups.as_ref().map(Cgroups::paths).unwrap_or_default(),
            execs: self.execs.iter().map(Self::exec_state).collect(),
            log_records_dropped: self.logs.as_ref().map_or(0, Logs::dropped),
        }
    }

    /// The run directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn parse_filter(bytes: &[u8]) -> Option<Vec<libc::sock_filter>> {
    let (instructions, rest) = bytes.as_chunks::<8>();
    let parse = |raw: &[u8; 8]| libc::sock_filter {
        code: u16::from_ne_bytes([raw[0], raw[1]]),
        jt: raw[2],
        jf: raw[3],
        k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
    };
    (rest.is_empty() && !instructions.is_empty()).then(|| instructions.iter().map(parse).collect())
}
