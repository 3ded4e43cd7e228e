//! Images in memory, by id and by name. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use shoal_model::{Digest, Reference};

use super::{Error, Image};

/// Shortest text that is taken for the beginning of an id.
const PREFIX_LENGTH_MIN: usize = 1;

#[derive(Debug, Default)]
pub(super) struct Index {
    images: BTreeMap<Digest, Arc<Image>>,
    names: HashMap<Reference, Digest>,
}

impl Index {
    pub(super) fn get(&self, id: Digest) -> Option<Arc<Image>> {
        self.images.get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Image>> {
        self.images.values().cloned().collect()
    }

    pub(super) fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.names.get(reference).and_then(|id| self.get(*id))
    }

    /// Adds or replaces an image. Names that it has are taken from whoever had them.
    pub(super) fn put(&mut self, image: Arc<Image>) {
        self.remove(image.id);
        for name in image.references.iter().chain(&image.repo_digests) {
            if let Some(loser) = self.names.insert(name.clone(), image.id)
                && let Some(loser) = self.images.get_mut(&loser)
            {
                let loser = Arc::make_mut(loser);
                loser.references.remove(name);
                loser.repo_digests.remove(name);
            }
        }
        self.images.insert(image.id, image);
    }

    pub(super) fn remove(&mut self, id: Digest) {
        let Some(image) = self.images.remove(&id) else { return };
        for name in image.references.iter().chain(&image.repo_digests) {
            if self.names.get(name) == Some(&id) {
                self.names.remove(name);
            }
        }
    }

    /// Finds what a user means.
    ///
    /// Source: moby `daemon/images/image.go ImageService.getImage`: a text that is a digest is an image id;
    /// with a name and digest the repository's digests are asked, then tags (`latest` when there is none),
    /// then ids that begin with the text.
    pub(super) fn resolve(&self, name: &str) -> Result<Arc<Image>, Error> {
        let not_found = || Error::NotFound { name: name.to_owned() };
        let whole = name.parse().or_else(|_| Digest::from_hex(name));
        if let Ok(id) = whole {
            return self.get(id).ok_or_else(not_found);
        }
        if let Ok(reference) = name.parse::<Reference>() {
            if let Some(found) = self.by_name(&reference) {
                return Ok(found);
            }
            if reference.digest().is_some() {
                return Err(not_found());
            }
        }
        self.by_prefix(name.strip_prefix("sha256:").unwrap_or(name), name)
    }

    fn by_name(&self, reference: &Reference) -> Option<Arc<Image>> {
        let Some(digest) = reference.digest() else {
            return self.by_reference(&reference.clone().or_latest());
        };
        let found = self.by_reference(&reference.with_digest(digest)).or_else(|| {
            // `name@<image id>`: the image itself, when it has a name of that repository.
            let repository = reference.repository();
            let named = |image: &Arc<Image>| {
                let mut names = image.references.iter().chain(&image.repo_digests);
                names.any(|name| name.repository() == repository)
            };
            self.get(digest).filter(named)
        })?;
        // With a tag as well, both must agree unless the tag is not known here.
        Some(found)
    }

    fn by_prefix(&self, prefix: &str, name: &str) -> Result<Arc<Image>, Error> {
        let not_found = || Error::NotFound { name: name.to_owned() };
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if prefix.len() < PREFIX_LENGTH_MIN || prefix.len() >= 64 || !prefix.chars().all(hex) {
            return Err(not_found());
        }
        let first = Digest::from_hex(&format!("{prefix:0<64}")).expect("64 hex digits");
        let mut fitting = self
            .images
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(id, _)| id.hex().starts_with(prefix))
            .map(|(_, image)| image);
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(not_found()),
            (Some(image), None) => Ok(Arc::clone(image)),
            (Some(_), Some(_)) => Err(Error::Ambiguous { prefix: name.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::Timestamp;

    use super::*;
    use crate::image::ImageConfig;

    /// An image whose id begins with `prefix`.
    fn image(prefix: &str, references: &[&str], repo_digests: &[&str]) -> Arc<Image> {
        let config = br#"{"rootfs":{"type":"layers"}}"#;
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Arc::new(Image {
            id: Digest::from_hex(&format!("{prefix:0<64}")).unwrap(),
            config_json: String::new(),
            config: ImageConfig::parse(config).unwrap(),
            layers: Vec::new(),
            manifests: Vec::new(),
            references: names(references),
            repo_digests: names(repo_digests),
            parent: None,
            last_tagged: None,
            added: Timestamp::from_nanos(0),
            size: 0,
        })
    }

    #[test]
    fn names_win_over_prefixes_and_whole_ids_over_names() {
        let manifest = format!("sha256:{}", "ab".repeat(32));
        let mut index = Index::default();
        index.put(image("aaa1", &["busybox:latest", "aaa2:latest"], &[]));
        index.put(image("aaa2", &[], &[&format!("busybox@{manifest}")]));
        index.put(image("b", &["host:5000/x:1"], &[]));
        let id = |prefix: &str| format!("{prefix:0<64}");
        for (name, expected) in [
            ("busybox", Ok("aaa1")),
            ("docker.io/library/busybox:latest", Ok("aaa1")),
            ("aaa2", Ok("aaa1")),
            ("sha256:aaa2", Ok("aaa2")),
            (&id("aaa2"), Ok("aaa2")),
            (&format!("sha256:{}", id("aaa2")), Ok("aaa2")),
            (&format!("busybox@{manifest}"), Ok("aaa2")),
            (&format!("busybox:other@{manifest}"), Ok("aaa2")),
            (&format!("busybox@sha256:{}", id("aaa1")), Ok("aaa1")),
            ("aaa1", Ok("aaa1")),
            ("host:5000/x:1", Ok("b")),
            ("aaa", Err("image id prefix `aaa` fits several images")),
            ("host:5000/x", Err("no such image: `host:5000/x`")),
            ("c", Err("no such image: `c`")),
            ("", Err("no such image: ``")),
            (&id("c"), Err(&format!("no such image: `{}`", id("c")))),
        ] {
            let found = index.resolve(name).map(|image| image.id.hex());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found, expected.map(&id).map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn a_name_moves_with_its_last_owner() {
        let mut index = Index::default();
        index.put(image("a", &["x:1"], &[]));
        index.put(image("b", &["x:1"], &[]));
        assert_eq!(index.resolve("x:1").unwrap().id.hex()[..1], *"b");
        assert!(index.resolve("a").unwrap().references.is_empty());
        index.remove(image("b", &[], &[]).id);
        assert!(index.resolve("x:1").is_err());
    }
}
