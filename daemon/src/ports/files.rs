//! A container's files and processes: cp, export, commit, stats, top. Puts the engine, the images and `/proc` together.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::fs::{Mode, OFlags};
use shoal_api::ports::{ByteStream, Stream};
use shoal_base::tasks::Tasks;
use shoal_base::{SharedClock, blocking};
use shoal_engine::archive::{self, ImportOptions, Overwrite, Owner, RootAccess};
use shoal_engine::stats::{self, Cgroups, Sample};
use shoal_engine::{Engine, top};
use shoal_engine_images::archive::make::CommitOptions;
use shoal_engine_images::image::Images;
use shoal_engine_images::snapshot::View;
use shoal_model::container::{
    ArchivePutOptions, BlkioEntry, BlkioStats, CommitRequest, ContainerDetails, CpuStats,
    InterfaceStats, MemoryStats, NetworkMode, PathStat, PidsStats, StatsSample, TopResult,
};
use shoal_model::image::ImageDefaults;
use shoal_model::{Digest, ErrorKind, Fact, Failure};

use super::bytes::{reader, written};
use super::lost;

/// Between two samples.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// What works on containers' files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) engine: Engine,
    pub(crate) images: Images,
    pub(crate) tasks: Tasks,
    pub(crate) clock: SharedClock,
}

/// A container's root as an open directory.
enum Root {
    Live(OwnedFd),
    Stopped(View),
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Live(root) => root.as_fd(),
            Self::Stopped(view) => view.as_fd(),
        }
    }
}

