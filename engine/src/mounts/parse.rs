//! Words and paths of mounts. Pure.
//!
//! Source: moby `volume/mounts/linux_parser.go linuxValidMountMode, ValidateVolumeName`.

use shoal_model::container::{Propagation, TmpfsOptions};

use super::Error;

/// The options of `-v`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) read_only: bool,
    pub(super) propagation: Option<Propagation>,
    pub(super) no_copy: bool,
}

/// Reads `ro`, `z`, `rshared`, `nocopy` …; each sort at most once.
pub(super) fn mode(words: &[String]) -> Result<Mode, Error> {
    let invalid = || Error::Mode { mode: words.join(",") };
    let mut mode = Mode::default();
    let mut seen = [false; 5];
    for word in words.iter().filter(|word| !word.is_empty()) {
        let sort = match word.as_str() {
            "rw" | "ro" => {
                mode.read_only = word == "ro";
                0
            }
            "z" | "Z" => 1, // labels of SELinux; docker ignores them without it
            "nocopy" => {
                mode.no_copy = true;
                2
            }
            "consistent" | "cached" | "delegated" => 3,
            word => {
                mode.propagation = Some(Propagation::parse(word).ok_or_else(invalid)?);
                4
            }
        };
        if std::mem::replace(&mut seen[sort], true) {
            return Err(invalid());
        }
    }
    Ok(mode)
}

/// The clean form of an absolute path: no `.`, `..`, nor double slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Docker's rule for names of volumes.
pub(crate) fn volume_name_is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && name.len() > 1
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The option string of a tmpfs of `--mount`.
pub(super) fn tmpfs(options: &TmpfsOptions, read_only: bool) -> String {
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_owned());
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes != 0 {
        let units = [(30, "g"), (20, "m"), (10, "k")];
        let fits = |(shift, _): &(u32, &str)| options.size_bytes % (1_i64 << shift) == 0;
        let (shift, unit) = units.into_iter().find(fits).unwrap_or((0, ""));
        words.push(format!("size={}{unit}", options.size_bytes >> shift));
    }
    words.extend(options.options.iter().map(|option| option.join("=")));
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn modes_are_read() {
        assert_eq!(mode(&words("")).unwrap(), Mode::default());
        assert_eq!(
            mode(&words("ro,Z,rslave,nocopy,cached")).unwrap(),
            Mode { read_only: true, propagation: Some(Propagation::RSlave), no_copy: true }
        );
        for bad in ["rw,ro", "z,Z", "shared,rshared", "exec", "ro,ro"] {
            assert_eq!(mode(&words(bad)).unwrap_err().to_string(), format!("invalid mode: {bad}"));
        }
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [("/a//b/./c/", "/a/b/c"), ("/../a/../b", "/b"), ("/", "/")] {
            assert_eq!(clean(path), expected);
        }
    }

    #[test]
    fn volume_names_follow_dockers_rule() {
        for good in ["ab", "a-b_c.d", "0x"] {
            assert!(volume_name_is_valid(good), "{good}");
        }
        for bad in ["", "a", "-a", "a/b", "../x", "a b", ".x"] {
            assert!(!volume_name_is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn tmpfs_options_are_words() {
        let options =
            |size_bytes, mode| TmpfsOptions { size_bytes, mode, ..TmpfsOptions::default() };
        assert_eq!(tmpfs(&options(0, 0), false), "");
        assert_eq!(tmpfs(&options(64 << 20, 0o1770), true), "ro,mode=1770,size=64m");
        assert_eq!(tmpfs(&options(1025, 0), false), "size=1025");
    }
}
