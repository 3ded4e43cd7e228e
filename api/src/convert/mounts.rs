//! Mounts of a container's wish: `Binds`, `Mounts`, `VolumesFrom`, both ways.

use shoal_api_wire::host_config as wire;
use shoal_model::Failure;
use shoal_model::container::{
    BindMount, BindOptions, Mount, MountKind, Propagation, TmpfsOptions, VolumeMountOptions,
    VolumesFrom,
};

type Result<T> = std::result::Result<T, Failure>;

/// A `Binds` entry: a bind or named volume, or a path alone, which is an anonymous volume.
pub(crate) enum Bind {
    Mount(BindMount),
    Anonymous(String),
}

/// Parses `[source:]target[:options]`.
pub(crate) fn bind(text: &str) -> Result<Bind> {
    let wrong = || Failure::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(wrong()),
    };
    if target.is_empty() || source == Some("") {
        return Err(wrong());
    }
    check_target(target)?;
    let options: Vec<String> =
        options.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if let Some(unknown) = options.iter().find(|word| !is_mode(word)) {
        return Err(Failure::invalid(format!("invalid mode: {unknown}")));
    }
    let Some(source) = source else { return Ok(Bind::Anonymous(target.to_owned())) };
    if !source.starts_with('/') && !is_volume_name(source) {
        return Err(Failure::invalid(format!(
            "create {source}: {source:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
             absolute path"
        )));
    }
    Ok(Bind::Mount(BindMount { source: source.to_owned(), target: target.to_owned(), options }))
}

fn is_mode(word: &str) -> bool {
    matches!(word, "ro" | "rw" | "z" | "Z" | "nocopy" | "consistent" | "cached" | "delegated")
        || Propagation::parse(word).is_some()
}

