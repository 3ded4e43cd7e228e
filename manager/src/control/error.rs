//! Why a request was not done.

use shoal_manager_core::control as core;
use shoal_model::error::{Classified, Unfit};
use shoal_model::{ErrorKind, Fact};

use crate::store;

/// A request was not done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] core::Error),
    #[error(transparent)]
    Store(store::Error),
    #[error("the cluster is not initialised yet")]
    NoCluster,
}

impl From<store::Error> for Error {
    /// What the store refuses at commit is refused as it would have been before.
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Rejected(rejected) => Self::Refused(rejected.into()),
            other => Self::Store(other),
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoCluster => ErrorKind::Unavailable,
        }
    }

    fn fact(&self) -> Option<Fact> {
        match self {
            Self::Refused(error) => error.fact(),
            Self::Store(store::Error::NoLeader | store::Error::NoQuorum) => {
                Some(Fact::Membership(Unfit::NoLeader))
            }
            Self::Store(_) => None,
            Self::NoCluster => Some(Fact::Membership(Unfit::ManagerNotReady)),
        }
    }
}
