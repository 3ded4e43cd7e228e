//! A log that begins with a state that was made elsewhere: a restored backup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftLogStorage as _;
use shoal_base::SharedDisk;

use crate::error::StartError;
use crate::log::store::LogStore;
use crate::snapshot::store::SnapshotStore;
use crate::types::{LeaderId, LogId, Membership, Place, SnapshotMeta, StoredMembership, Vote};
use crate::{Member, Sealer, SnapshotView};

/// What a log is begun with.
pub struct Fresh {
    /// The only member.
    pub member: Member,
    /// Does not exist, or is of an earlier attempt for the same member that was never started.
    pub directory: PathBuf,
    /// Encrypts what is written there.
    pub sealer: Arc<dyn Sealer>,
    /// Small files.
    pub disk: SharedDisk,
    /// The state.
    pub state: Box<dyn SnapshotView>,
    /// Index up to which the state counts as applied; the log goes on behind it.
    pub index: u64,
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fresh").field("member", &self.member).finish_non_exhaustive()
    }
}

/// Writes a log whose only member starts with a given state; [`crate::Raft::start`] then takes it up.
///
/// # Errors
/// When the directory is another member's or cannot be written. What was written then is of no use: remove it.
pub async fn begin_with(fresh: Fresh) -> Result<(), StartError> {
    let Fresh { member, directory, sealer, disk, state, index } = fresh;
    let failed =
        |error: &dyn std::fmt::Display| StartError::Consensus { reason: error.to_string() };
    let id = member.id.0;
    let (term, node_id) = (1, id);
    let last = LogId::new(LeaderId { term, node_id }, index);
    let members = BTreeMap::from([(id, Place::from(&member))]);
    let membership =
        Membership::new(vec![BTreeSet::from([id])], members).expect("its only voter is a member");
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    };
    let written = shoal_base::blocking::run("begin raft log", move || {
        crate::log::claim(&directory, member.id, disk.as_ref())?;
        let log = LogStore::open(&directory.join("log"), sealer.clone(), disk.clone())?;
        let snapshots = SnapshotStore::open(&directory.join("snapshots"), sealer, disk, None)?;
        snapshots.write(&meta, state.as_ref())?;
        Ok::<_, StartError>(log)
    });
    let mut log = written.await.map_err(|lost| failed(&lost))??;
    log.save_vote(&Vote::new(term, id)).await.map_err(|error| failed(&error))?;
    log.purge(last).await.map_err(|error| failed(&error))?;
    log.save_committed(Some(last)).await.map_err(|error| failed(&error))?;
    log.close().await;
    Ok(())
}
