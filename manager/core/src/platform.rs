//! Platforms of nodes and images.

use shoal_model::cluster::Node;
use shoal_model::cluster::node::Platform;

/// Architecture and system in the words of images.
///
/// Source: containerd `platforms/database.go normalizeArch`, `normalizeOS`.
pub fn normalise(platform: &Platform) -> Platform {
    let architecture = platform.architecture.to_ascii_lowercase();
    let architecture = match architecture.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "386",
        "armhf" | "armel" | "armv6l" | "armv7l" => "arm",
        "mips64el" => "mips64le",
        "powerpc64le" | "ppc64el" => "ppc64le",
        "loong64" | "loongarch64" => "loong64",
        other => other,
    };
    let os = platform.os.to_ascii_lowercase();
    let os = if os == "macos" { "darwin".to_owned() } else { os };
    Platform { architecture: architecture.to_owned(), os }
}

/// Whether a node runs images of one of the platforms; none: any image.
pub fn runs_one_of(node: &Node, wanted: &[Platform]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let Some(description) = &node.description else { return false };
    let given = normalise(&description.platform);
    wanted.iter().map(normalise).any(|wanted| {
        (wanted.os.is_empty() || wanted.os == given.os)
            && (wanted.architecture.is_empty() || wanted.architecture == given.architecture)
    })
}
