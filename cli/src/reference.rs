//! Names of images as docker's client reads them, with its error texts. Pure.
//!
//! Source: the grammar in the documentation of `distribution/reference`.

/// A name with its registry, and the tag or digest behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    domain: String,
    path: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

const INVALID: &str = "invalid reference format";

impl Reference {
    /// Reads a name in short or in full form.
    ///
    /// # Errors
    /// The text that docker prints for it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == 64 && text.chars().all(hex) {
            return Err(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            ));
        }
        let (domain, rest) = split_domain(text);
        let name_end = rest.find(':').unwrap_or(rest.len());
        let name = &rest[..name_end];
        if name.chars().any(char::is_uppercase) && !name.contains('@') {
            return Err(format!("{INVALID}: repository name ({name}) must be lowercase"));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(INVALID.into()),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(INVALID.into()),
            None => (rest, None),
        };
        if !is_domain(&domain) || !path.split('/').all(is_component) {
            return Err(INVALID.into());
        }
        if domain.len() + 1 + path.len() > 255 {
            return Err("repository name must not be more than 255 characters".into());
        }
        Ok(Self { domain, path: path.to_owned(), tag, digest })
    }

    /// Neither tag nor digest?
    pub(crate) fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Adds the default tag to a bare name.
    pub(crate) fn tagged(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The name as people write it, without tag and digest.
    pub(crate) fn familiar(&self) -> String {
        if self.domain != "docker.io" {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The name with its registry, tag and digest.
    pub(crate) fn full(&self) -> String {
        let mut text = format!("{}/{}", self.domain, self.path);
        if let Some(tag) = &self.tag {
            text.push_str(&format!(":{tag}"));
        }
        if let Some(digest) = &self.digest {
            text.push_str(&format!("@{digest}"));
        }
        text
    }
}

/// The registry and what follows it; both normalized.
fn split_domain(text: &str) -> (String, String) {
    let own = text.split_once('/').filter(|(first, _)| {
        first.contains(['.', ':']) || *first == "localhost" || first.to_lowercase() != *first
    });
    match own {
        Some((domain, rest)) if !matches!(domain, "docker.io" | "index.docker.io") => {
            (domain.to_owned(), rest.to_owned())
        }
        other => {
            let rest = other.map_or(text, |(_, rest)| rest);
            let library = if rest.contains('/') { "" } else { "library/" };
            ("docker.io".to_owned(), format!("{library}{rest}"))
        }
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let host = match address {
        Some(address) => address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(label),
    };
    host && port
}

/// Small letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(word) || !bytes.last().is_some_and(word) {
        return false;
    }
    let mut separators = bytes.split(word).filter(|separator| !separator.is_empty());
    separators.all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= 128 && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let letters = algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
    let hexadecimal = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let long = match algorithm {
        "sha256" => hex.len() == 64,
        "sha512" => hex.len() == 128,
        _ => hex.len() >= 32,
    };
    algorithm.starts_with(|c: char| c.is_ascii_alphabetic()) && letters && hexadecimal && long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match Reference::parse(text) {
            Ok(name) => format!("{} {}", name.familiar(), name.full()),
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn names_have_a_short_and_a_full_form() {
        check("busybox", "busybox docker.io/library/busybox");
        check("docker.io/busybox:1", "busybox docker.io/library/busybox:1");
        check("a/b:1", "a/b docker.io/a/b:1");
        check("localhost:5000/x_y/z--1:v", "localhost:5000/x_y/z--1 localhost:5000/x_y/z--1:v");
        check("[::1]:80/x", "[::1]:80/x [::1]:80/x");
        check("Team/app", "Team/app Team/app");
        let digest = format!("sha256:{}", "0".repeat(64));
        check(&format!("x@{digest}"), &format!("x docker.io/library/x@{digest}"));
        assert_eq!(Reference::parse("x").unwrap().tagged().tag.as_deref(), Some("latest"));
    }

    #[test]
    fn bad_names_have_dockers_errors() {
        for bad in ["", "a/b:é", "x@sha256:12", "a..b", "a_/b", "-a/b.c", "x:", "a//b", "h:x/y"] {
            check(bad, "error: invalid reference format");
        }
        check(
            "Busybox",
            "error: invalid reference format: repository name (library/Busybox) must be lowercase",
        );
        let id = "0".repeat(64);
        check(
            &id,
            &format!(
                "error: invalid repository name ({id}), cannot specify 64-byte hexadecimal strings"
            ),
        );
    }
}
