//! Following a log: inotify wakes, the file is read to its end, rotation moves on to the next file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use futures_util::future::BoxFuture;
use rustix::fs::inotify;
use shoal_model::container::WaitOutcome;
use tokio::io::unix::AsyncFd;

use super::format::Decoder;
use super::history::{Position, start_of_records};
use super::{Flow, Place, Sink};
use crate::error::Error;

/// Bytes read at once.
const BLOCK: usize = 32 << 10;

/// A watch on the directory of a log.
#[derive(Debug)]
pub(crate) struct Follower {
    place: Place,
    watch: AsyncFd<OwnedFd>,
}

impl Follower {
    /// Begins to watch.
    pub(crate) fn new(place: &Place) -> Result<Self, Error> {
        let failed = || Error::file("watch", &place.path);
        let directory = place.path.parent().unwrap_or(&place.path);
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| failed()(errno.into()))?;
        // A watch on the directory also tells of changes to the files in it.
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, directory, events).map_err(|errno| failed()(errno.into()))?;
        #[expect(deprecated, reason = "`register` is unsafe; an `OwnedFd` upholds what it demands")]
        let watch = AsyncFd::new(watch).map_err(failed())?;
        Ok(Self { place: place.clone(), watch })
    }

    /// Delivers what comes until the container ended or the reader has enough.
    pub(crate) async fn run(
        self,
        mut position: Position,
        mut ended: BoxFuture<'static, WaitOutcome>,
        sink: &Sink,
    ) -> Result<(), Error> {
        let mut last_round = false;
        loop {
            if self.catch_up(&mut position, sink).await? == Flow::Stop || last_round {
                return Ok(());
            }
            tokio::select! {
                biased;
                _ = &mut ended => last_round = true,
                changed = self.changed() => changed?,
            }
        }
    }

    async fn changed(&self) -> Result<(), Error> {
        let failed = || Error::file("watch", &self.place.path);
        let mut guard = self.watch.readable().await.map_err(failed())?;
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.watch.get_ref(), &mut space);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    guard.clear_ready();
                    return Ok(());
                }
                Err(errno) => return Err(failed()(errno.into())),
            }
        }
    }

    /// Reads the present file to its end, and those that took its place meanwhile.
    async fn catch_up(&self, position: &mut Position, sink: &Sink) -> Result<Flow, Error> {
        loop {
            let current = self.current()?;
            let followed = position.file.as_ref().map(inode).transpose();
            let followed = followed.map_err(Error::file("read", &self.place.path))?;
            // Read after looking at the name: what was rotated away is complete by now.
            if self.read_on(position, sink).await? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            let Some((file, number)) = current else { return Ok(Flow::Continue) };
            if followed == Some(number) {
                return Ok(Flow::Continue);
            }
            *position = self.begin(file)?;
        }
    }

    fn current(&self) -> Result<Option<(File, u64)>, Error> {
        let path = &self.place.path;
        match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("open", path)(error)),
            Ok(file) => {
                let number = inode(&file).map_err(Error::file("read", path))?;
                Ok(Some((file, number)))
            }
        }
    }

    fn begin(&self, mut file: File) -> Result<Position, Error> {
        let start = SeekFrom::Start(start_of_records(self.place.format));
        file.seek(start).map_err(Error::file("read", &self.place.path))?;
        Ok(Position { file: Some(file), decoder: Decoder::new(self.place.format) })
    }

    async fn read_on(&self, position: &mut Position, sink: &Sink) -> Result<Flow, Error> {
        let Some(file) = &mut position.file else { return Ok(Flow::Continue) };
        let mut buffer = vec![0; BLOCK];
        loop {
            // Pages just written: the read does not wait for a disk.
            let count = file.read(&mut buffer).map_err(Error::file("read", &self.place.path))?;
            if count == 0 {
                return Ok(Flow::Continue);
            }
            position.decoder.push(&buffer[..count]);
            loop {
                match position.decoder.next_record() {
                    Ok(Some(record)) => {
                        if sink.put(record).await == Flow::Stop {
                            return Ok(Flow::Stop);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(path = %self.place.path.display(), %error, "skipped");
                        if position.decoder.format() == super::Format::Local {
                            return Ok(Flow::Stop);
                        }
                    }
                }
            }
        }
    }
}

fn inode(file: &File) -> std::io::Result<u64> {
    file.metadata().map(|metadata| metadata.ino())
}
