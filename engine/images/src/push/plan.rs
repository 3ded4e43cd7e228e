//! What is sent: which stored manifest fits, what a new one says, where a blob may be mounted from. Pure.

use std::collections::BTreeSet;

use shoal_engine_registry::{Descriptor, Manifest, manifest::media};
use shoal_model::{Digest, Reference};

use crate::image::{Image, LayerBlob};

const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// How a blob is compressed, as far as a manifest must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A blob that is its own diff id is a plain tar; of others the media type tells.
pub(super) fn packing(layer: &LayerBlob) -> Packing {
    if layer.digest == layer.diff_id {
        Packing::Plain
    } else if layer.media_type.ends_with("zstd") {
        Packing::Zstd
    } else {
        Packing::Gzip
    }
}

/// Whether a stored manifest is made of exactly these layers, so that it can be sent as it is.
pub(super) fn fits(manifest: &Manifest, image: &Image) -> bool {
    manifest.config.digest == image.id
        && manifest.layers.len() == image.layers.len()
        && manifest.layers.iter().zip(&image.layers).all(|(a, b)| a.digest == b.digest)
}

/// A new manifest: docker's schema 2, or OCI's where docker has no name for a layer's compression.
pub(super) fn manifest(config: (Digest, u64), layers: &[LayerBlob]) -> Manifest {
    let oci = layers.iter().any(|layer| packing(layer) == Packing::Zstd);
    let part = |media_type: &str, digest, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        urls: Vec::new(),
        annotations: Default::default(),
        platform: None,
    };
    let layer_type = |layer: &LayerBlob| match (packing(layer), oci) {
        (Packing::Zstd, _) => OCI_LAYER_ZSTD,
        (_, true) => media::OCI_LAYER_GZIP,
        (_, false) => media::DOCKER_LAYER_GZIP,
    };
    let (media_type, config_type) = match oci {
        true => (media::OCI_MANIFEST, media::OCI_CONFIG),
        false => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
    };
    Manifest {
        schema_version: 2,
        media_type: media_type.to_owned(),
        config: part(config_type, config.0, config.1),
        layers: layers
            .iter()
            .map(|layer| part(layer_type(layer), layer.digest, layer.size))
            .collect(),
    }
}

/// Repositories of the same registry that are known to have a blob, other than the target.
pub(super) fn mount_sources<'a>(
    blob: Digest,
    target: &Reference,
    images: impl Iterator<Item = &'a Image>,
) -> BTreeSet<Reference> {
    let having = images.filter(|image| image.layers.iter().any(|layer| layer.digest == blob));
    let repositories = having.flat_map(|image| &image.repo_digests).map(Reference::repository);
    repositories
        .filter(|found| found.domain() == target.domain() && found.path() != target.path())
        .collect()
}

/// A compressed blob that some image has for the same layer.
pub(super) fn packed_already<'a>(
    diff_id: Digest,
    images: impl Iterator<Item = &'a Image>,
) -> Option<LayerBlob> {
    let mut layers = images.flat_map(|image| &image.layers);
    layers.find(|layer| layer.diff_id == diff_id && packing(layer) != Packing::Plain).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(blob: u8, diff_id: u8, media_type: &str) -> LayerBlob {
        let digest = |byte| Digest::from_sha256([byte; 32]);
        let media_type = media_type.to_owned();
        LayerBlob { digest: digest(blob), size: 1, media_type, diff_id: digest(diff_id) }
    }

    #[test]
    fn a_manifest_names_compressions_as_its_dialect_does() {
        let types = |layers: &[LayerBlob]| {
            let manifest = manifest((Digest::from_sha256([0; 32]), 2), layers);
            let layers = manifest.layers.into_iter().map(|layer| layer.media_type);
            [manifest.media_type, manifest.config.media_type]
                .into_iter()
                .chain(layers)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            types(&[layer(1, 2, "tar+gzip"), layer(3, 4, "")]),
            [
                media::DOCKER_MANIFEST,
                media::DOCKER_CONFIG,
                media::DOCKER_LAYER_GZIP,
                media::DOCKER_LAYER_GZIP
            ]
        );
        assert_eq!(
            types(&[layer(1, 2, "tar+gzip"), layer(3, 4, OCI_LAYER_ZSTD)]),
            [media::OCI_MANIFEST, media::OCI_CONFIG, media::OCI_LAYER_GZIP, OCI_LAYER_ZSTD]
        );
    }

    #[test]
    fn plain_blobs_are_their_own_diff_id() {
        assert_eq!(packing(&layer(1, 1, "whatever+gzip")), Packing::Plain);
        assert_eq!(packing(&layer(1, 2, "x.tar.gzip")), Packing::Gzip);
        assert_eq!(packing(&layer(1, 2, OCI_LAYER_ZSTD)), Packing::Zstd);
    }
}
