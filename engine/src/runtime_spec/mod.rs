//! From a container's spec to the OCI runtime spec, as dockerd would make it.
//!
//! [`build`] is pure: all that must be asked of the host comes in through [`Inputs`], gathered by
//! [`facts::gather`], [`devices::gather`], `files::users` and `mounts::resolve`.
//!
//! Source: moby `daemon/oci_linux.go`, OCI runtime-spec `config-linux.md`.

mod capabilities;
pub mod devices;
mod error;
pub mod facts;
mod merge;
mod mounts;
mod namespaces;
pub mod oci;
mod resources;
pub mod security;
pub mod tmpfs;

use std::path::{Path, PathBuf};

use shoal_model::ContainerId;
use shoal_model::container::{ContainerSpec, HostSpec, NamespaceMode, NetworkMode, Ulimit};

pub use capabilities::decide as capabilities;
pub use error::Error;
pub use facts::HostFacts;
pub use merge::{arguments, merge};
pub use namespaces::NamespacePaths;
pub use resources::limits;

use crate::seccomp::{Choice as SeccompFilter, Profile};
use devices::HostDevices;
use oci::{Capabilities, ConsoleSize, Linux, Process, Root, Spec, User};
use security::SeccompChoice;

/// Where `--init` puts its program.
pub const INIT_PATH: &str = "/sbin/docker-init";

/// The path variable of containers whose image sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the daemon's own configuration decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonDefaults {
    /// Parent of the containers' cgroups, e.g. `/shoal`, or a slice with the systemd driver.
    pub cgroup_parent: String,
    /// Whether cgroups are transient scopes; the path is then `slice:prefix:id`.
    pub systemd_cgroups: bool,
    /// First part of the scopes' names.
    pub scope_prefix: String,
    /// `--init` for all.
    pub init: bool,
    /// Host path of the init program, which the shim mounts at [`INIT_PATH`]; `None`: the shim's own.
    pub init_path: Option<PathBuf>,
    /// Ulimits of containers that do not set their own.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// `no-new-privileges` for all.
    pub no_new_privileges: bool,
    /// Mode of the cgroup namespace where a container says none; `Default`: by cgroup version.
    pub cgroupns_mode: NamespaceMode,
    /// Filter of containers that do not choose; `None`: unconfined.
    pub seccomp: Option<Profile>,
}

impl Default for DaemonDefaults {
    fn default() -> Self {
        Self {
            cgroup_parent: "/shoal".to_owned(),
            systemd_cgroups: false,
            scope_prefix: "shoal".to_owned(),
            init: false,
            init_path: None,
            ulimits: Vec::new(),
            shm_size: 64 << 20,
            no_new_privileges: false,
            cgroupns_mode: NamespaceMode::Default,
            seccomp: Some(Profile::builtin().clone()),
        }
    }
}

/// The user of the init process, looked up in the container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, `--group-add` included.
    pub groups: Vec<u32>,
    /// Home directory; empty: unknown, then `/`.
    pub home: String,
}

/// Everything that decides a runtime spec.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Its spec, with the image's defaults merged in.
    pub spec: &'a ContainerSpec,
    /// The host.
    pub host: &'a HostFacts,
    /// The daemon's configuration.
    pub daemon: &'a DaemonDefaults,
    /// Devices, gathered for this spec.
    pub devices: &'a HostDevices,
    /// Mounts of the user, and the files that the engine provides (`/etc/hosts` …).
    pub mounts: &'a [crate::mounts::Resolved],
    /// Namespaces that exist already.
    pub namespaces: &'a NamespacePaths,
    /// Shared /dev/shm of a shareable or joined IPC namespace: a tmpfs on the host, made by
    /// `mounts::shared_memory`. Without it a shareable container has its own and cannot be joined.
    pub shared_memory: Option<&'a Path>,
    /// `None`: the shim looks the user up, and adds `HOME`.
    pub user: Option<&'a ResolvedUser>,
    /// Variables of legacy links.
    pub link_env: &'a [String],
    /// `root.path`.
    pub rootfs: &'a Path,
}

