//! Failures across calls: the kind, the words and what is known of a container arrive, the rest stays in the node's log.

use serde::{Deserialize, Serialize};
use shoal_model::error::{ErrorKind, Fact, Failure};
use tonic::{Code, Status};

/// What is known of a container on another host. Only what a client there is told in docker's words.
#[derive(Debug, Serialize, Deserialize)]
enum OfContainer {
    NoSuchPath { path: String, container: String },
    NotRunning { container: String },
    Paused { container: String },
    Restarting { container: String },
    StartFailed { exit_code: i32, reason: String },
}

impl OfContainer {
    fn of(fact: &Fact) -> Option<Self> {
        Some(match fact.clone() {
            Fact::NoSuchPath { path, container } => Self::NoSuchPath { path, container },
            Fact::NotRunning { container } => Self::NotRunning { container },
            Fact::Paused { container } => Self::Paused { container },
            Fact::Restarting { container } => Self::Restarting { container },
            Fact::StartFailed { exit_code, reason } => Self::StartFailed { exit_code, reason },
            _ => return None,
        })
    }

    fn fact(self) -> Fact {
        match self {
            Self::NoSuchPath { path, container } => Fact::NoSuchPath { path, container },
            Self::NotRunning { container } => Fact::NotRunning { container },
            Self::Paused { container } => Fact::Paused { container },
            Self::Restarting { container } => Fact::Restarting { container },
            Self::StartFailed { exit_code, reason } => Fact::StartFailed { exit_code, reason },
        }
    }
}

/// What the caller is told.
pub fn of(failure: &Failure) -> Status {
    let code = match failure.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::NotModified => Code::AlreadyExists,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::NotImplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
    };
    let fact = failure.fact().and_then(OfContainer::of);
    match fact.and_then(|fact| rmp_serde::to_vec_named(&fact).ok()) {
        Some(details) => Status::with_details(code, failure.chain(), details.into()),
        None => Status::new(code, failure.chain()),
    }
}

/// What the caller makes of it.
pub fn failure(status: &Status) -> Failure {
    let kind = match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::Aborted | Code::FailedPrecondition => ErrorKind::Conflict,
        Code::AlreadyExists => ErrorKind::NotModified,
        Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unavailable | Code::ResourceExhausted => ErrorKind::Unavailable,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::DataLoss => ErrorKind::DataLoss,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    };
    let failure = Failure::new(kind, status.message());
    // Another version of us may know other facts: then the words are all there is.
    match rmp_serde::from_slice::<OfContainer>(status.details()) {
        Ok(fact) => failure.with_fact(fact.fact()),
        Err(_) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_words_arrive() {
        use ErrorKind::{
            Cancelled, Conflict, DataLoss, DeadlineExceeded, Forbidden, Internal, InvalidArgument,
            NotFound, NotImplemented, NotModified, Unauthorized, Unavailable,
        };
        for kind in [
            NotFound,
            InvalidArgument,
            Conflict,
            Unauthorized,
            Forbidden,
            Unavailable,
            NotModified,
            NotImplemented,
            Internal,
            DataLoss,
            DeadlineExceeded,
            Cancelled,
        ] {
            let arrived = failure(&of(&Failure::new(kind, "no")));
            assert_eq!((arrived.kind(), arrived.to_string()), (kind, "no".to_owned()));
            assert_eq!(arrived.fact(), None);
        }
    }

    #[test]
    fn facts_of_containers_arrive_and_no_others() {
        let path = Fact::NoSuchPath { path: "/x".to_owned(), container: "web".to_owned() };
        let failed = Fact::StartFailed { exit_code: 127, reason: "no such file".to_owned() };
        for fact in [path, failed] {
            let arrived = failure(&of(&Failure::of(ErrorKind::NotFound, fact.clone())));
            assert_eq!((arrived.kind(), arrived.fact()), (ErrorKind::NotFound, Some(&fact)));
        }
        let arrived = failure(&of(&Failure::of(ErrorKind::Conflict, Fact::OutOfSequence)));
        assert_eq!(arrived.fact(), None);
    }
}
