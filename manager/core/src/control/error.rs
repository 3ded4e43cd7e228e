//! Refusals.

use shoal_model::error::{CallCode, Classified};
use shoal_model::{ErrorKind, Fact, ObjectKind};

use crate::store::{ObjectRef, Rejected};

/// A request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no {object:?} `{name}`")]
    NotFound { object: ObjectKind, name: String },
    #[error("{object:?} `{name}` is ambiguous: {count} match")]
    Ambiguous { object: ObjectKind, name: String, count: usize },
    #[error("update out of sequence")]
    OutOfSequence,
    /// `text` is docker's.
    #[error("{text}")]
    Refused { code: CallCode, text: String },
    /// Words that docker shows without a code.
    #[error("{text}")]
    Plain { kind: ErrorKind, text: String },
    #[error(transparent)]
    Rejected(Rejected),
}

/// What a request gives.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::Refused { code: CallCode::InvalidArgument, text: text.into() }
    }

    pub(super) fn precondition(text: impl Into<String>) -> Self {
        Self::Refused { code: CallCode::FailedPrecondition, text: text.into() }
    }

    pub(super) fn unimplemented(text: impl Into<String>) -> Self {
        Self::Refused { code: CallCode::Unimplemented, text: text.into() }
    }

    pub(super) fn exists(text: impl Into<String>) -> Self {
        Self::Refused { code: CallCode::AlreadyExists, text: text.into() }
    }

    pub(super) fn denied(text: impl Into<String>) -> Self {
        Self::Refused { code: CallCode::PermissionDenied, text: text.into() }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        let gone = |object| match object {
            ObjectRef::Cluster => None,
            ObjectRef::Node(id) => Some((ObjectKind::Node, id.to_string())),
            ObjectRef::Service(id) => Some((ObjectKind::Service, id.to_string())),
            ObjectRef::Task(id) => Some((ObjectKind::Task, id.to_string())),
            ObjectRef::Network(id) => Some((ObjectKind::Network, id.to_string())),
            ObjectRef::Secret(id) => Some((ObjectKind::Secret, id.to_string())),
            ObjectRef::Config(id) => Some((ObjectKind::Config, id.to_string())),
        };
        match rejected {
            Rejected::OutOfSequence { .. } => Self::OutOfSequence,
            Rejected::Missing { object } => match gone(object) {
                Some((object, name)) => Self::NotFound { object, name },
                None => Self::Rejected(Rejected::Missing { object }),
            },
            other => Self::Rejected(other),
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::InvalidArgument,
            // As in Docker: the call between daemon and manager has no code for it.
            Self::OutOfSequence => ErrorKind::Internal,
            Self::Refused { code, .. } => code.kind(),
            Self::Plain { kind, .. } => *kind,
            Self::Rejected(rejected) => rejected.kind(),
        }
    }

    fn fact(&self) -> Option<Fact> {
        Some(match self {
            Self::NotFound { object, name } => Fact::NoSuch { object: *object, name: name.clone() },
            Self::Ambiguous { object, name, count } => {
                Fact::Several { object: *object, name: name.clone(), count: *count }
            }
            Self::OutOfSequence => Fact::OutOfSequence,
            Self::Refused { code, text } => Fact::Refused { code: *code, text: text.clone() },
            Self::Plain { .. } | Self::Rejected(_) => return None,
        })
    }
}