/// A runtime spec, and what does not fit into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// `config.json`, without a seccomp section: see [`SeccompFilter::section`] for foreign runtimes.
    pub spec: Spec,
    /// The filter; `None`: unconfined.
    pub seccomp: Option<SeccompFilter>,
    /// Whether the arguments run under an init program at [`INIT_PATH`].
    pub init: bool,
}

/// Makes the runtime spec of a container.
///
/// # Errors
/// When the spec asks for what is malformed or not there.
pub fn build(inputs: &Inputs<'_>) -> Result<Built, Error> {
    let host = &inputs.spec.host;
    check(host)?;
    let security = security::parse(&host.security_opt)?;
    let capabilities = capabilities::decide(
        &host.cap_add,
        &host.cap_drop,
        host.privileged,
        &inputs.host.capabilities,
    )?;
    let (mounts, rootfs_propagation) = mounts::decide(inputs, security.writable_cgroups)?;
    let (devices, rules) = devices::decide(host, inputs.devices)?;
    let mut resources = resources::limits(&host.resources, inputs.devices)?;
    resources.devices = rules;
    let init = wants_init(inputs);
    let (masked_paths, readonly_paths) = paths(inputs, &security);
    let linux = Linux {
        sysctl: namespaces::sysctls(inputs)?,
        resources,
        cgroups_path: cgroups_path(inputs),
        namespaces: namespaces::decide(inputs)?,
        devices,
        seccomp: None,
        rootfs_propagation,
        masked_paths,
        readonly_paths,
    };
    let seccomp = seccomp(inputs, &security, &capabilities)?;
    let spec = Spec {
        oci_version: oci::VERSION.to_owned(),
        process: process(inputs, &security, capabilities, init)?,
        root: Root { path: inputs.rootfs.display().to_string(), readonly: host.readonly_rootfs },
        hostname: match host.uts_mode {
            NamespaceMode::Host => String::new(),
            _ => inputs.spec.hostname.clone(),
        },
        mounts,
        linux,
        annotations: host.annotations.clone(),
    };
    Ok(Built { spec, seccomp, init })
}

/// Checks, when a container is created, all that does not depend on the host: [`build`] would say the
/// same at its start.
///
/// # Errors
/// When the spec asks for what is malformed or not possible.
pub fn validate(spec: &ContainerSpec) -> Result<(), Error> {
    let host = &spec.host;
    check(host)?;
    capabilities::decide(&host.cap_add, &host.cap_drop, false, &[])?;
    if let SeccompChoice::Profile(text) = security::parse(&host.security_opt)?.seccomp {
        Profile::parse(&text)?;
    }
    resources::rlimits(&host.resources.ulimits, &[])?;
    namespaces::check_sysctls_of(host)?;
    devices::check_rules(host)?;
    host.tmpfs.values().try_for_each(|options| tmpfs::options(options).map(|_| ()))
}

/// The name of a container that was not given one.
pub fn default_hostname(id: &ContainerId, network: &NetworkMode, of_host: &str) -> String {
    match network {
        NetworkMode::Host => of_host.to_owned(),
        _ => id.short().to_owned(),
    }
}

fn check(host: &HostSpec) -> Result<(), Error> {
    if !matches!(host.userns_mode, NamespaceMode::Default | NamespaceMode::Host) {
        return Err(Error::UserNamespace);
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::OomScore { value: host.oom_score_adj });
    }
    if let Some(request) = host.resources.device_requests.first() {
        let groups: Vec<String> =
            request.capabilities.iter().map(|group| format!("[{}]", group.join(" "))).collect();
        return Err(Error::DeviceRequest {
            driver: request.driver.clone(),
            capabilities: format!("[{}]", groups.join(" ")),
        });
    }
    Ok(())
}

