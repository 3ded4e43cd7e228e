//! Snapshots: a header, blocks, and an end that says how many objects there were.
//!
//! Each part is four bytes of length (big-endian) and MessagePack; the format number comes first of all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId,
    ServiceId, TaskId,
};

use super::record::{Parts, ServiceRecord, TaskRecord};
use super::shared::{Numbering, Shared};
use super::{Error, FORMAT, pack, unpack};
use crate::store::watch::Diff;
use crate::store::{Event, State};

const FRAME: &str = "snapshot";
/// Objects per block: a block stays far below a message between nodes unless secrets are large.
const BLOCK_OBJECTS: usize = 256;
/// Bytes after which a block is closed although it has few objects.
const BLOCK_BYTES: usize = 256 * 1024;
/// A block holds at least one object, and an object is bounded by what one raft entry may hold.
const BLOCK_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
enum Part<'a> {
    Header {
        index: u64,
    },
    Block {
        #[serde(default)]
        shared: Shared,
        objects: Vec<Record<'a>>,
    },
    End {
        objects: u64,
    },
}

#[derive(Serialize, Deserialize)]
enum Record<'a> {
    Cluster(Arc<Cluster>),
    Node(Arc<Node>),
    Network(Arc<ClusterNetwork>),
    Secret(Arc<Secret>),
    Config(Arc<Config>),
    Service(Box<ServiceRecord<'a>>),
    Task(Box<TaskRecord<'a>>),
}

/// Where the writer is: after this object of this kind.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    Header,
    Cluster,
    Nodes(Option<NodeId>),
    Networks(Option<ClusterNetworkId>),
    Secrets(Option<SecretId>),
    Configs(Option<ConfigId>),
    Services(Option<ServiceId>),
    Tasks(Option<TaskId>),
    End,
    Done,
}

/// Writes an immutable state piece by piece, while the store goes on.
#[derive(Debug)]
pub struct SnapshotWriter {
    state: State,
    cursor: Cursor,
    numbering: Numbering,
    written: u64,
}

impl SnapshotWriter {
    /// A writer of `state`.
    pub fn new(state: State) -> Self {
        Self { state, cursor: Cursor::Header, numbering: Numbering::default(), written: 0 }
    }

    fn part(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        if matches!(self.cursor, Cursor::Header) {
            out.push(FORMAT);
        }
        let start = out.len();
        out.extend([0; 4]);
        match self.cursor {
            Cursor::Header => {
                self.cursor = Cursor::Cluster;
                pack(&mut out, &Part::Header { index: self.state.index() }, FRAME)?;
            }
            Cursor::End | Cursor::Done => {
                self.cursor = Cursor::Done;
                pack(&mut out, &Part::End { objects: self.written }, FRAME)?;
            }
            _ => {
                let (objects, next) = block(&self.state, self.cursor, &mut self.numbering);
                self.cursor = next;
                self.written += u64::try_from(objects.len()).unwrap_or(u64::MAX);
                let shared = self.numbering.fresh();
                pack(&mut out, &Part::Block { shared, objects }, FRAME)?;
            }
        }
        let length = u64::try_from(out.len() - start - 4).unwrap_or(u64::MAX);
        match u32::try_from(length).ok().filter(|_| length <= BLOCK_BYTES_MAX) {
            None => Err(Error::BlockTooLong { length, limit: BLOCK_BYTES_MAX }),
            Some(length) => {
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                Ok(out)
            }
        }
    }
}

impl Iterator for SnapshotWriter {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.cursor, Cursor::Done) {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.cursor = Cursor::Done;
        }
        Some(part)
    }
}

