//! `load`: from an archive of images to images with names.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use shoal_model::image::Platform;
use shoal_model::{Digest, Reference};

use super::Error;
use super::oci::{self, Descriptor, DockerImage, Index, Manifest};
use super::stage::Stage;
use crate::content::{Committed, Lease};
use crate::image::{self, ImageConfig, Images, LayerBlob, NewImage};
use crate::unpack::{Compression, Limits, stream};

/// Layers unpacked at the same time.
const WORKERS: usize = 2;
/// An index in an index in an index.
const NESTING_MAX: usize = 4;

/// What to load.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Of an image for several platforms; `None`: the one of this machine.
    pub platform: Option<Platform>,
    /// Bounds.
    pub limits: Limits,
}

/// What a load is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A layer is being unpacked: compressed bytes done, of all.
    Layer {
        /// Which.
        diff_id: Digest,
        /// Bytes.
        current: u64,
        /// Bytes.
        total: u64,
    },
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names it got; empty when the archive names none.
    pub names: Vec<Reference>,
    /// Images that lost one of these names and have none left.
    pub renamed: Vec<(Reference, Digest)>,
}

/// An image found in an archive.
struct Found {
    config: Digest,
    layers: Vec<Committed>,
    names: Vec<Reference>,
    manifest: Option<image::Descriptor>,
}

impl Images {
    /// Loads the images of an archive (docker's or an OCI layout; plain, gzip or zstd). Blocks for long.
    ///
    /// # Errors
    /// When the archive is bad, or the disk fails. Images before the bad one stay loaded.
    pub fn load(
        &self,
        input: Box<dyn Read + Send>,
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>, Error> {
        let lease = self.lease();
        let loaded = self.load_under(input, options, progress, &lease);
        drop(lease);
        // What the archive had beyond its images, or what a failure left.
        let swept = self.sweep();
        let loaded = loaded?;
        swept?;
        Ok(loaded)
    }

    fn load_under(
        &self,
        input: Box<dyn Read + Send>,
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
        lease: &Lease,
    ) -> Result<Vec<Loaded>, Error> {
        let stage = Stage::read(self, lease, input, &options.limits)?;
        let mut loaded = Vec::new();
        for found in find(&stage, options)? {
            loaded.push(self.load_one(&stage, found, options, progress, lease)?);
        }
        Ok(loaded)
    }

    fn load_one(
        &self,
        stage: &Stage<'_>,
        found: Found,
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
        lease: &Lease,
    ) -> Result<Loaded, Error> {
        let config_json = stage.bytes(found.config)?;
        let id = found.config;
        let config = ImageConfig::parse(&config_json)
            .map_err(|source| image::Error::Config { id, source })?;
        let (count, diff_ids) = (found.layers.len(), config.diff_ids.len());
        if count != diff_ids {
            return Err(image::Error::LayerCount { id, layers: count, diff_ids }.into());
        }
        let layers = found
            .layers
            .iter()
            .zip(&config.diff_ids)
            .map(|(blob, diff_id)| self.layer_blob(*blob, *diff_id))
            .collect::<Result<Vec<_>, Error>>()?;
        self.unpack_all(&layers, &options.limits, lease, progress)?;
        let manifest = found.manifest;
        let image =
            self.register(NewImage { config_json, layers, manifest, parent: None }, lease)?;
        let mut renamed = Vec::new();
        for name in &found.names {
            if let Some(previous) = self.tag(name, image.id)? {
                renamed.push((name.clone(), previous.id));
            }
        }
        Ok(Loaded { id: image.id, names: found.names, renamed })
    }

    fn layer_blob(&self, blob: Committed, diff_id: Digest) -> Result<LayerBlob, Error> {
        let mut magic = Vec::new();
        let file = self.content().open_blob(blob.digest)?;
        file.take(6)
            .read_to_end(&mut magic)
            .map_err(|source| Error::Files { path: blob.digest.to_string(), source })?;
        let media_type = match stream::detect(&magic).map_err(|e| Error::Archive(e.into()))? {
            Compression::Plain => oci::LAYER,
            Compression::Gzip => oci::LAYER_GZIP,
            Compression::Zstd => oci::LAYER_ZSTD,
        };
        let media_type = media_type.to_owned();
        Ok(LayerBlob { digest: blob.digest, size: blob.size, media_type, diff_id })
    }

    /// Unpacks the layers that are not here yet, several at a time. Blocks for long.
    ///
    /// # Errors
    /// The first failure; the others stop at their next layer.
    pub fn unpack_all(
        &self,
        layers: &[LayerBlob],
        limits: &Limits,
        lease: &Lease,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), image::Error> {
        let mut seen = HashSet::new();
        let waiting = layers.iter().filter(|layer| seen.insert(layer.diff_id));
        let queue = Mutex::new(waiting.collect::<VecDeque<_>>());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || {
            while let Some(layer) = next() {
                let (diff_id, total) = (layer.diff_id, layer.size);
                progress(Progress::Layer { diff_id, current: 0, total });
                if let Err(error) = self.unpack_layer(layer, limits, lease) {
                    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return Err(error);
                }
                progress(Progress::Layer { diff_id, current: total, total });
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..WORKERS).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for helper in helpers {
                let helped = helper.join().expect("unpacking does not panic");
                result = result.and(helped);
            }
            result
        })
    }
}

