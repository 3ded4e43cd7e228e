//! Which images a node has, in few bytes: what decides between nodes that are otherwise equal.

use std::collections::BTreeSet;

use crate::Reference;

/// Names that a node tells at most.
pub const NAMES_MAX: usize = 256;

/// Names of images, each as a number. Two names may share one: it only decides which node is preferred.
pub type Names = BTreeSet<u64>;

/// The number of what a spec names; `None`: it is no name, but an id. A digest says more than a tag.
pub fn name(reference: &str) -> Option<u64> {
    reference.parse::<Reference>().ok().map(|reference| number(&reference))
}

/// The numbers of the names of images, as many as are told.
pub fn names<'a>(references: impl Iterator<Item = &'a Reference>) -> Names {
    references.map(number).take(NAMES_MAX).collect()
}

/// FNV-1a: the same on every machine and in every release.
fn number(reference: &Reference) -> u64 {
    let named = match reference.digest() {
        Some(digest) => reference.repository().with_digest(digest),
        None => reference.clone().or_latest(),
    };
    named.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let one = name("busybox").unwrap();
        assert_eq!(one, name("docker.io/library/busybox:latest").unwrap());
        assert_ne!(one, name("busybox:two").unwrap());
        let pinned = name(&format!("busybox@{digest}")).unwrap();
        assert_eq!(pinned, name(&format!("busybox:latest@{digest}")).unwrap());
        assert_ne!(pinned, one);
        assert_eq!(name("Not A Name"), None);
    }

    #[test]
    fn a_node_tells_a_bounded_number() {
        let references: Vec<Reference> =
            (0..300).map(|number| format!("a:{number}").parse().unwrap()).collect();
        assert_eq!(names(references.iter()).len(), NAMES_MAX);
    }
}
