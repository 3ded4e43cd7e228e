//! Which mounts a container has, and which wish wins. Pure.
//!
//! Source: moby `daemon/volumes.go registerMountPoints`, `create_unix.go`, `volume/mounts/validate.go`.

use std::collections::BTreeMap;

use shoal_model::container::{
    BindMount, BindOptions, ContainerSpec, Mount, MountKind, Propagation, TmpfsOptions,
    VolumeMountOptions, VolumesFrom,
};

use super::parse::{self, clean, volume_name_is_valid};
use super::{Error, ReadOnlyDepth, Resolved, Source};

/// Mounts of a container named by `--volumes-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The wish.
    pub wish: VolumesFrom,
    /// The other container's mounts.
    pub mounts: Vec<Resolved>,
}

/// A mount as wanted: volumes may not exist yet, bind sources are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Clean absolute path in the container.
    pub target: String,
    /// What is to be mounted.
    pub source: PlannedSource,
    /// Whether the container may write.
    pub writable: bool,
    /// `None`: rprivate.
    pub propagation: Option<Propagation>,
    /// Without the mounts beneath the source.
    pub non_recursive: bool,
    /// What a read-only mount does to the mounts beneath it.
    pub read_only_depth: ReadOnlyDepth,
    /// Option words for inspect.
    pub mode: String,
    /// Whether inspect lists it.
    pub listed: bool,
}

/// What is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedSource {
    /// A path of the host; `create`: made when it is missing.
    Bind {
        /// Clean absolute path.
        path: String,
        /// `-v` makes directories, `--mount` does not.
        create: bool,
    },
    /// A volume.
    Volume {
        /// `None`: an anonymous one is made.
        name: Option<String>,
        /// What a new volume and the mount look like.
        options: VolumeMountOptions,
    },
    /// A tmpfs with these options.
    Tmpfs(String),
    /// An image's files.
    Image {
        /// What the user called it.
        reference: String,
        /// Path in the image.
        subpath: String,
    },
    /// As another container has it.
    Inherited(Source),
}

/// Plans the mounts of `spec`, whose volumes already include the image's.
///
/// # Errors
/// When a wish is malformed or two of them want the same target.
pub fn plan(spec: &ContainerSpec, inherited: &[Inherited]) -> Result<Vec<Planned>, Error> {
    let host = &spec.host;
    let mut mounts = BTreeMap::<String, Planned>::new();
    for other in inherited {
        for mount in other.mounts.iter().filter(|mount| mount.listed) {
            let planned = inherit(mount, &other.wish)?;
            mounts.insert(planned.target.clone(), planned);
        }
    }
    let binds = host.binds.iter().map(|bind| from_bind(bind, &host.volume_driver));
    let wishes = host.mounts.iter().map(from_mount);
    let mut explicit: Vec<String> = Vec::new();
    let tmpfs_targets: Vec<String> = host.tmpfs.keys().map(|target| clean(target)).collect();
    for planned in binds.chain(wishes) {
        let planned = planned?;
        if explicit.contains(&planned.target) || tmpfs_targets.contains(&planned.target) {
            return Err(Error::Duplicate { target: planned.target });
        }
        explicit.push(planned.target.clone());
        mounts.insert(planned.target.clone(), planned);
    }
    for (target, options) in &host.tmpfs {
        let mut planned = new(target, PlannedSource::Tmpfs(options.clone()))
            .map_err(|problem| tmpfs_problem(target, problem))?;
        planned.listed = false;
        mounts.insert(planned.target.clone(), planned);
    }
    for target in &spec.volumes {
        let mut options = VolumeMountOptions::default();
        options.driver.clone_from(&host.volume_driver);
        let planned = new(target, PlannedSource::Volume { name: None, options })
            .map_err(|problem| Error::Bind { spec: target.clone(), problem })?;
        mounts.entry(planned.target.clone()).or_insert(planned);
    }
    Ok(mounts.into_values().collect())
}

fn tmpfs_problem(target: &str, problem: String) -> Error {
    if target.starts_with('/') {
        Error::Bind { spec: target.to_owned(), problem }
    } else {
        Error::NotAbsolute { target: target.to_owned() }
    }
}

/// A writable private mount; the error is docker's sentence about the target.
fn new(target: &str, source: PlannedSource) -> Result<Planned, String> {
    if target.is_empty() {
        return Err("field Target must not be empty".to_owned());
    }
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    let target = clean(target);
    if target == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(Planned {
        target,
        source,
        writable: true,
        propagation: None,
        non_recursive: false,
        read_only_depth: ReadOnlyDepth::Possible,
        mode: String::new(),
        listed: true,
    })
}

fn inherit(mount: &Resolved, wish: &VolumesFrom) -> Result<Planned, Error> {
    let words: Vec<String> = wish.mode.split(',').map(str::to_owned).collect();
    let mode = parse::mode(&words)?;
    if mode.propagation.is_some() || mode.no_copy {
        return Err(Error::Mode { mode: wish.mode.clone() });
    }
    Ok(Planned {
        target: mount.target.clone(),
        source: PlannedSource::Inherited(mount.source.clone()),
        writable: mount.writable && !mode.read_only,
        propagation: mount.propagation,
        non_recursive: mount.non_recursive,
        read_only_depth: mount.read_only_depth,
        mode: String::new(),
        listed: true,
    })
}

