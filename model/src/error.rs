//! Error kinds, and the one type in which errors cross a port.
//!
//! A crate's own errors are `thiserror` enums that implement [`Classified`]; they become a [`Failure`] at
//! a port, where the caller needs the kind, the fact and the chain of causes, and nothing else.
//!
//! Source: the closed list of kinds is moby's `errdefs`.

use std::error::Error;
use std::fmt;

use crate::refusal::NetworkRefusal;

/// What sort of failure an error is. Decides HTTP status and gRPC code, each in one place only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The caller's input is wrong.
    InvalidArgument,
    /// The request contradicts the object's state.
    Conflict,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// A service that is needed cannot be reached now.
    Unavailable,
    /// The object is already as asked.
    NotModified,
    /// Shoal does not do this.
    NotImplemented,
    /// Anything else that went wrong on our side.
    Internal,
    /// Stored or received data is damaged.
    DataLoss,
    /// It took too long.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
}

/// The kinds of object a user can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ObjectKind {
    Container,
    Image,
    Volume,
    Network,
    Exec,
    Plugin,
    Node,
    Service,
    Task,
    Secret,
    Config,
}

/// Why a host cannot answer for the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is in no cluster.
    NotAMember,
    /// It is in a cluster already.
    AlreadyAMember,
    /// It is a worker.
    Worker,
    /// It is a manager that is starting or has lost the others.
    ManagerNotReady,
    /// It waits for its unlock key.
    Locked,
    /// It is not locked.
    NotLocked,
    /// The unlock key is wrong.
    WrongKey,
    /// Its certificates have expired.
    Expired,
    /// It did not become a member in time; it goes on trying.
    JoinTimedOut,
    /// There is no leader.
    NoLeader,
}

/// Codes that docker shows where a manager refuses.
///
/// Source: `google.golang.org/grpc/codes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CallCode {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    Unimplemented,
}

impl CallCode {
    /// The code's name as docker shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Unimplemented => "Unimplemented",
        }
    }

    /// What sort of failure it is.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => ErrorKind::InvalidArgument,
            Self::NotFound => ErrorKind::NotFound,
            Self::AlreadyExists => ErrorKind::Conflict,
            Self::PermissionDenied => ErrorKind::Forbidden,
            Self::Unimplemented => ErrorKind::NotImplemented,
        }
    }
}

/// A typed fact about a failure for which clients expect dockerd's exact words.
///
/// The words themselves live in `api/error.rs` only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Fact {
    /// No object of this kind has this name or id.
    NoSuch { object: ObjectKind, name: String },
    /// An id prefix fits several objects.
    Ambiguous { object: ObjectKind, prefix: String },
    /// A container name is taken. `name` has no leading slash.
    ContainerNameTaken { name: String, by: String },
    /// A container already has the name that it shall get.
    SameName,
    /// There is no such file in the container.
    NoSuchPath { path: String, container: String },
    /// The verb needs a running container.
    NotRunning { container: String },
    /// The verb is not possible while the container is paused.
    Paused { container: String },
    /// The verb needs a paused container.
    NotPaused { container: String },
    /// The container is being restarted by its policy.
    Restarting { container: String },
    /// Removal needs a stopped container. `state` is docker's word for its state.
    RemoveRunning { container: String, state: String },
    /// Start of a running, stop of a stopped container: HTTP 304, no body.
    AlreadyInState,
    /// A container could not be started. `exit_code` is 126, 127 or 128, `reason` docker's detail.
    StartFailed { exit_code: i32, reason: String },
    /// The image is used; `why` completes docker's sentence after "unable to … -".
    ImageInUse { image: String, why: String, must_force: bool },
    /// A volume is used by containers.
    VolumeInUse { volume: String, containers: Vec<String> },
    /// A network has endpoints.
    NetworkInUse { network: String, endpoints: Vec<String> },
    /// The network side refuses.
    Network(NetworkRefusal),
    /// A container could not be started because of its network. `container` is its name.
    SetUpNetworking { container: String, cause: Box<Fact> },
    /// A registry does not let the caller read a repository, if it exists. `cause` is its `code: message`.
    PullDenied { repository: String, cause: String },
    /// A registry has no such tag or manifest.
    ManifestUnknown { reference: String, cause: String },
    /// A registry has no such repository.
    RepositoryUnknown { repository: String, cause: String },
    /// A registry refuses for another reason: docker shows `cause` alone.
    RegistryRefused { cause: String },
    /// A registry wants a user and a password and none were given. `request` is e.g. `Get "https://…"`.
    NoRegistryCredentials { request: String },
    /// A registry did not answer a search; docker shows the status alone.
    SearchStatus { status: u16 },
    /// No image of an index is for this `os/arch[/variant]`.
    NoMatchingPlatform { platform: String },
    /// A push names a tag that no local image has.
    NoSuchTag { reference: String },
    /// A push names a repository of which no local image has a tag.
    NoLocalTags { repository: String },
    /// This host cannot answer for the cluster.
    Membership(Unfit),
    /// A name or an id prefix fits several objects of the cluster.
    Several { object: ObjectKind, name: String, count: usize },
    /// The object was changed since the caller read it.
    OutOfSequence,
    /// A manager refuses; docker shows the code of the call between daemon and manager with its words.
    Refused { code: CallCode, text: String },
    /// A filter key is not known to the endpoint.
    InvalidFilter { key: String, value: Option<String> },
}

/// Implemented by every public error of a crate.
pub trait Classified: Error + Send + Sync + 'static {
    /// The kind of this failure.
    fn kind(&self) -> ErrorKind;
    /// The typed fact, where clients depend on dockerd's words.
    fn fact(&self) -> Option<Fact> {
        None
    }
}

/// An error as it crosses a port: kind, fact and the original with its causes.
pub struct Failure {
    kind: ErrorKind,
    /// Boxed, because errors hold failures and are returned by value.
    fact: Option<Box<Fact>>,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure that has no error type of its own: bad input found at an edge.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, fact: None, source: message.into().into() }
    }

    /// A failure whose words are decided by `fact`.
    pub fn of(kind: ErrorKind, fact: Fact) -> Self {
        let source = format!("{fact:?}").into();
        Self { kind, fact: Some(Box::new(fact)), source }
    }

    /// The same failure, of which a fact is known as well.
    pub fn with_fact(self, fact: Fact) -> Self {
        Self { fact: Some(Box::new(fact)), ..self }
    }

    /// `InvalidArgument` with a message that names the field.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// `NotImplemented` with a message.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The fact, if any.
    pub fn fact(&self) -> Option<&Fact> {
        self.fact.as_deref()
    }

    /// The message and its causes joined by `: `, without repeating a cause that the message contains.
    pub fn chain(&self) -> String {
        Chain(self.source.as_ref()).to_string()
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { kind: error.kind(), fact: error.fact().map(Box::new), source: Box::new(error) }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({}", self.kind, self.chain())?;
        if let Some(fact) = &self.fact {
            write!(f, ", {fact:?}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

/// Displays an error with all its causes: `message: cause: cause`.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
