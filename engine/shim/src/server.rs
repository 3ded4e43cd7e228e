//! The loop of the shim: one thread, `poll(2)` over a handful of descriptors whose interest is made
//! anew from the state each time (so that there is no registration to keep in step). Effects.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::event::{PollFd, PollFlags};
use shoal_shim_protocol::local_log::Record;
use shoal_shim_protocol::message::Event;

use crate::client::{Client, Mode};
use crate::container::Container;
use crate::failure::{Context, Result};
use crate::logs::Logs;
use crate::stdio::{INPUT_BYTES_MAX, Read, Streams};
use crate::{files, sys};

/// Pieces of 16 KiB that the largest pipe an unprivileged process can make may still hold when its
/// process ends. A bound, because a process in the background may go on writing.
const PIPE_PIECES_MAX: usize = 64;
/// After the exit was reported the daemon usually shuts the shim down at once; the wait for the disk, which may
/// take many milliseconds, must not come before that, nor be put off for long.
const SYNC_DELAY_MS: i64 = 100;

/// The program's whole state.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    signals: OwnedFd,
    pub(crate) container: Container,
    pub(crate) clients: Vec<Client>,
    pub(crate) kept_fds: BTreeMap<String, OwnedFd>,
    pub(crate) done: bool,
    /// When the outcome is to be brought to the disk, on the monotonic clock in milliseconds. `None`: it is there.
    sync_due_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener,
    Signals,
    Oom,
    Output(Option<usize>),
    Input(Option<usize>),
    Client(usize),
}

impl Server {
    pub(crate) fn new(listener: UnixListener, container: Container) -> Result<Self> {
        listener.set_nonblocking(true).doing(|| "prepare the socket".to_owned())?;
        let signals = sys::signal_fd(&[libc::SIGCHLD]).doing(|| "listen to signals".to_owned())?;
        Ok(Self {
            listener,
            signals,
            container,
            clients: Vec::new(),
            kept_fds: BTreeMap::new(),
            done: false,
            sync_due_ms: None,
        })
    }

    /// Serves until shut down.
    pub(crate) fn run(mut self) -> Result<()> {
        while !self.done {
            let ready = self.wait()?;
            let idle = ready.is_empty();
            for token in ready {
                self.handle(token);
            }
            self.sweep();
            if self.sync_due_ms.is_some_and(|due| idle || sys::monotonic_ms() >= due) && !self.done
            {
                self.sync_outcome();
            }
        }
        for client in &mut self.clients {
            client.flush();
        }
        files::remove_run_directory(self.container.directory());
        self.clients.clear(); // nobody waits for the disk
        if self.sync_due_ms.is_some() {
            self.sync_outcome();
        }
        Ok(())
    }

    fn sync_outcome(&mut self) {
        files::sync(&self.container.config.outcome_file);
        self.sync_due_ms = None;
    }

    fn wait(&self) -> Result<Vec<Token>> {
        let mut tokens = vec![Token::Listener, Token::Signals];
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        if let Some(watch) = &self.container.oom_watch {
            tokens.push(Token::Oom);
            fds.push(PollFd::new(watch, PollFlags::IN));
        }
        let execs = self.container.execs.iter().enumerate();
        let execs =
            execs.map(|(place, exec)| (Some(place), Some(exec.id.as_str()), exec.streams.as_ref()));
        let init = std::iter::once((None, None, self.container.streams.as_ref()));
        for (place, id, streams) in init.chain(execs) {
            let Some(streams) = streams else { continue };
            let blocked = self.clients.iter().any(|client| {
                client.is_full()
                    && matches!(&client.mode, Mode::Attached { exec, .. } if exec.as_deref() == id)
            });
            for output in streams.outputs.iter().filter(|_| !blocked) {
                tokens.push(Token::Output(place));
                fds.push(PollFd::new(&output.fd, PollFlags::IN));
            }
            if let Some(stdin) = streams.stdin.as_ref().filter(|_| !streams.pending.is_empty()) {
                tokens.push(Token::Input(place));
                fds.push(PollFd::new(stdin, PollFlags::OUT));
            }
        }
        for (place, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if client.has_output() {
                flags |= PollFlags::OUT;
            }
            if self.wants_input(client) {
                flags |= PollFlags::IN;
            }
            tokens.push(Token::Client(place));
            fds.push(PollFd::from_borrowed_fd(client.socket().as_fd(), flags));
        }
        let stalled = self.clients.iter().any(Client::is_full).then_some(1000);
        let sync = self.sync_due_ms.map(|_| SYNC_DELAY_MS);
        let timeout = stalled
            .into_iter()
            .chain(sync)
            .min()
            .map(|ms| rustix::time::Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            result => result.doing(|| "wait for something to do".to_owned())?,
        };
        let ready = tokens.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let mut ready: Vec<_> = ready.map(|(token, _)| token).collect();
        ready.dedup();
        Ok(ready)
    }

