//! Options of the local driver. Pure, but for [`resolve_address`].
//!
//! Source: moby `volume/local/local_unix.go`.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};

use super::Error;
use crate::mounts::FilesystemSource;

/// Checks the options and says what is mounted instead of the data directory.
///
/// # Errors
/// When an option is unknown, missing, or not supported.
pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Option<FilesystemSource>, Error> {
    const KNOWN: [&str; 4] = ["type", "o", "device", "size"];
    let get = |name: &str| options.get(name).map(|value| value.trim());
    if let Some(option) = options.keys().find(|option| !KNOWN.contains(&option.as_str())) {
        return Err(Error::UnknownOption { option: option.clone() });
    }
    if get("size").is_some_and(|size| !size.is_empty() && size != "0") {
        return Err(Error::Quota);
    }
    if get("type").is_none() && get("device").is_none() && get("o").is_none() {
        return Ok(None);
    }
    let required = |option| {
        get(option).filter(|value| !value.is_empty()).ok_or(Error::MissingOption { option })
    };
    let device = required("device")?.to_owned();
    let kind = required("type")?;
    let words = get("o").unwrap_or_default().split(',').filter(|word| !word.is_empty());
    let options: Vec<String> = words.map(str::to_owned).collect();
    let bind = options.iter().any(|option| option == "bind" || option == "rbind");
    let kind = if bind { "bind" } else { kind }.to_owned();
    Ok(Some(FilesystemSource { kind, device, options }))
}

/// The kernel's NFS takes addresses only: a name after `addr=` is looked up. Blocks.
///
/// # Errors
/// When there is no such server.
pub(super) fn resolve_address(filesystem: &mut FilesystemSource) -> Result<(), Error> {
    if !filesystem.kind.starts_with("nfs") {
        return Ok(());
    }
    for option in &mut filesystem.options {
        let Some(server) = option.strip_prefix("addr=") else { continue };
        if server.parse::<IpAddr>().is_ok() {
            continue;
        }
        let failed = |source| Error::Address { server: server.to_owned(), source };
        let mut found = (server, 0).to_socket_addrs().map_err(failed)?;
        let none = || failed(std::io::Error::other("no address"));
        let address = found.next().ok_or_else(none)?.ip();
        *option = format!("addr={address}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Option<FilesystemSource>, String> {
        let options = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        parse(&options).map_err(|error| error.to_string())
    }

    fn source(kind: &str, device: &str, options: &[&str]) -> FilesystemSource {
        FilesystemSource {
            kind: kind.into(),
            device: device.into(),
            options: options.iter().map(|option| (*option).into()).collect(),
        }
    }

    #[test]
    fn options_become_a_file_system() {
        assert_eq!(parsed(&[]), Ok(None));
        assert_eq!(
            parsed(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]),
            Ok(Some(source("bind", "/srv", &["bind", "ro"])))
        );
        assert_eq!(
            parsed(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=10.0.0.1,rw")]),
            Ok(Some(source("nfs", ":/x", &["addr=10.0.0.1", "rw"])))
        );
        assert_eq!(
            parsed(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")]),
            Ok(Some(source("tmpfs", "tmpfs", &["size=1m"])))
        );
    }

    #[test]
    fn wrong_options_are_refused() {
        assert_eq!(parsed(&[("color", "red")]), Err("invalid option: \"color\"".into()));
        assert_eq!(parsed(&[("type", "nfs")]), Err("missing required option: \"device\"".into()));
        assert_eq!(parsed(&[("device", "/x")]), Err("missing required option: \"type\"".into()));
        assert!(parsed(&[("size", "1g")]).unwrap_err().contains("quotas"));
    }

    #[test]
    fn names_of_servers_become_addresses() {
        let mut nfs = source("nfs", ":/x", &["addr=localhost", "rw"]);
        resolve_address(&mut nfs).unwrap();
        let address = nfs.options[0].strip_prefix("addr=").unwrap();
        assert!(address.parse::<IpAddr>().unwrap().is_loopback());
    }
}
