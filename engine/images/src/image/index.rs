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