/// Finds the images of a staged archive.
fn find(stage: &Stage<'_>, options: &Options) -> Result<Vec<Found>, Error> {
    let index: Option<Index> = stage.about("index.json")?;
    if let Some(images) = stage.about::<Vec<DockerImage>>("manifest.json")? {
        let manifests = index.map(|index| manifests_by_config(stage, &index)).unwrap_or_default();
        return images.into_iter().map(|image| docker_image(stage, image, &manifests)).collect();
    }
    let index = index.ok_or(Error::NoManifest)?;
    let mut found = Vec::new();
    for descriptor in index.manifests {
        let names = names_of(&descriptor)?;
        let descriptor = choose(stage, descriptor, options, 0)?;
        found.push(oci_image(stage, descriptor, names)?);
    }
    Ok(found)
}

fn docker_image(
    stage: &Stage<'_>,
    image: DockerImage,
    manifests: &HashMap<Digest, image::Descriptor>,
) -> Result<Found, Error> {
    let config = stage.blob(&image.config)?.digest;
    let layers = image.layers.unwrap_or_default();
    let layers = layers.iter().map(|path| stage.blob(path)).collect::<Result<_, _>>()?;
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?;
    Ok(Found { config, layers, names, manifest: manifests.get(&config).cloned() })
}

/// The manifests that an archive with both formats has for its images.
fn manifests_by_config(stage: &Stage<'_>, index: &Index) -> HashMap<Digest, image::Descriptor> {
    let known = index.manifests.iter().filter_map(|descriptor| {
        let manifest: Manifest = stage.json(descriptor.digest).ok()?;
        Some((manifest.config.digest, described(descriptor)))
    });
    known.collect()
}

fn oci_image(
    stage: &Stage<'_>,
    descriptor: Descriptor,
    names: Vec<Reference>,
) -> Result<Found, Error> {
    let manifest: Manifest = stage.json(descriptor.digest)?;
    let blob = |descriptor: &Descriptor| stage.blob(&oci::blob_path(descriptor.digest));
    let config = blob(&manifest.config)?.digest;
    let layers = manifest.layers.iter().map(blob).collect::<Result<_, _>>()?;
    Ok(Found { config, layers, names, manifest: Some(described(&descriptor)) })
}

/// Follows indexes to the manifest for the wanted platform that the archive really has.
fn choose(
    stage: &Stage<'_>,
    descriptor: Descriptor,
    options: &Options,
    depth: usize,
) -> Result<Descriptor, Error> {
    if !descriptor.is_index() {
        return Ok(descriptor);
    }
    if depth == NESTING_MAX {
        return Err(Error::Nesting);
    }
    let index: Index = stage.json(descriptor.digest)?;
    let mut images: Vec<Descriptor> = index.manifests;
    images.retain(|d| stage.has(d.digest) && !d.annotations.contains_key(oci::REFERENCE_TYPE));
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let fitting = images
        .iter()
        .position(|image| image.platform.as_ref().is_none_or(|platform| fits(platform, &wanted)));
    let chosen = match fitting {
        Some(index) => images.swap_remove(index),
        // Nothing was asked for and there is no choice.
        None if options.platform.is_none() && images.len() == 1 => images.swap_remove(0),
        None => {
            let wanted = format!("{}/{}", wanted.os, wanted.architecture);
            return Err(Error::NoPlatform { wanted });
        }
    };
    choose(stage, chosen, options, depth + 1)
}

fn fits(platform: &Platform, wanted: &Platform) -> bool {
    let same = platform.os == wanted.os && platform.architecture == wanted.architecture;
    same && (wanted.variant.is_empty()
        || platform.variant.is_empty()
        || platform.variant == wanted.variant)
}

fn described(descriptor: &Descriptor) -> image::Descriptor {
    let media_type = if descriptor.media_type.is_empty() {
        oci::MANIFEST.to_owned()
    } else {
        descriptor.media_type.clone()
    };
    image::Descriptor { media_type, digest: descriptor.digest, size: descriptor.size }
}

/// The name an OCI layout gives an image. A bare `ref.name` without colon or slash is a tag of no name.
fn names_of(descriptor: &Descriptor) -> Result<Vec<Reference>, Error> {
    let full = descriptor.annotations.get(oci::IMAGE_NAME);
    let short = descriptor.annotations.get(oci::REF_NAME).filter(|name| name.contains([':', '/']));
    full.or(short).map(|name| parse_name(name)).into_iter().collect()
}

fn parse_name(name: &str) -> Result<Reference, Error> {
    let parsed: Result<Reference, _> = name.parse();
    parsed.map(Reference::or_latest).map_err(|source| Error::Name { name: name.to_owned(), source })
}
