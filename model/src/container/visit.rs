//! What is asked of one container from another host: short questions with one answer each.

use serde::{Deserialize, Serialize};

use super::{PathStat, WaitCondition, WaitOutcome};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visit {
    /// What it is called.
    Called,
    /// Change the size of its terminal.
    Resize {
        /// Lines.
        rows: u32,
        /// Characters of a line.
        columns: u32,
    },
    /// Send it a signal.
    Kill {
        /// Name with or without `SIG`, or number.
        signal: String,
    },
    /// Wait for it.
    Wait {
        /// What for.
        condition: WaitCondition,
    },
    /// Look at a path in it.
    Look {
        /// The path.
        path: String,
    },
}

/// The answer to a question of the same kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visited {
    /// It was done.
    Done,
    /// What it is called.
    Called {
        /// Id.
        id: String,
        /// Without the leading slash.
        name: String,
    },
    /// It ended.
    Ended(WaitOutcome),
    /// What is at the path.
    Seen(PathStat),
}
