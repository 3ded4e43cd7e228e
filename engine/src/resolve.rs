//! From what a client writes to a container: full id, name, or unique id prefix, in this order. Pure core.
//!
//! Source: moby `daemon/container.go GetContainer`.

use std::sync::{Arc, PoisonError};

use shoal_model::ContainerId;

use crate::container::Container;
use crate::core::Core;
use crate::error::Error;

/// What a prefix finds among ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Exactly one.
    One(&'a ContainerId),
    /// None.
    None,
    /// Several.
    Several,
}

/// Finds the ids that begin with `prefix`. `ids` are in order.
pub fn by_prefix<'a>(prefix: &str, ids: impl Iterator<Item = &'a ContainerId>) -> Found<'a> {
    if prefix.is_empty() {
        return Found::None;
    }
    let mut matching = ids.filter(|id| id.as_str().starts_with(prefix));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Found::One(id),
        (Some(_), Some(_)) => Found::Several,
        (None, _) => Found::None,
    }
}

/// Finds a container.
///
/// # Errors
/// When there is none, or an id prefix fits several.
pub(crate) fn container(core: &Core, name: &str) -> Result<Arc<Container>, Error> {
    let missing = || Error::NoSuchContainer { name: name.to_owned() };
    let containers = core.containers.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = ContainerId::parse(name).and_then(|id| containers.get(&id)) {
        return Ok(Arc::clone(found));
    }
    let bare = name.strip_prefix('/').unwrap_or(name);
    if let Some(found) = core.names.get(bare).and_then(|id| containers.get(&id)) {
        return Ok(Arc::clone(found));
    }
    match by_prefix(name, containers.keys()) {
        Found::One(id) => containers.get(id).cloned().ok_or_else(missing),
        Found::None => Err(missing()),
        Found::Several => Err(Error::Ambiguous { prefix: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let ids = [[0x11; 32], [0x12; 32], [0x22; 32]].map(ContainerId::from_bytes);
        assert_eq!(by_prefix("2", ids.iter()), Found::One(&ids[2]));
        assert_eq!(by_prefix("1", ids.iter()), Found::Several);
        assert_eq!(by_prefix("12", ids.iter()), Found::One(&ids[1]));
        assert_eq!(by_prefix("3", ids.iter()), Found::None);
        assert_eq!(by_prefix("", ids.iter()), Found::None);
    }
}
