//! One repository: manifests, tags, small blobs. Mirrors and insecure fall-backs are hidden here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shoal_model::{Digest, Reference};

use crate::client::Client;
use crate::endpoint::Role;
use crate::error::Error;
use crate::header::link;
use crate::manifest::{self, Descriptor, Parsed, media};
use crate::session::Session;
use crate::transport::{Payload, Response, host_of};
use crate::url;

/// Registries limit manifests to 4 MiB (OCI distribution-spec "Pushing Manifests").
const MANIFEST_MAX: usize = 4 << 20;
const TAG_PAGE_MAX: usize = 8 << 20;
const TAG_PAGES_MAX: usize = 10_000;
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag.
    Tag(String),
    /// A digest; the answer is checked against it.
    Digest(Digest),
}

impl Target {
    /// What a reference names: its digest, else its tag, else `latest`.
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, tag) => Self::Tag(tag.unwrap_or("latest").to_owned()),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A manifest as received.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The exact bytes.
    pub bytes: Bytes,
    /// What they say.
    pub parsed: Parsed,
}

/// A repository of a registry, for one caller.
pub struct Repository {
    name: Reference,
    sessions: Vec<Session>,
    /// Index of the session that answered last.
    live: AtomicUsize,
    client: Client,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Repository {
    pub(crate) fn new(name: Reference, sessions: Vec<Session>, client: Client) -> Self {
        Self { name, sessions, live: AtomicUsize::new(0), client }
    }

    /// The repository's name, without tag and digest.
    pub fn name(&self) -> &Reference {
        &self.name
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The session that answered last: uploads stay where they began.
    pub(crate) fn live_session(&self) -> &Session {
        &self.sessions[self.live.load(Ordering::Relaxed)]
    }

    /// `/v2/<path>/<rest>`.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.name.path())
    }

    /// Asks endpoint after endpoint, from the one that answered last, until one does.
    pub(crate) async fn try_each<'a, T>(
        &'a self,
        what: impl Fn(&'a Session) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut index = self.live.load(Ordering::Relaxed);
        loop {
            let session = &self.sessions[index];
            let error = match what(session).await {
                Ok(value) => {
                    self.live.store(index, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let moves_on = match session.endpoint.role {
                Role::Mirror => true,
                // https first, then http: only a registry that is insecure has a second endpoint.
                Role::Upstream => error.is_connect(),
            };
            if !moves_on || index + 1 == self.sessions.len() {
                return Err(error);
            }
            let base = &session.endpoint.base;
            tracing::info!(endpoint = %base, error = %shoal_model::error::Chain(&error), "trying the next endpoint");
            index += 1;
        }
    }

    /// Fetches a manifest or index.
    ///
    /// # Errors
    /// Refusals of the registry, failures on the way, and manifests that are damaged or not images.
    pub async fn manifest(&self, target: &Target) -> Result<Fetched, Error> {
        let target = target.clone();
        self.try_each(move |session| {
            let target = target.clone();
            Box::pin(async move {
                let path = self.path(&format!("manifests/{target}"));
                let mut request = session.request(Method::GET, &path)?;
                request.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
                let mut response = session.read(request).await?;
                let bytes = response.bytes(MANIFEST_MAX).await?;
                read_manifest(&response, bytes, &target)
            })
        })
        .await
    }

    /// Fetches a small blob whole (an image config), checked against its descriptor.
    ///
    /// # Errors
    /// Also when it is longer than `limit`.
    pub async fn small_blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Bytes, Error> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        self.try_each(move |session| {
            Box::pin(async move {
                let path = self.path(&format!("blobs/{digest}"));
                let mut response = session.read(session.request(Method::GET, &path)?).await?;
                let bytes = response.bytes(limit).await?;
                let url = response.url.to_string();
                check_digest(&url, &bytes, digest)?;
                let actual = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                if actual != size {
                    return Err(Error::Size { url, expected: size, actual });
                }
                Ok(bytes)
            })
        })
        .await
    }

    /// All tags, page after page.
    ///
    /// # Errors
    /// Refusals of the registry and failures on the way.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        self.try_each(move |session| Box::pin(self.tags_at(session))).await
    }

    async fn tags_at(&self, session: &Session) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            // null when a repository has no tags left
            tags: Option<Vec<String>>,
        }
        let mut tags = BTreeSet::new();
        let mut request = session.request(Method::GET, &self.path("tags/list"))?;
        for _ in 0..TAG_PAGES_MAX {
            let mut response = session.read(request.clone()).await?;
            let body = response.bytes(TAG_PAGE_MAX).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|source| Error::NotJson {
                url: response.url.to_string(),
                what: "a list of tags",
                source,
            })?;
            tags.extend(page.tags.unwrap_or_default());
            let Some(next) = link::next(&response.headers) else {
                return Ok(tags.into_iter().collect());
            };
            request.url = url::resolve(&response.url, &next)
                .map_err(|source| Error::Url { host: host_of(&response.url), source })?;
        }
        Err(Error::Redirects { url: request.url.to_string() })
    }

    /// Puts manifest bytes under a tag, or under their digest.
    ///
    /// # Errors
    /// Refusals of the registry and failures on the way.
    pub async fn put_manifest(
        &self,
        target: &Target,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<Digest, Error> {
        let digest = digest_of(bytes);
        let (target, media_type, bytes) = (target.clone(), media_type.to_owned(), bytes.clone());
        self.try_each(move |session| {
            let (target, media_type, bytes) = (target.clone(), media_type.clone(), bytes.clone());
            Box::pin(async move {
                let path = self.path(&format!("manifests/{target}"));
                let mut request = session.request(Method::PUT, &path)?;
                let content_type = HeaderValue::from_str(&media_type).map_err(|_| {
                    Error::Malformed { url: request.url.to_string(), what: "media type" }
                })?;
                request.headers.insert(CONTENT_TYPE, content_type);
                request.payload = Payload::Bytes(bytes);
                // Putting the same manifest twice is one put.
                session.read(request).await?;
                Ok(())
            })
        })
        .await?;
        Ok(digest)
    }

    /// Also asks for the right to read `repository`, so that its blobs can be mounted.
    pub fn also_read(&self, repository: &Reference) {
        for session in &self.sessions {
            session.add_scope(&format!("repository:{}:pull", repository.path()));
        }
    }

    /// Whether the registry has a blob, and its size.
    ///
    /// # Errors
    /// Everything but its absence.
    pub async fn blob_size(&self, digest: Digest) -> Result<Option<u64>, Error> {
        self.try_each(move |session| {
            Box::pin(async move {
                let path = self.path(&format!("blobs/{digest}"));
                let request = session.request(Method::HEAD, &path)?;
                match session.read(request).await {
                    Ok(response) => {
                        let length = response.header(http::header::CONTENT_LENGTH);
                        Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or(0)))
                    }
                    Err(error) if is_absent(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            })
        })
        .await
    }
}

