//! From a container's record to what a shim is told: networks, runtime spec, shim configuration.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_model::ContainerId;
use shoal_model::container::{ContainerSpec, HostSpec, IpcMode, NamespaceMode, NetworkMode};
use shoal_model::image::ImageDefaults;
use shoal_shim_protocol::config::{
    CONFIG_FORMAT, CgroupDriver, InitProgram, LogSink, Rootfs, Runtime, SeccompProgram, ShimConfig,
    StdioConfig, TerminalSize, UserLookup,
};

use crate::config::OWN_RUNTIME;
use crate::container::Container;
use crate::container::networks::donor;
use crate::container::record::Record;
use crate::container::view::View;
use crate::core::Core;
use crate::error::Error;
use crate::etc_files;
use crate::files;
use crate::logs::sinks;
use crate::mounts;
use crate::networking::{
    AttachRequest, DnsSettings, EndpointRequest, NetworkSettings, SandboxKind,
};
use crate::resolve;
use crate::runtime_spec::facts::CgroupVersion;
use crate::runtime_spec::{self, Inputs, NamespacePaths, devices};
use crate::volumes::Release;

/// What a shim reads.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// `shim.json`.
    pub shim: Vec<u8>,
    /// `config.json`.
    pub spec: Vec<u8>,
}

/// Merges the defaults of image and daemon into a wish.
///
/// # Errors
/// When neither names a program, or the spec is malformed.
pub(crate) fn settle(
    core: &Core,
    id: &ContainerId,
    spec: ContainerSpec,
    image: &ImageDefaults,
) -> Result<(ContainerSpec, Vec<String>), Error> {
    let mut spec = runtime_spec::merge(&spec, image).map_err(Error::part("create", id.short()))?;
    if spec.hostname.is_empty() {
        spec.hostname = match &spec.host.network_mode {
            // Who shares a stack shares its name: it is what the shared /etc/hosts knows.
            // Whether that one exists is asked at the start.
            NetworkMode::Container(other) => resolve::container(core, other)
                .map(|other| other.view().record.spec.hostname.clone())
                .unwrap_or_default(),
            mode => runtime_spec::default_hostname(id, mode, &core.config.hostname),
        };
    }
    let host = &mut spec.host;
    if host.shm_size == 0 {
        host.shm_size = core.config.defaults.shm_size;
    }
    if host.runtime.is_empty() {
        host.runtime.clone_from(&core.config.default_runtime);
    }
    if host.ipc_mode == IpcMode::Default {
        host.ipc_mode = IpcMode::Private;
    }
    if host.cgroupns_mode == NamespaceMode::Default {
        let by_version = match core.host.cgroup {
            CgroupVersion::V1 => NamespaceMode::Host,
            CgroupVersion::V2 => NamespaceMode::Private,
        };
        host.cgroupns_mode = match &core.config.defaults.cgroupns_mode {
            NamespaceMode::Default => by_version,
            _ if host.privileged && core.host.cgroup == CgroupVersion::V1 => by_version,
            configured => configured.clone(),
        };
    }
    if host.network_mode == NetworkMode::Default {
        host.network_mode = NetworkMode::Bridge;
    }
    Ok((spec, Vec::new()))
}

/// Program and arguments of a merged spec.
pub(crate) fn arguments(spec: &ContainerSpec) -> Vec<String> {
    runtime_spec::arguments(spec)
}

/// Name of the network that a mode means; `None`: another container's stack, or none of any kind.
fn main_network(mode: &NetworkMode) -> Option<&str> {
    match mode {
        NetworkMode::Default | NetworkMode::Bridge => Some("bridge"),
        NetworkMode::Host => Some("host"),
        NetworkMode::None => Some("none"),
        NetworkMode::Named(name) => Some(name),
        NetworkMode::Container(_) => None,
    }
}

