//! Filters of `images` and `image prune`.
//!
//! Source: moby `daemon/images/images.go` (`acceptedImageFilterTags`), `image_prune.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::{Reference, Timestamp};

use super::{Error, Image, Images};

/// A condition on labels: `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Key.
    pub key: String,
    /// `None`: any value.
    pub value: Option<String>,
}

/// What to list or prune. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `Some(true)`: without tag; `Some(false)`: with one.
    pub dangling: Option<bool>,
    /// Each must be there.
    pub labels: Vec<Label>,
    /// None may be there.
    pub not_labels: Vec<Label>,
    /// Made before these images.
    pub before: Vec<String>,
    /// Made after these images.
    pub since: Vec<String>,
    /// Made before then.
    pub until: Option<Timestamp>,
    /// Patterns of names; one must fit.
    pub references: Vec<String>,
}

impl Label {
    /// Parses `key[=value]`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: text.to_owned(), value: None },
        }
    }

    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        value.is_some_and(|value| self.value.as_ref().is_none_or(|wanted| wanted == value))
    }
}

/// A filter whose image names have been resolved.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    filter: &'a Filter,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Filter {
    /// Resolves the images that `before` and `since` name.
    pub(super) fn matcher(&self, images: &Images) -> Result<Matcher<'_>, Error> {
        let created = |names: &[String]| {
            let found = names.iter().map(|name| images.resolve(name).map(|image| image.created()));
            found.collect::<Result<Vec<_>, _>>()
        };
        Ok(Matcher {
            filter: self,
            before: created(&self.before)?.into_iter().min(),
            since: created(&self.since)?.into_iter().max(),
        })
    }
}

impl Matcher<'_> {
    /// Whether an image fits, its names aside.
    pub(super) fn accepts(&self, image: &Image) -> bool {
        let labels = &image.config.defaults.labels;
        let created = image.created();
        self.filter.labels.iter().all(|label| label.fits(labels))
            && !self.filter.not_labels.iter().any(|label| label.fits(labels))
            && self.before.is_none_or(|time| created < time)
            && self.since.is_none_or(|time| created > time)
            && self.filter.until.is_none_or(|time| created < time)
    }

    /// The names of an image that a pattern fits.
    pub(super) fn names<'i>(&self, names: impl Iterator<Item = &'i Reference>) -> Vec<Reference> {
        let patterns = &self.filter.references;
        let fits = |name: &&Reference| {
            patterns.is_empty() || patterns.iter().any(|pattern| reference_fits(pattern, name))
        };
        names.filter(fits).cloned().collect()
    }
}

/// One line of `images`.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The image.
    pub image: Arc<Image>,
    /// Its tags that fit the filter.
    pub references: Vec<Reference>,
    /// Its `name@digest` that fit the filter.
    pub repo_digests: Vec<Reference>,
}

/// Which images to list besides those with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intermediate {
    /// Leave out parents without name.
    Hide,
    /// All.
    Show,
}

impl Images {
    /// Lists images, the newest first.
    ///
    /// # Errors
    /// When `before` or `since` name no image.
    pub fn list(&self, filter: &Filter, intermediate: Intermediate) -> Result<Vec<Listed>, Error> {
        let matcher = filter.matcher(self)?;
        let mut listed = Vec::new();
        for image in self.all() {
            if !matcher.accepts(&image) {
                continue;
            }
            let references = matcher.names(image.references.iter());
            let repo_digests = matcher.names(image.repo_digests.iter());
            let nameless = image.references.is_empty();
            let hidden = match filter.dangling {
                Some(dangling) => dangling != nameless,
                None => {
                    nameless && intermediate == Intermediate::Hide && self.has_children(image.id)
                }
            };
            let unnamed =
                !filter.references.is_empty() && references.is_empty() && repo_digests.is_empty();
            if !hidden && !unnamed {
                listed.push(Listed { image, references, repo_digests });
            }
        }
        listed.sort_by_key(|one| (std::cmp::Reverse(one.image.created()), one.image.id));
        Ok(listed)
    }
}

/// Whether a pattern fits a name as users write it, with or without its tag.
///
/// Source: distribution `reference.FamiliarMatch`.
fn reference_fits(pattern: &str, name: &Reference) -> bool {
    glob(pattern, &name.familiar()) || glob(pattern, &name.familiar_name())
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[a-z]`, `[^a]`, `\` escapes.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    glob_at(&pattern, &text)
}

fn glob_at(pattern: &[char], text: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        '*' => {
            let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=end).any(|skip| glob_at(rest, &text[skip..]))
        }
        '?' => text.split_first().is_some_and(|(c, text)| *c != '/' && glob_at(rest, text)),
        '[' => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                return false;
            };
            let Some((c, text)) = text.split_first() else { return false };
            class_fits(&rest[..end], *c) && glob_at(&rest[end + 1..], text)
        }
        '\\' if !rest.is_empty() => text.first() == rest.first() && glob_at(&rest[1..], &text[1..]),
        literal => text.first() == Some(literal) && glob_at(rest, &text[1..]),
    }
}

fn class_fits(class: &[char], c: char) -> bool {
    let (negated, mut class) = match class.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    while let Some((low, rest)) = class.split_first() {
        match rest {
            ['-', high, rest @ ..] => {
                found |= (*low..=*high).contains(&c);
                class = rest;
            }
            _ => {
                found |= *low == c;
                class = rest;
            }
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_familiar_names() {
        let fits = |pattern, name: &str| reference_fits(pattern, &name.parse().unwrap());
        for (pattern, name, expected) in [
            ("busybox", "busybox:1", true),
            ("busy*", "busybox:1", true),
            ("busybox:?", "busybox:1", true),
            ("busybox:[0-9]", "busybox:1", true),
            ("busybox:[^0-9]", "busybox:1", false),
            ("*", "user/app:1", false),
            ("*/*", "user/app:1", true),
            ("*:1", "busybox:1", true),
            ("docker.io/*", "busybox:1", false),
            ("host:5000/*", "host:5000/a:t", true),
            ("[", "a:t", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn labels_fit_by_key_or_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let fits = ["a", "a=1", "a=2", "b"].map(|text| Label::parse(text).fits(&labels));
        assert_eq!(fits, [true, true, false, false]);
    }
}
