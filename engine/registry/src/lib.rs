//! Client of OCI distribution v2 registries: manifests, blobs, tags, tokens, certificates, mirrors.
//!
//! Knows nothing of where content is kept: it streams blobs out and in, and whoever calls keeps them and
//! checks their digests. Credentials come with each call; only tokens are remembered.
//!
//! Source: OCI distribution-spec 1.1; distribution `docs/spec`; moby `daemon/pkg/registry` where clients
//! can tell the difference.

mod blob;
mod certs;
mod client;
mod connect;
mod credentials;
mod endpoint;
mod error;
mod header;
mod login;
pub mod manifest;
pub mod platform;
mod proxy;
mod refusal;
mod repository;
mod search;
mod session;
mod token;
mod transport;
mod upload;
mod url;

pub use blob::{Download, Piece};
pub use certs::Error as CertificateError;
pub use client::{Client, Settings};
pub use credentials::Credentials;
pub use endpoint::{Access, Insecure, InvalidInsecure, InvalidMirror, Mirror};
pub use error::Error;
pub use login::Login;
pub use manifest::{Descriptor, Index, IndexPlatform, InvalidManifest, Manifest, Parsed};
pub use proxy::Proxy;
pub use refusal::{Code, Refusal};
pub use repository::{Fetched, Repository, Target, is_index};
pub use search::Found;
pub use transport::{Reader, Source, Timeouts};
pub use upload::{Meter, Mount, Upload};
pub use url::InvalidUrl;
