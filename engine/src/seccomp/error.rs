//! What can be wrong with a profile.

use std::path::PathBuf;

use shoal_model::{Classified, ErrorKind};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("decoding seccomp profile failed")]
    Decode(#[source] serde_json::Error),
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
    )]
    TwoArchLists,
    #[error(
        "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
    )]
    TwoNames,
    #[error("seccomp profile: kernel version {version:?} is not of the form `4.8`")]
    KernelVersion { version: String },
    #[error("seccomp profile: unknown action {action:?}")]
    UnknownAction { action: String },
    #[error("seccomp profile: action `{action}` needs a listener, which is not supported")]
    Notify { action: String },
    #[error("seccomp profile: unknown operator {op:?} for `{syscall}`")]
    UnknownOperator { op: String, syscall: String },
    #[error("seccomp profile: `{syscall}` has a condition on argument {index}; there are 0 to 5")]
    ArgumentIndex { syscall: String, index: u32 },
    #[error("seccomp profile: unknown architecture {arch:?}")]
    UnknownArch { arch: String },
    #[error("seccomp profile: unknown flag {flag:?}")]
    UnknownFlag { flag: String },
    #[error("seccomp profile: error number {number} is larger than 4095")]
    Errno { number: u32 },
    #[error("seccomp profile: the program has {instructions} instructions, the kernel takes 4096")]
    TooLarge { instructions: usize },
    #[error("failed to keep the compiled seccomp filter in `{path}`")]
    Store {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Notify { .. } => ErrorKind::NotImplemented,
            Self::Store { .. } => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}
