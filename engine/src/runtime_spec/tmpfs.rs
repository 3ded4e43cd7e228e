//! Options of tmpfs mounts. Pure.
//!
//! Source: moby `github.com/moby/sys/mount/flags_unix.go MergeTmpfsOptions`, mount(8).

use super::Error;

/// What every tmpfs has unless its options say otherwise.
const DEFAULTS: [&str; 4] = ["noexec", "nosuid", "nodev", "rprivate"];

/// Words that set or clear one property each; words of one row exclude each other.
const FLAGS: [&[&str]; 11] = [
    &["ro", "rw"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["exec", "noexec"],
    &["sync", "async"],
    &["mand", "nomand"],
    &["atime", "noatime"],
    &["diratime", "nodiratime"],
    &["relatime", "norelatime"],
    &["strictatime", "nostrictatime"],
    &["dirsync"],
];

const PROPAGATION: [&str; 8] =
    ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];

const VALUES: [&str; 10] =
    ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge", "noswap", "inode32"];

/// Docker's defaults overridden by `text` (words separated by commas); the last of a kind wins.
///
/// # Errors
/// When a word is no option of tmpfs.
pub fn options(text: &str) -> Result<Vec<String>, Error> {
    let words = text.split(',').filter(|word| !word.is_empty());
    let mut kept: Vec<(usize, String)> = Vec::new();
    for word in DEFAULTS.into_iter().chain(words) {
        let class = class(word).ok_or_else(|| Error::TmpfsOption { option: word.to_owned() })?;
        kept.retain(|(other, _)| *other != class);
        kept.push((class, word.to_owned()));
    }
    Ok(kept.into_iter().map(|(_, word)| word).filter(|word| word != "defaults").collect())
}

/// Words of one class exclude each other.
fn class(word: &str) -> Option<usize> {
    if word == "defaults" {
        return Some(usize::MAX);
    }
    if let Some(row) = FLAGS.iter().position(|row| row.contains(&word)) {
        return Some(row);
    }
    if PROPAGATION.contains(&word) {
        return Some(FLAGS.len());
    }
    let key = word.split_once('=').map_or(word, |(key, _)| key);
    VALUES.iter().position(|known| *known == key).map(|row| FLAGS.len() + 1 + row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_words_win() {
        let joined = |text| options(text).unwrap().join(",");
        assert_eq!(joined(""), "noexec,nosuid,nodev,rprivate");
        assert_eq!(
            joined("size=64m,exec,mode=1770,size=1g"),
            "nosuid,nodev,rprivate,exec,mode=1770,size=1g"
        );
        assert_eq!(joined("defaults,ro,rw,dev,rshared"), "noexec,nosuid,rw,dev,rshared");
    }

    #[test]
    fn other_words_are_refused() {
        let error = options("size=1m,lowerdir=/").unwrap_err();
        assert_eq!(error.to_string(), "invalid tmpfs option \"lowerdir=/\"");
    }
}
