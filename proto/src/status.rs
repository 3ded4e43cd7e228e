//! Failures across calls: the kind and the words arrive, the rest stays in the node's log.

use shoal_model::error::{ErrorKind, Failure};
use tonic::{Code, Status};

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
    Status::new(code, failure.chain())
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
    Failure::new(kind, status.message())
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
        }
    }
}
