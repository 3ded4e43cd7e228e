//! A backend in memory: one image, one container that echoes its stdin and exits with 7.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use shoal_api::ports::{
    ByteStream, Containers, Execs, Exit, Images, Inside, Logs, Networks, Ports, Session, Stream,
    System, Volumes,
};
use shoal_api::server::{Listener, serve};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SystemClock};
use shoal_model::container::*;
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::filters::*;
use shoal_model::image::*;
use shoal_model::network::{Network, NetworkDetails, NetworkSpec};
use shoal_model::system::*;
use shoal_model::volume::{Volume, VolumeSpec};
use shoal_model::*;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

type R<T> = Result<T, Failure>;

fn absent<T>(object: ObjectKind, name: &str) -> R<T> {
    let fact = Fact::NoSuch { object, name: name.to_owned() };
    Err(Failure::of(ErrorKind::NotFound, fact))
}

fn unsupported<T>() -> R<T> {
    Err(Failure::new(ErrorKind::NotImplemented, "not in the fake"))
}

pub fn container_id() -> ContainerId {
    ContainerId::from_bytes([0xc0; 32])
}

fn image_id() -> Digest {
    Digest::from_sha256([0x1a; 32])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_parts(1_700_000_000 + seconds, 0)
}

pub struct Fake {
    pub created: Mutex<Option<CreateRequest>>,
    pub exec: Mutex<Option<ExecSpec>>,
    /// Whether somebody follows the log.
    pub following: watch::Sender<bool>,
    exit: watch::Sender<bool>,
    pub clock: SharedClock,
}

impl Fake {
    fn state(&self) -> State {
        State {
            phase: Phase::Running,
            pid: 42,
            started: Some(self.clock.now()),
            exit: None,
            error: String::new(),
            health: None,
        }
    }
}

