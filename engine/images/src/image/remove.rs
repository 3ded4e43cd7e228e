//! `rmi` and `prune`: untag, delete, and what follows from it.
//!
//! Source: moby `daemon/images/image_delete.go`, `image_prune.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::Digest as _;
use shoal_model::{Digest, Reference};

use super::filter::Filter;
use super::{Error, Image, Images};

/// What was done, in the order it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone: as users write it.
    Untagged(String),
    /// An image is gone.
    Deleted(Digest),
}

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its short id, as messages show it.
    pub container: String,
    /// Running containers forbid removal even by force.
    pub running: bool,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also when stopped containers use it or it has names of several repositories.
    pub force: bool,
    /// Leave untagged parents.
    pub keep_parents: bool,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was done.
    pub removed: Vec<Removed>,
    /// Bytes freed.
    pub freed: u64,
}

impl Images {
    /// Removes an image or one of its names. `users` lists the containers of an image.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] when containers or children need it.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        users: &dyn Fn(Digest) -> Vec<User>,
    ) -> Result<Vec<Removed>, Error> {
        let mut removed = Vec::new();
        {
            let _writing = self.writing();
            let image = self.resolve(name)?;
            match by_name(name, &image) {
                Some(reference) => {
                    self.remove_name(&image, &reference, options, users, &mut removed)
                        .map_err(|error| named(error, name))?;
                }
                None => self.remove_by_id(&image, options, users, &mut removed)?,
            }
        }
        self.sweep()?;
        Ok(removed)
    }

    fn remove_name(
        &self,
        image: &Image,
        reference: &Reference,
        options: RemoveOptions,
        users: &dyn Fn(Digest) -> Vec<User>,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Error> {
        let last = image.references.iter().filter(|name| *name != reference).count() == 0
            && (reference.tag().is_some() || image.repo_digests.len() == 1);
        if last && !options.force {
            // Removing the last name removes the image, and a container may need it.
            if let Some(user) = users(image.id).first() {
                let (by, id) = (&user.container, image.id.short());
                let why = format!("container {by} is using its referenced image {id}");
                return Err(in_use(reference.familiar(), why, true));
            }
        }
        let mut names = BTreeSet::from([reference.clone()]);
        if reference.tag().is_some() {
            // Digests of a repository go with its last tag.
            let same = |name: &&Reference| name.repository() == reference.repository();
            if image.references.iter().filter(same).count() == 1 {
                names.extend(image.repo_digests.iter().filter(same).cloned());
            }
        }
        let image = self.untag(image, &names, removed)?;
        if !image.is_dangling() || users(image.id).iter().any(|user| user.running) {
            return Ok(());
        }
        self.delete(&image, options, users, removed)
    }

    fn remove_by_id(
        &self,
        image: &Image,
        options: RemoveOptions,
        users: &dyn Fn(Digest) -> Vec<User>,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Error> {
        let repositories: BTreeSet<Reference> =
            image.references.iter().map(Reference::repository).collect();
        if repositories.len() > 1 && !options.force {
            let why = "image is referenced in multiple repositories".to_owned();
            return Err(in_use(image.id.short(), why, true));
        }
        refuse_when_used(image, options, &users(image.id))?;
        let names = image.references.iter().chain(&image.repo_digests).cloned().collect();
        let image = self.untag(image, &names, removed)?;
        self.delete(&image, options, users, removed)
    }

    /// Takes names away and writes the record. The caller holds `writing`.
    fn untag(
        &self,
        image: &Image,
        names: &BTreeSet<Reference>,
        removed: &mut Vec<Removed>,
    ) -> Result<Arc<Image>, Error> {
        let mut image = image.clone();
        // Tags first, then digests, as docker lists them.
        for name in names.iter().filter(|name| image.references.contains(*name)) {
            removed.push(Removed::Untagged(name.familiar()));
        }
        for name in names.iter().filter(|name| image.repo_digests.contains(*name)) {
            removed.push(Removed::Untagged(name.familiar()));
        }
        image.references.retain(|name| !names.contains(name));
        image.repo_digests.retain(|name| !names.contains(name));
        self.put_record(image)
    }

    /// Deletes an image without names, then parents that nothing needs. The caller holds `writing`.
    fn delete(
        &self,
        image: &Image,
        options: RemoveOptions,
        users: &dyn Fn(Digest) -> Vec<User>,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Error> {
        if self.has_children(image.id) {
            if !removed.is_empty() {
                return Ok(()); // its names are gone; it stays as a parent
            }
            let why = "image has dependent child images".to_owned();
            return Err(in_use(image.id.short(), why, false));
        }
        self.remove_record(image.id)?;
        removed.push(Removed::Deleted(image.id));
        removed.extend(self.orphaned_chains(image).into_iter().map(Removed::Deleted));
        let parent = image.parent.and_then(|id| self.get(id)).filter(|_| !options.keep_parents);
        match parent {
            Some(parent)
                if parent.is_dangling()
                    && users(parent.id).is_empty()
                    && !self.has_children(parent.id) =>
            {
                self.delete(&parent, options, users, removed)
            }
            _ => Ok(()),
        }
    }

    /// Chain ids of the layers that only this image had, the uppermost first.
    fn orphaned_chains(&self, image: &Image) -> Vec<Digest> {
        let diff_ids = &image.config.diff_ids;
        let others = self.all();
        let shared = others
            .iter()
            .map(|other| {
                let pairs = other.config.diff_ids.iter().zip(diff_ids);
                pairs.take_while(|(one, two)| one == two).count()
            })
            .max()
            .unwrap_or(0);
        let mut chains = chain_ids(diff_ids).split_off(shared);
        chains.reverse();
        chains
    }

    /// Whether another image here was made from it.
    pub fn has_children(&self, id: Digest) -> bool {
        self.all().iter().any(|image| image.parent == Some(id))
    }

    /// Removes images that no container uses: those without name, or all with `Dangling::No` in the filter.
    ///
    /// # Errors
    /// The disk's.
    pub fn prune(
        &self,
        filter: &Filter,
        users: &dyn Fn(Digest) -> Vec<User>,
    ) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let only_dangling = filter.dangling != Some(false);
        let matcher = filter.matcher(self)?;
        {
            let _writing = self.writing();
            // A parent may go only after its children, whatever the order: round by round, until nothing goes.
            loop {
                let before = pruned.removed.len();
                self.prune_once(
                    &|image| {
                        let wanted = !only_dangling || image.references.is_empty();
                        wanted && matcher.accepts(image) && users(image.id).is_empty()
                    },
                    users,
                    &mut pruned,
                )?;
                if pruned.removed.len() == before {
                    break;
                }
            }
        }
        pruned.freed = self.content().drop_partial()? + self.sweep()?;
        Ok(pruned)
    }

    /// Removes the images that are wanted away and have no children.
    fn prune_once(
        &self,
        wanted: &dyn Fn(&Image) -> bool,
        users: &dyn Fn(Digest) -> Vec<User>,
        pruned: &mut Pruned,
    ) -> Result<(), Error> {
        for image in self.all().iter().filter(|image| wanted(image)) {
            let Some(image) = self.get(image.id) else { continue }; // went as a parent
            if self.has_children(image.id) {
                continue;
            }
            let names = image.references.iter().chain(&image.repo_digests).cloned().collect();
            let image = self.untag(&image, &names, &mut pruned.removed)?;
            let options = RemoveOptions { force: true, keep_parents: false };
            self.delete(&image, options, users, &mut pruned.removed)?;
        }
        Ok(())
    }
}

/// The chain id of each layer, from the lowest up.
///
/// Source: OCI image-spec `config.md`, "Layer ChainID".
fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let chain = match chains.last() {
            None => *diff_id,
            Some(below) => {
                let text = format!("{below} {diff_id}");
                Digest::from_sha256(sha2::Sha256::digest(text.as_bytes()).into())
            }
        };
        chains.push(chain);
    }
    chains
}

/// The name of an image that a text is; `None` when it is an id.
fn by_name(text: &str, image: &Image) -> Option<Reference> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let reference = text.parse::<Reference>().ok()?;
    let reference = match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.or_latest(),
    };
    let has = image.references.contains(&reference) || image.repo_digests.contains(&reference);
    (has && !(bare.len() == 64 && image.id.hex() == bare)).then_some(reference)
}

/// Refuses removal by id that containers forbid.
fn refuse_when_used(image: &Image, options: RemoveOptions, users: &[User]) -> Result<(), Error> {
    let refuse = |what, user: &User, must_force| {
        let why = format!("image is being used by {what} container {}", user.container);
        Err(in_use(image.id.short(), why, must_force))
    };
    match (users.iter().find(|user| user.running), users.first()) {
        (Some(user), _) => refuse("running", user, false),
        (None, Some(user)) if !options.force => refuse("stopped", user, true),
        _ => Ok(()),
    }
}

/// A refusal calls the image as the user did.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::InUse { why, must_force, .. } => in_use(name.to_owned(), why, must_force),
        other => other,
    }
}

fn in_use(image: String, why: String, must_force: bool) -> Error {
    Error::InUse { image, why, must_force }
}