/// The networks of a wish, the main one first. Pure.
pub(crate) fn endpoint_requests(spec: &ContainerSpec) -> Vec<EndpointRequest> {
    let Some(main) = main_network(&spec.host.network_mode).filter(|_| !spec.network_disabled)
    else {
        return Vec::new();
    };
    let given = spec.endpoints.get(main).or_else(|| spec.endpoints.get("default"));
    let first =
        EndpointRequest { network: main.to_owned(), spec: given.cloned().unwrap_or_default() };
    let others = spec.endpoints.iter().filter(|(name, _)| *name != main && *name != "default");
    let others =
        others.map(|(name, spec)| EndpointRequest { network: name.clone(), spec: spec.clone() });
    std::iter::once(first).chain(others).collect()
}

/// What the network side is asked at a start; `None`: the stack is another container's.
///
/// # Errors
/// When a name server is no address.
pub(crate) fn attach_request(view: &View) -> Result<Option<AttachRequest>, Error> {
    let record = &view.record;
    let spec = &record.spec;
    if matches!(spec.host.network_mode, NetworkMode::Container(_)) {
        return Ok(None);
    }
    let main = main_network(&spec.host.network_mode);
    let mut endpoints: Vec<EndpointRequest> = record
        .endpoints
        .iter()
        .map(|(network, endpoint)| EndpointRequest {
            network: network.clone(),
            spec: endpoint.spec.clone(),
        })
        .collect();
    endpoints.sort_by_key(|endpoint| Some(endpoint.network.as_str()) != main);
    let parse = |text: &String| {
        text.parse().map_err(|_| Error::Invalid {
            field: "Dns",
            reason: format!("{text} is not an ip address"),
        })
    };
    let servers = spec.host.dns.iter().map(parse).collect::<Result<_, _>>()?;
    let kind = match spec.host.network_mode {
        NetworkMode::Host => SandboxKind::Host,
        _ => SandboxKind::Private,
    };
    Ok(Some(AttachRequest {
        container: record.id.clone(),
        name: record.name.clone(),
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        kind,
        endpoints,
        ports: spec.host.port_bindings.clone(),
        publish_all: spec.host.publish_all_ports,
        exposed: spec.exposed_ports.clone(),
        dns: DnsSettings {
            servers,
            search: spec.host.dns_search.clone(),
            options: spec.host.dns_options.clone(),
        },
    }))
}

/// Makes what the shim is told at a start.
///
/// # Errors
/// When the spec asks for what is not there.
pub(crate) async fn prepare(
    core: &Arc<Core>,
    container: &Arc<Container>,
    view: &View,
    network: Option<&NetworkSettings>,
) -> Result<Prepared, Error> {
    let rootfs =
        core.images.rootfs(&container.id).await.map_err(Error::part("start", view.name()))?;
    let namespaces = namespaces(core, view, network)?;
    let shared_memory = shared_memory(core, container, view).await?;
    etc_files::write(core, container, view, network)?;
    hold_volumes(core, view).await?;
    build(core, container, view, &namespaces, shared_memory.as_deref(), rootfs)
}

