//! Requests → answers. Effects.

use std::os::fd::OwnedFd;

use shoal_shim_protocol::message::{self, Event, Failure, FailureKind, Phase, Request, Response};
use shoal_shim_protocol::negotiate;

use crate::cgroup::Frozen;
use crate::client::Mode;
use crate::container::Container;
use crate::failure::{Context, Result, failure};
use crate::server::Server;
use crate::sys;

impl Server {
    /// Answers every whole request of a client.
    pub(crate) fn serve_requests(&mut self, place: usize) {
        while let Some(request) =
            self.clients.get_mut(place).and_then(|client| client.next_request())
        {
            let mut fds = Vec::new();
            let answer = match request {
                Ok(request) => self.serve(place, request, &mut fds),
                Err(error) => {
                    let message = format!(
                        "{error}: {}",
                        std::error::Error::source(&error)
                            .map(ToString::to_string)
                            .unwrap_or_default()
                    );
                    Err(failure(FailureKind::InvalidArgument, message))
                }
            };
            let (response, mode) = match answer {
                Ok(answer) => answer,
                Err(failed) => (Response::Failed(failed), Mode::Requests),
            };
            let Some(client) = self.clients.get_mut(place) else { return };
            client.respond(&response, fds);
            if mode == Mode::Requests {
                continue;
            }
            let rest = client.take_rest();
            let input = match &mode {
                Mode::Attached { exec, streams, .. } if streams.stdin => Some(exec.clone()),
                _ => None,
            };
            client.mode = mode;
            if let Some(exec) = input.filter(|_| !rest.is_empty()) {
                self.input(exec.as_deref(), Some(&rest));
            }
        }
    }

    fn serve(
        &mut self,
        place: usize,
        request: Request,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(Response, Mode)> {
        let container = &mut self.container;
        let response = match request {
            Request::Hello { versions } => {
                let version = negotiate(&versions).ok_or_else(|| {
                    failure(FailureKind::NotImplemented, "no common version of the protocol")
                })?;
                let release = env!("CARGO_PKG_VERSION").to_owned();
                Response::Hello { version, release }
            }
            Request::Create => self
                .or_close(|server| server.container.create())
                .map(|pid| Response::Created { pid })?,
            Request::Start => self.start()?,
            Request::Run => {
                self.or_close(|server| server.container.create())?;
                self.start()?
            }
            Request::State => Response::State(Box::new(container.state())),
            Request::Pids => Response::Pids { pids: container.pids()? },
            Request::Kill { signal, all } => done(container.kill(signal, all))?,
            Request::KillExec { exec, signal } => done(container.kill_exec(&exec, signal))?,
            Request::Pause => done(container.freeze(Frozen::Yes))?,
            Request::Resume => done(container.freeze(Frozen::No))?,
            Request::Update { resources } => done(container.update(&resources))?,
            Request::Resize { exec, size } => {
                let streams = container.streams_mut(exec.as_deref()).ok_or_else(not_running)?;
                done(streams.resize(size))?
            }
            Request::CloseStdin { exec } => {
                container.streams_mut(exec.as_deref()).ok_or_else(not_running)?.close_input();
                Response::Done
            }
            Request::Attach { exec, streams } => return self.attach(exec, streams),
            Request::Exec(exec) => return self.exec(&exec),
            Request::ExecState { exec } => {
                Response::ExecState(Container::exec_state(container.find_exec(&exec)?))
            }
            Request::ExecDelete { exec } => done(container.delete_exec(&exec))?,
            Request::Subscribe => {
                return Ok((Response::Subscribed(Box::new(container.state())), Mode::Subscribed));
            }
            Request::PutFds { names } => self.put_fds(place, names)?,
            Request::GetFds { names } => self.get_fds(&names, fds)?,
            Request::DropFds { names } => {
                self.kept_fds.retain(|name, _| !names.is_empty() && !names.contains(name));
                Response::Done
            }
            Request::Shutdown { kill } => self.shut_down(kill)?,
        };
        Ok((response, Mode::Requests))
    }

    /// A container that cannot be made ends the streams that were attached ahead.
    fn or_close<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = act(self);
        if matches!(self.container.phase, Phase::Failed(_)) {
            self.close_streams(None);
        }
        result
    }

    fn start(&mut self) -> Result<Response> {
        let (pid, started_at_ns) = self.or_close(|server| server.container.start())?;
        self.publish(&Event::Started { pid, started_at_ns });
        Ok(Response::Started { pid, started_at_ns })
    }

    fn attach(
        &mut self,
        exec: Option<String>,
        streams: message::Streams,
    ) -> Result<(Response, Mode)> {
        let tty = match &exec {
            None if matches!(self.container.phase, Phase::Exited(_) | Phase::Failed(_)) => {
                return Err(not_running());
            }
            None => self.container.config.stdio.tty,
            Some(id) => {
                if self.container.find_exec(id)?.exit.is_some() {
                    return Err(not_running());
                }
                self.container.streams_mut(Some(id)).ok_or_else(not_running)?.tty
            }
        };
        Ok((Response::Attached { tty }, Mode::Attached { exec, streams, tty, input_open: true }))
    }

    fn exec(&mut self, request: &message::Exec) -> Result<(Response, Mode)> {
        let pid = self.container.exec(request)?;
        let tty = request.process.terminal;
        let mode = match request.attach {
            None => Mode::Requests,
            Some(streams) => {
                let exec = Some(request.id.clone());
                Mode::Attached { exec, streams, tty, input_open: true }
            }
        };
        Ok((Response::ExecStarted { pid, tty }, mode))
    }

    fn put_fds(&mut self, place: usize, names: Vec<String>) -> Result<Response> {
        let received = self.clients.get_mut(place).map(|client| std::mem::take(&mut client.fds));
        let received = received.unwrap_or_default();
        if received.len() != names.len() {
            let message =
                format!("{} names came with {} file descriptors", names.len(), received.len());
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        self.kept_fds.extend(names.into_iter().zip(received));
        Ok(Response::Done)
    }

    fn get_fds(&self, names: &[String], fds: &mut Vec<OwnedFd>) -> Result<Response> {
        let mut found = Vec::new();
        for (name, fd) in &self.kept_fds {
            if names.is_empty() || names.contains(name) {
                fds.push(fd.try_clone().doing(|| format!("copy descriptor `{name}`"))?);
                found.push(name.clone());
            }
        }
        if fds.len() > shoal_shim_protocol::client::FDS_MAX {
            fds.clear();
            let message = "more descriptors than one answer can carry: ask for them by name";
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        Ok(Response::Fds { names: found })
    }

    fn shut_down(&mut self, kill: bool) -> Result<Response> {
        if self.container.is_alive() {
            if !kill {
                return Err(failure(FailureKind::Conflict, "the container is running"));
            }
            self.container.kill(libc::SIGKILL, false)?;
            while self.container.is_alive() {
                self.reap();
                sys::sleep_ms(1);
            }
        }
        // Ports and sockets are free for a next run as soon as the daemon reads the answer.
        self.kept_fds.clear();
        self.done = true;
        Ok(Response::Done)
    }
}

fn done(result: Result<()>) -> Result<Response> {
    result.map(|()| Response::Done)
}

fn not_running() -> Failure {
    failure(FailureKind::Conflict, "the process is not running")
}
