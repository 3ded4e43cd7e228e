//! Linearizability of one register that many clients read and change: whether there is an order of all operations that
//! each client could have seen, in which each operation takes effect between its call and its answer.
//!
//! The search is Wing and Gong's with Lowe's memory of configurations that led nowhere ("Testing for linearizability",
//! 2017). Values are written once only, so that a change names the value that it replaces.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// A value; every write writes another one.
pub type Value = u64;

/// What a client asked, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read this value.
    Read(Value),
    /// Replaced `from` by `to`.
    Replaced {
        /// Value before.
        from: Value,
        /// Value after.
        to: Value,
    },
    /// Was refused, because the value was not `from`.
    Refused {
        /// Value that it is not.
        from: Value,
    },
    /// Asked for `from` to be replaced by `to`, and was not told whether it was.
    Unknown {
        /// Value before.
        from: Value,
        /// Value after.
        to: Value,
    },
}

/// One operation of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked.
    pub called: Duration,
    /// When the answer came. Of no meaning for [`Action::Unknown`], which may take effect at any time later.
    pub answered: Duration,
    /// What.
    pub action: Action,
}

/// A history that no single register can have given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{done} of {all} operations fit one register; none of these can be next: {stuck:?}")]
pub struct Violation {
    /// The longest prefix found.
    pub done: usize,
    /// Operations with an answer.
    pub all: usize,
    /// The operations that were under way after it.
    pub stuck: Vec<Operation>,
}

