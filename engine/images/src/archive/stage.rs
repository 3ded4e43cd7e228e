//! Reads a whole image archive into the content store, since its manifest may come last.

use std::collections::HashMap;
use std::io::Read;

use serde::de::DeserializeOwned;
use shoal_model::Digest;

use super::Error;
use crate::content::{Committed, ContentStore, Expected, Lease};
use crate::unpack::entry::{Kind, TarReader};
use crate::unpack::{Limits, stream};

/// Manifests and configs.
pub(super) const JSON_BYTES_MAX: u64 = 8 << 20;
/// Above this, hashing on a second thread pays.
const THREAD_BYTES_MIN: u64 = 1 << 20;
/// Links to links to links.
const LINKS_MAX: usize = 8;
/// Files about the archive, which are no blobs.
const ABOUT: [&str; 5] = ["manifest.json", "index.json", "repositories", "oci-layout", "VERSION"];

/// The files of an archive by their path.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    content: &'a ContentStore,
    about: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Committed>,
    links: HashMap<String, String>,
}

impl<'a> Stage<'a> {
    /// Reads `input` to its end. All blobs are held by `lease`.
    pub(super) fn read(
        content: &'a ContentStore,
        lease: &Lease,
        input: Box<dyn Read + Send>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let plain = stream::plain(input, *limits).map_err(|e| Error::Archive(e.into()))?;
        let mut reader = TarReader::new(plain, *limits);
        let (about, blobs, links) = Default::default();
        let mut stage = Self { content, about, blobs, links };
        while let Some(entry) = reader.next_entry()? {
            let path = normal(&String::from_utf8_lossy(&entry.path), "");
            let link = String::from_utf8_lossy(&entry.link);
            match entry.kind {
                Kind::File if ABOUT.contains(&path.as_str()) => {
                    let bytes = read_small(&mut reader, &path)?;
                    stage.about.insert(path, bytes);
                }
                Kind::File => stage.store(path, entry.size, &mut reader, lease)?,
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
    ) -> Result<(), Error> {
        let mut ingest = self.content.ingest_anonymous()?;
        if size >= THREAD_BYTES_MIN {
            ingest
                .copy_from(reader, &mut |_| {})
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
        self.blobs.insert(path, blob);
        Ok(())
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
        Ok(self.content.read(digest, JSON_BYTES_MAX)?)
    }

    /// A small blob of an OCI layout, parsed.
    pub(super) fn json<T: DeserializeOwned>(&self, digest: Digest) -> Result<T, Error> {
        let path = super::oci::blob_path(digest);
        let blob = self.blob(&path)?;
        serde_json::from_slice(&self.bytes(blob.digest)?)
            .map_err(|source| Error::Json { path, source })
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