pub(crate) fn is_absent(error: &Error) -> bool {
    match error {
        Error::Status { status, .. } => *status == 404,
        Error::Refused { refusal, .. } => refusal.status == 404,
        _ => false,
    }
}

fn read_manifest(response: &Response, bytes: Bytes, target: &Target) -> Result<Fetched, Error> {
    let url = response.url.to_string();
    let announced = response.header("docker-content-digest").and_then(|text| text.parse().ok());
    let expected = match target {
        Target::Digest(digest) => Some(*digest),
        Target::Tag(_) => announced,
    };
    if let Some(expected) = expected {
        check_digest(&url, &bytes, expected)?;
    }
    let invalid = |source| Error::Manifest { url: url.clone(), source };
    let header = response.header(CONTENT_TYPE).unwrap_or_default();
    let media_type = manifest::media_type(&bytes, header).map_err(invalid)?;
    let parsed = manifest::parse(&bytes, &media_type).map_err(invalid)?;
    let descriptor = Descriptor {
        media_type,
        digest: digest_of(&bytes),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        urls: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        platform: None,
    };
    Ok(Fetched { descriptor, bytes, parsed })
}

/// Whether a media type names an index.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, media::OCI_INDEX | media::DOCKER_LIST)
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

fn check_digest(url: &str, bytes: &[u8], expected: Digest) -> Result<(), Error> {
    let actual = digest_of(bytes);
    if actual == expected {
        return Ok(());
    }
    Err(Error::Digest { url: url.to_owned(), expected, actual })
}