/// Which operations have taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn new(operations: usize) -> Self {
        Self(vec![0; operations.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn flip(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

/// The value after an action at `value`; `None`: the action cannot take effect there.
fn after(value: Value, action: Action) -> Option<Value> {
    match action {
        Action::Read(read) => (read == value).then_some(value),
        Action::Replaced { from, to } | Action::Unknown { from, to } => {
            (from == value).then_some(to)
        }
        Action::Refused { from } => (from != value).then_some(value),
    }
}

/// A step of the search: the operation that took effect, the value before it, and where to go on when it was wrong.
struct Step {
    operation: usize,
    before: Value,
}

/// Checks that `history` is one of a register that held `first`.
///
/// # Errors
/// When it is not.
pub fn check(first: Value, history: &[Operation]) -> Result<(), Violation> {
    let operations = relevant(history);
    let known = operations.iter().filter(|one| is_known(one)).count();
    let mut search = Search {
        taken: Taken::new(operations.len()),
        operations,
        value: first,
        done: 0,
        steps: Vec::new(),
        seen: HashSet::new(),
        best: (0, Vec::new()),
    };
    if search.run(known) {
        return Ok(());
    }
    let (done, stuck) = search.best;
    Err(Violation { done, all: known, stuck })
}

fn is_known(operation: &Operation) -> bool {
    !matches!(operation.action, Action::Unknown { .. })
}

/// The operations in order of their calls. An unknown change whose value nobody saw cannot be told from one that came
/// after everything else, unless a refusal needs it.
fn relevant(history: &[Operation]) -> Vec<Operation> {
    let mut uses: BTreeMap<Value, usize> = BTreeMap::new();
    for operation in history {
        match operation.action {
            Action::Read(value) | Action::Replaced { from: value, .. } => {
                *uses.entry(value).or_default() += 1;
            }
            Action::Unknown { from, .. } => *uses.entry(from).or_default() += 1,
            Action::Refused { .. } => {}
        }
    }
    let refused: HashSet<Value> = history
        .iter()
        .filter_map(|one| match one.action {
            Action::Refused { from } => Some(from),
            _ => None,
        })
        .collect();
    let is_relevant = |one: &&Operation| match one.action {
        Action::Unknown { from, to } => uses.contains_key(&to) || refused.contains(&from),
        _ => true,
    };
    let mut operations: Vec<Operation> = history.iter().filter(is_relevant).copied().collect();
    operations.sort_by_key(|one| one.called);
    operations
}

struct Search {
    operations: Vec<Operation>,
    taken: Taken,
    value: Value,
    /// Known operations that have taken effect.
    done: usize,
    steps: Vec<Step>,
    seen: HashSet<(Taken, Value)>,
    best: (usize, Vec<Operation>),
}

impl Search {
    fn run(&mut self, known: usize) -> bool {
        // The first operation to try at this configuration.
        let mut from = 0;
        loop {
            if self.done == known {
                return true;
            }
            if let Some(next) = self.next(from) {
                self.take(next);
                from = 0;
                continue;
            }
            self.remember_best();
            let Some(step) = self.steps.pop() else { return false };
            self.taken.flip(step.operation);
            self.value = step.before;
            self.done -= usize::from(is_known(&self.operations[step.operation]));
            from = step.operation + 1;
        }
    }

    /// Operations that may be next in time: called before the first answer among those that are open.
    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        let limit = self.limit();
        let called = move |at: &usize| self.operations[*at].called <= limit;
        (0..self.operations.len()).take_while(called).filter(|at| !self.taken.has(*at))
    }

    fn limit(&self) -> Duration {
        let mut limit = Duration::MAX;
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.called > limit {
                break;
            }
            if !self.taken.has(at) && is_known(operation) {
                limit = limit.min(operation.answered);
            }
        }
        limit
    }

    fn next(&mut self, from: usize) -> Option<usize> {
        let candidates: Vec<usize> = self.open().filter(|at| *at >= from).collect();
        candidates.into_iter().find(|at| {
            let Some(value) = after(self.value, self.operations[*at].action) else { return false };
            self.taken.flip(*at);
            let is_new = self.seen.insert((self.taken.clone(), value));
            self.taken.flip(*at);
            is_new
        })
    }

    fn take(&mut self, at: usize) {
        let operation = self.operations[at];
        let value = after(self.value, operation.action).expect("it was asked whether it fits");
        self.steps.push(Step { operation: at, before: self.value });
        self.taken.flip(at);
        self.done += usize::from(is_known(&operation));
        self.value = value;
    }

    fn remember_best(&mut self) {
        if self.done >= self.best.0 {
            self.best = (self.done, self.open().map(|at| self.operations[at]).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(called: u64, answered: u64, action: Action) -> Operation {
        let (called, answered) = (Duration::from_millis(called), Duration::from_millis(answered));
        Operation { called, answered, action }
    }

    fn replaced(from: Value, to: Value) -> Action {
        Action::Replaced { from, to }
    }

    fn unknown(from: Value, to: Value) -> Action {
        Action::Unknown { from, to }
    }

    #[test]
    fn histories_of_a_register_are_accepted() {
        let histories: [&[Operation]; 6] = [
            &[],
            &[at(0, 1, Action::Read(0)), at(2, 3, replaced(0, 1)), at(4, 5, Action::Read(1))],
            // While the write is under way both values may be read, in one order.
            &[at(0, 9, replaced(0, 1)), at(1, 2, Action::Read(0)), at(3, 4, Action::Read(1))],
            // An unknown write takes effect late, or never.
            &[at(0, 1, unknown(0, 1)), at(5, 6, Action::Read(0)), at(7, 8, Action::Read(1))],
            &[at(0, 1, unknown(0, 1)), at(5, 6, replaced(0, 2)), at(7, 8, Action::Read(2))],
            // A refusal is explained by a write whose answer was lost.
            &[at(0, 1, unknown(0, 1)), at(2, 3, Action::Refused { from: 0 })],
        ];
        for history in histories {
            assert_eq!(check(0, history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn wrong_histories_are_found() {
        let histories: [(&str, &[Operation]); 7] = [
            ("stale read", &[at(0, 1, replaced(0, 1)), at(2, 3, Action::Read(0))]),
            (
                "read goes back in time",
                &[at(0, 9, replaced(0, 1)), at(1, 2, Action::Read(1)), at(3, 4, Action::Read(0))],
            ),
            ("lost update", &[at(0, 1, replaced(0, 1)), at(2, 3, replaced(0, 2))]),
            ("both of two concurrent", &[at(0, 9, replaced(0, 1)), at(0, 9, replaced(0, 2))]),
            ("value of nobody", &[at(0, 1, Action::Read(7))]),
            ("unfounded refusal", &[at(0, 1, Action::Refused { from: 0 })]),
            (
                "unknown write undone",
                &[at(0, 1, unknown(0, 1)), at(2, 3, Action::Read(1)), at(4, 5, Action::Read(0))],
            ),
        ];
        for (name, history) in histories {
            assert!(check(0, history).is_err(), "{name}");
        }
    }

    /// A register played in one order, with calls and answers spread around the moment of effect.
    fn played(mut seed: u64, operations: usize) -> Vec<Operation> {
        let mut below = move |limit: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % limit
        };
        let (mut value, mut fresh, mut old) = (0, 0, 0);
        let mut history = Vec::new();
        for number in 1..=operations as u64 {
            let (moment, before, later) = (100 + number * 10, below(60), below(60));
            let action = match below(6) {
                0 | 1 => {
                    fresh += 1;
                    old = std::mem::replace(&mut value, fresh);
                    replaced(old, value)
                }
                2 => {
                    fresh += 1;
                    let action = unknown(value, fresh);
                    if below(2) == 0 {
                        old = std::mem::replace(&mut value, fresh);
                    }
                    action
                }
                3 if old != value => Action::Refused { from: old },
                _ => Action::Read(value),
            };
            history.push(at(moment - before, moment + later, action));
        }
        history
    }

    #[test]
    fn long_histories_are_accepted_and_one_wrong_read_in_them_is_found() {
        for seed in 1..=200 {
            let mut history = played(seed, 200);
            assert_eq!(check(0, &history), Ok(()), "seed {seed}");
            // A value that was replaced long before the read was called.
            let wrong = history
                .iter()
                .find_map(|one| match one.action {
                    Action::Replaced { from, .. } => Some((one.answered, from)),
                    _ => None,
                })
                .unwrap();
            let late = Duration::from_secs(9);
            assert!(wrong.0 < late);
            history.push(Operation {
                called: late,
                answered: late + Duration::from_millis(1),
                action: Action::Read(wrong.1),
            });
            assert!(check(0, &history).is_err(), "seed {seed}");
        }
    }
}
