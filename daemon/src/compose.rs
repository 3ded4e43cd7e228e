//! Puts the parts together: images, networks, engine, and the API's ports over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use shoal_api::Ports;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SystemDisk, blocking};
use shoal_engine::config::{Config as EngineConfig, OWN_RUNTIME, RuntimeProgram};
use shoal_engine::events::Bus;
use shoal_engine::networking::DnsSettings;
use shoal_engine::runtime_spec::DaemonDefaults;
use shoal_engine::{Engine, Parts};
use shoal_engine_images::image::Images;
use shoal_engine_images::pull::{Concurrency, Transfers, default_certs_dir};
use shoal_engine_registry as registry;
use shoal_model::cluster::node::NodeDescription;
use shoal_model::container::{LogSpec, Ulimit};
use shoal_model::system::{RegistryInfo, SystemInfo};
use shoal_netoverlay as netoverlay;
use shoal_netoverlay::dns::Dns;

use crate::attachments::Attachments;
use crate::cluster::{self, HostCluster, HostOverlays, Runner};
use crate::config::Config;
use crate::executor::{self, HostExecutor};
use crate::facts::HostFacts;
use crate::lab;
use crate::memory;
use crate::networking::HostNetworking;
use crate::ports::{HostContainers, HostExecs, HostImages, HostNetworks, HostSystem, HostVolumes};
use crate::seal;

/// Attempts of a blob's transfer without progress before it is given up.
const TRANSFER_ATTEMPTS: u32 = 5;

/// What the daemon's end needs.
pub(crate) struct Closing {
    /// To be sealed.
    pub(crate) images: Images,
    /// To be left.
    pub(crate) networks: netoverlay::Networks,
    /// Leaves consensus in good order.
    pub(crate) cluster: Arc<cluster::Host>,
}

/// Opens everything and takes over what a previous daemon left.
pub(crate) async fn compose(config: &Config, tasks: &Tasks) -> anyhow::Result<(Ports, Closing)> {
    let clock = lab::clock();
    let facts = HostFacts::read();
    let images = open_images(config, clock.clone()).await?;
    let transfers = transfers(config, images.clone(), tasks, clock.clone())?;
    let networks = networks(config, tasks, clock.clone()).await?;
    let dns = DnsSettings {
        servers: config.options.dns.clone(),
        search: config.options.dns_search.clone(),
        options: config.options.dns_opts.clone(),
    };
    // Each namespace has its own tables: the name need not differ between daemons.
    let names = Dns::new(tasks.clone(), clock.clone(), "shoal");
    for view in networks.views().into_iter().filter(|view| view.mesh.is_none()) {
        let id = shoal_netoverlay::network_id(view.network);
        names.show_cluster(id, Some(view));
    }
    let attachments = Attachments::open(&config.exec_root).context("cannot open attachments")?;
    let networking = HostNetworking::new(
        networks.clone(),
        names.clone(),
        dns,
        attachments.clone(),
        clock.clone(),
    );
    let parts = Parts {
        images: Arc::new(images.clone()),
        networking: Arc::new(networking),
        clock: clock.clone(),
        random: Arc::new(SystemRandom),
        disk: Arc::new(SystemDisk),
        tasks: tasks.clone(),
        events: Bus::new(clock.clone()),
    };
    let engine_config = engine_config(config, &facts)?;
    let fixed = fixed_info(config, &engine_config, &facts, transfers.client(), &networks)?;
    let engine = Engine::open(engine_config, parts).await.context("cannot open the engine")?;
    let frozen = config.exec_root.join("committing");
    crate::ports::commit::thaw(&engine, &frozen).await;
    tasks.spawn(TaskKind::ImageSeal, seal::keep_sealing(images.clone(), clock.clone()));
    tasks.spawn(TaskKind::Memory, memory::keep_small(clock.clone()));
    let host_images = Arc::new(HostImages {
        images: images.clone(),
        transfers,
        engine: engine.clone(),
        tasks: tasks.clone(),
    });
    let runs = Runs {
        engine: &engine,
        images: &host_images,
        networks: &networks,
        names: &names,
        attachments: &attachments,
    };
    let cluster = cluster(config, runs, &facts, tasks, clock.clone()).await?;
    attachments.ask(cluster.clone());
    let ports = Ports {
        containers: Arc::new(HostContainers {
            engine: engine.clone(),
            images: images.clone(),
            tasks: tasks.clone(),
            frozen,
        }),
        execs: Arc::new(HostExecs { engine: engine.clone(), cluster: cluster.clone() }),
        images: host_images.clone(),
        volumes: Arc::new(HostVolumes { volumes: engine.volumes(), events: engine.events() }),
        networks: Arc::new(HostNetworks { networks: networks.clone(), engine: engine.clone() }),
        system: Arc::new(HostSystem {
            engine,
            images: host_images,
            clock: clock.clone(),
            facts,
            fixed,
        }),
        cluster: Some(Arc::new(HostCluster(cluster.clone()))),
        clock,
        tasks: tasks.clone(),
        unread: Arc::new(shoal_engine::sys::unread),
    };
    Ok((ports, Closing { images, networks, cluster }))
}

