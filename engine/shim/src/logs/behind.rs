//! Records that never hold up the container (`mode=non-blocking`): a process of its own takes them from a pipe into its
//! memory, and writes them; when that is full the pipe fills, and what it has no room for is lost, and counted. Effects.
//!
//! Source: moby `daemon/logger/ring.go`; there the buffer is memory of the daemon.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};
use shoal_shim_protocol::local_log::{self, Record};
use shoal_shim_protocol::message::FailureKind;

use super::Sinks;
use crate::failure::{Context, Result};
use crate::stdio::set_nonblocking;
use crate::{files, sys};

/// Argument that makes this program the one that writes.
pub(crate) const ARGUMENT: &str = "--log";
/// After the container's end what is under way is waited for so long, and then left to the writer.
const LAST_RECORDS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Read at once.
const PIECE_BYTES: usize = 16 << 10;

/// The end that never waits.
#[derive(Debug)]
pub(crate) struct Behind {
    /// `None`: the container has ended.
    pipe: Option<OwnedFd>,
    /// What is left of a record that was written in part.
    rest: Vec<u8>,
    writer: OwnedFd,
}

impl Behind {
    /// Starts the writer of the container in `directory`.
    pub(crate) fn begin(directory: &Path) -> Result<Self> {
        let failed = || "start the writer of the log".to_owned();
        let (read, write) = pipe()?;
        #[allow(clippy::disallowed_methods, reason = "the shim does not depend on shoal-base")]
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args([ARGUMENT, "--dir"]).arg(directory);
        command.stdin(read).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().failing(FailureKind::LogDriver, failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // It is not reaped before this program's loop goes on, so the id is still its own.
        let writer = pid
            .ok_or(Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
            .failing(FailureKind::LogDriver, failed)?;
        Ok(Self { pipe: Some(write), rest: Vec::new(), writer })
    }

    /// Gives a record to the writer; `encoded` is scratch. Whether there was room.
    pub(crate) fn give(&mut self, record: &Record<'_>, encoded: &mut Vec<u8>) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        if offer(pipe, &mut self.rest) != Offered::Whole {
            return false;
        }
        encoded.clear();
        local_log::encode(record, encoded);
        match offer(pipe, encoded) {
            Offered::Whole => true,
            Offered::Part => {
                self.rest.append(encoded);
                true
            }
            Offered::Nothing => false,
        }
    }

    /// No record follows. Waits a while until all are written.
    pub(crate) fn finish(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        if !self.rest.is_empty() && rustix::io::ioctl_fionbio(&pipe, false).is_ok() {
            let _lost_if_the_writer_is = offer(&pipe, &mut self.rest);
        }
        drop(pipe);
        let mut ends = [PollFd::new(&self.writer, PollFlags::IN)];
        while rustix::event::poll(&mut ends, Some(&LAST_RECORDS)) == Err(Errno::INTR) {}
    }
}

/// A pipe whose end for writing never waits.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (read, write) = pipe.doing(|| "make a pipe".to_owned())?;
    set_nonblocking(&write)?;
    Ok((read, write))
}

/// What became of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Whole,
    /// The others are left.
    Part,
    /// There is no room, or no writer any more.
    Nothing,
}

/// Writes what there is room for, and removes it.
fn offer(pipe: impl AsFd, bytes: &mut Vec<u8>) -> Offered {
    let mut offered = Offered::Nothing;
    while !bytes.is_empty() {
        match rustix::io::write(&pipe, bytes) {
            Ok(count) => {
                bytes.drain(..count);
                offered = Offered::Part;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return offered,
            Err(_) => {
                bytes.clear();
                return Offered::Nothing;
            }
        }
    }
    Offered::Whole
}

/// The writer: takes records from standard input until there are no more.
pub(crate) fn run(directory: &Path) -> Result<()> {
    sys::ignore_signal(libc::SIGPIPE);
    let config = files::read_config(directory)?;
    let mut sinks = Sinks::open(&config.logs)?;
    let most = config.log_buffer.unwrap_or_default();
    let waiting = Waiting::new(usize::try_from(most).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        scope.spawn(|| waiting.fill(std::io::stdin().lock()));
        waiting.empty(|record| {
            let _lost = sinks.write(record);
        })
    })
    .doing(|| "read records".to_owned())
}

