//! What can go wrong with containers. Each variant says what was being done to which container.

use std::path::PathBuf;

use shoal_base::blocking;
use shoal_base::tasks::GivenUp;
use shoal_model::container::Phase;
use shoal_model::{Classified, ContainerId, ErrorKind, Fact, Failure, NetworkRefusal, ObjectKind};

use crate::{names, shim_client};

/// A failed verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such container.
    #[error("no such container: `{name}`")]
    NoSuchContainer {
        /// As given.
        name: String,
    },
    /// No such exec.
    #[error("no such exec: `{id}`")]
    NoSuchExec {
        /// As given.
        id: String,
    },
    /// An id prefix fits several.
    #[error("id prefix `{prefix}` fits several containers")]
    Ambiguous {
        /// As given.
        prefix: String,
    },
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] names::Error),
    /// A rename to the name it has.
    #[error("container `{name}` has this name already")]
    SameName {
        /// The name.
        name: String,
    },
    /// There is no such file.
    #[error("there is no file `{path}` in container `{container}`")]
    NoSuchPath {
        /// The path as the client wrote it.
        path: String,
        /// The container as the client called it.
        container: String,
    },
    /// No such user in the container's files: the shim's sentence is docker's.
    #[error("{message}")]
    UnknownUser {
        /// The shim's sentence.
        message: String,
    },
    /// The verb is not possible in this phase.
    #[error("container `{container}` is {}", phase.as_str())]
    Phase {
        /// The container's name.
        container: String,
        /// Its phase.
        phase: Phase,
        /// Kind of the refusal.
        kind: ErrorKind,
        /// Typed reason.
        fact: Option<Fact>,
    },
    /// A value of the request makes no sense.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A log driver or one of its options makes no sense.
    #[error("{0}")]
    Logging(String),
    /// Not possible now, for a reason that is not the phase alone.
    #[error("container `{container}`: {reason}")]
    Conflict {
        /// The container's name.
        container: String,
        /// Why.
        reason: String,
    },
    /// Shoal does not do this.
    #[error("{0}")]
    NotImplemented(String),
    /// A file of a container could not be handled.
    #[error("failed to {action} `{path}`")]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A record on disk cannot be understood.
    #[error("record `{path}` is damaged")]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record on disk was written by a newer release.
    #[error("record `{path}` has format {found}, this release knows up to {known}")]
    NewerRecord {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A value has no JSON form.
    #[error("failed to encode {what}")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The shim program could not be run.
    #[error("failed to run the shim `{program}`")]
    SpawnShim {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The shim failed.
    #[error("shim of container `{container}`")]
    Shim {
        /// The container.
        container: ContainerId,
        /// Why.
        #[source]
        source: shim_client::Error,
    },
    /// The program of a container or exec could not be started.
    #[error("failed to start the program: {reason}")]
    StartFailed {
        /// 126, 127 or 128.
        exit_code: i32,
        /// Docker's detail.
        reason: String,
    },
    /// Another part refused the client's input. Its sentence is complete: docker's clients know it.
    #[error(transparent)]
    Input(Part),
    /// Another part failed: network, images, volumes, runtime spec.
    #[error("failed to {action} container `{container}`")]
    Part {
        /// What was to be done.
        action: &'static str,
        /// The container's name.
        container: String,
        /// Its failure.
        #[source]
        source: Part,
    },
    /// The network of a container could not be made.
    #[error("failed to set up container networking")]
    Networking {
        /// The container's name.
        container: String,
        /// The network side's failure.
        #[source]
        source: Part,
    },
    /// The networks of a container do not allow what was asked.
    #[error("networks of container `{container}`: {refusal}")]
    Refused {
        /// The container's name.
        container: String,
        /// Why.
        refusal: NetworkRefusal,
    },
    /// A blocking job was lost.
    #[error(transparent)]
    Lost(#[from] blocking::Lost),
    /// The daemon stops.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
}

/// A failure of another part, as an error with a source chain of its own.
#[derive(Debug)]
pub struct Part(pub Failure);

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Part {}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer { .. } | Self::NoSuchExec { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Invalid { .. } | Self::Logging(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Name(names::Error::Invalid { .. }) => ErrorKind::InvalidArgument,
            Self::Name(names::Error::Taken { .. }) | Self::Conflict { .. } => ErrorKind::Conflict,
            Self::SameName { .. } => ErrorKind::InvalidArgument,
            Self::NoSuchPath { .. } => ErrorKind::NotFound,
            Self::UnknownUser { .. } => ErrorKind::Internal,
            Self::Phase { kind, .. } => *kind,
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
            Self::DamagedRecord { .. } => ErrorKind::DataLoss,
            Self::NewerRecord { .. } | Self::GivenUp(_) => ErrorKind::Unavailable,
            Self::File { .. } | Self::Encode { .. } | Self::SpawnShim { .. } | Self::Lost(_) => {
                ErrorKind::Internal
            }
            Self::Shim { source, .. } => source.kind(),
            Self::StartFailed { exit_code: 126 | 127, .. } => ErrorKind::InvalidArgument,
            Self::StartFailed { .. } => ErrorKind::Internal,
            Self::Part { source, .. } | Self::Input(source) | Self::Networking { source, .. } => {
                source.0.kind()
            }
            Self::Refused { refusal, .. } => refusal.kind(),
        }
    }

    fn fact(&self) -> Option<Fact> {
        let no_such = |object, name: &str| Some(Fact::NoSuch { object, name: name.to_owned() });
        match self {
            Self::NoSuchContainer { name } => no_such(ObjectKind::Container, name),
            Self::NoSuchExec { id } => no_such(ObjectKind::Exec, id),
            Self::Ambiguous { prefix } => {
                Some(Fact::Ambiguous { object: ObjectKind::Container, prefix: prefix.clone() })
            }
            Self::Name(names::Error::Taken { name, by }) => {
                Some(Fact::ContainerNameTaken { name: name.clone(), by: by.to_string() })
            }
            Self::SameName { .. } => Some(Fact::SameName),
            Self::NoSuchPath { path, container } => {
                Some(Fact::NoSuchPath { path: path.clone(), container: container.clone() })
            }
            Self::Phase { fact, .. } => fact.clone(),
            Self::StartFailed { exit_code, reason } => {
                Some(Fact::StartFailed { exit_code: *exit_code, reason: reason.clone() })
            }
            Self::Part { source, .. } | Self::Input(source) => source.0.fact().cloned(),
            Self::Refused { refusal, .. } => Some(Fact::Network(refusal.clone())),
            Self::Networking { container, source } => Some(Fact::SetUpNetworking {
                container: container.clone(),
                cause: Box::new(source.0.fact()?.clone()),
            }),
            _ => None,
        }
    }
}

impl Error {
    /// Wraps an error of the operating system.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Wraps a failure of another part.
    pub(crate) fn part<E: Into<Failure>>(
        action: &'static str,
        container: &str,
    ) -> impl FnOnce(E) -> Self {
        let container = container.to_owned();
        move |failure| {
            let source = Part(failure.into());
            match source.0.kind() {
                ErrorKind::InvalidArgument => Self::Input(source),
                _ => Self::Part { action, container, source },
            }
        }
    }

    /// What is shown as the state's error text: the reason of a failed start, else the whole chain.
    pub(crate) fn state_text(&self) -> String {
        match self {
            Self::StartFailed { reason, .. } => reason.clone(),
            Self::Part { source, .. } => source.0.to_string(),
            other => shoal_model::error::Chain(other).to_string(),
        }
    }
}
