//! Replicated services: which slots to add, which to remove.
//!
//! Source: swarmkit `design/orchestrators.md` "Replicated orchestrator", `design/task_model.md` "Slot model".

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::task::{RestartHistory, Slot};
use shoal_model::cluster::{NodeId, TaskState};

use super::Place;
use super::board::{Board, Creation};
use crate::restart;

/// Brings a service to as many slots as it asks for. A slot counts when a task of it shall run, or when its last task
/// ended and its restart policy forbids another.
pub fn scale(board: &mut Board<'_>) {
    let ServiceMode::Replicated { replicas } = board.service().spec.mode else { return };
    let replicas = usize::try_from(replicas.unwrap_or(1)).unwrap_or(usize::MAX);
    let (held, dead): (Vec<_>, Vec<_>) =
        board.places().into_iter().partition(|&place| restart::is_held(board, place));
    let held: BTreeSet<Place> = held.into_iter().collect();
    if held.len() <= replicas {
        let missing = replicas - held.len();
        for place in free_slots(&held).take(missing).collect::<Vec<_>>() {
            create(board, place, TaskState::Running);
        }
    } else {
        for place in victims(board, &held, held.len() - replicas) {
            board.retire_place(place, TaskState::Remove);
        }
    }
    for place in
        dead.into_iter().filter(|&place| board.wanted_in(place).is_empty()).collect::<Vec<_>>()
    {
        board.retire_place(place, TaskState::Remove);
    }
}

/// The slots that are not held, lowest first.
pub(super) fn free_slots(held: &BTreeSet<Place>) -> impl Iterator<Item = Place> {
    (1..).map(|slot| Place::Slot(Slot(slot))).filter(|place| !held.contains(place))
}

/// Makes the first task of a place. It waits while an earlier task that had the place is still stopping.
pub(super) fn create(board: &mut Board<'_>, place: Place, goal: TaskState) {
    let desired = if board.is_stopping(place) { TaskState::Ready } else { goal };
    board.create(Creation { place, spec: None, desired, history: RestartHistory::default() });
}

/// Chooses slots to remove, as placement would in reverse: fullest node first, then the slot that is not running, then
/// the highest number, so that the choice is total and a replay of the same view makes the same choice.
fn victims(board: &Board<'_>, held: &BTreeSet<Place>, excess: usize) -> Vec<Place> {
    let mut load = BTreeMap::<NodeId, usize>::new();
    let mut slots = BTreeMap::<Place, (Vec<NodeId>, bool)>::new();
    for &place in held {
        let tasks = board.wanted_in(place);
        let running = tasks.iter().any(|task| task.status.state == TaskState::Running);
        let nodes: Vec<NodeId> = tasks.iter().filter_map(|task| task.node).collect();
        for &node in &nodes {
            *load.entry(node).or_default() += 1;
        }
        slots.insert(place, (nodes, running));
    }
    let mut heap = Heap::new(&slots, &load);
    (0..excess).map_while(|_| heap.pop(&slots, &mut load)).collect()
}

/// Slots by how gladly they are given up. A slot's rank falls when its node loses a task; ranks are corrected when a slot
/// comes up, so that removing many slots stays cheap.
struct Heap(std::collections::BinaryHeap<Rank>);

/// Tasks on its fullest node, not running before running, highest slot.
type Rank = (usize, Reverse<bool>, Place);

impl Heap {
    fn new(slots: &BTreeMap<Place, (Vec<NodeId>, bool)>, load: &BTreeMap<NodeId, usize>) -> Self {
        Self(slots.keys().map(|&place| rank(place, slots, load)).collect())
    }

    fn pop(
        &mut self,
        slots: &BTreeMap<Place, (Vec<NodeId>, bool)>,
        load: &mut BTreeMap<NodeId, usize>,
    ) -> Option<Place> {
        loop {
            let top = self.0.pop()?;
            let present = rank(top.2, slots, load);
            if present < top {
                self.0.push(present);
                continue;
            }
            for node in &slots[&top.2].0 {
                load.entry(*node).and_modify(|count| *count -= 1);
            }
            return Some(top.2);
        }
    }
}

fn rank(
    place: Place,
    slots: &BTreeMap<Place, (Vec<NodeId>, bool)>,
    load: &BTreeMap<NodeId, usize>,
) -> Rank {
    let (nodes, running) = &slots[&place];
    (nodes.iter().map(|node| load[node]).max().unwrap_or(0), Reverse(*running), place)
}