fn build(
    core: &Core,
    container: &Container,
    view: &View,
    namespaces: &NamespacePaths,
    shared_memory: Option<&Path>,
    rootfs: Rootfs,
) -> Result<Prepared, Error> {
    let record = &view.record;
    let spec = &record.spec;
    let name = view.name();
    let mut mounts = mounts::prepare(&record.mounts).map_err(Error::part("start", name))?;
    let own = files::mounts(&container.paths.directory, &mounts, spec.host.readonly_rootfs);
    mounts.extend(own);
    let devices = devices::gather(&spec.host).map_err(Error::part("start", name))?;
    let built = runtime_spec::build(&Inputs {
        id: &record.id,
        spec,
        host: &core.host,
        daemon: &core.config.defaults,
        devices: &devices,
        mounts: &mounts,
        namespaces,
        shared_memory,
        user: None,
        link_env: &[],
        rootfs: Path::new("rootfs"),
    })
    .map_err(Error::part("start", name))?;
    let mut oci = built.spec;
    let runtime = runtime(core, container, spec)?;
    let mut seccomp = None;
    if let Some(choice) = &built.seccomp {
        let program = core.seccomp.program(choice).map_err(Error::part("start", name))?;
        seccomp = Some(SeccompProgram { path: program.path, flags: program.flags });
        if runtime != Runtime::Own {
            oci.linux.seccomp = Some(choice.section().map_err(Error::part("start", name))?);
        }
    }
    let config = ShimConfig {
        format: CONFIG_FORMAT,
        container: record.id.to_string(),
        bundle: container.paths.run.clone(),
        rootfs,
        user: Some(UserLookup {
            user: spec.user.clone(),
            additional_groups: spec.host.group_add.clone(),
        }),
        stdio: stdio(spec),
        logs: log_sinks(core, record, &container.paths.directory)?,
        log_buffer: sinks::buffer(spec)?,
        runtime,
        cgroup_driver: if core.config.defaults.systemd_cgroups {
            CgroupDriver::Systemd
        } else {
            CgroupDriver::Cgroupfs
        },
        seccomp,
        init: built.init.then(|| match &core.config.defaults.init_path {
            Some(path) => InitProgram::Path { path: path.clone() },
            None => InitProgram::Shim,
        }),
        outcome_file: container.paths.outcome(),
    };
    let encode = |what| move |source| Error::Encode { what, source };
    Ok(Prepared {
        shim: serde_json::to_vec(&config).map_err(encode("a shim configuration"))?,
        spec: serde_json::to_vec(&oci).map_err(encode("a runtime spec"))?,
    })
}

fn stdio(spec: &ContainerSpec) -> StdioConfig {
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    StdioConfig {
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        console_size: spec
            .host
            .console_size
            .filter(|_| spec.tty)
            .map(|(rows, columns)| TerminalSize { rows: small(rows), columns: small(columns) }),
    }
}

fn log_sinks(core: &Core, record: &Record, directory: &Path) -> Result<Vec<LogSink>, Error> {
    let image_id = record.image.map(|id| id.to_string()).unwrap_or_default();
    let who = sinks::Identity {
        id: &record.id,
        name: &record.name,
        image_id: &image_id,
        hostname: &core.config.hostname,
    };
    let sinks = sinks::sinks(&record.spec, directory, who)?;
    for sink in &sinks {
        if let LogSink::Local { file } = sink
            && let Some(parent) = file.path.parent()
        {
            std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        }
    }
    Ok(sinks)
}

fn runtime(core: &Core, container: &Container, spec: &ContainerSpec) -> Result<Runtime, Error> {
    let name = spec.host.runtime.as_str();
    if matches!(name, "" | OWN_RUNTIME) {
        return Ok(Runtime::Own);
    }
    let program = core.config.runtimes.get(name).ok_or_else(|| Error::Invalid {
        field: "Runtime",
        reason: format!("unknown or invalid runtime name: {name}"),
    })?;
    Ok(Runtime::Oci {
        path: program.path.clone(),
        args: program.args.clone(),
        root: container.paths.run.join("runtime"),
    })
}

/// Namespaces that exist already: the sandbox, and those of other containers.
fn namespaces(
    core: &Core,
    view: &View,
    network: Option<&NetworkSettings>,
) -> Result<NamespacePaths, Error> {
    let host = &view.record.spec.host;
    let mut paths = NamespacePaths {
        network: network.and_then(|network| network.sandbox.clone()),
        ..NamespacePaths::default()
    };
    if let NetworkMode::Container(other) = &host.network_mode {
        let other = donor(core, view, other)?;
        paths.network = Some(match other.network.as_ref().and_then(|n| n.sandbox.clone()) {
            Some(sandbox) => sandbox,
            None => namespace_of(&other, "net"),
        });
    }
    if let NamespaceMode::Container(other) = &host.pid_mode {
        paths.pid = Some(namespace_of(&running(core, view, other)?, "pid"));
    }
    if let IpcMode::Container(other) = &host.ipc_mode {
        let other = running(core, view, other)?;
        if other.record.spec.host.ipc_mode != IpcMode::Shareable {
            return Err(Error::Conflict {
                container: view.name().to_owned(),
                reason: format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    other.record.id
                ),
            });
        }
        paths.ipc = Some(namespace_of(&other, "ipc"));
    }
    Ok(paths)
}

