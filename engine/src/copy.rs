//! Files in and out of containers: stat, archive, unarchive, export.
//!
//! A live container is entered through its init process's root, so that volumes and tmpfs are seen; one
//! that does not run through a read-only view of its layers. Differs: unpacking into a container that does
//! not run is refused.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use shoal_base::tasks::TaskKind;
use shoal_model::container::{ArchivePutOptions, PathStat};
use shoal_model::{ErrorKind, Failure};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::archive::{self, ImportOptions, Overwrite, Owner, RootAccess};
use crate::beneath;
use crate::container::{self, Container};
use crate::core::Core;
use crate::error::Error;
use crate::image_source::RootView;

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

/// A container's root directory, for work at `path`.
async fn root(
    core: &Core,
    container: &Container,
    path: &str,
    access: Access,
) -> Result<Box<RootView>, Error> {
    let view = container.view();
    if view.state.phase.is_live() {
        let path = format!("/proc/{}/root", view.state.pid);
        let root = beneath::root(path.as_ref()).map_err(Error::file("open", path))?;
        return Ok(Box::new(root));
    }
    let inside = format!("/{}", path.trim_matches('/'));
    let hidden = |mount: &&crate::mounts::Resolved| {
        inside
            .strip_prefix(mount.target.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(mount) = view.record.mounts.iter().find(hidden) {
        return Err(Error::NotImplemented(format!(
            "cannot copy `{path}` while container `{}` does not run: it lies on the mount `{}`; start the \
             container first",
            view.name(),
            mount.target
        )));
    }
    let opened = match access {
        Access::Read => core.images.view(&container.id).await,
        Access::Write => core.images.open(&container.id).await,
    };
    opened.map_err(Error::part("open the files of", view.name()))
}

/// Looks at a path.
pub(crate) async fn stat(
    core: &Core,
    container: &Arc<Container>,
    path: &str,
) -> Result<PathStat, Error> {
    let root = root(core, container, path, Access::Read).await?;
    let path = path.to_owned();
    let found =
        shoal_base::blocking::run("look at a path", move || archive::stat(root.as_fd(), &path))
            .await?;
    found.map_err(|error| match error {
        archive::Error::NotFound { path } => {
            Error::NoSuchPath { path, container: container.view().name().to_owned() }
        }
        other => Error::part("look into", container.view().name())(other),
    })
}

/// A path as a tar archive.
pub(crate) async fn archive(
    core: &Core,
    container: &Arc<Container>,
    path: &str,
) -> Result<(PathStat, ByteStream), Error> {
    let stat = stat(core, container, path).await?;
    let root = root(core, container, path, Access::Read).await?;
    let from = path.to_owned();
    let stream = produce(core, move |out| archive::export(root.as_fd(), &from, out).map(drop));
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
    let root = root(core, container, path, Access::Write).await?;
    let host = &view.record.spec.host;
    let options = ImportOptions {
        overwrite: if options.no_overwrite_dir_non_dir {
            Overwrite::SameKind
        } else {
            Overwrite::Anything
        },
        owner: owner(&root, &view, options)?,
        root: if host.readonly_rootfs { RootAccess::ReadOnly } else { RootAccess::Writable },
    };
    let into = path.to_owned();
    let source = consume(core, archive);
    let unpacked = shoal_base::blocking::run("unpack into a container", move || {
        archive::import(root.as_fd(), &into, source, options)
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
