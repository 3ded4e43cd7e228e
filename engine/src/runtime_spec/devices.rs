//! Devices of the host that a container gets. The effect ([`gather`]) looks at the host once; the rest is
//! pure.
//!
//! Source: moby `daemon/pkg/oci/devices_linux.go`, `oci.go AppendDevicePermissionsFromCgroupRules`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use shoal_model::container::{BlkioDevice, HostSpec};

use super::Error;
use super::oci::{Device, DeviceRule};

/// What the host says about the devices that a spec names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDevices {
    /// Nodes of `--device`, with the access asked for.
    pub requested: Vec<(Device, String)>,
    /// Every device of the host; filled for privileged containers only.
    pub all: Vec<Device>,
    /// Block devices of the I/O limits: path to major and minor.
    pub block: BTreeMap<String, (i64, i64)>,
}

/// Reads the devices that `host` names.
///
/// # Errors
/// When a path is no device and no directory with devices.
pub fn gather(host: &HostSpec) -> Result<HostDevices, Error> {
    let mut found = HostDevices::default();
    if host.privileged {
        found.all = beneath(Path::new("/dev"), Path::new("/dev"), true);
    }
    for device in &host.resources.devices {
        if host.privileged && device.path_on_host == device.path_in_container {
            continue; // already among all
        }
        let access = if host.privileged { "rwm".to_owned() } else { device.permissions.clone() };
        let nodes = requested(&device.path_on_host, &device.path_in_container)?;
        found.requested.extend(nodes.into_iter().map(|node| (node, access.clone())));
    }
    for limit in block_limits(host) {
        found.block.insert(limit.path.clone(), numbers(&limit.path)?);
    }
    Ok(found)
}

fn block_limits(host: &HostSpec) -> impl Iterator<Item = &BlkioDevice> {
    let resources = &host.resources;
    [
        &resources.blkio_weight_device,
        &resources.blkio_read_bps,
        &resources.blkio_write_bps,
        &resources.blkio_read_iops,
        &resources.blkio_write_iops,
    ]
    .into_iter()
    .flatten()
}

/// Docker does not ask whether it is a block device: the cgroup does.
fn numbers(path: &str) -> Result<(i64, i64), Error> {
    let meta = std::fs::metadata(path)
        .map_err(|source| Error::Device { path: path.to_owned(), source })?;
    Ok(split(meta.rdev()))
}

fn split(rdev: u64) -> (i64, i64) {
    (i64::from(rustix::fs::major(rdev)), i64::from(rustix::fs::minor(rdev)))
}

fn requested(on_host: &str, in_container: &str) -> Result<Vec<Device>, Error> {
    let failed = |source| Error::Device { path: on_host.to_owned(), source };
    let real = std::fs::canonicalize(on_host).map_err(failed)?;
    if let Some(node) = node(&real, in_container).map_err(failed)? {
        return Ok(vec![node]);
    }
    let nodes = if real.is_dir() { beneath(&real, Path::new(in_container), false) } else { vec![] };
    if nodes.is_empty() {
        return Err(failed(io::Error::other("not a device node")));
    }
    Ok(nodes)
}

/// All device nodes beneath `directory`. What vanishes or cannot be read meanwhile is left out.
///
/// `host_wide` leaves out what a container makes itself (containerd `oci/utils_unix.go getDevices`).
fn beneath(directory: &Path, target: &Path, host_wide: bool) -> Vec<Device> {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    entries.sort();
    for path in entries {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Ok(meta) = path.symlink_metadata() else { continue };
        let inside = target.join(name);
        if meta.is_dir() {
            if !(host_wide && OWN.contains(&name)) {
                found.extend(beneath(&path, &inside, host_wide));
            }
        } else if !(host_wide && name == "console")
            && let Ok(Some(node)) = node(&path, &inside.to_string_lossy())
        {
            found.push(node);
        }
    }
    found
}

fn node(path: &Path, in_container: &str) -> io::Result<Option<Device>> {
    let meta = path.symlink_metadata()?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => "b",
        kind if kind.is_char_device() => "c",
        _ => return Ok(None),
    };
    let (major, minor) = split(meta.rdev());
    Ok(Some(Device {
        path: in_container.to_owned(),
        kind: kind.to_owned(),
        major,
        minor,
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    }))
}

/// The device nodes and cgroup rules of a container.
///
/// # Errors
/// When a cgroup rule is malformed.
pub(super) fn decide(
    host: &HostSpec,
    devices: &HostDevices,
) -> Result<(Vec<Device>, Vec<DeviceRule>), Error> {
    let requested = devices.requested.iter().map(|(node, _)| node.clone());
    let nodes = devices.all.iter().cloned().chain(requested).collect();
    if host.privileged {
        return Ok((nodes, vec![rule(true, "", None, None, "rwm")]));
    }
    let mut rules = default_rules();
    for (node, access) in &devices.requested {
        rules.push(rule(true, &node.kind, Some(node.major), Some(node.minor), access));
    }
    for text in &host.resources.device_cgroup_rules {
        rules.push(parse_rule(text)?);
    }
    Ok((nodes, rules))
}

