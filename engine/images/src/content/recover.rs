//! What a start does about blobs that the disk may not have.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest as _, Sha256};
use shoal_base::{Clock as _, SystemClock};
use shoal_model::Digest;

use super::{ContentStore, Error};
use crate::boot::Boot;

const PARTIAL_AGE_SECONDS_MAX: i64 = 24 * 3600;

/// Lists unsealed blobs. After a restart of the machine each is verified first, and dropped when damaged.
pub(super) fn unsealed_blobs(store: &ContentStore, boot: Boot) -> Result<HashSet<Digest>, Error> {
    let directory = store.inner.root.join("blobs/sha256");
    let fail = |source| Error::Disk { verb: "list", path: directory.clone(), source };
    let mut unsealed = HashSet::new();
    for entry in std::fs::read_dir(&directory).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let Some(digest) = name.to_str().and_then(|hex| Digest::from_hex(hex).ok()) else {
            continue;
        };
        if store.stat(digest)?.is_none_or(|blob| blob.sealed) {
            continue;
        }
        if boot == Boot::Same || verifies(store, digest)? {
            unsealed.insert(digest);
        } else {
            tracing::warn!(%digest, "dropped a blob that was damaged when the machine went down");
            let path = store.path(digest);
            std::fs::remove_file(&path).map_err(|source| Error::Disk {
                verb: "remove",
                path,
                source,
            })?;
        }
    }
    Ok(unsealed)
}

/// Removes partial ingests that nobody can or will resume: anonymous ones, and those a day old.
pub(super) fn drop_stale_partials(store: &ContentStore) -> Result<(), Error> {
    let directory = store.inner.root.join("ingest");
    let fail = |verb, source| Error::Disk { verb, path: directory.clone(), source };
    let now = SystemClock.now().seconds();
    for entry in std::fs::read_dir(&directory).map_err(|e| fail("list", e))? {
        let entry = entry.map_err(|e| fail("list", e))?;
        let modified = entry.metadata().map_err(|e| fail("inspect", e))?.mtime();
        let anonymous = entry.file_name().as_encoded_bytes().starts_with(b"~");
        if anonymous || now.saturating_sub(modified) > PARTIAL_AGE_SECONDS_MAX {
            std::fs::remove_file(entry.path()).map_err(|e| fail("clean", e))?;
        }
    }
    Ok(())
}

fn verifies(store: &ContentStore, digest: Digest) -> Result<bool, Error> {
    let mut file = store.open_blob(digest)?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).map_err(|source| Error::Disk {
        verb: "verify",
        path: store.path(digest),
        source,
    })?;
    Ok(Digest::from_sha256(hasher.finalize().into()) == digest)
}
