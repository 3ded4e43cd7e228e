//! An engine of its own for each test: temporary roots, own cgroup parent, real shims, busybox image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{SystemClock, SystemDisk};
use shoal_engine::config::{Config, OWN_RUNTIME};
use shoal_engine::events::Bus;
use shoal_engine::networking::{
    AttachRequest, Attached, Disconnected, EndpointRequest, NetworkReference, NetworkSettings,
    Networking, RestoreSandbox,
};
use shoal_engine::runtime_spec::DaemonDefaults;
use shoal_engine::{Engine, Parts};
use shoal_engine_images::archive::load;
use shoal_engine_images::image::Images;
use shoal_engine_images::testing::TestImage;
use shoal_model::container::{
    ContainerSpec, CreateRequest, LogOptions, LogSpec, NetworkMode, OutputKind, RemoveOptions,
    WaitCondition, WaitOutcome,
};
use shoal_model::exec::{ExecSpec, ExecStart};
use shoal_model::{ContainerId, Event, EventQuery, ExecId, Failure, NetworkId};

/// The name of the test image.
pub(crate) const IMAGE: &str = "busybox:latest";

/// Networking that gives every container an empty stack of its own.
#[derive(Debug, Default)]
pub(crate) struct Loopback {
    pub(crate) attached: std::sync::Mutex<std::collections::BTreeSet<ContainerId>>,
}

#[async_trait]
impl Networking for Loopback {
    async fn resolve(&self, name: &str) -> Result<NetworkReference, Failure> {
        let id = NetworkId::from_bytes([7; 32]);
        Ok(NetworkReference { id, name: name.to_owned(), driver: "bridge".to_owned() })
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, Failure> {
        self.attached.lock().unwrap().insert(request.container);
        Ok(Attached { settings: NetworkSettings::default(), descriptors: Vec::new() })
    }

    async fn detach(&self, container: &ContainerId) -> Result<(), Failure> {
        self.attached.lock().unwrap().remove(container);
        Ok(())
    }

    async fn restore(
        &self,
        sandboxes: Vec<RestoreSandbox>,
    ) -> Result<BTreeMap<ContainerId, Result<NetworkSettings, Failure>>, Failure> {
        let mut attached = self.attached.lock().unwrap();
        *attached = sandboxes.iter().map(|one| one.request.container.clone()).collect();
        Ok(sandboxes.into_iter().map(|one| (one.request.container, Ok(one.settings))).collect())
    }

    async fn connect(
        &self,
        _container: &ContainerId,
        _endpoint: EndpointRequest,
    ) -> Result<Attached, Failure> {
        Ok(Attached { settings: NetworkSettings::default(), descriptors: Vec::new() })
    }

    async fn disconnect(
        &self,
        _container: &ContainerId,
        _network: &NetworkId,
    ) -> Result<Disconnected, Failure> {
        Ok(Disconnected { settings: NetworkSettings::default(), drop: Vec::new() })
    }

    async fn rename(&self, _container: &ContainerId, _name: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// The shim: `SHOAL_SHIM`, or built once.
fn shim() -> PathBuf {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        if let Some(path) = std::env::var_os("SHOAL_SHIM") {
            return path.into();
        }
        let mut build = shoal_base::command::new(env!("CARGO"));
        build.envs(std::env::vars_os()).current_dir(env!("CARGO_MANIFEST_DIR"));
        build.args(["build", "--quiet", "--package", "shoal-shim", "--profile", "shim"]);
        assert!(build.status().unwrap().success(), "the shim does not build");
        // This program is `<target>/<profile>/deps/kernel-…`.
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(3).unwrap().join("shim/shoal-shim")
    })
    .clone()
}

/// One host.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) networking: Arc<Loopback>,
    pub(crate) root: tempfile::TempDir,
    pub(crate) exec_root: tempfile::TempDir,
    pub(crate) cgroup: String,
    tasks: Tasks,
}