struct Following(watch::Sender<bool>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

fn known(name: &str) -> R<()> {
    if name == "echo" || container_id().as_str().starts_with(name) {
        return Ok(());
    }
    absent(ObjectKind::Container, name)
}

#[async_trait]
impl Inside for Fake {
    async fn called(&self, name: &str) -> R<(String, String)> {
        known(name)?;
        Ok((container_id().to_string(), "echo".into()))
    }
    async fn attach(&self, name: &str, _: AttachOptions) -> R<Session> {
        known(name)?;
        let (sender, receiver) = mpsc::channel(4);
        let exit = self.exit.clone();
        let output = stream::unfold((receiver, exit), |(mut receiver, exit)| async move {
            match receiver.recv().await {
                Some(Input::Data(bytes)) => {
                    Some((Ok(Output { kind: OutputKind::Stdout, bytes }), (receiver, exit)))
                }
                _ => {
                    exit.send_replace(true);
                    None
                }
            }
        });
        Ok(Session { output: output.boxed(), input: Some(sender), tty: false })
    }
    async fn resize(&self, _: &str, _: u32, _: u32) -> R<()> {
        unsupported()
    }
    async fn kill(&self, name: &str, _: &str) -> R<()> {
        known(name)
    }
    async fn wait(&self, name: &str, _: WaitCondition) -> R<Exit> {
        known(name)?;
        let mut exit = self.exit.subscribe();
        Ok(Box::pin(async move {
            let _ = exit.wait_for(|done| *done).await;
            Ok(WaitOutcome { code: 7, error: None })
        }))
    }
    async fn stats(&self, _: &str) -> R<Stream<StatsSample>> {
        let sample = |seconds| {
            let cpu =
                CpuStats { total: std::time::Duration::from_secs(seconds), ..Default::default() };
            Ok(StatsSample { at: Some(at(seconds.cast_signed())), cpu, ..Default::default() })
        };
        Ok(stream::iter([sample(1), sample(2)]).boxed())
    }
    async fn path_stat(&self, name: &str, path: &str) -> R<PathStat> {
        known(name)?;
        let (name, link_target) = (path.trim_start_matches('/').to_owned(), String::new());
        Ok(PathStat { name, size: 4096, mode: 0o040_755, modified: at(0), link_target })
    }
    async fn archive(&self, name: &str, _: &str) -> R<(PathStat, ByteStream)> {
        absent(ObjectKind::Container, name)
    }
    async fn unarchive(&self, _: &str, _: &str, _: ArchivePutOptions, _: ByteStream) -> R<()> {
        unsupported()
    }
}

#[async_trait]
impl Containers for Fake {
    async fn list(&self, _: ListOptions) -> R<Vec<ContainerSummary>> {
        Ok(vec![ContainerSummary {
            id: container_id(),
            name: "echo".into(),
            link_names: vec![],
            image: "busybox".into(),
            image_id: Some(image_id()),
            command: vec!["cat".into()],
            created: at(0),
            state: self.state(),
            labels: BTreeMap::new(),
            ports: vec![shoal_model::network::PublishedPort {
                container_port: 80,
                protocol: "tcp".into(),
                host_ip: Some("0.0.0.0".parse().unwrap()),
                host_port: Some(8080),
            }],
            network_mode: NetworkMode::Bridge,
            annotations: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            mounts: vec![],
            size: None,
        }])
    }
    async fn create(&self, request: CreateRequest) -> R<Created> {
        if request.spec.image != "busybox" {
            return absent(ObjectKind::Image, &request.spec.image);
        }
        *self.created.lock().unwrap() = Some(request);
        Ok(Created { id: container_id(), warnings: vec![] })
    }
    async fn inspect(&self, name: &str, _: bool) -> R<ContainerDetails> {
        known(name)?;
        let spec = self.created.lock().unwrap().clone().map(|request| request.spec);
        Ok(ContainerDetails {
            id: container_id(),
            name: "echo".into(),
            created: at(0),
            spec: spec.unwrap_or_default(),
            image_id: Some(image_id()),
            path: "cat".into(),
            args: vec![],
            state: State { started: Some(at(1)), ..self.state() },
            restart_count: 0,
            paths: ContainerPaths::default(),
            graph: GraphDriver { name: "overlay2".into(), data: BTreeMap::new() },
            platform: "linux".into(),
            mount_label: String::new(),
            process_label: String::new(),
            apparmor_profile: String::new(),
            execs: vec![],
            mounts: vec![],
            network: ContainerNetwork::default(),
            size: None,
        })
    }
    async fn start(&self, name: &str) -> R<()> {
        known(name)?;
        let spec = self.created.lock().unwrap().clone().unwrap_or_default().spec;
        if spec.command.is_some_and(|command| command[0] == "nope") {
            let reason = "exec: \"nope\": executable file not found in $PATH".to_owned();
            let fact = Fact::StartFailed { exit_code: 127, reason };
            return Err(Failure::of(ErrorKind::InvalidArgument, fact));
        }
        Ok(())
    }
    async fn stop(&self, name: &str, _: StopOptions) -> R<()> {
        known(name)?;
        Err(Failure::of(ErrorKind::NotModified, Fact::AlreadyInState))
    }
    async fn restart(&self, _: &str, _: StopOptions) -> R<()> {
        unsupported()
    }
    async fn pause(&self, _: &str) -> R<()> {
        unsupported()
    }
    async fn unpause(&self, _: &str) -> R<()> {
        unsupported()
    }
    async fn rename(&self, _: &str, _: &str) -> R<()> {
        unsupported()
    }
    async fn update(&self, _: &str, _: UpdateRequest) -> R<Vec<String>> {
        unsupported()
    }
    async fn remove(&self, name: &str, _: RemoveOptions) -> R<()> {
        known(name)
    }
    async fn logs(&self, name: &str, options: LogOptions) -> R<Logs> {
        known(name)?;
        if options.follow {
            self.following.send_replace(true);
            let guard = Following(self.following.clone());
            let records = stream::unfold(guard, |guard| async move {
                std::future::pending::<()>().await;
                drop(guard);
                None
            });
            return Ok(Logs { tty: false, records: records.boxed() });
        }
        let record = |seconds, kind, line: &str| {
            let line = line.as_bytes().to_vec();
            Ok(LogRecord { at: at(seconds), kind, line, attributes: BTreeMap::new() })
        };
        let all =
            vec![record(0, OutputKind::Stdout, "one\n"), record(1, OutputKind::Stderr, "two\n")];
        let skip = all.len().saturating_sub(options.tail.unwrap_or(all.len()));
        Ok(Logs { tty: false, records: stream::iter(all).skip(skip).boxed() })
    }
    async fn top(&self, _: &str, _: &[String]) -> R<TopResult> {
        unsupported()
    }
    async fn changes(&self, _: &str) -> R<Vec<PathChange>> {
        Ok(vec![])
    }
    async fn export(&self, name: &str) -> R<ByteStream> {
        known(name)?;
        Ok(stream::iter([Ok("tar".into())]).boxed())
    }
    async fn commit(&self, _: CommitRequest) -> R<Digest> {
        Ok(image_id())
    }
    async fn prune(&self, _: PruneFilters) -> R<Pruned> {
        Ok(Pruned::default())
    }
}

fn exec_id() -> ExecId {
    ExecId::from_bytes([0xec; 32])
}

#[async_trait]
impl Execs for Fake {
    async fn create(&self, container: &str, spec: ExecSpec) -> R<ExecId> {
        known(container)?;
        *self.exec.lock().unwrap() = Some(spec);
        Ok(exec_id())
    }
    async fn start(&self, _: &str, _: ExecStart) -> R<Option<Session>> {
        let spec = self.exec.lock().unwrap().clone().unwrap();
        if spec.command[0] == "nope" {
            let reason = "exec: \"nope\": executable file not found in $PATH".to_owned();
            let fact = Fact::StartFailed { exit_code: 127, reason };
            return Err(Failure::of(ErrorKind::InvalidArgument, fact));
        }
        self.attach("echo", AttachOptions::default()).await.map(Some)
    }
    async fn resize(&self, _: &str, _: u32, _: u32) -> R<()> {
        Ok(())
    }
    async fn inspect(&self, id: &str) -> R<ExecDetails> {
        let spec = self.exec.lock().unwrap().clone();
        let Some(spec) = spec.filter(|_| exec_id().as_str() == id) else {
            return absent(ObjectKind::Exec, id);
        };
        let exit_code = Some(if spec.command[0] == "nope" { 127 } else { 3 });
        let (container, running) = (container_id(), false);
        Ok(ExecDetails {
            id: exec_id(),
            container,
            spec,
            running,
            exit_code,
            pid: 0,
            can_remove: true,
        })
    }
}

#[async_trait]
impl Images for Fake {
    async fn list(&self, _: ImageListOptions) -> R<Vec<ImageSummary>> {
        Ok(vec![ImageSummary {
            id: image_id(),
            parent: None,
            tags: vec!["busybox:latest".parse().unwrap()],
            digests: vec![],
            created: Some(at(0)),
            size: 4_261_550,
            shared_size: None,
            labels: BTreeMap::new(),
            containers: None,
        }])
    }
    async fn inspect(&self, name: &str, _: Option<Platform>) -> R<ImageDetails> {
        absent(ObjectKind::Image, name)
    }
    async fn history(&self, _: &str, _: Option<Platform>) -> R<Vec<HistoryEntry>> {
        unsupported()
    }
    async fn tag(&self, _: &str, _: Reference) -> R<()> {
        Ok(())
    }
    async fn remove(&self, name: &str, _: ImageRemoveOptions) -> R<Vec<ImageRemoval>> {
        absent(ObjectKind::Image, name)
    }
    async fn prune(&self, _: PruneFilters) -> R<ImagePruned> {
        Ok(ImagePruned::default())
    }
    async fn pull(&self, request: PullRequest) -> R<Stream<Progress>> {
        let reference = request.reference;
        Ok(stream::iter([
            Ok(Progress::PullingFrom { repository: reference.path().into(), tag: "latest".into() }),
            Ok(Progress::Layer { id: "0123456789ab".into(), step: LayerStep::PullComplete }),
            Err(Failure::new(ErrorKind::Unavailable, "registry went away")),
        ])
        .boxed())
    }
    async fn push(&self, _: PushRequest) -> R<Stream<Progress>> {
        unsupported()
    }
    async fn load(&self, _: ByteStream, _: Vec<Platform>) -> R<Stream<Progress>> {
        unsupported()
    }
    async fn save(&self, _: Vec<String>, _: Vec<Platform>) -> R<ByteStream> {
        unsupported()
    }
    async fn import(&self, _: ImportRequest, _: ByteStream) -> R<Stream<Progress>> {
        unsupported()
    }
    async fn distribution(&self, _: Reference, _: Option<Credentials>) -> R<DistributionDetails> {
        unsupported()
    }
    async fn search(&self, _: SearchRequest) -> R<Vec<SearchHit>> {
        Ok(vec![])
    }
    async fn login(&self, _: Credentials) -> R<LoginOutcome> {
        Err(Failure::new(ErrorKind::Unauthorized, "incorrect username or password"))
    }
}

#[async_trait]
impl Volumes for Fake {
    async fn list(&self, _: VolumeFilters) -> R<Vec<Volume>> {
        Ok(vec![])
    }
    async fn create(&self, _: VolumeSpec) -> R<Volume> {
        unsupported()
    }
    async fn inspect(&self, name: &str) -> R<Volume> {
        absent(ObjectKind::Volume, name)
    }
    async fn remove(&self, name: &str, _: bool) -> R<()> {
        absent(ObjectKind::Volume, name)
    }
    async fn prune(&self, _: PruneFilters) -> R<Pruned> {
        Ok(Pruned::default())
    }
}

#[async_trait]
impl Networks for Fake {
    async fn list(&self, _: NetworkFilters) -> R<Vec<Network>> {
        Ok(vec![])
    }
    async fn create(&self, _: NetworkSpec) -> R<(NetworkId, Vec<String>)> {
        unsupported()
    }
    async fn inspect(&self, name: &str) -> R<NetworkDetails> {
        absent(ObjectKind::Network, name)
    }
    async fn remove(&self, name: &str) -> R<()> {
        absent(ObjectKind::Network, name)
    }
    async fn connect(&self, _: &str, _: &str, _: EndpointSpec) -> R<()> {
        unsupported()
    }
    async fn disconnect(&self, _: &str, _: &str, _: bool) -> R<()> {
        unsupported()
    }
    async fn prune(&self, _: PruneFilters) -> R<Pruned> {
        Ok(Pruned::default())
    }
}

#[async_trait]
impl System for Fake {
    async fn info(&self) -> R<SystemInfo> {
        let storage_driver = "overlay2".to_owned();
        Ok(SystemInfo {
            name: "fake".into(),
            storage_driver,
            cgroup_version: 1,
            ..Default::default()
        })
    }
    fn version(&self) -> VersionInfo {
        VersionInfo { version: "0.1.0".into(), architecture: "amd64".into(), ..Default::default() }
    }
    async fn disk_usage(&self, _: DiskUsageParts) -> R<DiskUsage> {
        let empty = || Some(vec![]);
        Ok(DiskUsage { layers: 0, images: empty().map(|_: Vec<()>| vec![]), ..Default::default() })
    }
    async fn events(&self, query: EventQuery) -> R<Stream<Event>> {
        let event = |kind, action: &str| Event {
            at: at(0),
            kind,
            action: action.to_owned(),
            actor: "x".into(),
            attributes: BTreeMap::from([("image".to_owned(), "busybox".to_owned())]),
            scope: EventScope::Local,
        };
        let all = vec![event(EventKind::Container, "start"), event(EventKind::Volume, "create")];
        let wanted = all.into_iter().filter(|event| query.filters.matches(event)).map(Ok);
        Ok(stream::iter(wanted.collect::<Vec<_>>()).boxed())
    }
}

/// A server on a socket of its own; gone when dropped.
pub struct Served {
    pub socket: PathBuf,
    pub fake: Arc<Fake>,
    pub tasks: Tasks,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
        let _ = std::fs::remove_file(&self.socket);
    }
}

