//! Options of `run` and `create` → the JSON of the API. Pure, but for files that options name.

pub(crate) mod check;
pub(crate) mod create;
pub(crate) mod flags;
pub(crate) mod ipam;
pub(crate) mod moment;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod resources;
pub(crate) mod service;
pub(crate) mod volume;

/// Splits one line of comma separated values, with CSV quoting.
pub(crate) fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("begins with one field").push(other),
        }
    }
    fields
}

/// `key=value` pairs as a JSON object.
pub(crate) fn map(pairs: &[String]) -> serde_json::Value {
    let pairs = pairs.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (key.to_owned(), serde_json::Value::from(value))).collect()
}

/// A path made absolute against the current directory, without touching the disk otherwise.
pub(crate) fn absolute(path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut clean = std::path::PathBuf::new();
    for part in here.join(path).components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}
