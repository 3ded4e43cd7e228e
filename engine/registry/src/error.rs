//! Everything that can go wrong between us and a registry.

use std::io;
use std::time::Duration;

use shoal_model::{Classified, Digest, ErrorKind, Fact};

use crate::certs;
use crate::manifest::InvalidManifest;
use crate::refusal::Refusal;
use crate::url::InvalidUrl;

/// A failure of a request to a registry.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    /// No connection: name, route, port or TLS.
    #[error("failed to connect to `{host}`")]
    Connect {
        host: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke during a request or its answer.
    #[error("the connection to `{url}` broke")]
    Broken {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing moved for too long.
    #[error("`{url}` sent nothing for {} seconds", .after.as_secs())]
    Silent { url: String, after: Duration },
    /// The registry refused, in words.
    #[error("{refusal}")]
    Refused { url: String, refusal: Refusal },
    /// A status without words we understand.
    #[error("`{url}` answered with the unexpected status {status}")]
    Status { url: String, status: u16 },
    /// More redirects than anybody needs.
    #[error("`{url}` redirects too often")]
    Redirects { url: String },
    /// A header or body that is not what the specification says.
    #[error("`{url}` answered without a usable {what}")]
    Malformed { url: String, what: &'static str },
    /// A body that is not the JSON we asked for.
    #[error("`{url}` answered with something that is not {what}")]
    NotJson {
        url: String,
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// A URL in settings, headers or challenges.
    #[error("failed to use a URL that `{host}` gave")]
    Url {
        host: String,
        #[source]
        source: InvalidUrl,
    },
    /// A body longer than we read into memory.
    #[error("`{url}` answered with more than {limit} bytes")]
    TooLong { url: String, limit: usize },
    /// Content that does not match its digest.
    #[error("`{url}` has digest `{actual}`, not `{expected}`")]
    Digest { url: String, expected: Digest, actual: Digest },
    /// Content of another length than its descriptor says.
    #[error("`{url}` has {actual} bytes, its descriptor says {expected}")]
    Size { url: String, expected: u64, actual: u64 },
    /// A manifest that cannot be used.
    #[error("failed to read the manifest at `{url}`")]
    Manifest {
        url: String,
        #[source]
        source: InvalidManifest,
    },
    /// The registry wants a login and there are no credentials.
    #[error("`{url}` wants credentials and none were given")]
    NoCredentials { method: String, url: String },
    /// The registry wants a scheme we do not have.
    #[error("`{host}` wants an authentication scheme other than basic and bearer")]
    Scheme { host: String },
    /// The token server did not give a token.
    #[error("failed to get a token for `{host}`")]
    Token {
        host: String,
        #[source]
        source: Box<Error>,
    },
    /// The registry did not accept a login.
    #[error("login attempt to {url} failed with status: {status}")]
    Login { url: String, status: http::StatusCode },
    /// The registry did not answer a search.
    #[error("the search of `{host}` was answered with status {status}")]
    SearchStatus { host: String, status: u16 },
    /// Certificates of `certs.d` cannot be used.
    #[error("failed to prepare TLS for `{host}`")]
    Certificates {
        host: String,
        #[source]
        source: certs::Error,
    },
    /// What is to be sent cannot be read.
    #[error("failed to read the content to upload")]
    Source {
        #[source]
        source: io::Error,
    },
    /// The machine's registry settings do not fit.
    #[error("search of `{host}` is not possible: {why}")]
    Search { host: String, why: &'static str },
}

impl Error {
    /// The registry's own words, if the failure is a refusal, also below a token request.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Token { source, .. } => source.refusal(),
            _ => None,
        }
    }

    /// Whether no HTTP answer was had at all: another endpoint may do better.
    pub(crate) fn is_connect(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Token { source, .. } => source.is_connect(),
            _ => false,
        }
    }

    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Silent { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            Self::Refused { refusal, .. } => refusal.status >= 500 || refusal.status == 429,
            Self::Token { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Broken { .. } => ErrorKind::Unavailable,
            Self::Silent { .. } => ErrorKind::DeadlineExceeded,
            Self::Refused { refusal, .. } => refusal.code.kind(),
            Self::Status { status: 404, .. } => ErrorKind::NotFound,
            Self::Status { status, .. } if *status >= 500 => ErrorKind::Unavailable,
            Self::Digest { .. } | Self::Size { .. } => ErrorKind::DataLoss,
            Self::Manifest { source, .. } => source.kind(),
            Self::NoCredentials { .. } => ErrorKind::Unauthorized,
            Self::Login { status, .. } if *status == http::StatusCode::UNAUTHORIZED => {
                ErrorKind::Unauthorized
            }
            Self::Token { source, .. } => source.kind(),
            Self::Search { .. } => ErrorKind::InvalidArgument,
            Self::Status { .. }
            | Self::Redirects { .. }
            | Self::Malformed { .. }
            | Self::NotJson { .. }
            | Self::Url { .. }
            | Self::TooLong { .. }
            | Self::Scheme { .. }
            | Self::Login { .. }
            | Self::SearchStatus { .. }
            | Self::Certificates { .. }
            | Self::Source { .. } => ErrorKind::Internal,
        }
    }
    fn fact(&self) -> Option<Fact> {
        match self {
            Self::Refused { refusal, .. } => {
                Some(Fact::RegistryRefused { cause: refusal.to_string() })
            }
            Self::NoCredentials { method, url } => {
                let mut name = method.to_ascii_lowercase();
                name[..1].make_ascii_uppercase();
                Some(Fact::NoRegistryCredentials { request: format!("{name} \"{url}\"") })
            }
            Self::SearchStatus { status, .. } => Some(Fact::SearchStatus { status: *status }),
            Self::Token { source, .. } => source.fact(),
            _ => None,
        }
    }
}
