//! Which entry of an index fits a platform.
//!
//! Pure. Source: containerd `platforms` (`compare.go` `platformVector`: arm variants count down, arm64 has
//! v8 by default, amd64 levels count down), moby `daemon/containerd` (attestations are no images).

use shoal_model::image::Platform;

use crate::manifest::{Descriptor, Index, IndexPlatform};

/// The best entry for `wanted`: exact variant first, then the nearest lower one; the first of equals.
pub fn select<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let images = || index.manifests.iter().filter(|entry| !entry.is_attestation());
    let fits = acceptable_variants(wanted);
    let ranked = images().filter_map(|entry| {
        let rank = rank(entry.platform.as_ref()?, wanted, &fits)?;
        Some((rank, entry))
    });
    // `min_by_key` gives the first of equal entries.
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    // An index without platforms holds one image for whoever asks.
    best.or_else(|| images().find(|entry| entry.platform.is_none() && entry.is_manifest()))
}

/// All platforms of the images in an index, in order, without attestations.
pub fn all(index: &Index) -> Vec<IndexPlatform> {
    let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
    images.filter_map(|entry| entry.platform.clone()).collect()
}

/// Whether an image config's platform satisfies `wanted`.
pub fn satisfies(found: &Platform, wanted: &Platform) -> bool {
    let found = IndexPlatform {
        architecture: found.architecture.clone(),
        os: found.os.clone(),
        variant: found.variant.clone(),
        ..IndexPlatform::default()
    };
    rank(&found, wanted, &acceptable_variants(wanted)).is_some()
}

fn rank(found: &IndexPlatform, wanted: &Platform, fits: &[&str]) -> Option<usize> {
    let (arch, variant) = normalised(&found.architecture, &found.variant);
    let (wanted_arch, _) = normalised(&wanted.architecture, &wanted.variant);
    let same = found.os.eq_ignore_ascii_case(&wanted.os) && arch == wanted_arch;
    fits.iter().position(|fit| same && *fit == variant)
}

/// Variants that run on `wanted`, best first; empty text is "no variant".
fn acceptable_variants(wanted: &Platform) -> Vec<&str> {
    const ARM: [&str; 4] = ["v8", "v7", "v6", "v5"];
    const AMD64: [&str; 4] = ["v4", "v3", "v2", ""];
    let (arch, variant) = normalised(&wanted.architecture, &wanted.variant);
    let ladder: &[&str] = match arch {
        "arm" => &ARM,
        "amd64" => &AMD64,
        _ => &[],
    };
    match ladder.iter().position(|step| *step == variant) {
        Some(from) => ladder[from..].to_vec(),
        None if arch == "arm64" && variant != "v8" => vec![variant, "v8"],
        None => vec![variant],
    }
}

/// Architecture and variant in the form the ladders use: arm without variant is v7, arm64 is v8,
/// amd64 v1 is no variant.
fn normalised<'a>(arch: &'a str, variant: &'a str) -> (&'a str, &'a str) {
    match (arch, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", "v8"),
        ("aarch64", variant) => ("arm64", variant),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shoal_model::Digest;

    use super::*;
    use crate::manifest::media;

    /// Entries `os/arch[/variant]`; `!` before marks an attestation, `-` has no platform.
    fn index(entries: &[&str]) -> Index {
        let manifests = entries.iter().enumerate().map(|(number, text)| {
            let mut annotations = BTreeMap::new();
            let text = text.strip_prefix('!').map_or(*text, |rest| {
                annotations.insert("vnd.docker.reference.type".to_owned(), String::new());
                rest
            });
            let mut parts = text.split('/').map(str::to_owned);
            let platform = (text != "-").then(|| IndexPlatform {
                os: parts.next().unwrap_or_default(),
                architecture: parts.next().unwrap_or_default(),
                variant: parts.next().unwrap_or_default(),
                ..IndexPlatform::default()
            });
            Descriptor {
                media_type: media::OCI_MANIFEST.to_owned(),
                digest: Digest::from_sha256([u8::try_from(number).unwrap(); 32]),
                size: u64::try_from(number).unwrap(),
                urls: Vec::new(),
                annotations,
                platform,
            }
        });
        Index { schema_version: 2, manifests: manifests.collect() }
    }

    #[test]
    fn picks_the_nearest_variant() {
        let chosen = |entries: &[&str], wanted: &str| {
            let index = index(entries);
            let wanted = Platform::parse(wanted).unwrap();
            select(&index, &wanted).map(|entry| entry.size)
        };
        let arms =
            ["linux/amd64", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"];
        assert_eq!(chosen(&arms, "linux/amd64"), Some(0));
        assert_eq!(chosen(&arms, "linux/arm/v8"), Some(3));
        assert_eq!(chosen(&arms, "linux/arm/v6"), Some(2));
        assert_eq!(chosen(&arms, "linux/arm"), Some(3));
        assert_eq!(chosen(&arms, "linux/arm64"), Some(4));
        assert_eq!(chosen(&["linux/arm64"], "linux/arm64/v8"), Some(0));
        assert_eq!(chosen(&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3"), Some(1));
        assert_eq!(chosen(&["linux/amd64/v3"], "linux/amd64"), None);
        assert_eq!(chosen(&["linux/amd64", "linux/amd64"], "linux/amd64"), Some(0));
        assert_eq!(chosen(&arms, "linux/riscv64"), None);
        assert_eq!(
            chosen(&["!linux/amd64", "unknown/unknown", "linux/amd64"], "linux/amd64"),
            Some(2)
        );
        assert_eq!(chosen(&["unknown/unknown", "-"], "linux/amd64"), Some(1));
        assert_eq!(all(&index(&["!linux/amd64", "unknown/unknown", "linux/amd64", "-"])).len(), 1);
    }
}
