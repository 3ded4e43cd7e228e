//! The store of contexts, in docker's layout: `contexts/meta/<sha256 of the name>/meta.json`.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::client::host::certificates;
use crate::error::{Failure, Result, io};
use shoal_api_wire::client::TlsOptions;

fn meta(directory: &Path, name: &str) -> PathBuf {
    let digest: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join("contexts/meta").join(digest)
}

/// Where a context keeps certificates and keys.
pub(crate) fn tls(directory: &Path, name: &str) -> PathBuf {
    let folder = meta(directory, name);
    directory.join("contexts/tls").join(folder.file_name().unwrap_or_default())
}

/// Where a context keeps what it knows.
pub(crate) fn folder(directory: &Path, name: &str) -> PathBuf {
    meta(directory, name)
}

/// Reads a context.
pub(crate) fn read(directory: &Path, name: &str) -> Result<Json> {
    let path = meta(directory, name).join("meta.json");
    let text = std::fs::read(&path).map_err(|_| {
        Failure::new(format!(
            "context {name:?}: context not found: open {}: no such file or directory",
            path.display()
        ))
    })?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::new(format!("context {name:?}: {}: {error}", path.display())))
}

/// The address of a context's daemon.
pub(crate) fn host_of(directory: &Path, name: &str) -> Result<String> {
    let meta = read(directory, name)?;
    let host = meta["Endpoints"]["docker"]["Host"].as_str().unwrap_or_default();
    if host.is_empty() {
        return Err(Failure::new(format!("context {name:?} names no docker endpoint")));
    }
    Ok(host.to_owned())
}

/// How a context's daemon is trusted; `None`: it keeps no certificates.
pub(crate) fn tls_of(directory: &Path, name: &str) -> Result<Option<TlsOptions>> {
    let docker = &read(directory, name)?["Endpoints"]["docker"];
    let skip = docker["SkipTLSVerify"] == true;
    let kept = tls(directory, name).join("docker");
    Ok((skip || kept.exists()).then(|| certificates(&kept, skip)))
}

/// Names of certificates in a context's directory.
pub(crate) const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// Keeps certificates with a context: name and content of each file.
pub(crate) fn write_tls(directory: &Path, name: &str, files: &[(String, Vec<u8>)]) -> Result {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = tls(directory, name).join("docker");
    let save = || {
        std::fs::create_dir_all(&folder)?;
        for (file, content) in files {
            let mut options = std::fs::OpenOptions::new();
            let path = folder.join(file);
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(path)?.write_all(content)?;
        }
        Ok(())
    };
    if files.is_empty() {
        return Ok(());
    }
    save().map_err(io(format!("writing certificates of context {name:?}")))
}

/// The certificates that a context keeps.
pub(crate) fn read_tls(directory: &Path, name: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = tls(directory, name).join("docker");
    let mut all = Vec::new();
    for file in FILES {
        match std::fs::read(folder.join(file)) {
            Ok(content) => all.push((file.to_owned(), content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(format!("reading {file} of context {name:?}"))(error)),
        }
    }
    Ok(all)
}

/// All contexts, sorted by name.
pub(crate) fn all(directory: &Path) -> Vec<Json> {
    let entries = std::fs::read_dir(directory.join("contexts/meta"));
    let mut all: Vec<Json> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("meta.json")).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect();
    all.sort_by(|left, right| left["Name"].as_str().cmp(&right["Name"].as_str()));
    all
}

/// Writes a context, new or changed.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    description: &str,
    host: &str,
    skip_verification: bool,
) -> Result {
    let content = json!({
        "Name": name,
        "Metadata": if description.is_empty() { json!({}) } else { json!({"Description": description}) },
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip_verification}},
    });
    write_meta(directory, name, &content)
}

/// Writes all that is known of a context.
pub(crate) fn write_meta(directory: &Path, name: &str, content: &Json) -> Result {
    let folder = meta(directory, name);
    let save = || {
        std::fs::create_dir_all(&folder)?;
        let new = folder.join(".meta.json.new");
        std::fs::write(&new, content.to_string())?;
        std::fs::rename(new, folder.join("meta.json"))
    };
    save().map_err(io(format!("writing context {name:?}")))
}

/// Removes a context.
pub(crate) fn remove(directory: &Path, name: &str) -> Result {
    read(directory, name)?;
    remove_tls(directory, name)?;
    std::fs::remove_dir_all(meta(directory, name)).map_err(io(format!("removing context {name:?}")))
}

/// Removes the certificates of a context.
pub(crate) fn remove_tls(directory: &Path, name: &str) -> Result {
    match std::fs::remove_dir_all(tls(directory, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io(format!("removing certificates of context {name:?}"))(error))
        }
        _ => Ok(()),
    }
}

/// Names may hold letters, digits and `_.+-`, and begin with a letter or digit.
pub(crate) fn check_name(name: &str) -> Result {
    let good = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    if name == "default" {
        return Err(r#""default" is a reserved context name"#.into());
    }
    if good {
        return Ok(());
    }
    Err(format!("context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"").into())
}