    fn wants_input(&self, client: &Client) -> bool {
        match &client.mode {
            Mode::Requests => !client.closing && !client.is_full(),
            Mode::Subscribed => true,
            Mode::Attached { exec, streams, input_open, .. } => {
                let process = match exec {
                    None => self.container.streams.as_ref(),
                    Some(id) => {
                        let found = self.container.execs.iter().find(|exec| exec.id == *id);
                        found.and_then(|exec| exec.streams.as_ref())
                    }
                };
                // Before the start, input waits in the socket.
                let room = process.is_some_and(|streams| streams.pending.len() < INPUT_BYTES_MAX);
                *input_open && (!streams.stdin || room)
            }
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Listener => {
                while let Ok((socket, _)) = self.listener.accept() {
                    self.clients.extend(Client::new(socket).ok());
                }
            }
            Token::Signals => self.reap(),
            Token::Oom => {
                if let Some(event) = self.container.take_oom() {
                    self.publish(&event);
                }
            }
            Token::Output(place) => self.pump(place, 4),
            Token::Input(place) => {
                if let Some(streams) = self.streams_at(place) {
                    streams.flush_input();
                }
            }
            Token::Client(place) => self.handle_client(place),
        }
    }

    fn streams_at(&mut self, place: Option<usize>) -> Option<&mut Streams> {
        match place {
            None => self.container.streams.as_mut(),
            Some(place) => self.container.execs.get_mut(place)?.streams.as_mut(),
        }
    }

    /// Moves output to logs and clients, at most `rounds` pieces of each stream.
    fn pump(&mut self, place: Option<usize>, rounds: usize) {
        let Self { container, clients, .. } = self;
        let (id, streams, mut logs) = match place {
            None => (None, container.streams.as_mut(), container.logs.as_mut()),
            Some(place) => match container.execs.get_mut(place) {
                Some(exec) => (Some(exec.id.clone()), exec.streams.as_mut(), None),
                None => return,
            },
        };
        let Some(streams) = streams else { return };
        let mut buffer = [0; 16 << 10];
        streams.outputs.retain_mut(|output| {
            for _ in 0..rounds {
                let count = match output.read(&mut buffer) {
                    Read::Bytes(count) => count,
                    Read::Later => return true,
                    Read::End => {
                        finish(output, logs.as_deref_mut());
                        return false;
                    }
                };
                let bytes = &buffer[..count];
                if let Some(logs) = logs.as_deref_mut() {
                    let (time_ns, stream) = (sys::now_ns(), output.stream);
                    output.lines.push(bytes, |line, partial| {
                        logs.write(&Record { time_ns, stream, partial, line });
                    });
                }
                for client in clients.iter_mut() {
                    client.output(id.as_deref(), output.stream, bytes);
                }
            }
            true
        });
    }

    /// Takes every ended child; reports the exit before the clean-up.
    pub(crate) fn reap(&mut self) {
        let mut event = [0; 128];
        while rustix::io::read(&self.signals, &mut event).is_ok_and(|count| count > 0) {}
        while let Some((pid, status)) = sys::reap() {
            let is_init = self.container.init == Some(pid);
            let states = self.container.execs.iter().map(Container::exec_state);
            let place = states.enumerate().find(|(_, exec)| exec.pid == pid && exec.exit.is_none());
            let place = place.map(|(place, _)| place);
            if !is_init && place.is_none() {
                continue; // an orphan of the container, or a helper
            }
            if is_init {
                self.container.kill_leftovers();
            }
            self.pump(place, PIPE_PIECES_MAX);
            if is_init {
                self.finish_logs();
            }
            let mut events = Vec::new();
            self.container.ended(pid, status, &mut events);
            for event in &events {
                self.publish(event);
            }
            let id =
                place.and_then(|place| self.container.execs.get(place)).map(|exec| exec.id.clone());
            self.close_streams(id.as_deref());
            if is_init {
                self.container.remove_remains();
                self.sync_due_ms = Some(sys::monotonic_ms() + SYNC_DELAY_MS);
            }
        }
    }

