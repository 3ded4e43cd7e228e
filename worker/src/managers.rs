//! The managers that this node knows, which of them is asked next, and when. The choice is pure.
//!
//! They are in a file of their own: when all other local state is lost, the node still finds its cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shoal_base::Disk;
use shoal_base::random::Random;
use shoal_model::cluster::NodeId;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Failed to keep the managers on disk.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the known managers to `{}`", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    managers: BTreeMap<NodeId, String>,
}

/// Known managers.
#[derive(Debug, Default)]
pub struct Managers {
    known: BTreeMap<NodeId, String>,
    /// Given by the user or the join; asked when nothing better is known.
    seeds: Vec<String>,
    failures: u32,
    last: Option<String>,
}

impl Managers {
    /// Those of the file, and the seeds. A damaged file counts as none.
    pub fn load(disk: &dyn Disk, path: &Path, seeds: Vec<String>) -> Self {
        let known = match disk.read(path) {
            Ok(Some(bytes)) => serde_json::from_slice::<File>(&bytes)
                .inspect_err(|error| {
                    tracing::warn!(path = %path.display(), %error, "known managers are damaged");
                })
                .unwrap_or_default()
                .managers,
            Ok(None) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "known managers cannot be read");
                BTreeMap::new()
            }
        };
        Self { known, seeds, ..Self::default() }
    }

    /// Those that a manager named. Whether they changed.
    pub fn set(&mut self, managers: BTreeMap<NodeId, String>) -> bool {
        if managers.is_empty() || managers == self.known {
            return false;
        }
        self.known = managers;
        true
    }

    /// Writes them to disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), Error> {
        let file = File { managers: self.known.clone() };
        let written = serde_json::to_vec(&file).map_err(std::io::Error::from);
        written
            .and_then(|bytes| disk.write_atomic(path, &bytes))
            .map_err(|source| Error { path: path.to_owned(), source })
    }

    /// All of them.
    pub fn known(&self) -> &BTreeMap<NodeId, String> {
        &self.known
    }

    /// Which one is asked next: any, but not the one that failed last when there is another. `None`: none is known.
    pub fn pick(&mut self, random: &dyn Random) -> Option<String> {
        let mut all: Vec<_> = self.known.values().chain(&self.seeds).collect();
        all.sort();
        all.dedup();
        if self.failures > 0 && all.len() > 1 {
            all.retain(|address| Some(*address) != self.last.as_ref());
        }
        let index = usize::try_from(bits(random)).unwrap_or(0).checked_rem(all.len())?;
        let chosen = all.get(index).map(|address| (*address).clone());
        self.last.clone_from(&chosen);
        chosen
    }

    /// A session began.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A session could not begin, or ended. How long to wait: 50…100 % of a back-off that doubles, so that nodes of a
    /// manager that died do not all come at once.
    pub fn failed(&mut self, random: &dyn Random) -> Duration {
        let full = (BACKOFF_FIRST * 2u32.pow(self.failures.min(10))).min(BACKOFF_MAX);
        self.failures += 1;
        full / 2 + (full / 2).mul_f64(f64::from(bits(random)) / f64::from(u32::MAX))
    }
}

fn bits(random: &dyn Random) -> u32 {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use shoal_base::SystemDisk;

    use super::*;

    #[derive(Debug)]
    struct Always(u8);

    impl Random for Always {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[test]
    fn the_one_that_failed_is_asked_last() {
        let mut managers = Managers { seeds: vec!["a:1".into()], ..Managers::default() };
        assert_eq!(managers.pick(&Always(0)).as_deref(), Some("a:1"));
        managers.failed(&Always(0));
        assert_eq!(managers.pick(&Always(0)).as_deref(), Some("a:1"), "the only one");
        assert!(managers.set([(node(1), "b:1".to_owned()), (node(2), "a:1".to_owned())].into()));
        assert_eq!(managers.pick(&Always(0)).as_deref(), Some("b:1"));
        managers.succeeded();
        assert_eq!(managers.pick(&Always(0)).as_deref(), Some("a:1"));
        assert_eq!(Managers::default().pick(&Always(0)), None);
    }

    #[test]
    fn the_back_off_doubles_up_to_its_cap() {
        let mut managers = Managers::default();
        let waits: Vec<_> = (0..9).map(|_| managers.failed(&Always(255)).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000]);
        managers.succeeded();
        assert_eq!(managers.failed(&Always(0)).as_millis(), 50);
    }

    #[test]
    fn they_outlive_a_restart_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("managers.json");
        let mut managers = Managers::load(&SystemDisk, &path, Vec::new());
        assert!(managers.set([(node(1), "b:1".to_owned())].into()));
        assert!(!managers.set([(node(1), "b:1".to_owned())].into()));
        managers.save(&SystemDisk, &path).unwrap();
        let read = Managers::load(&SystemDisk, &path, Vec::new());
        assert_eq!(read.known(), managers.known());
        std::fs::write(&path, "{").unwrap();
        assert!(Managers::load(&SystemDisk, &path, Vec::new()).known().is_empty());
    }
}