/// The `/dev/shm` that is shared with other containers: made for the one that shares, found for those that
/// join. The owner unmounts it after the end.
async fn shared_memory(
    core: &Core,
    container: &Container,
    view: &View,
) -> Result<Option<PathBuf>, Error> {
    let host = &view.record.spec.host;
    match &host.ipc_mode {
        IpcMode::Shareable => {
            let (path, size) = (container.paths.shared_memory(), host.shm_size);
            let name = view.name().to_owned();
            shoal_base::blocking::run("mount shared memory", move || {
                mounts::shared_memory::attach(&path, size).map_err(Error::part("start", &name))?;
                Ok(Some(path))
            })
            .await?
        }
        IpcMode::Container(other) => {
            Ok(Some(resolve::container(core, other)?.paths.shared_memory()))
        }
        _ => Ok(None),
    }
}

fn namespace_of(view: &View, kind: &str) -> PathBuf {
    format!("/proc/{}/ns/{kind}", view.state.pid).into()
}

/// A container whose namespace is to be joined.
fn running(core: &Core, joiner: &View, name: &str) -> Result<View, Error> {
    let other = resolve::container(core, name)?;
    let view = other.view();
    if other.id == joiner.record.id {
        return Err(Error::Conflict {
            container: joiner.name().to_owned(),
            reason: "cannot join own namespace".to_owned(),
        });
    }
    if !view.state.phase.is_live() {
        return Err(Error::Conflict {
            container: joiner.name().to_owned(),
            reason: format!(
                "cannot join namespace of a non running container: container {name} is {}",
                view.state.phase.as_str()
            ),
        });
    }
    Ok(view)
}

/// Makes the volumes of a new container and resolves its mounts.
///
/// # Errors
/// When a mount is malformed, its source missing, or a volume cannot be made. The caller then releases
/// the container's volumes.
pub(crate) async fn volumes(core: &Arc<Core>, mut record: Record) -> Result<Record, Error> {
    let inherited = inherited(core, &record)?;
    let name = record.name.clone();
    let planned = mounts::plan(&record.spec, &inherited).map_err(Error::part("create", &name))?;
    let mut images = BTreeMap::new();
    for mount in &planned {
        if let mounts::PlannedSource::Image { reference, .. } = &mount.source {
            let layers =
                core.images.layers(reference).await.map_err(Error::part("create", &name))?;
            images.insert(reference.clone(), layers);
        }
    }
    if planned.is_empty() {
        return Ok(record);
    }
    let volumes = Arc::clone(&core.volumes);
    let record = shoal_base::blocking::run("make a container's volumes", move || {
        let resolved = mounts::resolve(&record.id, planned, volumes.as_ref(), &images);
        record.mounts = resolved.map_err(Error::part("create", &name))?;
        Ok::<_, Error>(record)
    })
    .await??;
    fill_volumes(core, record).await
}

/// Mounts the file systems that volumes of a container have of their own. The end of the run, or of its failed
/// start, lets go of them.
async fn hold_volumes(core: &Core, view: &View) -> Result<(), Error> {
    let held = view.record.mounts.iter().filter_map(mounts::own_filesystem);
    let held: Vec<String> = held.map(str::to_owned).collect();
    if held.is_empty() {
        return Ok(());
    }
    let (volumes, id) = (Arc::clone(&core.volumes), view.record.id.clone());
    let mount = move || held.iter().try_for_each(|name| volumes.hold(name, &id));
    let mounted = shoal_base::blocking::run("mount a container's volumes", mount).await?;
    mounted.map_err(Error::part("start", view.name()))
}

