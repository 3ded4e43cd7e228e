//! `history` and `system df`: what images tell about themselves.

use std::collections::{HashMap, HashSet};

use shoal_model::{Digest, Timestamp};

use super::config::timestamp;
use super::{Error, Image, Images};

/// One line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image that ended with this step; `None`: not known here, docker's `<missing>`.
    pub id: Option<Digest>,
    /// When.
    pub created: Timestamp,
    /// The instruction.
    pub created_by: String,
    /// Names of that image.
    pub tags: Vec<String>,
    /// Bytes of the layer it made.
    pub size: u64,
    /// Comment.
    pub comment: String,
}

/// What images take on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of all layers, each once.
    pub layers: u64,
    /// For each image: bytes of layers that another image has as well.
    pub shared: HashMap<Digest, u64>,
    /// Bytes of layers that only images without containers have.
    pub reclaimable: u64,
}

impl Images {
    /// How an image came to be, the newest step first.
    ///
    /// # Errors
    /// When a layer is gone.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryLine>, Error> {
        let mut lines = Vec::new();
        let mut diff_ids = image.config.diff_ids.iter();
        for step in &image.config.history {
            let layer = if step.empty_layer { None } else { diff_ids.next() };
            let size = match layer {
                Some(diff_id) => self.snapshots().require(*diff_id)?.size,
                None => 0,
            };
            lines.push(HistoryLine {
                id: None,
                created: step.created.as_deref().and_then(timestamp).unwrap_or(EPOCH),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone(),
            });
        }
        lines.reverse();
        // Each image of the chain of parents is one step back.
        let mut current = self.get(image.id);
        for line in &mut lines {
            let Some(image) = current else { break };
            line.id = Some(image.id);
            line.tags = image.references.iter().map(shoal_model::Reference::familiar).collect();
            current = image.parent.and_then(|parent| self.get(parent));
        }
        Ok(lines)
    }

    /// What images take on disk. `used` tells whether containers use an image.
    ///
    /// # Errors
    /// When a layer is gone.
    pub fn disk_usage(&self, used: &dyn Fn(Digest) -> bool) -> Result<DiskUsage, Error> {
        let images = self.all();
        let mut owners: HashMap<Digest, usize> = HashMap::new();
        let mut needed = HashSet::new();
        for image in &images {
            let unique: HashSet<Digest> = image.config.diff_ids.iter().copied().collect();
            let used = used(image.id);
            for diff_id in unique {
                *owners.entry(diff_id).or_default() += 1;
                if used {
                    needed.insert(diff_id);
                }
            }
        }
        let mut usage = DiskUsage::default();
        for diff_id in owners.keys() {
            let size = self.snapshots().require(*diff_id)?.size;
            usage.layers += size;
            if !needed.contains(diff_id) {
                usage.reclaimable += size;
            }
        }
        for image in &images {
            let mut shared = 0;
            let unique: HashSet<&Digest> = image.config.diff_ids.iter().collect();
            for diff_id in unique.into_iter().filter(|diff_id| owners[diff_id] > 1) {
                shared += self.snapshots().require(*diff_id)?.size;
            }
            usage.shared.insert(image.id, shared);
        }
        Ok(usage)
    }
}

const EPOCH: Timestamp = Timestamp::from_nanos(0);