/// What runs tasks of a cluster.
struct Runs<'a> {
    engine: &'a Engine,
    images: &'a Arc<HostImages>,
    networks: &'a netoverlay::Networks,
    names: &'a Dns,
    attachments: &'a Attachments,
}

/// Takes up membership of a cluster, if there is any.
async fn cluster(
    config: &Config,
    runs: Runs<'_>,
    facts: &HostFacts,
    tasks: &Tasks,
    clock: SharedClock,
) -> anyhow::Result<Arc<cluster::Host>> {
    let (engine, images) = (runs.engine.clone(), runs.images.clone());
    let (networks, names, events) =
        (runs.networks.clone(), runs.names.clone(), runs.engine.events());
    let (exec_root, attachments) = (config.exec_root.clone(), runs.attachments.clone());
    let work = tasks.clone();
    let description = executor::description(config, facts)?;
    let time = clock.clone();
    let make = move |node, reach: cluster::Reach| {
        let parts = executor::Parts {
            engine: engine.clone(),
            images: images.clone(),
            networks: networks.clone(),
            attachments: attachments.clone(),
            clock: time.clone(),
            tasks: work.clone(),
        };
        let cluster::Reach { api, data_path, addresses, underlay_mtu } = reach;
        let description =
            NodeDescription { api, data_path, addresses, underlay_mtu, ..description.clone() };
        let executor = HostExecutor::new(parts, &exec_root, node, description);
        let overlays = HostOverlays { networks: networks.clone(), names: names.clone(), node };
        Runner { executor: Arc::new(executor), networks: Arc::new(overlays) }
    };
    let (random, disk) = (Arc::new(SystemRandom), Arc::new(SystemDisk));
    let (tasks, make) = (tasks.clone(), Box::new(make));
    let host = cluster::Host::open(&config.data_root, clock, random, disk, tasks, events, make);
    host.await.map_err(|failure| anyhow::anyhow!("cannot take up membership: {failure}"))
}

async fn open_images(config: &Config, clock: SharedClock) -> anyhow::Result<Images> {
    let root = config.data_root.clone();
    blocking::run("open images", move || Images::open(&root, clock))
        .await?
        .context("cannot open the images")
}

fn transfers(
    config: &Config,
    images: Images,
    tasks: &Tasks,
    clock: SharedClock,
) -> anyhow::Result<Transfers> {
    let options = &config.options;
    let mirrors =
        options.registry_mirrors.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    let settings = registry::Settings {
        mirrors: mirrors.context("--registry-mirror")?,
        insecure: registry::Insecure::with_loopback(&options.insecure_registries)
            .context("--insecure-registry")?,
        proxy: proxy(),
        certs_dir: options.certs_dir.clone().unwrap_or_else(|| default_certs_dir().to_owned()),
        user_agent: concat!("shoal/", env!("CARGO_PKG_VERSION")).to_owned(),
        timeouts: registry::Timeouts::default(),
        attempts: TRANSFER_ATTEMPTS,
    };
    let default = Concurrency::default();
    let concurrency = Concurrency {
        downloads: options.max_concurrent_downloads.unwrap_or(default.downloads),
        uploads: options.max_concurrent_uploads.unwrap_or(default.uploads),
    };
    Ok(Transfers::new(images, registry::Client::new(settings, clock), tasks.clone(), concurrency))
}

