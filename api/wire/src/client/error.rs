//! What can go wrong between client and daemon.

use http::StatusCode;

use crate::json;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the daemon is malformed.
    #[error("unable to parse docker host `{host}`: {reason}")]
    InvalidHost {
        /// As the user wrote it.
        host: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use `{path}` for TLS: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Nobody answers at the address.
    #[error("cannot connect to the daemon at {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke or spoke no HTTP.
    #[error("request to {endpoint} failed")]
    Request {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The daemon answered an error. `message` is its own.
    #[error("{message}")]
    Status {
        /// 400 and more.
        status: StatusCode,
        /// From the body.
        message: String,
    },
    /// The body broke off.
    #[error("the answer broke off")]
    Body(#[source] hyper::Error),
    /// The answer is not what it should be.
    #[error("cannot understand the answer")]
    Decode(#[source] json::Error),
    /// The request's body cannot be encoded.
    #[error("cannot encode the request")]
    Encode(#[source] serde_json::Error),
    /// The daemon did not hand over the connection.
    #[error("unable to upgrade to tcp, received {0}")]
    NotUpgraded(StatusCode),
}

impl Error {
    /// The status the daemon answered, if it answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
