//! Files in and out of containers: stat, archive, unarchive, export.
//!
//! A live container is entered through its init process's root, so that volumes and tmpfs are seen; one
//! that does not run through a view of its layers, with its volumes mounted where only this job sees them.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use shoal_base::tasks::TaskKind;
use shoal_model::container::{ArchivePutOptions, PathStat};
use shoal_model::{ContainerId, ErrorKind, Failure};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::archive::{self, ImportOptions, Overwrite, Owner, RootAccess};
use crate::assembled;
use crate::beneath;
use crate::container::{self, Container};
use crate::core::Core;
use crate::error::Error;
use crate::image_source::RootView;
use crate::mounts::{Resolved, own_filesystem};
use crate::volumes::Local;

/// Bytes of an archive.
pub type ByteStream = BoxStream<'static, Result<Bytes, Failure>>;

/// Chunks that wait for a slow client or disk.
const QUEUE: usize = 8;
/// Largest chunk.
const CHUNK: usize = 64 << 10;

/// What is done with a root.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// A container's files.
struct Files {
    root: Box<RootView>,
    /// What is still to be mounted into them, and where nobody minds.
    mounts: Vec<Resolved>,
    scratch: PathBuf,
    volumes: Arc<Local>,
    /// Who holds the volumes' own file systems meanwhile. A start of the container holds them in its own name.
    holder: ContainerId,
}

