//! Files of views: each a whole view and, beside it, the changes since, so that a change of one task does not write a
//! thousand others. Of this boot.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_model::NetworkId;
use shoal_model::cluster::view::ViewChange;
use shoal_model::cluster::{NetworkView, NodeId};
use shoal_model::error::Chain;

use super::{FORMAT, SUFFIX, Store, Versioned, remove, replace};
use crate::error::Error;

/// Changes may take as many bytes before the view is written anew, however small it is.
const CHANGES_MIN: usize = 64 << 10;

/// The view of a network that was put into effect last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KnownView {
    pub(crate) view: Arc<NetworkView>,
    /// This node.
    pub(crate) node: NodeId,
}

/// What is written of a view, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    whole: usize,
    changes: usize,
}

/// One line of changes.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Version of the view that it leads to.
    version: u64,
    change: ViewChange,
}

impl Store {
    fn whole(&self, id: &str) -> PathBuf {
        self.views.join(format!("{id}{SUFFIX}"))
    }

    fn changes(&self, id: &str) -> PathBuf {
        self.views.join(format!("{id}.changes"))
    }

    /// The views of before a restart. One that cannot be read is left out: a manager sends it again.
    pub(crate) fn views(&self) -> Result<Vec<KnownView>, Error> {
        let mut views = Vec::new();
        for name in self.names(&self.views)? {
            match self.read_view(&name) {
                Ok(view) => views.push(view),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "view of an overlay network not read");
                }
            }
        }
        Ok(views)
    }

    fn read_view(&self, name: &str) -> Result<KnownView, Error> {
        let mut known: KnownView = self.read(&self.whole(name))?;
        let path = self.changes(name);
        let bytes = self.disk.read(&path);
        let bytes = bytes.map_err(|source| Error::File { step: "read", path, source })?;
        let view = Arc::make_mut(&mut known.view);
        for line in bytes.unwrap_or_default().split(|byte| *byte == b'\n') {
            // A line that was being written when the daemon was killed is the last.
            let Ok(line) = serde_json::from_slice::<Line>(line) else { break };
            // The whole view may have been written after it.
            if line.version > view.version {
                view.take(line.change);
                view.version = line.version;
            }
        }
        Ok(known)
    }

    /// Writes a whole view.
    pub(crate) fn write_view(&self, id: &NetworkId, view: &KnownView) -> Result<Written, Error> {
        let versioned = Versioned { format: FORMAT, content: view };
        let bytes = serde_json::to_vec(&versioned).expect("plain types always encode");
        replace(self.whole(id.as_str()), &bytes)?;
        remove(self.changes(id.as_str()))?;
        Ok(Written { whole: bytes.len(), changes: 0 })
    }

    /// Writes what leads from the view that was written last to a newer one; `None`: there are so many changes that it
    /// is to be written as a whole.
    pub(crate) fn write_change(
        &self,
        id: &NetworkId,
        before: &NetworkView,
        view: &NetworkView,
        written: Written,
    ) -> Result<Option<Written>, Error> {
        let line = Line { version: view.version, change: view.change_since(before) };
        let mut bytes = serde_json::to_vec(&line).expect("plain types always encode");
        bytes.push(b'\n');
        let changes = written.changes + bytes.len();
        if changes > written.whole.max(CHANGES_MIN) {
            return Ok(None);
        }
        let path = self.changes(id.as_str());
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(&bytes)).map_err(|source| Error::File {
            step: "write",
            path,
            source,
        })?;
        Ok(Some(Written { changes, ..written }))
    }

    pub(crate) fn remove_view(&self, id: &NetworkId) -> Result<(), Error> {
        remove(self.whole(id.as_str()))?;
        remove(self.changes(id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use shoal_base::SystemDisk;
    use shoal_model::cluster::view::ViewEndpoint;
    use shoal_model::cluster::{ClusterNetworkId, TaskId};

    use super::*;

    fn view(version: u64, tasks: &[u8]) -> NetworkView {
        let endpoint = |number: &u8| ViewEndpoint {
            task: TaskId::from_bytes([*number; 16]),
            service: None,
            node: NodeId::from_bytes([1; 16]),
            data_path: None,
            addresses: Vec::new(),
            mac: [*number; 6],
            name: format!("c{number}"),
            aliases: Vec::new(),
            healthy: true,
        };
        NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version,
            data_path_port: 4789,
            endpoints: tasks.iter().map(endpoint).collect(),
            services: Vec::new(),
            mesh: None,
        }
    }

    fn known(view: NetworkView) -> KnownView {
        KnownView { view: Arc::new(view), node: NodeId::from_bytes([1; 16]) }
    }

    #[test]
    fn a_view_and_its_changes_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Arc::new(SystemDisk), directory.path(), directory.path()).unwrap();
        let id = NetworkId::from_bytes([1; 32]);
        let read = || NetworkView::clone(&store.views().unwrap()[0].view);
        let states = [view(3, &[1, 2]), view(5, &[2, 3]), view(6, &[3]), view(9, &[1, 3])];
        let mut written = store.write_view(&id, &known(states[0].clone())).unwrap();
        for pair in states.windows(2) {
            written = store.write_change(&id, &pair[0], &pair[1], written).unwrap().unwrap();
            assert_eq!(read(), pair[1]);
        }
        // Killed between the two steps of writing a whole one: older changes are still there.
        let path = store.changes(id.as_str());
        let changes = std::fs::read(&path).unwrap();
        store.write_view(&id, &known(states[2].clone())).unwrap();
        std::fs::write(&path, &changes).unwrap();
        assert_eq!(read(), states[3], "only the change that is newer counts");
        // Killed within a line.
        std::fs::write(&path, &changes[..changes.len() - 9]).unwrap();
        assert_eq!(read(), states[2]);
        store.remove_view(&id).unwrap();
        assert!(store.views().unwrap().is_empty() && !path.exists());
    }

    #[test]
    fn many_changes_make_a_whole_view() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Arc::new(SystemDisk), directory.path(), directory.path()).unwrap();
        let id = NetworkId::from_bytes([1; 32]);
        let mut written = Some(store.write_view(&id, &known(view(0, &[]))).unwrap());
        let mut count = 0;
        while let Some(before) = written {
            count += 1;
            let (old, new) = (view(count - 1, &[]), view(count, &[7]));
            written = store.write_change(&id, &old, &new, before).unwrap();
        }
        assert!(
            count > 100 && std::fs::metadata(store.changes(id.as_str())).unwrap().len() <= 64 << 10
        );
    }
}