impl Host {
    /// An engine with the test image and no containers.
    pub(crate) async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let exec_root = tempfile::Builder::new().tempdir_in("/run").unwrap();
        let unique = root.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let cgroup = format!("/shoal-test-{unique}");
        let images = Images::open(root.path(), Arc::new(SystemClock)).unwrap();
        let mut archive = Vec::new();
        TestImage::busybox().unwrap().named(IMAGE).write_archive(&mut archive).unwrap();
        let input = Box::new(std::io::Cursor::new(archive));
        images.load(input, &load::Options::default(), &|_| {}).unwrap();
        drop(images);
        let networking = Arc::new(Loopback::default());
        let (engine, tasks) = open(root.path(), exec_root.path(), &cgroup, &networking).await;
        Self { engine, networking, root, exec_root, cgroup, tasks }
    }

    /// The daemon goes down, as far as its containers can tell, and comes up again.
    pub(crate) async fn restart_daemon(&mut self) {
        self.stop_daemon().await;
        self.start_daemon().await;
    }

    pub(crate) async fn stop_daemon(&mut self) {
        self.tasks.shut_down().await;
    }

    pub(crate) async fn start_daemon(&mut self) {
        self.networking = Arc::new(Loopback::default());
        let (engine, tasks) =
            open(self.root.path(), self.exec_root.path(), &self.cgroup, &self.networking).await;
        self.engine = engine;
        self.tasks = tasks;
    }

    /// Creates a container that runs a shell script; `change` changes its spec.
    pub(crate) async fn create(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut ContainerSpec),
    ) -> ContainerId {
        let mut spec = ContainerSpec {
            image: IMAGE.to_owned(),
            command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
            ..ContainerSpec::default()
        };
        spec.host.network_mode = NetworkMode::None;
        change(&mut spec);
        let request = CreateRequest { name: Some(name.to_owned()), platform: None, spec };
        self.engine.create(request).await.unwrap().id
    }

    /// Starts a container and waits for its end.
    pub(crate) async fn run_to_end(&self, name: &str) -> WaitOutcome {
        let exit = self.engine.wait(name, WaitCondition::NextExit).unwrap();
        self.engine.start(name).await.unwrap();
        within(exit).await
    }

    /// All of a container's log, `1:` before lines of stdout and `2:` before those of stderr.
    pub(crate) async fn log(&self, name: &str) -> String {
        let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        let logs = self.engine.logs(name, options).await.unwrap();
        let lines: Vec<String> = logs
            .records
            .map(|record| {
                let record = record.unwrap();
                let stream = if record.kind == OutputKind::Stdout { 1 } else { 2 };
                format!("{stream}:{}", String::from_utf8(record.line).unwrap())
            })
            .collect()
            .await;
        lines.concat()
    }

    /// Runs a program in a container and gives its standard output.
    pub(crate) async fn exec(&self, name: &str, words: &[&str]) -> String {
        let spec = ExecSpec {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            attach_stdout: true,
            ..ExecSpec::default()
        };
        let id = self.engine.exec_create(name, spec).unwrap();
        let session = self.engine.exec_start(id.as_str(), ExecStart::default()).await.unwrap();
        crate::streams::collect(session.unwrap()).await.0
    }

    /// Waits until a container has logged `text`.
    pub(crate) async fn wait_for_log(&self, name: &str, text: &str) {
        let options =
            LogOptions { stdout: true, stderr: true, follow: true, ..LogOptions::default() };
        let mut records = self.engine.logs(name, options).await.unwrap().records;
        within(async {
            while let Some(record) = records.next().await {
                if String::from_utf8(record.unwrap().line).unwrap().contains(text) {
                    return;
                }
            }
            panic!("`{name}` ended without `{text}`");
        })
        .await;
    }

    /// Waits until the engine has heard of an exec's end.
    pub(crate) async fn until_exec_ended(&self, id: &ExecId) {
        until(self, |event| {
            event.action == "exec_die" && event.attributes["execID"] == id.as_str()
        })
        .await;
    }

    /// Waits until a file exists, without an engine that could tell.
    pub(crate) async fn until_exists(&self, path: &Path) {
        let clock: Arc<dyn shoal_base::Clock> = Arc::new(SystemClock);
        within(async {
            while !path.exists() {
                clock.sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub(crate) async fn remove(&self, name: &str) {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        self.engine.remove(name, options).await.unwrap();
    }

    /// Events so far, as `action` words of containers.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let query = EventQuery {
            since: Some(shoal_model::Timestamp::from_nanos(0)),
            until: Some(shoal_base::Clock::now(&SystemClock)),
            ..EventQuery::default()
        };
        self.engine.events().follow(query).collect().await
    }

    pub(crate) async fn actions(&self) -> String {
        let events = self.events().await;
        let words: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
        words.join(" ")
    }

    /// Everything must be gone: shims, run directories, container directories, layers, cgroups, mounts,
    /// sandboxes.
    pub(crate) async fn finish(self) {
        for container in self.engine.list(everything()).await.unwrap() {
            self.remove(&container.name).await;
        }
        self.tasks.shut_down().await;
        assert_empty(&self.exec_root.path().join("shim"));
        assert_empty(&self.root.path().join("containers"));
        assert_empty(&self.root.path().join("snapshots/containers"));
        assert!(self.networking.attached.lock().unwrap().is_empty());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for root in [self.root.path(), self.exec_root.path()] {
            assert!(!mounts.contains(root.to_str().unwrap()), "mounts are left in {mounts}");
        }
        remove_cgroups(&self.cgroup);
    }
}

pub(crate) fn everything() -> shoal_model::container::ListOptions {
    shoal_model::container::ListOptions { all: true, ..Default::default() }
}

fn assert_empty(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Removes the test's own parent; a container's cgroup below it makes this fail.
fn remove_cgroups(parent: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path().join(parent.trim_start_matches('/'));
        if path.exists() {
            std::fs::remove_dir(&path)
                .unwrap_or_else(|error| panic!("{} is not empty: {error}", path.display()));
        }
    }
}

async fn open(
    root: &Path,
    exec_root: &Path,
    cgroup: &str,
    networking: &Arc<Loopback>,
) -> (Engine, Tasks) {
    let images = Images::open(root, Arc::new(SystemClock)).unwrap();
    let tasks = Tasks::new();
    let config = Config {
        root: root.to_owned(),
        exec_root: exec_root.to_owned(),
        shim: shim(),
        defaults: DaemonDefaults { cgroup_parent: cgroup.to_owned(), ..DaemonDefaults::default() },
        log: LogSpec { driver: "json-file".to_owned(), options: BTreeMap::new() },
        runtimes: BTreeMap::new(),
        default_runtime: OWN_RUNTIME.to_owned(),
        hostname: "testhost".to_owned(),
    };
    let clock = Arc::new(SystemClock);
    let parts = Parts {
        images: Arc::new(images),
        networking: Arc::clone(networking) as Arc<dyn Networking>,
        clock: clock.clone(),
        random: Arc::new(SystemRandom),
        disk: Arc::new(SystemDisk),
        tasks: tasks.clone(),
        events: Bus::new(clock),
    };
    (Engine::open(config, parts).await.unwrap(), tasks)
}

/// Bounds every wait of a test.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Waits until `check` holds, by looking at the engine's own events rather than by time.
pub(crate) async fn until(host: &Host, check: impl Fn(&Event) -> bool) -> Event {
    let query =
        EventQuery { since: Some(shoal_model::Timestamp::from_nanos(0)), ..EventQuery::default() };
    let mut events = std::pin::pin!(host.engine.events().follow(query));
    within(async {
        loop {
            let event = events.next().await.unwrap();
            if check(&event) {
                return event;
            }
        }
    })
    .await
}