/// The records of the next block, and where to go on.
fn block<'a>(
    state: &'a State,
    cursor: Cursor,
    numbering: &mut Numbering,
) -> (Vec<Record<'a>>, Cursor) {
    let tables = &state.tables;
    match cursor {
        Cursor::Cluster => {
            let cluster = state.cluster().map(|cluster| Record::Cluster(Arc::clone(cluster)));
            (cluster.into_iter().collect(), Cursor::Nodes(None))
        }
        Cursor::Nodes(after) => {
            let (objects, last) = take(tables.nodes.after(after), |node| {
                (node.id, certificate_bytes(node), Record::Node(Arc::clone(node)))
            });
            (objects, last.map_or(Cursor::Networks(None), |last| Cursor::Nodes(Some(last))))
        }
        Cursor::Networks(after) => {
            let (objects, last) = take(tables.networks.after(after), |network| {
                (network.id, 0, Record::Network(Arc::clone(network)))
            });
            (objects, last.map_or(Cursor::Secrets(None), |last| Cursor::Networks(Some(last))))
        }
        Cursor::Secrets(after) => {
            let (objects, last) = take(tables.secrets.after(after), |secret| {
                (secret.id, secret.spec.data.len(), Record::Secret(Arc::clone(secret)))
            });
            (objects, last.map_or(Cursor::Configs(None), |last| Cursor::Secrets(Some(last))))
        }
        Cursor::Configs(after) => {
            let (objects, last) = take(tables.configs.after(after), |config| {
                (config.id, config.spec.data.len(), Record::Config(Arc::clone(config)))
            });
            (objects, last.map_or(Cursor::Services(None), |last| Cursor::Configs(Some(last))))
        }
        Cursor::Services(after) => {
            let (objects, last) = take(tables.services.after(after), |service| {
                let record = ServiceRecord::new(service, numbering);
                (service.id, SERVICE_BYTES, Record::Service(Box::new(record)))
            });
            (objects, last.map_or(Cursor::Tasks(None), |last| Cursor::Services(Some(last))))
        }
        Cursor::Tasks(after) => {
            let (objects, last) = take(tables.tasks.after(after), |task| {
                let record = TaskRecord::new(task, Parts::Stored, numbering);
                (task.id, 0, Record::Task(Box::new(record)))
            });
            (objects, last.map_or(Cursor::End, |last| Cursor::Tasks(Some(last))))
        }
        Cursor::Header | Cursor::End | Cursor::Done => (Vec::new(), Cursor::End),
    }
}

/// A service with its spec and the one before, roughly.
const SERVICE_BYTES: usize = 8 * 1024;

fn certificate_bytes(node: &Node) -> usize {
    node.certificate.chain.len() + node.certificate.request.len()
}

/// Takes objects until the block is full. The last id is `None` when there are no more.
fn take<'a, T: 'a, I>(
    objects: impl Iterator<Item = &'a Arc<T>>,
    mut record: impl FnMut(&'a Arc<T>) -> (I, usize, Record<'a>),
) -> (Vec<Record<'a>>, Option<I>) {
    let (mut records, mut bytes) = (Vec::new(), 0);
    for object in objects {
        let (id, extra, record) = record(object);
        records.push(record);
        bytes += extra;
        if records.len() >= BLOCK_OBJECTS || bytes >= BLOCK_BYTES {
            return (records, Some(id));
        }
    }
    (records, None)
}

/// Rebuilds a state from the bytes of a snapshot, in pieces of any size.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    state: State,
    shared: Shared,
    buffer: Vec<u8>,
    begun: bool,
    read: u64,
    expected: Option<u64>,
}

impl SnapshotReader {
    /// A reader at the start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they are damaged or of a newer format.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        if let Some((&found, body)) = rest.split_first().filter(|_| !self.begun) {
            if found > FORMAT {
                return Err(Error::Newer { frame: FRAME, found });
            }
            self.begun = true;
            rest = body;
        }
        while let Some((length, body)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length);
            if u64::from(length) > BLOCK_BYTES_MAX {
                let length = u64::from(length);
                return Err(Error::BlockTooLong { length, limit: BLOCK_BYTES_MAX });
            }
            let Some((part, after)) = body.split_at_checked(length as usize) else { break };
            self.part(part)?;
            rest = after;
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.expected.is_some() {
            return Err(Error::Trailing);
        }
        match unpack::<Part<'static>>(bytes, FRAME)? {
            Part::Header { index } => self.state.skip(index),
            Part::End { objects } => self.expected = Some(objects),
            Part::Block { shared, objects } => {
                self.shared.extend(shared);
                for object in objects {
                    let event = self.event(object)?;
                    self.state.install(&event);
                    self.read += 1;
                }
            }
        }
        Ok(())
    }

    fn event(&self, record: Record<'_>) -> Result<Event, Error> {
        Ok(match record {
            Record::Cluster(cluster) => Event::Cluster(created(cluster)),
            Record::Node(node) => Event::Node(created(node)),
            Record::Network(network) => Event::Network(created(network)),
            Record::Secret(secret) => Event::Secret(created(secret)),
            Record::Config(config) => Event::Config(created(config)),
            Record::Service(service) => {
                Event::Service(created(Arc::new(service.service(&self.shared, FRAME)?)))
            }
            Record::Task(task) => Event::Task(created(Arc::new(task.task(&self.shared, FRAME)?))),
        })
    }

    /// The state, when all of it was read.
    ///
    /// # Errors
    /// When the end is missing.
    pub fn finish(self) -> Result<State, Error> {
        if !self.buffer.is_empty() {
            return Err(Error::TornBlock);
        }
        match self.expected {
            Some(expected) if expected == self.read => Ok(self.state),
            expected => {
                Err(Error::Truncated { found: self.read, expected: expected.unwrap_or(u64::MAX) })
            }
        }
    }
}

fn created<T>(new: Arc<T>) -> Diff<T> {
    Diff { old: None, new: Some(new) }
}
