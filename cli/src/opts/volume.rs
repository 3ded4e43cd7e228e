//! `--volume`. Pure.

/// What a volume option asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A bind or named volume, as the API takes it.
    Bind(String),
    /// An anonymous volume at this path.
    Anonymous(String),
}

/// Parses one `--volume`.
pub(crate) fn parse(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    match parts.as_slice() {
        [path] => Ok(Volume::Anonymous((*path).to_owned())),
        [source, rest @ ..] => {
            Ok(Volume::Bind(format!("{}:{}", super::absolute(source), rest.join(":"))))
        }
        [] => Err("invalid empty volume spec".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_make_binds() {
        assert_eq!(parse("/data").unwrap(), Volume::Anonymous("/data".into()));
        assert_eq!(parse("vol:/data:ro").unwrap(), Volume::Bind("vol:/data:ro".into()));
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(parse("./x:/y").unwrap(), Volume::Bind(format!("{}:/y", here.display())));
        assert_eq!(parse(":x:").unwrap_err(), "invalid spec: :x:: empty section between colons");
    }
}