async fn networks(
    config: &Config,
    tasks: &Tasks,
    clock: SharedClock,
) -> anyhow::Result<netoverlay::Networks> {
    let options = &config.options;
    let mut settings = netoverlay::Settings::new(&config.data_root, &config.exec_root);
    if let Some(bridge) = &options.bridge {
        if bridge == "none" {
            settings.default_network = false;
        } else {
            settings.bridge.clone_from(bridge);
        }
        // Daemons that share a network namespace have a bridge each, and so a table each.
        settings.table = format!("shoal-{bridge}");
    }
    if let Some(bip) = &options.bip {
        settings.bridge_address = Some(bip.parse().context("--bip")?);
    }
    settings.mtu = options.mtu.unwrap_or(settings.mtu);
    if let Some(shift) = options.mesh_mark_shift {
        let marks = netoverlay::plan::mesh::Marks::new(shift);
        settings.mesh.marks = marks.context("--mesh-mark-shift must be from 0 to 16")?;
    }
    if !config.pools.is_empty() {
        let pool = |(base, size): &(String, u8)| {
            Ok(netoverlay::ipam::Pool {
                base: base.parse().context("--default-address-pool")?,
                size: *size,
            })
        };
        settings.pools = config.pools.iter().map(pool).collect::<anyhow::Result<_>>()?;
    }
    let ports = netoverlay::Ports {
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        tasks: tasks.clone(),
        clock,
    };
    netoverlay::Networks::open(settings, ports).await.context("cannot open the networks")
}

fn engine_config(config: &Config, facts: &HostFacts) -> anyhow::Result<EngineConfig> {
    let options = &config.options;
    let programs = config.runtimes.iter().map(|(name, entry)| {
        (
            name.clone(),
            RuntimeProgram { path: entry.path.clone(), args: entry.runtime_args.clone() },
        )
    });
    let runtimes: BTreeMap<String, RuntimeProgram> = programs.collect();
    let default_runtime = options.default_runtime.clone().unwrap_or_else(|| OWN_RUNTIME.to_owned());
    if default_runtime != OWN_RUNTIME && !runtimes.contains_key(&default_runtime) {
        anyhow::bail!(
            "--default-runtime `{default_runtime}`: no such runtime; add it with --add-runtime"
        );
    }
    let mut defaults = DaemonDefaults { init: options.init, ..DaemonDefaults::default() };
    if let Some(parent) = &options.cgroup_parent {
        defaults.cgroup_parent.clone_from(parent);
    }
    defaults.shm_size = options.default_shm_size.unwrap_or(defaults.shm_size);
    for text in &options.default_ulimit {
        defaults.ulimits.push(
            ulimit(text)
                .with_context(|| format!("--default-ulimit `{text}`: write NAME=SOFT[:HARD]"))?,
        );
    }
    Ok(EngineConfig {
        root: config.data_root.clone(),
        exec_root: config.exec_root.clone(),
        shim: shim(options.shim.as_deref())?,
        defaults,
        log: LogSpec {
            driver: options.log_driver.clone().unwrap_or_else(|| "json-file".to_owned()),
            options: config.log_opts.clone(),
        },
        runtimes,
        default_runtime,
        hostname: facts.hostname.clone(),
    })
}

fn ulimit(text: &str) -> Option<Ulimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Some(Ulimit { name: name.to_owned(), soft: soft.parse().ok()?, hard: hard.parse().ok()? })
}