/// `-v source:target:options`.
fn from_bind(bind: &BindMount, driver: &str) -> Result<Planned, Error> {
    let spec = || {
        let parts = [bind.source.clone(), bind.target.clone(), bind.options.join(",")];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
    };
    let mode = parse::mode(&bind.options)?;
    let is_path = bind.source.starts_with('/');
    let source = if is_path {
        if mode.no_copy {
            return Err(extra("bind", "VolumeOptions"));
        }
        PlannedSource::Bind { path: clean(&bind.source), create: true }
    } else {
        if mode.propagation.is_some() {
            return Err(extra("volume", "BindOptions"));
        }
        let options = VolumeMountOptions {
            no_copy: mode.no_copy,
            driver: driver.to_owned(),
            ..VolumeMountOptions::default()
        };
        PlannedSource::Volume { name: Some(volume_name(&bind.source)?), options }
    };
    let planned =
        new(&bind.target, source).map_err(|problem| Error::Bind { spec: spec(), problem })?;
    let words = bind.options.join(",");
    Ok(Planned {
        writable: !mode.read_only,
        propagation: mode.propagation,
        mode: if words.is_empty() && !is_path { "z".to_owned() } else { words },
        ..planned
    })
}

fn volume_name(name: &str) -> Result<String, Error> {
    if volume_name_is_valid(name) {
        return Ok(name.to_owned());
    }
    Err(Error::Volume(crate::volumes::Error::InvalidName { name: name.to_owned() }))
}

fn extra(kind: &'static str, field: &str) -> Error {
    Error::Config { kind, problem: format!("field {field} must not be specified") }
}

/// `--mount`.
fn from_mount(mount: &Mount) -> Result<Planned, Error> {
    let (kind, source) = match &mount.kind {
        MountKind::Bind { source, options } => ("bind", bind_source(source, options)?),
        MountKind::Volume { source, options } => ("volume", volume_source(source, options)?),
        MountKind::Tmpfs(options) => ("tmpfs", tmpfs_source(options, mount.read_only)?),
        MountKind::Image { source, subpath } => ("image", image_source(source, subpath)?),
    };
    let planned = new(&mount.target, source).map_err(|problem| Error::Config { kind, problem })?;
    let mut planned = Planned { writable: !mount.read_only && kind != "image", ..planned };
    if let MountKind::Bind { options, .. } = &mount.kind {
        planned.propagation = options.propagation;
        planned.non_recursive = options.non_recursive;
        planned.read_only_depth = depth(mount, options)?;
    }
    if kind == "volume" {
        planned.mode = "z".to_owned();
    }
    Ok(planned)
}

fn depth(mount: &Mount, options: &BindOptions) -> Result<ReadOnlyDepth, Error> {
    let problem = |text: &str| Err(Error::Config { kind: "bind", problem: text.to_owned() });
    match (options.read_only_non_recursive, options.read_only_force_recursive) {
        (true, true) => {
            problem("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
        }
        (true, false) if !mount.read_only => {
            problem("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
        }
        (false, true) if !mount.read_only => {
            problem("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
        }
        (true, false) => Ok(ReadOnlyDepth::Top),
        (false, true) => Ok(ReadOnlyDepth::Forced),
        (false, false) => Ok(ReadOnlyDepth::Possible),
    }
}

fn bind_source(source: &str, options: &BindOptions) -> Result<PlannedSource, Error> {
    let problem = |text: String| Error::Config { kind: "bind", problem: text };
    if source.is_empty() {
        return Err(problem("field Source must not be empty".to_owned()));
    }
    if !source.starts_with('/') {
        let text = format!("invalid mount path: '{source}' mount path must be absolute");
        return Err(problem(text));
    }
    Ok(PlannedSource::Bind { path: clean(source), create: options.create_mountpoint })
}

fn volume_source(source: &str, options: &VolumeMountOptions) -> Result<PlannedSource, Error> {
    let problem = |text: &str| Error::Config { kind: "volume", problem: text.to_owned() };
    let subpath = &options.subpath;
    if source.is_empty() && !subpath.is_empty() {
        return Err(problem("must not set Subpath when using anonymous volumes"));
    }
    check_subpath(subpath).map_err(problem)?;
    let name = if source.is_empty() { None } else { Some(volume_name(source)?) };
    Ok(PlannedSource::Volume { name, options: options.clone() })
}

fn check_subpath(subpath: &str) -> Result<(), &'static str> {
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        return Err("subpath must be a relative path within the volume");
    }
    Ok(())
}

fn tmpfs_source(options: &TmpfsOptions, read_only: bool) -> Result<PlannedSource, Error> {
    if options.size_bytes < 0 {
        let problem = "field TmpfsOptions.SizeBytes must not be negative".to_owned();
        return Err(Error::Config { kind: "tmpfs", problem });
    }
    Ok(PlannedSource::Tmpfs(parse::tmpfs(options, read_only)))
}

fn image_source(source: &str, subpath: &str) -> Result<PlannedSource, Error> {
    let problem = |text: &str| Error::Config { kind: "image", problem: text.to_owned() };
    if source.is_empty() {
        return Err(problem("field Source must not be empty"));
    }
    check_subpath(subpath).map_err(problem)?;
    Ok(PlannedSource::Image { reference: source.to_owned(), subpath: subpath.to_owned() })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
