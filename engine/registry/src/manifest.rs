//! Descriptors, indexes and manifests, and what in them is refused.
//!
//! Pure. Source: OCI image-spec `manifest.md`, `image-index.md`, `descriptor.md`; docker's
//! `manifest-v2-2.md`. The bytes of a manifest are its identity: they are kept as received.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_model::{Digest, ErrorKind};

/// Media types of manifests and their parts.
#[allow(missing_docs, reason = "the names say it")]
pub mod media {
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub(crate) const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    pub(crate) const DOCKER_SCHEMA1_SIGNED: &str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// Annotation that marks a manifest which describes another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const LAYERS_MAX: usize = 1000;

/// What content is: media type, digest, size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type; empty when an old manifest leaves it out.
    #[serde(default)]
    pub media_type: String,
    /// The content's identity.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where else a foreign layer may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// For which platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<IndexPlatform>,
}

/// The platform of an index entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPlatform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// e.g. a Windows build.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// e.g. `win32k`.
    #[serde(
        default,
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// e.g. `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Descriptor {
    /// Whether this describes another manifest (an attestation) and is no image.
    pub fn is_attestation(&self) -> bool {
        let unknown = self
            .platform
            .as_ref()
            .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
        unknown || self.annotations.contains_key(REFERENCE_TYPE)
    }

    /// Whether this is an image for one platform.
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), media::OCI_MANIFEST | media::DOCKER_MANIFEST)
    }

    /// Whether the layer may not be pushed to ordinary registries.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains("nondistributable") || self.media_type.contains("rootfs.foreign")
    }
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The entries.
    pub manifests: Vec<Descriptor>,
}

/// One platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Docker always writes it, OCI sometimes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// Lowest layer first.
    pub layers: Vec<Descriptor>,
}

/// A parsed manifest or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// One platform's image.
    Manifest(Box<Manifest>),
    /// A list of manifests.
    Index(Index),
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidManifest {
    #[error("not JSON of the expected shape")]
    Json(#[source] serde_json::Error),
    #[error("docker image manifest version 2, schema 1 is no longer supported")]
    Schema1,
    #[error("media type `{0}` is not an image manifest or index")]
    MediaType(String),
    #[error("the manifest says it is `{field}` but was sent as `{header}`")]
    Contradiction { field: String, header: String },
    #[error("{0} layers are too many")]
    Layers(usize),
    #[error("`{0}` is not an image config: this is not a container image")]
    NotAnImage(String),
}

impl InvalidManifest {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Json(_) | Self::Contradiction { .. } => ErrorKind::DataLoss,
            Self::Schema1 | Self::MediaType(_) | Self::Layers(_) | Self::NotAnImage(_) => {
                ErrorKind::InvalidArgument
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

/// The media type of manifest bytes: what they say themselves, else the header, else their shape.
///
/// # Errors
/// When bytes and header contradict each other or neither is known.
pub fn media_type(bytes: &[u8], header: &str) -> Result<String, InvalidManifest> {
    let header = header.split(';').next().unwrap_or_default().trim();
    let outline: Outline = serde_json::from_slice(bytes).map_err(InvalidManifest::Json)?;
    let schema1 = [media::DOCKER_SCHEMA1, media::DOCKER_SCHEMA1_SIGNED];
    if outline.schema_version == 1 || schema1.contains(&header) {
        return Err(InvalidManifest::Schema1);
    }
    let known = |text: &str| kind_of(text).is_some();
    let found = match (outline.media_type.as_str(), header) {
        ("", header) if known(header) => header,
        ("", _) if outline.manifests.is_some() => media::OCI_INDEX,
        ("", _) if outline.layers.is_some() => media::OCI_MANIFEST,
        (field, header) if known(field) && known(header) && field != header => {
            let (field, header) = (field.to_owned(), header.to_owned());
            return Err(InvalidManifest::Contradiction { field, header });
        }
        ("", other) => other,
        (field, _) => field,
    };
    if known(found) {
        Ok(found.to_owned())
    } else {
        Err(InvalidManifest::MediaType(found.to_owned()))
    }
}

enum Shape {
    Index,
    Manifest,
}

fn kind_of(media_type: &str) -> Option<Shape> {
    match media_type {
        media::OCI_INDEX | media::DOCKER_LIST => Some(Shape::Index),
        media::OCI_MANIFEST | media::DOCKER_MANIFEST => Some(Shape::Manifest),
        _ => None,
    }
}

/// Parses manifest bytes of a known media type.
///
/// # Errors
/// When they are not what the media type says, or not a container image.
pub fn parse(bytes: &[u8], media_type: &str) -> Result<Parsed, InvalidManifest> {
    match kind_of(media_type) {
        Some(Shape::Index) => {
            serde_json::from_slice(bytes).map(Parsed::Index).map_err(InvalidManifest::Json)
        }
        Some(Shape::Manifest) => {
            let manifest: Manifest =
                serde_json::from_slice(bytes).map_err(InvalidManifest::Json)?;
            check_manifest(&manifest)?;
            Ok(Parsed::Manifest(Box::new(manifest)))
        }
        None => Err(InvalidManifest::MediaType(media_type.to_owned())),
    }
}

fn check_manifest(manifest: &Manifest) -> Result<(), InvalidManifest> {
    if manifest.layers.len() > LAYERS_MAX {
        return Err(InvalidManifest::Layers(manifest.layers.len()));
    }
    match manifest.config.media_type.as_str() {
        // Some old registries and builders leave it out or say octet-stream (docker accepts both).
        "" | "application/octet-stream" | media::OCI_CONFIG | media::DOCKER_CONFIG => Ok(()),
        other => Err(InvalidManifest::NotAnImage(other.to_owned())),
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &str, header: &str) -> String {
        media_type(bytes.as_bytes(), header).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn media_types_come_from_body_header_or_shape() {
        let docker = format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media::DOCKER_MANIFEST);
        for (bytes, header, expected) in [
            (docker.as_str(), "", media::DOCKER_MANIFEST),
            (&docker, "text/plain", media::DOCKER_MANIFEST),
            (r#"{"schemaVersion":2}"#, media::OCI_INDEX, media::OCI_INDEX),
            (
                r#"{"schemaVersion":2,"layers":[]}"#,
                "application/json; charset=utf-8",
                media::OCI_MANIFEST,
            ),
            (r#"{"schemaVersion":2,"manifests":[]}"#, "", media::OCI_INDEX),
            (
                r#"{"schemaVersion":1}"#,
                "",
                "docker image manifest version 2, schema 1 is no longer supported",
            ),
            ("{}", "text/html", "media type `text/html` is not an image manifest or index"),
            ("<html>", "", "not JSON of the expected shape"),
        ] {
            assert_eq!(typed(bytes, header), expected, "{bytes} {header}");
        }
        assert!(matches!(
            media_type(docker.as_bytes(), media::OCI_MANIFEST),
            Err(InvalidManifest::Contradiction { .. })
        ));
    }

    #[test]
    fn refuses_what_is_not_a_container_image() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let manifest = |config: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},
                "layers":[],"annotations":null}}"#
            )
        };
        let parsed = |config: &str| parse(manifest(config).as_bytes(), media::OCI_MANIFEST);
        assert!(matches!(parsed(media::OCI_CONFIG), Ok(Parsed::Manifest(_))));
        assert!(matches!(
            parsed("application/vnd.docker.plugin.v1+json"),
            Err(InvalidManifest::NotAnImage(_))
        ));
    }
}
