//! Bytes beneath a directory.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The sizes of all files beneath `directory`, each inode once. Does not follow links; what vanishes
/// meanwhile counts nothing. Blocks.
///
/// # Errors
/// When the directory itself cannot be read.
///
/// # Source
/// moby `pkg/directory/directory_unix.go calcSize`: directories count nothing.
pub fn directory_bytes(directory: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut open = vec![std::fs::read_dir(directory)?];
    while let Some(entries) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let Ok((entry, meta)) = entry.and_then(|entry| entry.metadata().map(|meta| (entry, meta)))
        else {
            continue;
        };
        if meta.is_dir() {
            open.extend(std::fs::read_dir(entry.path()).ok());
        } else if seen.insert((meta.dev(), meta.ino())) {
            total += meta.len();
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_symbolic_ones_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), [0; 100]).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("l")).unwrap();
        assert_eq!(directory_bytes(dir.path()).unwrap(), 100 + 4);
        assert!(directory_bytes(&dir.path().join("none")).is_err());
    }
}