/// Checks the user's cgroup rules.
pub(super) fn check_rules(host: &HostSpec) -> Result<(), Error> {
    host.resources.device_cgroup_rules.iter().try_for_each(|rule| parse_rule(rule).map(|_| ()))
}

/// Deny all, then what every container needs; `/dev/fuse` is denied by name.
fn default_rules() -> Vec<DeviceRule> {
    let mut rules = vec![rule(false, "", None, None, "rwm")];
    let allowed = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)];
    rules.extend(allowed.map(|(major, minor)| rule(true, "c", Some(major), Some(minor), "rwm")));
    rules.push(rule(false, "c", Some(10), Some(229), "rwm"));
    rules
}

fn rule(
    allow: bool,
    kind: &str,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> DeviceRule {
    DeviceRule { allow, kind: kind.to_owned(), major, minor, access: access.to_owned() }
}

/// `c 1:3 rwm`; `*` is every number.
fn parse_rule(text: &str) -> Result<DeviceRule, Error> {
    let malformed = || Error::DeviceRule { rule: text.to_owned() };
    let number = |word: &str| match word {
        "*" => Ok(Some(-1)),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| malformed())
        }
        _ => Err(malformed()),
    };
    let mut words = text.split(' ');
    let (Some(kind), Some(device), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    let known = matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.bytes().all(|byte| b"rwm".contains(&byte));
    let (major, minor) = device.split_once(':').filter(|_| known).ok_or_else(malformed)?;
    Ok(rule(true, kind, number(major)?, number(minor)?, access))
}

#[cfg(test)]
mod tests {
    use shoal_model::container::Device as Wish;

    use super::*;

    fn wish(on_host: &str, in_container: &str) -> HostSpec {
        let mut host = HostSpec::default();
        host.resources.devices.push(Wish {
            path_on_host: on_host.into(),
            path_in_container: in_container.into(),
            permissions: "rw".into(),
        });
        host
    }

    #[test]
    fn a_device_gets_its_node_and_rule() {
        let host = wish("/dev/null", "/dev/nothing");
        let (nodes, rules) = decide(&host, &gather(&host).unwrap()).unwrap();
        assert_eq!(nodes.len(), 1);
        assert_eq!(
            (nodes[0].path.as_str(), nodes[0].major, nodes[0].minor),
            ("/dev/nothing", 1, 3)
        );
        assert_eq!(rules.last(), Some(&rule(true, "c", Some(1), Some(3), "rw")));
        assert_eq!(rules.len(), 9);
    }

    #[test]
    fn a_symbolic_link_is_resolved_and_a_file_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let found = gather(&wish(dir.path().join("link").to_str().unwrap(), "/z")).unwrap();
        assert_eq!((found.requested[0].0.major, found.requested[0].0.minor), (1, 5));
        let file = dir.path().join("file");
        let error = gather(&wish(file.to_str().unwrap(), "/z")).unwrap_err();
        let text = format!(
            "error gathering device information while adding custom device \"{}\"",
            file.display()
        );
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_directory_means_all_devices_beneath() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let path = dir.path().join("sub/n");
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            0o600.into(),
            rustix::fs::makedev(1, 7),
        );
        made.unwrap();
        let found = gather(&wish(dir.path().to_str().unwrap(), "/dev/d")).unwrap();
        assert_eq!(found.requested.len(), 1);
        assert_eq!(found.requested[0].0.path, "/dev/d/sub/n");
        assert_eq!(found.requested[0].0.file_mode, Some(0o600));
    }

    #[test]
    fn privileged_containers_get_every_device_and_one_rule() {
        let host = HostSpec { privileged: true, ..HostSpec::default() };
        let (nodes, rules) = decide(&host, &gather(&host).unwrap()).unwrap();
        assert!(nodes.iter().any(|node| node.path == "/dev/null"));
        assert!(nodes.iter().all(|node| !node.path.starts_with("/dev/pts/")));
        assert_eq!(rules, [rule(true, "", None, None, "rwm")]);
    }

    #[test]
    fn cgroup_rules_are_checked() {
        assert_eq!(parse_rule("c 42:* rm").unwrap(), rule(true, "c", Some(42), Some(-1), "rm"));
        for bad in
            ["", "x 1:1 r", "c 1 r", "c 1:x r", "c 1:1 rx", "c 1:1  r", "c 1:1 r r", "c :1 rwmr"]
        {
            assert_eq!(
                parse_rule(bad).unwrap_err().to_string(),
                format!("invalid device cgroup rule format: '{bad}'")
            );
        }
    }
}
