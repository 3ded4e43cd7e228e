//! Failures as they are sent to the engine: what was being done to which thing, and the cause's text,
//! because the chain ends at the wire. Pure.

use shoal_shim_protocol::message::{Failure, FailureKind};

/// Result of everything in this program.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Makes a failure without an error number.
pub(crate) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure { kind, message: message.into(), errno: None }
}

/// Adds what was being done.
pub(crate) trait Context<T> {
    /// Turns the error into an internal failure that says `doing`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
    /// As [`Self::doing`], of another kind.
    fn failing(self, kind: FailureKind, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.failing(FailureKind::Internal, doing)
    }

    fn failing(self, kind: FailureKind, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let message = format!("failed to {}: {}", doing(), lower(&error));
            Failure { kind, message, errno: error.raw_os_error() }
        })
    }
}

/// The text Go's `syscall.Errno` has, which docker's users know.
pub(crate) fn lower(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_why() {
        let result: std::result::Result<(), _> = Err(std::io::Error::from_raw_os_error(2));
        let failed = result.doing(|| "open `x`".to_owned()).unwrap_err();
        assert_eq!(failed.message, "failed to open `x`: no such file or directory");
        assert_eq!(failed.errno, Some(2));
    }
}
