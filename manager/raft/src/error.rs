//! Why something was not done.

use std::path::PathBuf;

use shoal_model::error::ErrorKind;

use crate::{LogError, Member, RaftId, SnapshotError, quorum};

/// A member did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("failed to create raft directory `{path}`")]
    CreateDirectory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("raft directory `{path}` belongs to raft member `{found}`, not to `{expected}`")]
    OtherMember { path: PathBuf, found: String, expected: RaftId },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("failed to start the raft threads")]
    Threads(#[source] std::io::Error),
    #[error("invalid raft configuration: {reason}")]
    Config { reason: String },
    #[error("consensus did not start: {reason}")]
    Consensus { reason: String },
}

impl StartError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::CreateDirectory { .. } | Self::Threads(_) | Self::Consensus { .. } => {
                ErrorKind::Internal
            }
            Self::OtherMember { .. } => ErrorKind::Conflict,
            Self::Log(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Config { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// A cluster was not begun.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BootstrapError {
    #[error("this member already has a log or belongs to a cluster")]
    NotEmpty,
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

impl BootstrapError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotEmpty => ErrorKind::Conflict,
            Self::Stopped { .. } => ErrorKind::Unavailable,
        }
    }
}

/// An entry was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ProposeError {
    /// Nothing was proposed: ask the leader, when it is known.
    #[error("this manager does not lead")]
    NotLeader { leader: Option<Member> },
    /// Nothing was proposed: no quorum acknowledges this leader at the moment.
    #[error("the managers have no quorum")]
    Unavailable,
    /// It was proposed, then leadership changed: it may or may not have been committed.
    #[error("leadership changed while the entry was proposed; whether it was committed is unknown")]
    Unknown { leader: Option<Member> },
    #[error("entry of {size} bytes is larger than {limit} bytes")]
    TooLarge { size: usize, limit: usize },
    /// Nothing was proposed.
    #[error("this manager cannot write its log: {reason}")]
    DiskFull { reason: String },
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

impl ProposeError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLeader { .. }
            | Self::Unavailable
            | Self::Unknown { .. }
            | Self::DiskFull { .. }
            | Self::Stopped { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::InvalidArgument,
        }
    }

    /// Whether the same entry may be proposed again without being applied twice.
    pub fn certainly_not_committed(&self) -> bool {
        matches!(
            self,
            Self::NotLeader { .. }
                | Self::Unavailable
                | Self::TooLarge { .. }
                | Self::DiskFull { .. }
        )
    }
}

/// A linearizable read is not possible.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReadError {
    #[error("this manager does not lead")]
    NotLeader { leader: Option<Member> },
    #[error("the managers have no quorum")]
    Unavailable,
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

impl ReadError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// The membership was not changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MembershipError {
    #[error("this manager does not lead")]
    NotLeader { leader: Option<Member> },
    #[error("raft member `{id}` is not in the cluster")]
    NoSuchMember { id: RaftId },
    #[error("node `{node}` is already raft member `{id}`")]
    NodeTaken { node: shoal_model::cluster::NodeId, id: RaftId },
    #[error(transparent)]
    Quorum(#[from] quorum::Refusal),
    #[error("raft member `{id}` did not catch up in time: {lag} entries behind")]
    NotCaughtUp { id: RaftId, lag: u64 },
    #[error("leadership changed while the membership was changed; whether it was is unknown")]
    Unknown,
    #[error("the managers have no quorum")]
    Unavailable,
    #[error("consensus refused the change: {reason}")]
    Refused { reason: String },
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

impl MembershipError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchMember { .. } => ErrorKind::NotFound,
            Self::NodeTaken { .. } | Self::Quorum(_) | Self::Refused { .. } => ErrorKind::Conflict,
            Self::NotCaughtUp { .. } => ErrorKind::DeadlineExceeded,
            Self::NotLeader { .. } | Self::Unknown | Self::Unavailable | Self::Stopped { .. } => {
                ErrorKind::Unavailable
            }
        }
    }
}

/// Leadership stayed or went elsewhere.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TransferError {
    #[error("this manager does not lead")]
    NotLeader { leader: Option<Member> },
    #[error("raft member `{id}` is not a voter")]
    NotVoter { id: RaftId },
    #[error("no other voter can take over")]
    NoCandidate,
    #[error("raft member `{id}` did not take over in time")]
    TimedOut { id: RaftId },
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

impl TransferError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotVoter { .. } => ErrorKind::InvalidArgument,
            Self::TimedOut { .. } => ErrorKind::DeadlineExceeded,
            Self::NotLeader { .. } | Self::NoCandidate | Self::Stopped { .. } => {
                ErrorKind::Unavailable
            }
        }
    }
}