/// What is done with a root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Files {
    /// Opens a container's root: through its process, or its layers when it does not run. Blocks.
    fn root(images: &Images, details: &ContainerDetails, access: Access) -> Result<Root, Failure> {
        if details.state.phase.is_live() {
            let path = format!("/proc/{}/root", details.state.pid);
            let root = rustix::fs::open(
                &path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            return root.map(Root::Live).map_err(|error| {
                Failure::new(
                    ErrorKind::Internal,
                    format!("failed to open the root of container `{}`: {error}", details.name),
                )
            });
        }
        let snapshots = images.snapshots();
        let view = match access {
            Access::Read => snapshots.view_container(&details.id)?,
            Access::Write => snapshots.open_container(&details.id)?,
        };
        Ok(Root::Stopped(view))
    }

    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce(&Images) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let images = self.images.clone();
        blocking::run(name, move || job(&images)).await.map_err(lost)?
    }

    pub(super) async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, Failure> {
        let details = self.engine.inspect(name, false).await?;
        refuse_mounts(&details, path)?;
        let path = path.to_owned();
        self.run("look at a path", move |images| {
            let root = Self::root(images, &details, Access::Read)?;
            Ok(archive::stat(root.as_fd(), &path)?)
        })
        .await
    }

    pub(super) async fn archive(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream), Failure> {
        let stat = self.path_stat(name, path).await?;
        let details = self.engine.inspect(name, false).await?;
        self.engine.publish(name, "archive-path", &[])?;
        let (images, path) = (self.images.clone(), path.to_owned());
        let bytes = written(&self.tasks, "archive a path", move |out: &mut dyn Write| {
            let root = Self::root(&images, &details, Access::Read)?;
            archive::export(root.as_fd(), &path, out)?;
            Ok(())
        });
        Ok((stat, bytes))
    }

    pub(super) async fn unarchive(
        &self,
        name: &str,
        path: &str,
        options: ArchivePutOptions,
        bytes: ByteStream,
    ) -> Result<(), Failure> {
        let details = self.engine.inspect(name, false).await?;
        refuse_mounts(&details, path)?;
        let path = path.to_owned();
        let input = reader(bytes);
        let options = ImportOptions {
            overwrite: if options.no_overwrite_dir_non_dir {
                Overwrite::SameKind
            } else {
                Overwrite::Anything
            },
            owner: owner(options, &details)?,
            root: if details.spec.host.readonly_rootfs {
                RootAccess::ReadOnly
            } else {
                RootAccess::Writable
            },
        };
        self.run("unpack into a container", move |images| {
            let root = Self::root(images, &details, Access::Write)?;
            let input: Box<dyn Read + Send> = input;
            Ok(archive::import(root.as_fd(), &path, input, options)?)
        })
        .await?;
        Ok(self.engine.publish(name, "extract-to-dir", &[])?)
    }

    pub(super) async fn export(&self, name: &str) -> Result<ByteStream, Failure> {
        let details = self.engine.inspect(name, false).await?;
        self.engine.publish(name, "export", &[])?;
        let images = self.images.clone();
        Ok(written(&self.tasks, "export a container", move |out| {
            // The layers and not the process' root: volumes and /proc are no part of an export.
            let view = images.snapshots().view_container(&details.id)?;
            Ok(images.export(view.as_fd(), out)?)
        }))
    }

    /// Makes an image of a container, frozen meanwhile when it runs and that is asked for.
    pub(super) async fn commit(&self, request: CommitRequest) -> Result<Digest, Failure> {
        let details = self.engine.inspect(&request.container, false).await?;
        let name = details.id.as_str().to_owned();
        let running = details.state.phase == shoal_model::container::Phase::Running;
        let freeze = request.pause && running;
        if freeze {
            self.engine.pause(&name).await?;
        }
        let reference = request.reference.clone();
        let made =
            self.run("commit a container", move |images| make(images, &details, request)).await;
        if freeze {
            // Also when the commit failed: the container must go on.
            self.engine.unpause(&name).await?;
        }
        let id = made?;
        let named = reference.map(|reference| reference.familiar()).unwrap_or_default();
        self.engine.publish(&name, "commit", &[("comment", named), ("imageID", id.to_string())])?;
        Ok(id)
    }

    pub(super) async fn top(&self, name: &str, ps_args: &[String]) -> Result<TopResult, Failure> {
        let pids = self.engine.pids(name).await?;
        let pids: Vec<i32> = pids.into_iter().filter_map(|pid| i32::try_from(pid).ok()).collect();
        let words = ps_args.join(" ");
        let table = self.run("list processes", move |_| Ok(top::list(&pids, &words)?)).await?;
        self.engine.publish(name, "top", &[])?;
        Ok(TopResult { titles: table.titles, processes: table.processes })
    }

    /// One sample at once, then one each second.
    pub(super) async fn stats(&self, name: &str) -> Result<Stream<StatsSample>, Failure> {
        let id = self.engine.resolve(name)?;
        let files = self.clone();
        let samples = futures_util::stream::unfold(Duration::ZERO, move |wait| {
            let (files, id) = (files.clone(), id.clone());
            async move {
                files.clock.sleep(wait).await;
                let sample = match files.sample(id.as_str()).await {
                    // The container is gone: so is its stream.
                    Err(failure) if matches!(failure.fact(), Some(Fact::NoSuch { .. })) => {
                        return None;
                    }
                    other => other,
                };
                Some((sample, SAMPLE_PERIOD))
            }
        });
        Ok(samples.boxed())
    }

    async fn sample(&self, name: &str) -> Result<StatsSample, Failure> {
        let details = self.engine.inspect(name, false).await?;
        if !details.state.phase.is_live() {
            return Ok(StatsSample::default());
        }
        let (pid, now) = (details.state.pid, self.clock.now());
        let own_network = details.spec.host.network_mode != NetworkMode::Host;
        let sampled = self
            .run("read statistics", move |_| {
                let cgroups = Cgroups::of_process(pid)?;
                let unified = matches!(cgroups, Cgroups::V2(_));
                Ok((stats::sample(&cgroups, own_network.then_some(pid), now)?, unified))
            })
            .await;
        match sampled {
            Ok((sample, unified)) => Ok(convert(sample, unified)),
            // It ended while its files were read.
            Err(failure) => match self.engine.inspect(name, false).await {
                Ok(details) if details.state.phase.is_live() && details.state.pid == pid => {
                    Err(failure)
                }
                Ok(_) => Ok(StatsSample::default()),
                Err(gone) => Err(gone.into()),
            },
        }
    }
}

/// The volumes of a container that does not run are not mounted: a path in one would name what lies beneath.
fn refuse_mounts(details: &ContainerDetails, path: &str) -> Result<(), Failure> {
    let live = details.state.phase.is_live();
    let clean = format!("/{}", path.trim_matches('/'));
    let inside = |destination: &str| {
        clean == destination
            || clean.strip_prefix(destination).is_some_and(|rest| rest.starts_with('/'))
    };
    match details.mounts.iter().find(|mount| !live && inside(&mount.destination)) {
        None => Ok(()),
        Some(mount) => Err(Failure::new(
            ErrorKind::NotImplemented,
            format!(
                "cannot copy `{path}` while container `{}` is stopped: it lies on the mount `{}`; start the container first",
                details.name, mount.destination
            ),
        )),
    }
}