/// Copies what the image has at the mount points of empty volumes into them.
async fn fill_volumes(core: &Arc<Core>, record: Record) -> Result<Record, Error> {
    let is_volume =
        |mount: &mounts::Resolved| matches!(mount.source, mounts::Source::Volume { .. });
    if !record.mounts.iter().any(is_volume) {
        return Ok(record);
    }
    let root = core.images.view(&record.id).await.map_err(Error::part("create", &record.name))?;
    let volumes = Arc::clone(&core.volumes);
    shoal_base::blocking::run("fill a container's volumes", move || {
        let filled = record.mounts.iter().try_for_each(|mount| {
            if let Some(name) = mounts::own_filesystem(mount).filter(|_| mount.copy_up) {
                let held = volumes.hold(name, &record.id);
                held.map_err(Error::part("populate a volume of", &record.name))?;
            }
            mounts::copy_up::copy_up(root.as_fd(), mount)
                .map_err(Error::part("create", &record.name))
        });
        let let_go = volumes.let_go(&record.id).map_err(Error::part("create", &record.name));
        filled.and(let_go)?;
        Ok(record)
    })
    .await?
}

/// Mounts of the containers that `--volumes-from` names.
fn inherited(core: &Core, record: &Record) -> Result<Vec<mounts::Inherited>, Error> {
    let wishes = record.spec.host.volumes_from.iter();
    wishes
        .map(|wish| {
            let other = resolve::container(core, &wish.container)?.view();
            Ok(mounts::Inherited { wish: wish.clone(), mounts: other.record.mounts.clone() })
        })
        .collect()
}

/// What becomes of the anonymous volumes of a removed container.
pub(crate) async fn forget_volumes(core: &Arc<Core>, id: &ContainerId, release: Release) {
    let (volumes, id) = (Arc::clone(&core.volumes), id.clone());
    let released =
        shoal_base::blocking::run("release volumes", move || volumes.release(&id, release)).await;
    match released {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %shoal_model::error::Chain(&error), "a volume stays");
        }
        Err(error) => tracing::warn!(%error, "volumes may stay"),
    }
}

/// The limits of a container in the runtime spec's terms, for an update.
///
/// # Errors
/// When a value is malformed or names a device that is not there.
pub(crate) fn limits(
    host: &HostSpec,
    name: &str,
) -> Result<shoal_shim_protocol::spec::Resources, Error> {
    let devices = devices::gather(host).map_err(Error::part("update", name))?;
    let resources =
        runtime_spec::limits(&host.resources, &devices).map_err(Error::part("update", name))?;
    // Both are the runtime spec's JSON: the shim's types read what the builder's write.
    let what = "limits";
    serde_json::to_value(&resources)
        .and_then(serde_json::from_value)
        .map_err(|source| Error::Encode { what, source })
}

/// Every capability that a process may have.
pub(crate) fn all_capabilities(core: &Core) -> Vec<String> {
    core.host.capabilities.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::container::EndpointSpec;

    #[test]
    fn the_main_network_comes_first_and_others_keep_their_settings() {
        let alias = |alias: &str| EndpointSpec {
            aliases: vec![alias.to_owned()],
            ..EndpointSpec::default()
        };
        let mut spec = ContainerSpec::default();
        spec.host.network_mode = NetworkMode::Named("front".to_owned());
        spec.endpoints =
            BTreeMap::from([("back".to_owned(), alias("b")), ("front".to_owned(), alias("f"))]);
        let names = |spec: &ContainerSpec| -> Vec<String> {
            endpoint_requests(spec)
                .into_iter()
                .map(|request| format!("{}{:?}", request.network, request.spec.aliases))
                .collect()
        };
        assert_eq!(names(&spec), ["front[\"f\"]", "back[\"b\"]"]);
        spec.host.network_mode = NetworkMode::Container("x".to_owned());
        assert_eq!(names(&spec), Vec::<String>::new());
        spec = ContainerSpec::default();
        assert_eq!(names(&spec), ["bridge[]"]);
    }
}
