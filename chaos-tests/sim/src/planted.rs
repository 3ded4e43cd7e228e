//! Bugs that checkers must find. None is there unless a test plants it; without the feature `planted` none can be.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The disk says that it has synced, and has not.
    LostSync,
    /// A vote is not written.
    ForgottenVote,
    /// A read is answered from what this manager has, without asking the leader.
    StaleRead,
    /// Success is said before it is known.
    EarlySuccess,
    /// Another task is made for a place that has one.
    DoubleSlot,
    /// An address is given twice.
    LeakedAddress,
    /// A task gets a node that takes none.
    WrongNode,
    /// A worker is taken for a manager.
    SkippedRoleCheck,
    /// A node keeps the first view of a network.
    StaleEndpoint,
    /// What a task's place has been through is forgotten.
    LostRestartCount,
    /// A container is said to run that does not.
    LyingStart,
    /// A container is said to be stopped that runs.
    IgnoredStop,
    /// A spec is changed by the system.
    ChangedSpec,
    /// A node gets a task that reserves more than is left.
    Overcommitted,
    /// Two services have the same published port.
    PublishedTwice,
    /// A task is tried again more often than its service says.
    TriedTooOften,
}

/// All of them.
pub const ALL: [Bug; 16] = [
    Bug::LostSync,
    Bug::ForgottenVote,
    Bug::StaleRead,
    Bug::EarlySuccess,
    Bug::DoubleSlot,
    Bug::LeakedAddress,
    Bug::WrongNode,
    Bug::SkippedRoleCheck,
    Bug::StaleEndpoint,
    Bug::LostRestartCount,
    Bug::LyingStart,
    Bug::IgnoredStop,
    Bug::ChangedSpec,
    Bug::Overcommitted,
    Bug::PublishedTwice,
    Bug::TriedTooOften,
];

/// The bug that a run has, or none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted(Option<Bug>);

impl Planted {
    /// No bug.
    pub const NONE: Self = Self(None);

    /// With a bug.
    #[cfg(feature = "planted")]
    pub const fn with(bug: Bug) -> Self {
        Self(Some(bug))
    }

    /// Whether the run has this bug.
    pub fn is(self, bug: Bug) -> bool {
        cfg!(feature = "planted") && self.0 == Some(bug)
    }
}
