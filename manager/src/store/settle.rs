//! What became of a transaction whose proposer lost sight of it.
//!
//! Pure. The view must be a linearizable one, taken after the loss: then an entry of the former leader that is
//! not in it never will be.

use shoal_manager_core::store::{Change, ObjectRef, State, Transaction};
use shoal_model::cluster::{Meta, Version};

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in the view, with this version.
    Committed(Version),
    /// It is not, and may be proposed again.
    NotCommitted,
    /// Others changed the same objects since, or nothing of it can be told apart.
    Unclear,
}

/// Tells by the objects that it puts: theirs are the version and the time that it stamped.
pub(super) fn fate(view: &State, transaction: &Transaction) -> Fate {
    let mut unchanged = !transaction.expect.is_empty();
    for (object, expected) in &transaction.expect {
        unchanged &= view.version_of(*object) == *expected;
    }
    if unchanged && transaction.changes.iter().all(|change| is_expected(transaction, change)) {
        return Fate::NotCommitted;
    }
    let stamped = transaction.changes.iter().filter(|change| puts(change)).find_map(|change| {
        let meta = meta(view, change.object())?;
        (meta.updated == transaction.at).then_some(meta.version)
    });
    stamped.map_or(Fate::Unclear, Fate::Committed)
}

/// Whether a second application would be refused.
fn is_expected(transaction: &Transaction, change: &Change) -> bool {
    let object = change.object();
    transaction.expect.iter().any(|(expected, _)| *expected == object)
}

fn puts(change: &Change) -> bool {
    !matches!(
        change,
        Change::RemoveNode(_)
            | Change::RemoveService(_)
            | Change::RemoveTask(_)
            | Change::RemoveNetwork(_)
            | Change::RemoveSecret(_)
            | Change::RemoveConfig(_)
    )
}

fn meta(view: &State, object: ObjectRef) -> Option<Meta> {
    match object {
        ObjectRef::Cluster => view.cluster().map(|object| object.meta),
        ObjectRef::Node(id) => view.node(id).map(|object| object.meta),
        ObjectRef::Service(id) => view.service(id).map(|object| object.meta),
        ObjectRef::Task(id) => view.task(id).map(|object| object.meta),
        ObjectRef::Network(id) => view.network(id).map(|object| object.meta),
        ObjectRef::Secret(id) => view.secret(id).map(|object| object.meta),
        ObjectRef::Config(id) => view.config(id).map(|object| object.meta),
    }
}
