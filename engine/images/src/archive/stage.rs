//! Reads a whole image archive into the content store, since its manifest may come last.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::de::DeserializeOwned;
use shoal_model::Digest;

use super::Error;
use crate::content::{Committed, CopyError, Expected, Ingest, Lease};
use crate::image::Images;
use crate::snapshot::Candidate;
use crate::unpack::entry::{BLOCK, Kind, TarReader};
use crate::unpack::{Limits, stream};

/// Manifests and configs.
pub(super) const JSON_BYTES_MAX: u64 = 8 << 20;
/// Above this, hashing on a second thread pays.
const THREAD_BYTES_MIN: u64 = 1 << 20;
/// Chunks between reading and unpacking.
const QUEUE: usize = 16;
/// Links to links to links.
const LINKS_MAX: usize = 8;
/// Files about the archive, which are no blobs.
const ABOUT: [&str; 5] = ["manifest.json", "index.json", "repositories", "oci-layout", "VERSION"];

/// The files of an archive by their path.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    images: &'a Images,
    about: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Committed>,
    links: HashMap<String, String>,
}

impl<'a> Stage<'a> {
    /// Reads `input` to its end. All blobs are held by `lease`.
    pub(super) fn read(
        images: &'a Images,
        lease: &Lease,
        input: Box<dyn Read + Send>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let plain = stream::plain(input, *limits).map_err(|e| Error::Archive(e.into()))?;
        let mut reader = TarReader::new(plain, *limits);
        let (about, blobs, links) = Default::default();
        let mut stage = Self { images, about, blobs, links };
        while let Some(entry) = reader.next_entry()? {
            let path = normal(&String::from_utf8_lossy(&entry.path), "");
            let link = String::from_utf8_lossy(&entry.link);
            match entry.kind {
                Kind::File if ABOUT.contains(&path.as_str()) => {
                    let bytes = read_small(&mut reader, &path)?;
                    stage.about.insert(path, bytes);
                }
                Kind::File => stage.store(path, entry.size, &mut reader, lease, limits)?,
                Kind::HardLink => {
                    stage.links.insert(path, normal(&link, ""));
                }
                Kind::Symlink => {
                    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let target = normal(&link, directory);
                    stage.links.insert(path, target);
                }
                Kind::Directory | Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {}
            }
        }
        Ok(stage)
    }

    fn store(
        &mut self,
        path: String,
        size: u64,
        reader: &mut TarReader<Box<dyn Read + Send>>,
        lease: &Lease,
        limits: &Limits,
    ) -> Result<(), Error> {
        let mut candidate = None;
        let mut ingest = self.images.content().ingest_anonymous()?;
        if size >= THREAD_BYTES_MIN {
            candidate = self
                .copy(&path, &mut ingest, reader, limits)
                .map_err(|source| Error::Store { path: path.clone(), source })?;
        } else {
            let mut bytes = vec![0; usize::try_from(size).expect("less than 1 MiB")];
            reader.read_data(&mut bytes)?;
            ingest.write_bytes(&bytes)?;
        }
        let blob = ingest.commit(Expected::default(), lease)?;
        if let Some(hex) = path.strip_prefix("blobs/sha256/")
            && hex != blob.digest.hex()
        {
            return Err(Error::DigestMismatch { path, actual: blob.digest });
        }
        if let Some(candidate) = candidate {
            candidate.publish(blob.digest)?;
        }
        self.blobs.insert(path, blob);
        Ok(())
    }