fn process(
    inputs: &Inputs<'_>,
    security: &security::Security,
    capabilities: Vec<String>,
    init: bool,
) -> Result<Process, Error> {
    let spec = inputs.spec;
    let mut args = arguments(spec);
    if args.is_empty() {
        return Err(Error::NoCommand);
    }
    if init {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let size = spec.host.console_size.filter(|_| spec.tty);
    Ok(Process {
        terminal: spec.tty,
        console_size: size.map(|(height, width)| ConsoleSize { height, width }),
        user: user(inputs.user),
        args,
        env: environment(inputs),
        cwd: if spec.working_dir.is_empty() { "/".to_owned() } else { spec.working_dir.clone() },
        capabilities: Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        },
        rlimits: resources::rlimits(&spec.host.resources.ulimits, &inputs.daemon.ulimits)?,
        no_new_privileges: security.no_new_privileges.unwrap_or(inputs.daemon.no_new_privileges),
        apparmor_profile: match &security.apparmor {
            Some(profile) if inputs.host.apparmor => profile.clone(),
            _ => String::new(),
        },
        oom_score_adj: Some(spec.host.oom_score_adj),
    })
}

fn user(resolved: Option<&ResolvedUser>) -> User {
    let Some(user) = resolved else { return User::default() };
    let mut additional_gids = vec![user.gid];
    for group in &user.groups {
        if !additional_gids.contains(group) {
            additional_gids.push(*group);
        }
    }
    User { uid: user.uid, gid: user.gid, additional_gids }
}

/// Docker's variables, then those of links, then those of the spec, of which each replaces an earlier
/// one; a name without a value removes it.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let spec = inputs.spec;
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", spec.hostname)];
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend_from_slice(inputs.link_env);
    for variable in &spec.env {
        let name = merge::name_of(variable);
        let place = env.iter().position(|other| merge::name_of(other) == name);
        match (place, variable.contains('=')) {
            (Some(place), true) => env[place].clone_from(variable),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(variable.clone()),
            (None, false) => {}
        }
    }
    if let Some(user) = inputs.user
        && !env.iter().any(|variable| merge::name_of(variable) == "HOME")
    {
        let home = if user.home.is_empty() { "/" } else { &user.home };
        env.push(format!("HOME={home}"));
    }
    env
}

/// Only where the container's first process is really pid 1.
fn wants_init(inputs: &Inputs<'_>) -> bool {
    let host = &inputs.spec.host;
    let own_pids = matches!(host.pid_mode, NamespaceMode::Default | NamespaceMode::Private);
    own_pids && host.init.unwrap_or(inputs.daemon.init)
}

fn paths(inputs: &Inputs<'_>, security: &security::Security) -> (Vec<String>, Vec<String>) {
    let host = &inputs.spec.host;
    if host.privileged || security.system_paths_unconfined {
        return (Vec::new(), Vec::new());
    }
    let masked = host.masked_paths.clone();
    let readonly = host.readonly_paths.clone();
    (
        masked.unwrap_or_else(|| security::masked_paths(&inputs.host.thermal_paths)),
        readonly.unwrap_or_else(security::readonly_paths),
    )
}

fn cgroups_path(inputs: &Inputs<'_>) -> String {
    let own = inputs.spec.host.resources.cgroup_parent.as_str();
    let parent = if own.is_empty() { inputs.daemon.cgroup_parent.as_str() } else { own };
    if inputs.daemon.systemd_cgroups {
        return format!("{parent}:{}:{}", inputs.daemon.scope_prefix, inputs.id);
    }
    // Beneath the root of the hierarchy whatever the user wrote.
    let parts = parent.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let parts: Vec<&str> = parts.chain([inputs.id.as_str()]).collect();
    format!("/{}", parts.join("/"))
}

fn seccomp(
    inputs: &Inputs<'_>,
    security: &security::Security,
    capabilities: &[String],
) -> Result<Option<SeccompFilter>, Error> {
    let profile = match &security.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Profile(text) => Some(Profile::parse(text)?),
        SeccompChoice::Default | SeccompChoice::Builtin if inputs.spec.host.privileged => None,
        SeccompChoice::Builtin => Some(Profile::builtin().clone()),
        SeccompChoice::Default => inputs.daemon.seccomp.clone(),
    };
    let chosen = profile.map(|profile| {
        SeccompFilter::new(profile, inputs.host.arch, capabilities.to_vec(), inputs.host.kernel)
    });
    Ok(chosen.filter(|filter| !filter.is_disabled()))
}

#[cfg(test)]
mod tests;
