//! What a node keeps on disk: its certificate, its key, what it trusts, and the keys of its raft log.
//!
//! All of it is one file, `identity.json`, replaced as a whole: key and certificate can never be of two different
//! moments. With autolock the secrets in it are sealed under the unlock key. `swarm-node.crt` and
//! `swarm-root-ca.crt` are copies for people's tools; nothing reads them, and [`NodeFiles::load`] repairs them.
//!
//! A node that joins first writes `joining.json` with the key of its request, so that one that dies between
//! asking and storing asks again with the same request and becomes the same node.
//!
//! Blocking: a few kilobytes.
//!
//! Source: swarmkit `ca/keyreadwriter.go` (which keeps two files and repairs them).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use shoal_base::SharedDisk;
use shoal_base::disk::TEMPORARY_SUFFIX;
use shoal_base::random::SharedRandom;
use shoal_model::error::{Classified, ErrorKind};

use crate::peer::PeerIdentity;
use crate::request::{self, NodeKey};
use crate::unlock::UnlockKey;
use crate::{peer, pem, seal};

const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.json";
const JOINING: &str = "joining.json";
const NODE_COPY: &str = "swarm-node.crt";
const ROOT_COPY: &str = "swarm-root-ca.crt";
const KEY_PURPOSE: &[u8] = b"shoal node key, format 1";
const DATA_PURPOSE: &[u8] = b"shoal raft data key, format 1";

/// The files of a node cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to {action} `{path}`", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to read `{path}`: it is not what was written there", path = path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "`{path}` has format {found}, and this program knows formats up to {FORMAT}: it was written by a newer release",
        path = path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("the node's key is locked")]
    Locked,
    #[error("swarm could not be unlocked: invalid key provided")]
    WrongKey,
    #[error("a stored secret is damaged")]
    Secret,
    #[error("failed to use the stored key")]
    Key(#[source] request::Error),
    #[error("failed to use the stored certificate")]
    Pem(#[source] pem::Error),
    #[error("failed to use the stored certificate")]
    Certificate(#[source] peer::Error),
    #[error("stored key is not that of the stored certificate")]
    KeyOfAnother,
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Internal,
            Self::Locked => ErrorKind::Conflict,
            Self::WrongKey => ErrorKind::Unauthorized,
            _ => ErrorKind::DataLoss,
        }
    }
}

/// A key of the raft log.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey {
    /// Its number; the highest seals, all open.
    pub id: u32,
    /// Secret.
    pub key: [u8; 32],
}

impl fmt::Debug for DataKey {
    /// Without the key: it must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

/// What a node keeps.
#[derive(Debug)]
pub struct Stored {
    /// PEM of the roots that it trusts.
    pub trust: String,
    /// PEM of its chain.
    pub chain: String,
    /// Its key.
    pub key: NodeKey,
    /// Keys of its raft log; none on a worker.
    pub data_keys: Vec<DataKey>,
    /// Version of the unlock key that seals all this; zero: none.
    pub unlock_version: u64,
}

/// The part that is readable without the unlock key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// PEM of the roots that the node trusts.
    pub trust: String,
    /// PEM of its chain.
    pub chain: String,
    /// Whether the rest is sealed.
    pub locked: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    trust: String,
    chain: String,
    key: Secret,
    data_keys: Vec<(u32, Secret)>,
    unlock_version: u64,
}

