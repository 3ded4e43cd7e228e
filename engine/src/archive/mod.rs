//! `docker cp`: a container's files as tar archives, both ways.
//!
//! All functions take the container's root as an open directory: `/proc/<pid>/root` of a running one; of
//! a stopped one its overlay and volumes, mounted in a namespace of a thread's own. Every path is opened
//! with `RESOLVE_IN_ROOT`, so a link swapped in at any time leads inside the container only. All block.
//!
//! Source: moby `daemon/archive.go`, `daemon/containerfs_linux.go`, `moby/go-archive`.

mod error;
mod export;
mod import;
mod stat;

pub use error::Error;
pub use export::export;
pub use import::{ImportOptions, Overwrite, Owner, RootAccess, import};
pub use stat::{PathStat, stat};

/// An absolute path in a container, as the client wrote it: a trailing `/` or `/.` means the directory
/// that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// Clean components, links not resolved.
    parts: Vec<String>,
    /// Whether the last component is followed if it is a link.
    follow: bool,
    /// Whether the text ends in `.`: then the content is meant, not the directory.
    content: bool,
}

impl Wanted {
    fn parse(path: &str) -> Self {
        let mut parts: Vec<String> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                // As Go's `filepath.Join`, before any link is resolved.
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        let content = path == "." || path.ends_with("/.");
        let follow = content || path.ends_with('/') || parts.is_empty();
        Self { parts, follow, content }
    }

    fn text(&self) -> String {
        format!("/{}", self.parts.join("/"))
    }

    /// Go's `filepath.Base`.
    fn base(&self) -> &str {
        match self.parts.last() {
            _ if self.content => ".",
            Some(name) => name,
            None => "/",
        }
    }
}

#[cfg(test)]
mod tests;