pub fn ports(fake: &Arc<Fake>, tasks: &Tasks) -> Ports {
    Ports {
        containers: fake.clone(),
        execs: fake.clone(),
        images: fake.clone(),
        volumes: fake.clone(),
        networks: fake.clone(),
        system: fake.clone(),
        cluster: None,
        clock: Arc::clone(&fake.clock),
        tasks: tasks.clone(),
        unread: Arc::new(|_| Ok(0)),
    }
}

pub fn served(name: &str) -> Served {
    let socket = std::env::temp_dir().join(format!("shoal-api-{}-{name}.sock", std::process::id()));
    let clock: SharedClock = Arc::new(SystemClock);
    let (created, exit) = (Mutex::new(None), watch::Sender::new(false));
    let fake = Arc::new(Fake {
        created,
        exec: Mutex::new(None),
        following: watch::Sender::new(false),
        exit,
        clock: Arc::clone(&clock),
    });
    let tasks = Tasks::new();
    let ports = ports(&fake, &tasks);
    let listener = Listener::Unix(UnixListener::bind(&socket).unwrap());
    let server = serve(listener, shoal_api::router(ports), tasks.clone(), clock);
    tasks.spawn(TaskKind::ApiListener, server);
    Served { socket, fake, tasks }
}

/// Runs the docker CLI with `stdin`; gives exit code, stdout and stderr.
pub async fn docker(socket: &Path, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    use std::io::Write as _;
    use std::process::Stdio;
    // Where the tests' own search path has it: a machine without docker has it unpacked beside the build.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join("docker"));
    let program = found.find(|program| program.is_file()).expect("a docker CLI on the path");
    let mut command = shoal_base::command::new(program);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("HOME", "/nonexistent");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let stdin = stdin.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = shoal_base::blocking::run("docker", run).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