    /// Stores a large file. One that looks like a plain tar is most likely a layer: it is unpacked at the
    /// same time. A failure of that means nothing yet; if it is a layer, unpacking it again tells.
    fn copy(
        &self,
        path: &str,
        ingest: &mut Ingest,
        reader: &mut TarReader<Box<dyn Read + Send>>,
        limits: &Limits,
    ) -> Result<Option<Candidate>, CopyError> {
        let mut head = Vec::with_capacity(BLOCK);
        reader.by_ref().take(BLOCK as u64).read_to_end(&mut head).map_err(CopyError::Read)?;
        let is_tar = head.get(257..262) == Some(b"ustar");
        let mut whole = Cursor::new(head).chain(reader);
        if !is_tar || self.has_layer(path) {
            return ingest.copy_from(&mut whole, &mut |_| {}).map(|_| None);
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let snapshots = self.images.snapshots();
        std::thread::scope(|scope| {
            let unpacking = scope.spawn(move || {
                let input = Box::new(Chunks { receiver, current: Cursor::default() });
                snapshots.unpack_candidate(input, limits)
            });
            let mut tee = Tee { input: whole, sender: Some(sender) };
            let copied = ingest.copy_from(&mut tee, &mut |_| {});
            drop(tee);
            let candidate = unpacking.join().expect("unpacking does not panic");
            copied.map(|_| candidate.ok())
        })
    }

    /// Whether a file that is named by its digest is a layer that is here already.
    fn has_layer(&self, path: &str) -> bool {
        let hex = path.strip_prefix("blobs/sha256/").unwrap_or_default();
        let digest = Digest::from_hex(hex).ok();
        digest.is_some_and(|digest| matches!(self.images.snapshots().layer(digest), Ok(Some(_))))
    }

    /// A JSON file about the archive; `None` when it has none of that name.
    pub(super) fn about<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.about.get(path) else { return Ok(None) };
        serde_json::from_slice(bytes)
            .map(Some)
            .map_err(|source| Error::Json { path: path.to_owned(), source })
    }

    /// The blob at a path, links followed.
    pub(super) fn blob(&self, path: &str) -> Result<Committed, Error> {
        let mut current = normal(path, "");
        for _ in 0..LINKS_MAX {
            if let Some(blob) = self.blobs.get(&current) {
                return Ok(*blob);
            }
            let Some(target) = self.links.get(&current) else { break };
            current.clone_from(target);
        }
        Err(Error::Missing { path: path.to_owned() })
    }

    /// Whether the archive brought a blob of an OCI layout.
    pub(super) fn has(&self, digest: Digest) -> bool {
        self.blobs.contains_key(&super::oci::blob_path(digest))
    }

    /// The bytes of a small blob.
    pub(super) fn bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        Ok(self.images.content().read(digest, JSON_BYTES_MAX)?)
    }

    /// A small blob of an OCI layout, parsed.
    pub(super) fn json<T: DeserializeOwned>(&self, digest: Digest) -> Result<T, Error> {
        let path = super::oci::blob_path(digest);
        let blob = self.blob(&path)?;
        serde_json::from_slice(&self.bytes(blob.digest)?)
            .map_err(|source| Error::Json { path, source })
    }
}

/// Passes on what is read, as long as somebody listens.
struct Tee<R> {
    input: R,
    sender: Option<SyncSender<Vec<u8>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count > 0
            && let Some(sender) = &self.sender
            && sender.send(buffer[..count].to_vec()).is_err()
        {
            self.sender = None;
        }
        Ok(count)
    }
}

/// The other end of a [`Tee`].
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    current: Cursor<Vec<u8>>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            self.current = Cursor::new(next);
        }
    }
}

fn read_small(reader: &mut impl Read, path: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let fail = |source| Error::Files { path: path.to_owned(), source };
    reader.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned(), limit: JSON_BYTES_MAX });
    }
    Ok(bytes)
}

/// A path as a key: relative to `directory`, without `.`, `..` and doubled slashes. Nothing is opened by it.
fn normal(path: &str, directory: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn paths_become_keys() {
        assert_eq!(normal("./a//b/", ""), "a/b");
        assert_eq!(normal("../other/layer.tar", "this"), "other/layer.tar");
        assert_eq!(normal("../../../x", "a"), "x");
    }
}