impl Files {
    /// Runs `job` on the root. Blocks.
    fn with<T, E>(
        self,
        job: impl FnOnce(BorrowedFd<'_>) -> Result<T, E> + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
        E: Into<Failure> + Send,
    {
        if self.mounts.is_empty() {
            return job(self.root.as_fd()).map_err(Into::into);
        }
        let made = self.with_mounts(job);
        if let Err(error) = self.volumes.let_go(&self.holder) {
            tracing::warn!(error = %shoal_model::error::Chain(&error), "a volume stays mounted");
        }
        made
    }

    fn with_mounts<T, E>(
        &self,
        job: impl FnOnce(BorrowedFd<'_>) -> Result<T, E> + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
        E: Into<Failure> + Send,
    {
        for name in self.mounts.iter().filter_map(own_filesystem) {
            self.volumes.hold(name, &self.holder)?;
        }
        let done = assembled::with_mounts(self.root.as_ref(), &self.mounts, &self.scratch, job);
        done.map_err(Error::file("mount what is in", &self.scratch))?.map_err(Into::into)
    }
}

/// A container's files, for work that may block.
async fn files(core: &Core, container: &Container, access: Access) -> Result<Files, Error> {
    let view = container.view();
    let files = |root: Box<RootView>, mounts: Vec<Resolved>| Files {
        root,
        mounts,
        scratch: container.paths.directory.clone(),
        volumes: Arc::clone(&core.volumes),
        holder: ContainerId::from_bytes(shoal_base::random::id32(core.random.as_ref())),
    };
    if view.state.phase.is_live() {
        let path = format!("/proc/{}/root", view.state.pid);
        let root = beneath::root(path.as_ref()).map_err(Error::file("open", path))?;
        return Ok(files(Box::new(root), Vec::new()));
    }
    // The mount points of a container that never ran may have to be made.
    let mounts = view.record.mounts.clone();
    let fresh = !view.record.started_before && !mounts.is_empty();
    let opened = match access {
        Access::Read if !fresh => core.images.view(&container.id).await,
        Access::Read | Access::Write => core.images.open(&container.id).await,
    };
    let root = opened.map_err(Error::part("open the files of", view.name()))?;
    Ok(files(root, mounts))
}

/// Looks at a path.
pub(crate) async fn stat(
    core: &Core,
    container: &Arc<Container>,
    path: &str,
) -> Result<PathStat, Error> {
    let files = files(core, container, Access::Read).await?;
    let wanted = path.to_owned();
    let look = move || files.with(|root| archive::stat(root, &wanted));
    let found = shoal_base::blocking::run("look at a path", look).await?;
    found.map_err(|failure| match failure.kind() {
        ErrorKind::NotFound => Error::NoSuchPath {
            path: path.to_owned(),
            container: container.view().name().to_owned(),
        },
        _ => Error::part("look into", container.view().name())(failure),
    })
}

/// A path as a tar archive.
pub(crate) async fn archive(
    core: &Core,
    container: &Arc<Container>,
    path: &str,
) -> Result<(PathStat, ByteStream), Error> {
    let stat = stat(core, container, path).await?;
    let files = files(core, container, Access::Read).await?;
    let from = path.to_owned();
    let stream =
        produce(core, move |out| files.with(|root| archive::export(root, &from, out).map(drop)));
    publish(core, container, "archive-path", &[("path", path.to_owned())]);
    Ok((stat, stream))
}

/// The whole file system as a tar archive, without what is mounted into it.
pub(crate) async fn export(core: &Core, container: &Arc<Container>) -> Result<ByteStream, Error> {
    let opened = core.images.view(&container.id).await;
    let root = opened.map_err(Error::part("export", container.view().name()))?;
    let images = Arc::clone(&core.images);
    let stream = produce(core, move |mut out| images.write_tree(root.as_fd(), &mut out));
    publish(core, container, "export", &[]);
    Ok(stream)
}

/// Unpacks an archive into a directory.
pub(crate) async fn unarchive(
    core: &Core,
    container: &Arc<Container>,
    path: &str,
    options: ArchivePutOptions,
    archive: ByteStream,
) -> Result<(), Error> {
    let view = container.view();
    let files = files(core, container, Access::Write).await?;
    let host = &view.record.spec.host;
    let options = ImportOptions {
        overwrite: if options.no_overwrite_dir_non_dir {
            Overwrite::SameKind
        } else {
            Overwrite::Anything
        },
        owner: owner(files.root.as_ref(), &view, options)?,
        root: if host.readonly_rootfs { RootAccess::ReadOnly } else { RootAccess::Writable },
    };
    let into = path.to_owned();
    let source = consume(core, archive);
    let unpacked = shoal_base::blocking::run("unpack into a container", move || {
        files.with(|root| archive::import(root, &into, source, options))
    })
    .await?;
    unpacked.map_err(Error::part("unpack into", view.name()))?;
    publish(core, container, "extract-to-dir", &[("path", path.to_owned())]);
    Ok(())
}

fn owner(
    root: &RootView,
    view: &container::view::View,
    options: ArchivePutOptions,
) -> Result<Owner, Error> {
    let spec = &view.record.spec;
    if !options.copy_uid_gid || spec.user.is_empty() {
        return Ok(Owner::Archive);
    }
    let found = crate::files::users::lookup(root.as_fd(), &spec.user, &[]);
    let found = found.map_err(Error::part("look up the user of", view.name()))?;
    Ok(Owner::Fixed { uid: found.uid, gid: found.gid })
}

fn publish(core: &Core, container: &Container, action: &str, extra: &[(&str, String)]) {
    let attributes = container::attributes(&container.view.borrow(), extra);
    core.publish(&container.id, action, attributes);
}

/// Runs a writer on a thread that may block and streams what it writes.
fn produce<E, F>(core: &Core, write: F) -> ByteStream
where
    E: Into<Failure>,
    F: FnOnce(Pipe) -> Result<(), E> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let last = sender.clone();
    core.tasks.spawn(TaskKind::Stream, async move {
        let job = move || write(Pipe(sender)).map_err(Into::into);
        let written: Result<Result<(), Failure>, _> =
            shoal_base::blocking::run("write an archive", job).await;
        let failure = match written {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(lost) => Failure::new(ErrorKind::Internal, lost.to_string()),
        };
        // A client that went away does not want to know.
        let _ = last.send(Err(failure)).await;
    });
    ReceiverStream::new(receiver).boxed()
}

struct Pipe(mpsc::Sender<Result<Bytes, Failure>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK);
        let chunk = Bytes::copy_from_slice(&bytes[..count]);
        self.0.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands a stream to a reader on a thread that may block.
fn consume(core: &Core, mut stream: ByteStream) -> Source {
    let (sender, receiver) = mpsc::channel(QUEUE);
    core.tasks.spawn(TaskKind::Stream, async move {
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    Source { receiver, rest: Bytes::new() }
}

struct Source {
    receiver: mpsc::Receiver<Result<Bytes, Failure>>,
    rest: Bytes,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(failure)) => return Err(io::Error::other(failure.to_string())),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