/// With `copyUIDGID` the files belong to the container's user, which must then be given by number.
fn owner(options: ArchivePutOptions, details: &ContainerDetails) -> Result<Owner, Failure> {
    let user = details.spec.user.as_str();
    if !options.copy_uid_gid || user.is_empty() {
        return Ok(Owner::Archive);
    }
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(Owner::Fixed { uid, gid }),
        _ => Err(Failure::new(
            ErrorKind::NotImplemented,
            format!("copyUIDGID is not implemented for users given by name (`{user}`)"),
        )),
    }
}

fn make(
    images: &Images,
    details: &ContainerDetails,
    request: CommitRequest,
) -> Result<Digest, Failure> {
    let parent = details.image_id.and_then(|id| images.get(id));
    let spec = &details.spec;
    let defaults = request.overrides.unwrap_or_else(|| ImageDefaults {
        user: spec.user.clone(),
        exposed_ports: spec.exposed_ports.clone(),
        env: spec.env.clone(),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        volumes: spec.volumes.clone(),
        working_dir: spec.working_dir.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        healthcheck: spec.healthcheck.clone(),
        shell: spec.shell.clone(),
        on_build: spec.on_build.clone(),
    });
    let options = CommitOptions {
        defaults,
        changes: request.changes,
        author: request.author,
        comment: request.comment,
        created_by: std::iter::once(&details.path)
            .chain(&details.args)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
        parent: parent.as_ref().map(|parent| parent.id),
        parent_config: parent
            .as_ref()
            .map(|parent| parent.config_json.clone().into_bytes())
            .unwrap_or_default(),
    };
    let base = parent.as_ref().map(|parent| parent.layers.clone()).unwrap_or_default();
    let image = images.commit(&details.id, &base, &options)?;
    if let Some(reference) = request.reference {
        images.tag(&reference.or_latest(), image.id)?;
    }
    Ok(image.id)
}

fn convert(sample: Sample, unified: bool) -> StatsSample {
    let nanos = Duration::from_nanos;
    let entries = |entries: Vec<stats::BlockIoEntry>| {
        let convert = |entry: stats::BlockIoEntry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            operation: entry.operation,
            value: entry.value,
        };
        entries.into_iter().map(convert).collect()
    };
    StatsSample {
        at: Some(sample.read),
        cpu: CpuStats {
            total: nanos(sample.cpu.total),
            user: nanos(sample.cpu.user),
            kernel: nanos(sample.cpu.kernel),
            per_cpu: sample.cpu.per_cpu.into_iter().map(nanos).collect(),
            system: nanos(sample.cpu.system),
            online_cpus: sample.cpu.online_cpus,
            periods: sample.cpu.periods,
            throttled_periods: sample.cpu.throttled_periods,
            throttled: nanos(sample.cpu.throttled_time),
        },
        memory: MemoryStats {
            usage: sample.memory.usage,
            max_usage: (sample.memory.max_usage > 0).then_some(sample.memory.max_usage),
            limit: sample.memory.limit,
            fail_count: (!unified).then_some(sample.memory.failures),
            details: sample.memory.stats,
            unified,
        },
        pids: PidsStats { current: sample.pids.current, limit: sample.pids.limit.unwrap_or(0) },
        blkio: BlkioStats {
            service_bytes: entries(sample.block_io.bytes),
            serviced: entries(sample.block_io.operations),
        },
        networks: sample
            .networks
            .into_iter()
            .map(|(name, n)| {
                let stats = InterfaceStats {
                    rx_bytes: n.rx_bytes,
                    rx_packets: n.rx_packets,
                    rx_errors: n.rx_errors,
                    rx_dropped: n.rx_dropped,
                    tx_bytes: n.tx_bytes,
                    tx_packets: n.tx_packets,
                    tx_errors: n.tx_errors,
                    tx_dropped: n.tx_dropped,
                };
                (name, stats)
            })
            .collect(),
    }
}