/// Records that were taken and are not written yet.
#[derive(Debug)]
struct Waiting {
    most: usize,
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Bytes that are being written.
    in_hand: usize,
    ended: bool,
}

impl Waiting {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), held: Mutex::default(), changed: Condvar::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&Held) -> bool) -> MutexGuard<'_, Held> {
        let held = self.changed.wait_while(self.held(), |held| condition(held));
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that comes, whenever there is room.
    fn fill(&self, mut from: impl Read) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            drop(self.wait_while(|held| held.bytes.len() + held.in_hand >= self.most));
            let count = match from.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.unwrap_or_default(), // an error of a pipe is its end
            };
            let mut held = self.held();
            held.bytes.extend_from_slice(&piece[..count]);
            held.ended |= count == 0;
            self.changed.notify_all();
            if held.ended {
                return;
            }
        }
    }

    /// Gives each record away, until the end.
    fn empty(&self, mut each: impl FnMut(&Record<'_>)) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let mut held = self.wait_while(|held| held.bytes.is_empty() && !held.ended);
            if held.bytes.is_empty() {
                return Ok(());
            }
            held.in_hand = held.bytes.len();
            bytes.append(&mut held.bytes);
            drop(held);
            let mut used = 0;
            while let Some((record, length)) =
                local_log::decode(&bytes[used..]).map_err(io::Error::other)?
            {
                each(&record);
                used += length;
            }
            bytes.drain(..used);
            // What is left is the beginning of a record, whose end must have room.
            self.held().in_hand = 0;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_shim_protocol::stdcopy::Stream;

    use super::*;

    fn behind() -> (Behind, OwnedFd) {
        let (read, write) = pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&write, 16_384).unwrap();
        let writer = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        (Behind { pipe: Some(write), rest: Vec::new(), writer: writer.unwrap() }, read)
    }

    #[test]
    fn what_has_no_room_is_lost_and_the_others_arrive_whole_and_in_order() {
        let (mut behind, read) = behind();
        let line = vec![b'x'; 6000];
        let mut scratch = Vec::new();
        let mut give = |behind: &mut Behind, time_ns| {
            let record = Record { time_ns, stream: Stream::Stdout, partial: false, line: &line };
            behind.give(&record, &mut scratch)
        };
        let given: Vec<i64> = (0..6).filter(|&time| give(&mut behind, time)).collect();
        assert_eq!(
            given,
            [0, 1, 2],
            "the third in part: it is longer than what a pipe takes whole"
        );
        assert!(!behind.rest.is_empty());
        let mut first = vec![0; 16_384];
        let count = rustix::io::read(&read, &mut first).unwrap();
        assert!(give(&mut behind, 6));
        behind.pipe = None;
        assert!(!give(&mut behind, 7), "it has ended");
        let waiting = Waiting::new(1);
        let mut times = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.fill(Read::chain(&first[..count], std::fs::File::from(read))));
            waiting.empty(|record| {
                assert_eq!(record.line, line);
                times.push(record.time_ns);
            })
        })
        .unwrap();
        assert_eq!(times, [0, 1, 2, 6]);
    }

    #[test]
    fn without_a_writer_everything_is_lost() {
        let (mut behind, read) = behind();
        drop(read);
        sys::ignore_signal(libc::SIGPIPE);
        let record = Record { time_ns: 1, stream: Stream::Stderr, partial: true, line: b"x" };
        assert!(!behind.give(&record, &mut Vec::new()));
        assert!(behind.rest.is_empty());
    }
}
