//! Where a copy goes: docker's rules on names, trailing slashes and missing targets. Pure.

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) directory: bool,
    /// The name by which it was asked for, where a followed link has another.
    pub(super) renamed: Option<String>,
}

impl Source {
    /// The name under which the daemon packs it.
    pub(super) fn base(&self) -> String {
        base(&self.path)
    }
}

/// What is at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) directory: bool,
}

/// Splits `container:path`. Paths that begin with `/` or `.` are local whatever they hold.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
            (Some(container), path)
        }
        _ => (None, text),
    }
}

/// The path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => {
                parts.pop();
            }
            None if part == ".." && rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn ends_in_dot(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// Does the path say that it is a directory?
fn says_directory(path: &str) -> bool {
    path.ends_with('/') || ends_in_dot(path)
}

/// An absolute path that keeps its trailing slash or dot.
pub(super) fn absolute(here: &str, path: &str) -> String {
    let full = if path.starts_with('/') { clean(path) } else { clean(&format!("{here}/{path}")) };
    keep_end(&full, path)
}

fn keep_end(cleaned: &str, path: &str) -> String {
    let slash = if cleaned.ends_with('/') { "" } else { "/" };
    if ends_in_dot(path) {
        format!("{cleaned}{slash}.")
    } else if path.ends_with('/') && cleaned != "/" {
        format!("{cleaned}/")
    } else {
        cleaned.to_owned()
    }
}

/// The directory and the name; the name of `x/.` is `.`.
pub(super) fn split_entry(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if ends_in_dot(path) {
        return (cleaned, ".".to_owned());
    }
    match cleaned.rsplit_once('/') {
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((directory, name)) => (directory.to_owned(), name.to_owned()),
        None => (".".to_owned(), cleaned),
    }
}

/// The last name of a path.
pub(super) fn base(path: &str) -> String {
    split_entry(path).1
}

/// Where a symbolic link at `path` leads.
pub(super) fn link_target(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return clean(target);
    }
    clean(&format!("{}/{target}", split_entry(path).0))
}

/// The directory that the copy is unpacked in, and the name it has there.
pub(super) fn arrange(source: &Source, place: &Place) -> Result<(String, String), String> {
    let own = source.renamed.clone().unwrap_or_else(|| source.base());
    if place.exists && place.directory {
        return Ok((place.path.clone(), own));
    }
    let (folder, name) = split_entry(&place.path);
    if place.exists && source.directory {
        return Err("cannot copy directory".to_owned());
    }
    if !place.exists && !source.directory && says_directory(&place.path) {
        return Err("no such directory".to_owned());
    }
    Ok((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_a_container_or_a_local_path() {
        assert_eq!(split("box:/x"), (Some("box"), "/x"));
        assert_eq!(split("./a:b"), (None, "./a:b"));
        assert_eq!(split("/a:b"), (None, "/a:b"));
        assert_eq!(split("a"), (None, "a"));
    }

    #[test]
    fn ends_of_paths_count() {
        assert_eq!(absolute("/h", "a/../b/"), "/h/b/");
        assert_eq!(absolute("/h", "."), "/h/.");
        assert_eq!(absolute("/h", "/a//b/."), "/a/b/.");
        assert_eq!(absolute("/h", "/"), "/");
        assert_eq!(split_entry("/a/b/."), ("/a/b".into(), ".".into()));
        assert_eq!(split_entry("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(split_entry("/"), ("/".into(), "/".into()));
        assert_eq!(link_target("/tmp/escape", "/../../etc/passwd"), "/etc/passwd");
        assert_eq!(link_target("/tmp/x", "../y"), "/y");
    }

    #[test]
    fn targets_follow_dockers_table() {
        let arranged = |from: &str, directory, to: &str, exists, is_directory| {
            let source = Source { path: from.into(), directory, renamed: None };
            let place = Place { path: to.into(), exists, directory: is_directory };
            arrange(&source, &place).map(|(folder, name)| format!("{folder} {name}"))
        };
        // A file: made, refused, replacing, into.
        assert_eq!(arranged("/a/f", false, "/t/n", false, false), Ok("/t n".into()));
        assert_eq!(arranged("/a/f", false, "/t/n/", false, false), Err("no such directory".into()));
        assert_eq!(arranged("/a/f", false, "/t/n", true, false), Ok("/t n".into()));
        assert_eq!(arranged("/a/f", false, "/t", true, true), Ok("/t f".into()));
        // A directory: made, refused, into, its content into.
        assert_eq!(arranged("/a/d", true, "/t/n", false, false), Ok("/t n".into()));
        assert_eq!(
            arranged("/a/d", true, "/t/f", true, false),
            Err("cannot copy directory".into())
        );
        assert_eq!(arranged("/a/d", true, "/t", true, true), Ok("/t d".into()));
        assert_eq!(arranged("/a/d/.", true, "/t", true, true), Ok("/t .".into()));
        assert_eq!(arranged("/a/d/.", true, "/t/n", false, false), Ok("/t n".into()));
    }
}
