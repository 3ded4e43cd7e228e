//! Images: the config that an image carries, and the platform it is for.
//!
//! Source: OCI image-spec `config.md`; docker's extensions (`Healthcheck`, `Shell`, `OnBuild`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::container::Healthcheck;
use crate::{Digest, Reference, Timestamp};

/// A platform: operating system, architecture, variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// e.g. `linux`.
    pub os: String,
    /// GOARCH, e.g. `amd64`.
    pub architecture: String,
    /// e.g. `v8`; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Parses `os[/arch[/variant]]`; a missing architecture is the host's. `None` when malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let os = parts.next().filter(|os| !os.is_empty())?.to_lowercase();
        let host = Self::host();
        let (architecture, variant) = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => (host.architecture, host.variant),
            (Some(""), ..) | (_, _, Some(_)) => return None,
            (Some(arch), variant, None) => normalise(arch, variant.unwrap_or_default()),
        };
        Some(Self { os, architecture, variant })
    }
}

fn normalise(arch: &str, variant: &str) -> (String, String) {
    let (arch, variant) = match (arch, variant) {
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64", v) => ("arm64", v),
        ("armhf", "") => ("arm", "v7"),
        ("armel", "") => ("arm", "v6"),
        other => other,
    };
    (arch.to_owned(), variant.to_owned())
}

/// How containers of an image run unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `user[:group]`.
    pub user: String,
    /// `port/proto` keys.
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub command: Option<Vec<String>>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// Working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that stops it.
    pub stop_signal: Option<String>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Shell for shell-form instructions.
    pub shell: Option<Vec<String>>,
    /// Build triggers.
    pub on_build: Vec<String>,
}

/// One row of a list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Id: digest of its config.
    pub id: Digest,
    /// Id of the image it was committed from, when that is known here.
    pub parent: Option<Digest>,
    /// With tag.
    pub tags: Vec<Reference>,
    /// With digest.
    pub digests: Vec<Reference>,
    /// `None` where the config does not say.
    pub created: Option<Timestamp>,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Bytes of them that other images use too; only when asked for.
    pub shared_size: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Containers made from it; only when asked for.
    pub containers: Option<u64>,
}

/// Which images to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageListOptions {
    /// Also intermediate ones.
    pub all: bool,
    /// Compute `shared_size`.
    pub shared_size: bool,
    /// Only these.
    pub filters: crate::filters::ImageFilters,
}

/// Everything about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// Id: digest of its config.
    pub id: Digest,
    /// Id of the image it was committed from, when that is known here.
    pub parent: Option<Digest>,
    /// With tag.
    pub tags: Vec<Reference>,
    /// With digest.
    pub digests: Vec<Reference>,
    /// Message of the commit or import.
    pub comment: String,
    /// `None` where the config does not say.
    pub created: Option<Timestamp>,
    /// Author.
    pub author: String,
    /// How its containers run.
    pub defaults: ImageDefaults,
    /// What it runs on.
    pub platform: Platform,
    /// Version of Windows; empty.
    pub os_version: String,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    /// Storage.
    pub graph: GraphDriver,
    /// Its layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// When it got its last tag here.
    pub last_tagged: Option<Timestamp>,
    /// The manifest it came by, with its media type and size; `None` for committed ones.
    pub manifest: Option<ManifestRef>,
}

/// A manifest or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRef {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Where a file system's layers are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphDriver {
    /// `overlay2`.
    pub name: String,
    /// `LowerDir`, `UpperDir`, `MergedDir`, `WorkDir`.
    pub data: BTreeMap<String, String>,
}

/// One step of an image's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Id, only of steps that are images here.
    pub id: Option<Digest>,
    /// When.
    pub created: Option<Timestamp>,
    /// Instruction.
    pub created_by: String,
    /// Names of that image.
    pub tags: Vec<Reference>,
    /// Bytes it added.
    pub size: u64,
    /// Remark.
    pub comment: String,
}

/// One thing an image removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// A name went away, as users write it.
    Untagged(String),
    /// An image or a layer (by chain id) went away.
    Deleted(Digest),
}

/// How to remove an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRemoveOptions {
    /// Also when stopped containers use it, or when it has several names.
    pub force: bool,
    /// Keep its untagged parents.
    pub no_prune: bool,
    /// Only these platforms.
    pub platforms: Vec<Platform>,
}

/// What an image prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagePruned {
    /// In order.
    pub removed: Vec<ImageRemoval>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Import of a root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// Name of the image; `None`: none.
    pub reference: Option<Reference>,
    /// Message.
    pub message: String,
    /// Dockerfile instructions, one each.
    pub changes: Vec<String>,
    /// `None`: the host's.
    pub platform: Option<Platform>,
}

/// Pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// With tag or digest, unless `all_tags`.
    pub reference: Reference,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// `None`: the host's.
    pub platform: Option<Platform>,
    /// From X-Registry-Auth.
    pub credentials: Option<Credentials>,
}

/// Push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRequest {
    /// Without tag: every tag of the repository.
    pub reference: Reference,
    /// Only this platform.
    pub platform: Option<Platform>,
    /// From X-Registry-Auth.
    pub credentials: Option<Credentials>,
}

/// Who the user is at a registry. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// Refresh token, instead of a password.
    pub identity_token: String,
    /// Bearer token, used as it is.
    pub registry_token: String,
    /// Registry they are for; empty: Docker Hub.
    pub server: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} at {})", self.username, self.server)
    }
}

/// What a registry knows of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionDetails {
    /// Manifest or index.
    pub descriptor: ManifestRef,
    /// What it is for.
    pub platforms: Vec<Platform>,
}

/// A search in a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchRequest {
    /// Words, with an optional registry in front.
    pub term: String,
    /// At most so many; `None`: the registry's default.
    pub limit: Option<usize>,
    /// Only automated builds, or only others.
    pub is_automated: Option<bool>,
    /// Only official ones, or only others.
    pub is_official: Option<bool>,
    /// At least so many stars.
    pub stars: u64,
    /// From X-Registry-Auth.
    pub credentials: Option<Credentials>,
}

/// One hit of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchHit {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Stars.
    pub stars: u64,
    /// Official image.
    pub is_official: bool,
    /// Automated build.
    pub is_automated: bool,
}

/// A registry accepted credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginOutcome {
    /// Refresh token to keep instead of the password; empty: none.
    pub identity_token: String,
}