/// The shim that is named, or the one beside this program.
fn shim(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let own = std::env::current_exe().context("cannot find the daemon's own program")?;
            own.with_file_name("shoal-shim")
        }
    };
    anyhow::ensure!(
        path.is_file(),
        "there is no shim at `{}`: install shoal-shim beside shoald or name it with --shim",
        path.display()
    );
    Ok(path)
}

fn fixed_info(
    config: &Config,
    engine: &EngineConfig,
    facts: &HostFacts,
    client: &registry::Client,
    networks: &netoverlay::Networks,
) -> anyhow::Result<SystemInfo> {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut runtimes: BTreeMap<String, String> = engine
        .runtimes
        .iter()
        .map(|(name, program)| (name.clone(), program.path.display().to_string()))
        .collect();
    runtimes.insert(OWN_RUNTIME.to_owned(), engine.shim.display().to_string());
    let insecure = &client.settings().insecure;
    let mut warnings = Vec::new();
    if !facts.limits.swap {
        warnings.push("WARNING: No swap limit support".to_owned());
    }
    if config.hosts.iter().any(|host| matches!(host, crate::config::Host::Tcp(_)))
        && !config.options.tlsverify
    {
        warnings.push("WARNING: API is accessible over TCP without client certificates".to_owned());
    }
    // Networks are asked for here so that a missing default network shows at start, not at the first container.
    if config.options.bridge.as_deref() != Some("none") {
        networks.resolve("bridge").context("no default network")?;
    }
    Ok(SystemInfo {
        id: daemon_id(&config.data_root)?,
        name: facts.hostname.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        storage_driver: crate::STORAGE_DRIVER.to_owned(),
        root_dir: config.data_root.display().to_string(),
        volume_drivers: owned(&["local"]),
        network_drivers: owned(&["bridge", "host", "ipvlan", "macvlan", "null"]),
        log_drivers: owned(&["journald", "json-file", "local", "none", "syslog"]),
        log_driver: engine.log.driver.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: facts.cgroup_version,
        limits: facts.limits,
        kernel: facts.kernel.clone(),
        operating_system: facts.operating_system.clone(),
        os_version: facts.os_version.clone(),
        architecture: facts.architecture.clone(),
        cpus: facts.cpus,
        memory: facts.memory,
        generic_resources: crate::generic::parse(&config.options.node_generic_resources)
            .context("--node-generic-resource")?,
        debug: config.options.debug,
        labels: config.options.labels.clone(),
        registries: RegistryInfo {
            insecure_cidrs: insecure.networks(),
            insecure_hosts: insecure.hosts().to_vec(),
            mirrors: config.options.registry_mirrors.clone(),
        },
        runtimes,
        default_runtime: engine.default_runtime.clone(),
        init_binary: "docker-init".to_owned(),
        security_options: owned(&["name=seccomp,profile=builtin"]),
        address_pools: config.pools.clone(),
        warnings,
        ..SystemInfo::default()
    })
}

/// The id of this engine: made once per data root.
fn daemon_id(data_root: &Path) -> anyhow::Result<String> {
    use shoal_base::Disk as _;
    let path = data_root.join("engine-id");
    if let Some(bytes) = SystemDisk.read(&path).context("cannot read the engine's id")? {
        return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
    }
    let bytes = shoal_base::random::bytes32(&SystemRandom);
    let hex = shoal_model::Digest::from_sha256(bytes).hex();
    let id =
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]);
    SystemDisk.write_atomic(&path, id.as_bytes()).context("cannot write the engine's id")?;
    Ok(id)
}

/// Proxies of the daemon's environment, as every program reads them.
fn proxy() -> registry::Proxy {
    let read = |names: [&str; 2]| {
        names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
    };
    registry::Proxy {
        http: read(["HTTP_PROXY", "http_proxy"]),
        https: read(["HTTPS_PROXY", "https_proxy"]),
        no: read(["NO_PROXY", "no_proxy"]),
    }
}