pub(crate) fn is_volume_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn check_target(target: &str) -> Result<()> {
    if !target.starts_with('/') {
        return Err(Failure::invalid(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if target.trim_matches('/').is_empty() {
        return Err(Failure::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(())
}

pub(crate) fn bind_out(bind: &BindMount) -> String {
    let options = bind.options.join(",");
    let tail = if options.is_empty() { String::new() } else { format!(":{options}") };
    format!("{}:{}{tail}", bind.source, bind.target)
}

pub(crate) fn volumes_from(text: &str) -> Result<VolumesFrom> {
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    if container.is_empty() {
        return Err(Failure::invalid(format!("malformed volumes-from specification: {text}")));
    }
    if mode.split(',').any(|word| !word.is_empty() && !is_mode(word)) {
        return Err(Failure::invalid(format!("invalid mode: {mode}")));
    }
    Ok(VolumesFrom { container: container.to_owned(), mode: mode.to_owned() })
}

/// Parses one of `Mounts`.
pub(crate) fn mount(mount: &wire::Mount) -> Result<Mount> {
    let wrong = |why: &str| {
        Failure::invalid(format!("invalid mount config for type \"{}\": {why}", mount.r#type))
    };
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    check_target(&mount.target).map_err(|failure| wrong(&failure.chain()))?;
    check_options(mount)?;
    let source = mount.source.clone();
    let kind = match mount.r#type.as_str() {
        "bind" if source.is_empty() => return Err(wrong("field Source must not be empty")),
        "bind" if !source.starts_with('/') => {
            let why = format!("invalid mount path: '{source}' mount path must be absolute");
            return Err(wrong(&why));
        }
        "bind" => {
            MountKind::Bind { source, options: bind_options(mount).map_err(|why| wrong(&why))? }
        }
        "volume" => {
            let options = volume_options(mount);
            if !source.is_empty() && !is_volume_name(&source) {
                return Err(wrong(&format!("{source:?} is no name of a volume")));
            }
            MountKind::Volume { source, options }
        }
        "tmpfs" if !source.is_empty() => return Err(wrong("field Source must not be specified")),
        "tmpfs" => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            MountKind::Tmpfs(TmpfsOptions {
                size_bytes: options.size_bytes,
                mode: options.mode,
                options: options.options.unwrap_or_default(),
            })
        }
        "image" if source.is_empty() => return Err(wrong("field Source must not be empty")),
        "image" => {
            let subpath = mount.image_options.clone().unwrap_or_default().subpath;
            MountKind::Image { source, subpath }
        }
        "npipe" | "cluster" => return Err(wrong("mount type is not supported here")),
        _ => return Err(wrong("mount type unknown")),
    };
    Ok(Mount {
        kind,
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
    })
}

fn check_options(mount: &wire::Mount) -> Result<()> {
    let kinds = [
        ("BindOptions", "bind", mount.bind_options.is_some()),
        ("VolumeOptions", "volume", mount.volume_options.is_some()),
        ("ImageOptions", "image", mount.image_options.is_some()),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options.is_some()),
    ];
    match kinds.iter().find(|(_, kind, given)| *given && *kind != mount.r#type) {
        Some((field, ..)) => Err(Failure::invalid(format!(
            "{field} must not be specified on mount type \"{}\"",
            mount.r#type
        ))),
        None => Ok(()),
    }
}

fn bind_options(mount: &wire::Mount) -> std::result::Result<BindOptions, String> {
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => None,
        word => Some(
            Propagation::parse(word).ok_or_else(|| format!("invalid propagation mode: {word}"))?,
        ),
    };
    Ok(BindOptions {
        propagation,
        non_recursive: options.non_recursive,
        create_mountpoint: options.create_mountpoint,
        read_only_non_recursive: options.read_only_non_recursive,
        read_only_force_recursive: options.read_only_force_recursive,
    })
}

fn volume_options(mount: &wire::Mount) -> VolumeMountOptions {
    let options = mount.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    VolumeMountOptions {
        no_copy: options.no_copy,
        labels: options.labels.unwrap_or_default(),
        driver: driver.name,
        driver_options: driver.options.unwrap_or_default(),
        subpath: options.subpath,
    }
}

pub(crate) fn mount_out(mount: &Mount) -> wire::Mount {
    let mut out = wire::Mount {
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        ..Default::default()
    };
    match &mount.kind {
        MountKind::Bind { source, options } => {
            out.r#type = "bind".to_owned();
            out.source.clone_from(source);
            let wire = wire::BindOptions {
                propagation: options.propagation.map_or("", Propagation::as_str).to_owned(),
                non_recursive: options.non_recursive,
                create_mountpoint: options.create_mountpoint,
                read_only_non_recursive: options.read_only_non_recursive,
                read_only_force_recursive: options.read_only_force_recursive,
            };
            out.bind_options = (*options != BindOptions::default()).then_some(wire);
        }
        MountKind::Volume { source, options } => {
            out.r#type = "volume".to_owned();
            out.source.clone_from(source);
            let driver = wire::Driver {
                name: options.driver.clone(),
                options: some(&options.driver_options),
            };
            let wire = wire::VolumeOptions {
                no_copy: options.no_copy,
                labels: some(&options.labels),
                subpath: options.subpath.clone(),
                driver_config: (driver != wire::Driver::default()).then_some(driver),
            };
            out.volume_options = (*options != VolumeMountOptions::default()).then_some(wire);
        }
        MountKind::Tmpfs(options) => {
            out.r#type = "tmpfs".to_owned();
            let wire = wire::TmpfsOptions {
                size_bytes: options.size_bytes,
                mode: options.mode,
                options: (!options.options.is_empty()).then(|| options.options.clone()),
            };
            out.tmpfs_options = (*options != TmpfsOptions::default()).then_some(wire);
        }
        MountKind::Image { source, subpath } => {
            out.r#type = "image".to_owned();
            out.source.clone_from(source);
            let wire = wire::ImageOptions { subpath: subpath.clone() };
            out.image_options = (!subpath.is_empty()).then_some(wire);
        }
    }
    out
}

fn some<K: Clone + Ord, V: Clone>(
    map: &std::collections::BTreeMap<K, V>,
) -> Option<std::collections::BTreeMap<K, V>> {
    (!map.is_empty()).then(|| map.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match bind(text) {
            Ok(Bind::Mount(mount)) => bind_out(&mount),
            Ok(Bind::Anonymous(target)) => format!("anonymous {target}"),
            Err(failure) => failure.chain(),
        }
    }

    #[test]
    fn reads_binds() {
        for (text, expected) in [
            ("/a:/b", "/a:/b"),
            ("v:/b:ro,z", "v:/b:ro,z"),
            ("/b", "anonymous /b"),
            ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
            ("/a:/", "invalid specification: destination can't be '/'"),
            ("/a:/b:foo", "invalid mode: foo"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            (":/b", "invalid volume specification: ':/b'"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn refuses_mounts_that_make_no_sense() {
        let base = || wire::Mount {
            r#type: "bind".into(),
            source: "/a".into(),
            target: "/b".into(),
            ..Default::default()
        };
        for (wire, expected) in [
            (
                wire::Mount { target: String::new(), ..base() },
                "invalid mount config for type \"bind\": field Target must not be empty",
            ),
            (
                wire::Mount { source: "a".into(), ..base() },
                "invalid mount config for type \"bind\": invalid mount path: 'a' mount path must be absolute",
            ),
            (
                wire::Mount { tmpfs_options: Some(wire::TmpfsOptions::default()), ..base() },
                "TmpfsOptions must not be specified on mount type \"bind\"",
            ),
            (
                wire::Mount { r#type: "foo".into(), ..base() },
                "invalid mount config for type \"foo\": mount type unknown",
            ),
        ] {
            assert_eq!(mount(&wire).unwrap_err().chain(), expected);
        }
    }
}
