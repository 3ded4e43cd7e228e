//! Flags of `shoald`: dockerd's names, so that scripts written for dockerd start it.
//!
//! Source: moby `cmd/dockerd/config_unix.go`, docker's `dockerd` reference.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use serde::Deserialize;

/// Flags, and the keys of the configuration file: both have the same names.
#[derive(Debug, Clone, Default, Parser, Deserialize)]
#[command(
    name = "shoald",
    version,
    about = "The Shoal daemon: container engine behind the Docker Engine API"
)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// Configuration file; absent is fine unless it is named here.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config_file: Option<PathBuf>,

    /// Socket to serve: unix://PATH or tcp://ADDRESS:PORT. May be given several times.
    #[arg(short = 'H', long = "host", value_name = "URL")]
    #[serde(rename = "hosts")]
    pub(crate) hosts: Vec<String>,

    /// Group that may use the unix socket.
    #[arg(short = 'G', long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// Directory of everything that survives a reboot.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,

    /// Directory of sockets, shims and namespaces.
    #[arg(long, value_name = "DIR")]
    pub(crate) exec_root: Option<PathBuf>,

    /// File that holds the daemon's process id while it runs.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,

    /// debug, info, warn or error.
    #[arg(short, long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Same as --log-level=debug.
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,

    /// Parent cgroup of all containers.
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,

    /// Runtime of containers that name none.
    #[arg(long, value_name = "NAME")]
    pub(crate) default_runtime: Option<String>,

    /// Another OCI runtime: NAME=PATH. May be given several times.
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    #[serde(skip)]
    pub(crate) add_runtimes: Vec<String>,

    /// Runtimes of the configuration file.
    #[arg(skip)]
    pub(crate) runtimes: std::collections::BTreeMap<String, RuntimeEntry>,

    /// Program of the shim.
    #[arg(long, value_name = "FILE")]
    pub(crate) shim: Option<PathBuf>,

    /// Run an init in every container that does not say otherwise.
    #[arg(long)]
    pub(crate) init: bool,

    /// Log driver of containers that name none.
    #[arg(long, value_name = "NAME")]
    pub(crate) log_driver: Option<String>,

    /// Option of the default log driver: KEY=VALUE.
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    #[serde(skip)]
    pub(crate) log_opt: Vec<String>,

    /// Log options of the configuration file.
    #[arg(skip)]
    pub(crate) log_opts: std::collections::BTreeMap<String, String>,

    /// Label of this engine: KEY=VALUE.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    #[serde(rename = "labels")]
    pub(crate) labels: Vec<String>,

    /// Resource that services may reserve on this node: KIND=NUMBER, or KIND=NAME for each piece.
    #[arg(long = "node-generic-resource", value_name = "KIND=VALUE")]
    #[serde(rename = "node-generic-resources")]
    pub(crate) node_generic_resources: Vec<String>,

    /// Mirror of Docker Hub, tried first.
    #[arg(long = "registry-mirror", value_name = "URL")]
    #[serde(rename = "registry-mirrors")]
    pub(crate) registry_mirrors: Vec<String>,

    /// Registry that may be reached without TLS or with any certificate: HOST[:PORT] or CIDR.
    #[arg(long = "insecure-registry", value_name = "HOST|CIDR")]
    #[serde(rename = "insecure-registries")]
    pub(crate) insecure_registries: Vec<String>,

    /// Directory of certificates per registry.
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,

    /// Layers fetched at the same time per pull.
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent_downloads: Option<usize>,

    /// Layers sent at the same time per push.
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent_uploads: Option<usize>,

    /// Address of the default bridge, with its prefix length.
    #[arg(long, value_name = "CIDR")]
    pub(crate) bip: Option<String>,

    /// Name of the default bridge; `none` for no default network.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,

    /// MTU of the default bridge.
    #[arg(long, value_name = "N")]
    pub(crate) mtu: Option<u32>,

    /// Lowest of the sixteen bits of packets' marks that the routing mesh uses, 8 by default.
    #[arg(long, value_name = "N")]
    pub(crate) mesh_mark_shift: Option<u8>,

    /// Pool of networks: base=CIDR,size=LENGTH. May be given several times.
    #[arg(long = "default-address-pool", value_name = "base=CIDR,size=N")]
    #[serde(skip)]
    pub(crate) default_address_pool: Vec<String>,

    /// Pools of the configuration file.
    #[arg(skip)]
    pub(crate) default_address_pools: Vec<PoolEntry>,

    /// Name server of containers.
    #[arg(long = "dns", value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,

    /// Resolver option of containers.
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(rename = "dns-opts")]
    pub(crate) dns_opts: Vec<String>,

    /// Search domain of containers.
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,

    /// Resource limit of containers that set none: NAME=SOFT[:HARD].
    #[arg(long = "default-ulimit", value_name = "NAME=SOFT[:HARD]")]
    #[serde(skip)]
    pub(crate) default_ulimit: Vec<String>,

    /// Size of /dev/shm of containers that set none.
    #[arg(long, value_name = "BYTES")]
    pub(crate) default_shm_size: Option<i64>,

    /// Containers keep running without the daemon. Always so: the flag is accepted for dockerd's scripts.
    #[arg(long)]
    pub(crate) live_restore: bool,

    /// Serve TCP with TLS.
    #[arg(long)]
    pub(crate) tls: bool,

    /// Serve TCP with TLS and ask clients for a certificate.
    #[arg(long)]
    pub(crate) tlsverify: bool,

    /// Certificates of authorities that may sign clients.
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,

    /// The daemon's certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,

    /// The daemon's key.
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
}

/// A runtime in the configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct RuntimeEntry {
    /// Program.
    pub(crate) path: PathBuf,
    /// Arguments before the verb.
    pub(crate) runtime_args: Vec<String>,
}

/// An address pool in the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolEntry {
    /// The whole pool.
    pub(crate) base: String,
    /// Prefix length of each network.
    pub(crate) size: u8,
}
