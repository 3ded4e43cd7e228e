//! Why the store did not do what it was asked.

use std::sync::Arc;

use shoal_manager_core::store::{Rejected, codec};
use shoal_model::ErrorKind;
use shoal_model::error::Classified;

use crate::consensus;

use super::ForwardError;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no manager leads")]
    NoLeader,
    #[error("the managers have no quorum")]
    NoQuorum,
    /// The transaction may or may not be committed.
    #[error("the transaction was proposed, and whether it is committed is unknown")]
    Unknown,
    #[error("this manager has not applied entry {index} in time")]
    Behind { index: u64 },
    #[error("transaction of {size} bytes is larger than {limit} bytes")]
    TooLarge { size: usize, limit: usize },
    #[error("the manager that leads cannot write its log: {reason}")]
    DiskFull { reason: String },
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Codec(#[from] codec::Error),
    #[error("failed to reach the leader at `{address}`")]
    Unreachable {
        address: String,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether nothing was committed and it may pass by itself.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::NoLeader | Self::NoQuorum | Self::DiskFull { .. } | Self::Unreachable { .. }
        )
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLeader
            | Self::NoQuorum
            | Self::Unknown
            | Self::Behind { .. }
            | Self::DiskFull { .. }
            | Self::Stopped { .. }
            | Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::InvalidArgument,
            Self::Rejected(rejected) => rejected.kind(),
            Self::Codec(error) => error.kind(),
        }
    }
}

impl From<consensus::Error> for Error {
    fn from(error: consensus::Error) -> Self {
        match error {
            consensus::Error::NotLeader { .. } => Self::NoLeader,
            consensus::Error::NoQuorum => Self::NoQuorum,
            consensus::Error::Unknown => Self::Unknown,
            consensus::Error::TooLarge { size, limit } => Self::TooLarge { size, limit },
            consensus::Error::DiskFull { reason } => Self::DiskFull { reason },
            consensus::Error::Stopped { reason } => Self::Stopped { reason },
        }
    }
}

impl From<ForwardError> for Error {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Unreachable { address, source } => Self::Unreachable { address, source },
            ForwardError::Unknown => Self::Unknown,
            ForwardError::NotLeader { .. } => Self::NoLeader,
            ForwardError::NoQuorum => Self::NoQuorum,
            ForwardError::Refused { size, limit } => Self::TooLarge { size, limit },
            ForwardError::DiskFull { reason } => Self::DiskFull { reason },
            ForwardError::Stopped { reason } => Self::Stopped { reason },
        }
    }
}