    fn finish_logs(&mut self) {
        let Container { streams, logs, .. } = &mut self.container;
        for output in streams.iter_mut().flat_map(|streams| &mut streams.outputs) {
            finish(output, logs.as_mut());
        }
        if let Some(logs) = logs {
            logs.finish();
        }
    }

    /// Tells the subscribers.
    pub(crate) fn publish(&mut self, event: &Event) {
        for client in &mut self.clients {
            client.notify(event);
        }
    }

    /// Ends the streams attached to a process, once everything queued is sent.
    pub(crate) fn close_streams(&mut self, ended: Option<&str>) {
        for client in &mut self.clients {
            if matches!(&client.mode, Mode::Attached { exec, .. } if exec.as_deref() == ended) {
                client.closing = true;
            }
        }
    }

    fn handle_client(&mut self, place: usize) {
        let Some(client) = self.clients.get_mut(place) else { return };
        client.flush();
        match &client.mode {
            Mode::Requests => {
                client.receive();
                self.serve_requests(place);
            }
            Mode::Subscribed => {
                let mut ignored = [0; 64];
                if client.read_stream(&mut ignored).is_none() {
                    client.gone = true;
                }
            }
            Mode::Attached { input_open: false, .. } => {
                // Nothing but the end can have woken us, besides room for output.
                client.gone |= is_hung_up(client);
            }
            Mode::Attached { .. } => self.read_input(place),
        }
    }

    fn read_input(&mut self, place: usize) {
        let wanted = self.clients.get(place).is_some_and(|client| self.wants_input(client));
        let Some(client) = self.clients.get_mut(place) else { return };
        if !wanted {
            client.gone |= is_hung_up(client);
            return;
        }
        let mut buffer = [0; 16 << 10];
        let count = client.read_stream(&mut buffer);
        let Mode::Attached { exec, streams, input_open, .. } = &mut client.mode else { return };
        *input_open = count.is_some();
        if !streams.stdin {
            return;
        }
        let exec = exec.clone();
        self.input(exec.as_deref(), count.map(|count| &buffer[..count]));
    }

    /// Gives input to a process; `None`: a client sends no more.
    pub(crate) fn input(&mut self, exec: Option<&str>, bytes: Option<&[u8]>) {
        let once = exec.is_some() || self.container.config.stdio.stdin_once;
        let Some(streams) = self.container.streams_mut(exec) else { return };
        match bytes {
            Some(bytes) => {
                streams.pending.extend_from_slice(bytes);
                streams.flush_input();
            }
            None if once && !streams.tty => streams.close_input(),
            None => {}
        }
    }

    /// Drops connections that are over.
    fn sweep(&mut self) {
        let mut place = 0;
        while let Some(client) = self.clients.get_mut(place) {
            let over =
                client.gone || (client.closing && !client.has_output()) || client.is_stalled();
            if !over {
                place += 1;
                continue;
            }
            let client = self.clients.swap_remove(place);
            if let Mode::Attached { exec, streams, input_open: true, .. } = &client.mode
                && streams.stdin
            {
                self.input(exec.as_deref(), None);
            }
        }
    }
}

fn is_hung_up(client: &Client) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(client.socket().as_fd(), PollFlags::empty())];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok()
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

fn finish(output: &mut crate::stdio::Output, logs: Option<&mut Logs>) {
    let Some(logs) = logs else { return };
    let (time_ns, stream) = (sys::now_ns(), output.stream);
    output.lines.finish(|line, partial| {
        logs.write(&Record { time_ns, stream, partial, line });
    });
}