#[derive(Serialize, Deserialize)]
struct Joining {
    format: u32,
    key: String,
    request: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Secret {
    Plain(String),
    Sealed(String),
}

/// The directory `certificates` of a node.
#[derive(Debug, Clone)]
pub struct NodeFiles {
    directory: PathBuf,
    disk: SharedDisk,
    random: SharedRandom,
}

impl NodeFiles {
    /// Opens the directory: makes it when absent, readable by its owner only, and removes half-written files.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(directory: &Path, disk: SharedDisk, random: SharedRandom) -> Result<Self, Error> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make", directory))?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
            .map_err(failed("protect", directory))?;
        for entry in std::fs::read_dir(directory).map_err(failed("list", directory))? {
            let path = entry.map_err(failed("list", directory))?.path();
            if path.as_os_str().as_encoded_bytes().ends_with(TEMPORARY_SUFFIX.as_bytes()) {
                disk.remove(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(Self { directory: directory.to_owned(), disk, random })
    }

    /// What is readable without any key; `None`: the node is not a member.
    ///
    /// # Errors
    /// When the file is damaged or of a newer release.
    pub fn public(&self) -> Result<Option<Public>, Error> {
        Ok(self.record()?.map(|record| {
            let locked = matches!(record.key, Secret::Sealed(_));
            Public { trust: record.trust, chain: record.chain, locked }
        }))
    }

    /// Who the node is, which is readable without any key; `None`: it is not a member.
    ///
    /// # Errors
    /// When the file or the certificate in it is damaged, or of a newer release.
    pub fn identity(&self) -> Result<Option<PeerIdentity>, Error> {
        let Some(record) = self.record()? else { return Ok(None) };
        let chain = pem::certificates(record.chain.as_bytes()).map_err(Error::Pem)?;
        Ok(Some(peer::facts(&chain[0]).map_err(Error::Certificate)?.identity))
    }

    /// All of it; `None`: the node is not a member. Repairs the copies.
    ///
    /// # Errors
    /// [`Error::Locked`] when a key is needed and none is given, [`Error::WrongKey`] when it is another one; when
    /// the file is damaged or of a newer release.
    pub fn load(&self, unlock: Option<&UnlockKey>) -> Result<Option<Stored>, Error> {
        let Some(record) = self.record()? else { return Ok(None) };
        let key = reveal(&record.key, KEY_PURPOSE, unlock)?;
        let key = String::from_utf8(key).map_err(|_| Error::Secret)?;
        let key = NodeKey::from_pem(&key).map_err(Error::Key)?;
        let chain = pem::certificates(record.chain.as_bytes()).map_err(Error::Pem)?;
        if peer::facts(&chain[0]).map_err(Error::Certificate)?.public_key != key.public() {
            return Err(Error::KeyOfAnother);
        }
        let data_keys = record
            .data_keys
            .iter()
            .map(|(id, secret)| {
                let key = reveal(secret, DATA_PURPOSE, unlock)?;
                Ok(DataKey { id: *id, key: key.try_into().map_err(|_| Error::Secret)? })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        self.copy(NODE_COPY, &record.chain)?;
        self.copy(ROOT_COPY, &record.trust)?;
        let Record { trust, chain, unlock_version, .. } = record;
        Ok(Some(Stored { trust, chain, key, data_keys, unlock_version }))
    }

    /// Replaces all of it, sealed under `unlock` if that is given. Then the node has joined: what
    /// [`NodeFiles::joining`] kept goes.
    ///
    /// # Errors
    /// The operating system's; what was stored before then still is.
    pub fn save(&self, stored: &Stored, unlock: Option<&UnlockKey>) -> Result<(), Error> {
        let hide = |purpose, secret: &[u8]| match unlock {
            Some(key) => Secret::Sealed(STANDARD.encode(seal::close(
                key.as_bytes(),
                purpose,
                secret,
                self.random.as_ref(),
            ))),
            None => Secret::Plain(STANDARD.encode(secret)),
        };
        let record = Record {
            format: FORMAT,
            trust: stored.trust.clone(),
            chain: stored.chain.clone(),
            key: hide(KEY_PURPOSE, stored.key.to_pem().as_bytes()),
            data_keys: stored
                .data_keys
                .iter()
                .map(|data| (data.id, hide(DATA_PURPOSE, &data.key)))
                .collect(),
            unlock_version: stored.unlock_version,
        };
        self.write(IDENTITY, &to_json(&record))?;
        self.copy(NODE_COPY, &stored.chain)?;
        self.copy(ROOT_COPY, &stored.trust)?;
        self.remove(JOINING)
    }

    /// Key and request (PEM) of a join that has begun; makes and keeps them when there are none.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn joining(&self) -> Result<(NodeKey, String), Error> {
        let path = self.directory.join(JOINING);
        if let Some(bytes) = self.read(&path)? {
            check_format(&path, &bytes)?;
            let kept: Joining = from_json(&path, &bytes)?;
            return Ok((NodeKey::from_pem(&kept.key).map_err(Error::Key)?, kept.request));
        }
        let key = NodeKey::generate().map_err(Error::Key)?;
        let request = key.request().map_err(Error::Key)?;
        let kept = Joining { format: FORMAT, key: key.to_pem(), request: request.clone() };
        self.write(JOINING, &to_json(&kept))?;
        Ok((key, request))
    }

    /// Forgets a join that was refused: the next one begins with a new request.
    ///
    /// # Errors
    /// The operating system's.
    pub fn forget_joining(&self) -> Result<(), Error> {
        self.remove(JOINING)
    }

    /// Removes everything: the node has left. Tries each file, and reports the first failure.
    ///
    /// # Errors
    /// The operating system's.
    pub fn erase(&self) -> Result<(), Error> {
        [IDENTITY, JOINING, NODE_COPY, ROOT_COPY]
            .map(|name| self.remove(name))
            .into_iter()
            .collect()
    }

    fn record(&self) -> Result<Option<Record>, Error> {
        let path = self.directory.join(IDENTITY);
        let Some(bytes) = self.read(&path)? else { return Ok(None) };
        check_format(&path, &bytes)?;
        from_json(&path, &bytes).map(Some)
    }

    fn copy(&self, name: &'static str, text: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        if self.read(&path)?.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        self.write(name, text.as_bytes())
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let path_of_error = path.to_owned();
        self.disk.read(path).map_err(|source| Error::Io {
            action: "read",
            path: path_of_error,
            source,
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(name);
        self.disk.write_atomic(&path, bytes).map_err(|source| Error::Io {
            action: "write",
            path,
            source,
        })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        self.disk.remove(&path).map_err(|source| Error::Io { action: "remove", path, source })
    }
}

fn reveal(secret: &Secret, purpose: &[u8], unlock: Option<&UnlockKey>) -> Result<Vec<u8>, Error> {
    let decode = |text: &String| STANDARD.decode(text).map_err(|_| Error::Secret);
    match (secret, unlock) {
        (Secret::Plain(text), _) => decode(text),
        (Secret::Sealed(_), None) => Err(Error::Locked),
        (Secret::Sealed(text), Some(key)) => {
            seal::open(key.as_bytes(), purpose, &decode(text)?).ok_or(Error::WrongKey)
        }
    }
}

/// Reads the format alone first: a newer file may have another shape.
fn check_format(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = from_json(path, bytes)?;
    if head.format > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), found: head.format });
    }
    Ok(())
}

fn from_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Damaged { path: path.to_owned(), source })
}

fn to_json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("texts and numbers always have a form in JSON")
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
