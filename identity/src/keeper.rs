//! The one owner of a node's files and credentials: what is used is what is stored.
//!
//! Every change is stored first and used afterwards, so that a node never shows a certificate that it would not
//! have after a crash. Blocking for the few milliseconds of a write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_base::SharedClock;
use shoal_base::random::{Random, bytes32};
use shoal_model::error::{Classified, ErrorKind};

use crate::credentials::{self, Credentials};
use crate::files::{self, DataKey, NodeFiles, Stored};
use crate::request::NodeKey;
use crate::unlock::UnlockKey;

/// A change of a node's identity failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Files(source) => source.kind(),
            Self::Credentials(source) => source.kind(),
        }
    }
}

/// A key that seals a manager's secrets, and its version in the cluster.
#[derive(Debug, Clone)]
pub struct Lock {
    /// The key.
    pub key: UnlockKey,
    /// Its version.
    pub version: u64,
}

/// Owner of a node's identity. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: NodeFiles,
    credentials: Credentials,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    stored: Stored,
    unlock: Option<UnlockKey>,
}

impl Keeper {
    /// Takes over what [`NodeFiles::load`] gave with `unlock`.
    ///
    /// # Errors
    /// When the certificate is of no use now; [`crate::chain::Error::Expired`] is repaired by
    /// [`crate::join::renew_expired`].
    pub fn new(
        files: NodeFiles,
        stored: Stored,
        unlock: Option<UnlockKey>,
        clock: SharedClock,
    ) -> Result<Self, credentials::Error> {
        let credentials = Credentials::new(&stored, clock)?;
        // Without a version nothing is sealed, whatever key was tried.
        let unlock = unlock.filter(|_| stored.unlock_version != 0);
        Ok(Self(Arc::new(Inner { files, credentials, held: Mutex::new(Held { stored, unlock }) })))
    }

    /// What listeners and connections use.
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Takes a renewed certificate with its key, the roots to trust, and the lock that managers have.
    ///
    /// # Errors
    /// When the certificate is of no use or cannot be stored; then nothing changes.
    pub fn renewed(
        &self,
        chain: String,
        key: NodeKey,
        trust: String,
        lock: Option<Lock>,
    ) -> Result<(), Error> {
        let mut held = self.held();
        let data_keys = held.stored.data_keys.clone();
        let unlock_version = lock.as_ref().map_or(0, |lock| lock.version);
        let stored = Stored { trust, chain, key, data_keys, unlock_version };
        let unlock = lock.map(|lock| lock.key);
        Credentials::new(&stored, self.0.credentials.clock())?;
        self.0.files.save(&stored, unlock.as_ref())?;
        self.0.credentials.replace(&stored)?;
        *held = Held { stored, unlock };
        Ok(())
    }

    /// Trusts other roots. The same ones again change nothing.
    ///
    /// # Errors
    /// When the node's own certificate is not of them, or they cannot be stored; then nothing changes.
    pub fn trust(&self, bundle: &str) -> Result<(), Error> {
        let mut held = self.held();
        if held.stored.trust == bundle {
            return Ok(());
        }
        let before = std::mem::replace(&mut held.stored.trust, bundle.to_owned());
        let changed = Credentials::new(&held.stored, self.0.credentials.clock())
            .map_err(Error::from)
            .and_then(|_| Ok(self.0.files.save(&held.stored, held.unlock.as_ref())?));
        if let Err(error) = changed {
            held.stored.trust = before;
            return Err(error);
        }
        Ok(self.0.credentials.trust(bundle)?)
    }

    /// Locks, unlocks (`None`) or locks under another key. An older version than the present one changes nothing.
    ///
    /// # Errors
    /// When it cannot be stored; then nothing changes.
    pub fn lock(&self, lock: Option<Lock>) -> Result<(), Error> {
        let mut held = self.held();
        let version = lock.as_ref().map_or(0, |lock| lock.version);
        if version != 0 && version <= held.stored.unlock_version {
            return Ok(());
        }
        let unlock = lock.map(|lock| lock.key);
        let before = std::mem::replace(&mut held.stored.unlock_version, version);
        if let Err(error) = self.0.files.save(&held.stored, unlock.as_ref()) {
            held.stored.unlock_version = before;
            return Err(error.into());
        }
        held.unlock = unlock;
        Ok(())
    }

    /// Whether `key` is the one that locks this node.
    pub fn is_locked_by(&self, key: &UnlockKey) -> bool {
        self.held().unlock.as_ref() == Some(key)
    }

    /// Whether a key locks this node.
    pub fn is_locked(&self) -> bool {
        self.held().unlock.is_some()
    }

    /// Keys of the node's data at rest, oldest first: the last seals, all open.
    pub fn data_keys(&self) -> Vec<DataKey> {
        self.held().stored.data_keys.clone()
    }

    /// Adds a key, with the next number, that seals from now on.
    ///
    /// # Errors
    /// When it cannot be stored; then nothing changes.
    pub fn add_data_key(&self, random: &dyn Random) -> Result<DataKey, Error> {
        let mut held = self.held();
        let key = next_data_key(&held.stored.data_keys, random);
        held.stored.data_keys.push(key.clone());
        if let Err(error) = self.0.files.save(&held.stored, held.unlock.as_ref()) {
            held.stored.data_keys.pop();
            return Err(error.into());
        }
        Ok(key)
    }

