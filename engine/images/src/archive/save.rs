//! `save`: images into one archive that both docker and OCI tools read.
//!
//! Source: moby `image/tarexport/save.go` (v25 and later): an OCI layout plus `manifest.json`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use shoal_model::{Digest, Reference};
use tar::{Builder, EntryType, Header};

use super::Error;
use super::oci::{self, Descriptor, DockerImage, Index, Manifest};
use super::stage::JSON_BYTES_MAX;
use crate::content::Lease;
use crate::image::{Image, Images};

/// An image with the names to write.
type Chosen = (Arc<Image>, BTreeSet<Reference>);
/// An image with the tag it was found by.
type Meant = (Arc<Image>, Option<Reference>);

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

impl Images {
    /// Writes the named images (references, ids; a name without tag means all its tags) as one archive.
    /// Blocks for long.
    ///
    /// # Errors
    /// When an image does not exist (nothing is written then), or `out` fails.
    pub fn save(&self, names: &[String], out: &mut dyn Write) -> Result<(), Error> {
        let lease = self.lease();
        let chosen = self.choose_for_save(names, &lease)?;
        let mut archive = Archive {
            images: self,
            tar: Builder::new(io::BufWriter::with_capacity(COPY_BYTES, out)),
            written: HashSet::new(),
        };
        archive.directory("blobs/").and_then(|()| archive.directory("blobs/sha256/"))?;
        let (mut docker, mut manifests) = (Vec::new(), Vec::new());
        for (image, names) in chosen {
            archive.image(&image, &names, &mut docker, &mut manifests)?;
        }
        let index = Index { schema_version: 2, media_type: oci::INDEX.to_owned(), manifests };
        archive.json("index.json", &index)?;
        archive.json("manifest.json", &docker)?;
        archive.json("oci-layout", &serde_json::json!({"imageLayoutVersion": "1.0.0"}))?;
        let mut out = archive.tar.into_inner().map_err(Error::Write)?;
        out.flush().map_err(Error::Write)
    }

    /// The images in the order asked for, each once, with the names to write.
    fn choose_for_save(&self, names: &[String], lease: &Lease) -> Result<Vec<Chosen>, Error> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in names {
            for (image, reference) in self.meant(name)? {
                image.blobs().for_each(|digest| lease.hold(digest));
                match chosen.iter_mut().find(|(known, _)| known.id == image.id) {
                    Some((_, names)) => names.extend(reference),
                    None => chosen.push((image, reference.into_iter().collect())),
                }
            }
        }
        Ok(chosen)
    }

    /// The images that a name means, with the tag it was found by.
    fn meant(&self, name: &str) -> Result<Vec<Meant>, Error> {
        let reference = name.parse::<Reference>().ok();
        if let Some(reference) = &reference
            && reference.tag().is_none()
            && reference.digest().is_none()
        {
            let mut tagged: Vec<_> = Vec::new();
            for image in self.all() {
                let of_name = |tag: &&Reference| tag.repository() == *reference;
                let tags: Vec<_> = image.references.iter().filter(of_name).cloned().collect();
                tagged.extend(tags.into_iter().map(|tag| (Arc::clone(&image), Some(tag))));
            }
            if !tagged.is_empty() {
                tagged.sort_by(|one, other| one.1.cmp(&other.1));
                return Ok(tagged);
            }
        }
        let image = self.resolve(name)?;
        let tag = reference.filter(|reference| image.references.contains(reference));
        Ok(vec![(image, tag)])
    }
}

struct Archive<'a, W: Write> {
    images: &'a Images,
    tar: Builder<W>,
    written: HashSet<Digest>,
}

impl<W: Write> Archive<'_, W> {
    fn image(
        &mut self,
        image: &Image,
        names: &BTreeSet<Reference>,
        docker: &mut Vec<DockerImage>,
        manifests: &mut Vec<Descriptor>,
    ) -> Result<(), Error> {
        let config = image.config_json.as_bytes();
        self.bytes(image.id, config)?;
        for layer in &image.layers {
            self.blob(layer.digest, layer.size)?;
        }
        let (media_type, bytes) = self.manifest_of(image)?;
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        self.bytes(digest, &bytes)?;
        let mut descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        descriptor.platform = Some(image.config.platform.clone());
        if names.is_empty() {
            manifests.push(descriptor.clone());
        }
        for name in names {
            let tag = name.tag().unwrap_or_default().to_owned();
            let pairs = [(oci::IMAGE_NAME, name.to_string()), (oci::REF_NAME, tag)];
            let annotations = pairs.map(|(key, value)| (key.to_owned(), value)).into();
            manifests.push(Descriptor { annotations, ..descriptor.clone() });
        }
        let source = |l: &crate::image::LayerBlob| {
            (l.diff_id, Descriptor::new(&l.media_type, l.digest, l.size))
        };
        docker.push(DockerImage {
            config: oci::blob_path(image.id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
            layers: Some(image.layers.iter().map(|layer| oci::blob_path(layer.digest)).collect()),
            layer_sources: image.layers.iter().map(source).collect::<BTreeMap<_, _>>(),
        });
        Ok(())
    }

    /// The manifest that an image came with when it names the blobs we have, else a new one.
    fn manifest_of(&self, image: &Image) -> Result<(String, Vec<u8>), Error> {
        for known in &image.manifests {
            let bytes = self.images.content().read(known.digest, JSON_BYTES_MAX)?;
            let parsed: Result<Manifest, _> = serde_json::from_slice(&bytes);
            let same = parsed.is_ok_and(|manifest| {
                let named = manifest.layers.iter().map(|layer| layer.digest);
                named.eq(image.layers.iter().map(|layer| layer.digest))
            });
            if same {
                return Ok((known.media_type.clone(), bytes));
            }
        }
        let layers = image.layers.iter();
        let size = image.config_json.len() as u64;
        let manifest = Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            config: Descriptor::new(oci::CONFIG, image.id, size),
            layers: layers.map(|l| Descriptor::new(&l.media_type, l.digest, l.size)).collect(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("plain data is JSON");
        Ok((oci::MANIFEST.to_owned(), bytes))
    }

    fn directory(&mut self, path: &str) -> Result<(), Error> {
        let mut header = header(EntryType::Directory, 0o755, 0);
        self.tar.append_data(&mut header, path, io::empty()).map_err(Error::Write)
    }

    fn json(&mut self, path: &str, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).expect("plain data is JSON");
        self.file(path, bytes.len() as u64, &mut bytes.as_slice())
    }

    fn bytes(&mut self, digest: Digest, mut bytes: &[u8]) -> Result<(), Error> {
        if self.written.insert(digest) {
            self.file(&oci::blob_path(digest), bytes.len() as u64, &mut bytes)?;
        }
        Ok(())
    }

    fn blob(&mut self, digest: Digest, size: u64) -> Result<(), Error> {
        if self.written.insert(digest) {
            let blob = self.images.content().open_blob(digest)?;
            let mut blob = io::BufReader::with_capacity(COPY_BYTES, blob);
            self.file(&oci::blob_path(digest), size, &mut blob)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str, size: u64, data: &mut dyn Read) -> Result<(), Error> {
        let mut header = header(EntryType::Regular, 0o644, size);
        self.tar.append_data(&mut header, path, data).map_err(Error::Write)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