    /// Forgets keys below `oldest`, which nothing at rest uses any more. The last one stays.
    ///
    /// # Errors
    /// When it cannot be stored; then nothing changes.
    pub fn drop_data_keys(&self, oldest: u32) -> Result<(), Error> {
        let mut held = self.held();
        let before = held.stored.data_keys.clone();
        let last = before.last().map_or(0, |key| key.id);
        held.stored.data_keys.retain(|key| key.id >= oldest.min(last));
        if held.stored.data_keys == before {
            return Ok(());
        }
        if let Err(error) = self.0.files.save(&held.stored, held.unlock.as_ref()) {
            held.stored.data_keys = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// A signature by the node's key, for [`crate::proof`].
    pub(crate) fn prove(&self, request: &[u8]) -> Result<Vec<u8>, crate::request::Error> {
        crate::proof::make(&self.held().stored.key, request)
    }

    /// A poisoned lock means that a writer panicked between two fields that are each valid: go on.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn next_data_key(keys: &[DataKey], random: &dyn Random) -> DataKey {
    let id = keys.last().map_or(1, |last| last.id.saturating_add(1));
    DataKey { id, key: bytes32(random) }
}

#[cfg(test)]
mod tests {
    use shoal_base::SystemDisk;
    use shoal_base::random::SystemRandom;
    use shoal_model::cluster::node::NodeRole;

    use super::*;
    use crate::root::Signer;
    use crate::testing::{DAY, NOW, Standing, identity, node, root};

    struct Case {
        directory: tempfile::TempDir,
        signer: Signer,
    }

    impl Case {
        fn new() -> Self {
            let signer = Signer::new(root(), String::new()).unwrap();
            Self { directory: tempfile::tempdir().unwrap(), signer }
        }

        fn files(&self) -> NodeFiles {
            let random = Arc::new(SystemRandom);
            NodeFiles::open(self.directory.path(), Arc::new(SystemDisk), random).unwrap()
        }

        fn keeper(&self) -> Keeper {
            let (chain, key) = node(&self.signer, identity(NodeRole::Worker), NOW);
            let trust = self.signer.root().certificate().to_owned();
            let data_keys = vec![next_data_key(&[], &SystemRandom)];
            let stored = Stored { trust, chain, key, data_keys, unlock_version: 0 };
            self.files().save(&stored, None).unwrap();
            Keeper::new(self.files(), stored, None, Arc::new(Standing(NOW))).unwrap()
        }
    }

    fn lock(version: u64) -> Lock {
        Lock { key: UnlockKey::generate(&SystemRandom), version }
    }

    #[test]
    fn a_renewal_is_stored_and_used_and_changes_the_role() {
        let case = Case::new();
        let keeper = case.keeper();
        let follow = keeper.credentials().follow();
        let (chain, key) = node(&case.signer, identity(NodeRole::Manager), NOW);
        let trust = case.signer.root().certificate().to_owned();
        let given = lock(1);
        keeper.renewed(chain.clone(), key, trust, Some(given.clone())).unwrap();
        assert!(follow.has_changed().unwrap());
        assert_eq!(keeper.credentials().identity().role, NodeRole::Manager);
        let stored = case.files().load(Some(&given.key)).unwrap().unwrap();
        assert_eq!((stored.chain, stored.data_keys), (chain, keeper.data_keys()));
        assert!(keeper.is_locked_by(&given.key));
    }

    #[test]
    fn a_certificate_of_no_use_changes_nothing() {
        let case = Case::new();
        let keeper = case.keeper();
        let before = keeper.credentials().current().chain.clone();
        let trust = case.signer.root().certificate().to_owned();
        let late = shoal_model::Timestamp::from_parts(NOW.seconds() - 91 * 24 * 3600, 0);
        let (expired, key) = node(&case.signer, identity(NodeRole::Worker), late);
        assert!(keeper.renewed(expired, key, trust.clone(), None).is_err());
        let (chain, _) = node(&case.signer, identity(NodeRole::Worker), NOW.after(DAY / 48));
        let other = NodeKey::generate().unwrap();
        assert!(keeper.renewed(chain, other, trust, None).is_err());
        assert!(keeper.trust(root().certificate()).is_err());
        assert_eq!(keeper.credentials().current().chain, before);
        assert_eq!(case.files().load(None).unwrap().unwrap().chain, before);
    }

    #[test]
    fn a_new_bundle_is_stored_and_used() {
        let case = Case::new();
        let keeper = case.keeper();
        let both = format!("{}{}", case.signer.root().certificate(), root().certificate());
        keeper.trust(&both).unwrap();
        assert_eq!(keeper.credentials().current().trust.bundle, both);
        assert_eq!(case.files().load(None).unwrap().unwrap().trust, both);
    }

    #[test]
    fn the_newest_lock_wins_and_opens_after_a_restart() {
        let case = Case::new();
        let keeper = case.keeper();
        let (first, second) = (lock(1), lock(2));
        keeper.lock(Some(second.clone())).unwrap();
        keeper.lock(Some(first.clone())).unwrap();
        assert!(case.files().load(Some(&first.key)).is_err());
        assert!(case.files().load(Some(&second.key)).unwrap().is_some());
        keeper.lock(None).unwrap();
        assert!(case.files().load(None).unwrap().is_some());
    }

    #[test]
    fn data_keys_are_numbered_and_the_last_one_stays() {
        let case = Case::new();
        let keeper = case.keeper();
        keeper.add_data_key(&SystemRandom).unwrap();
        keeper.add_data_key(&SystemRandom).unwrap();
        let numbers = || keeper.data_keys().iter().map(|key| key.id).collect::<Vec<_>>();
        assert_eq!(numbers(), [1, 2, 3]);
        keeper.drop_data_keys(2).unwrap();
        assert_eq!(numbers(), [2, 3]);
        keeper.drop_data_keys(9).unwrap();
        assert_eq!(numbers(), [3]);
        assert_eq!(case.files().load(None).unwrap().unwrap().data_keys, keeper.data_keys());
    }
}
