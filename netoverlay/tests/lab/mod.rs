//! A host of its own for each test: a thread in fresh network and mount namespaces, with a neighbour on a
//! link. Everything is asserted through `ip`, `nft` and traffic.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, missing_debug_implementations, reason = "only tests use this")]

pub mod hosts;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{SystemClock, SystemDisk};
use shoal_chaos_tests::scratch::Scratch;
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_netoverlay::sandbox::{PortRequest, Sandbox, SandboxId, SandboxRequest};
use shoal_netoverlay::{Networks, Ports, Settings};

/// The host's address on the link to the neighbour.
pub const HOST: &str = "203.0.113.1";
/// The neighbour's.
pub const NEIGHBOUR: &str = "203.0.113.2";

/// One host.
pub struct Lab {
    directory: Scratch,
    pub settings: Settings,
    pub tasks: Tasks,
}

/// Runs a test on a host of its own.
#[expect(deprecated, reason = "safe here: no memory is shared through what is unshared")]
pub fn run<F: Future<Output = ()>>(body: impl FnOnce(Lab) -> F + Send + 'static) {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare};
    let thread = std::thread::spawn(move || {
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            let tasks = lab.tasks.clone();
            body(lab).await;
            tasks.shut_down().await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    fn new() -> Self {
        let directory = Scratch::new().unwrap();
        let mut settings =
            Settings::new(directory.path().join("data"), directory.path().join("exec"));
        settings.spare_namespaces = 2;
        let lab = Self { directory, settings, tasks: Tasks::new() };
        sh("ip link set lo up");
        // Without waiting for the detection of duplicates, packets can be forwarded at once.
        sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
        Namespace::create().unwrap().pin(&lab.neighbour()).unwrap();
        sh(&format!(
            "ip link add up0 type veth peer name eth0 netns {}",
            lab.neighbour().display()
        ));
        sh(&format!("ip addr add {HOST}/24 dev up0"));
        sh("ip -6 addr add fd00:203::1/64 dev up0 nodad");
        sh("ip link set up0 up");
        inside(&lab.neighbour(), &format!("ip addr add {NEIGHBOUR}/24 dev eth0"));
        inside(&lab.neighbour(), "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0");
        inside(&lab.neighbour(), "ip -6 addr add fd00:203::2/64 dev eth0 nodad");
        inside(&lab.neighbour(), "ip link set eth0 up");
        // The kernel may take a second to notice that a link has a carrier; before, packets are lost.
        for _ in 0..150 {
            let ends = [sh("ip link show up0"), inside(&lab.neighbour(), "ip link show eth0")];
            if ends.iter().all(|end| end.contains("state UP")) {
                return lab;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the link to the neighbour does not come up");
    }

    pub fn neighbour(&self) -> PathBuf {
        self.directory.path().join("neighbour")
    }

    /// A daemon's networks, not restored yet.
    pub async fn open(&self) -> Networks {
        let ports = Ports {
            disk: Arc::new(SystemDisk),
            random: Arc::new(SystemRandom),
            clock: Arc::new(SystemClock),
            tasks: self.tasks.clone(),
        };
        Networks::open(self.settings.clone(), ports).await.unwrap()
    }

    /// A daemon's networks on a fresh host.
    pub async fn start(&self) -> Networks {
        let networks = self.open().await;
        assert!(networks.restore([].into()).await.unwrap().is_empty());
        networks
    }

    /// Names of the files beneath the two roots that belong to sandboxes.
    pub fn leftovers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for directory in ["exec/netns", "exec/sandboxes"] {
            for entry in std::fs::read_dir(self.directory.path().join(directory)).unwrap() {
                names.push(entry.unwrap().file_name().into_string().unwrap());
            }
        }
        names
    }
}

pub fn id(text: &str) -> SandboxId {
    SandboxId::parse(text).unwrap()
}

/// A sandbox on the networks of these names.
pub async fn attach(networks: &Networks, name: &str, joins: &[&str]) -> Sandbox {
    let endpoints =
        joins.iter().map(|join| (networks.resolve(join).unwrap().id.clone(), Default::default()));
    let request =
        SandboxRequest { id: id(name), endpoints: endpoints.collect(), ports: Vec::new() };
    networks.attach(request).await.unwrap()
}

/// A sandbox with published ports.
pub async fn attach_with_ports(
    networks: &Networks,
    name: &str,
    joins: &[&str],
    ports: &[PortRequest],
) -> Result<Sandbox, shoal_netoverlay::Error> {
    let endpoints = joins
        .iter()
        .map(|join| (networks.resolve(join).unwrap().id.clone(), Default::default()))
        .collect();
    networks.attach(SandboxRequest { id: id(name), endpoints, ports: ports.to_vec() }).await
}

/// Runs a command line on the host; it must succeed.
#[track_caller]
pub fn sh(line: &str) -> String {
    let (ok, out) = try_sh(line);
    assert!(ok, "`{line}` failed: {out}");
    out
}

pub fn try_sh(line: &str) -> (bool, String) {
    let output = shoal_base::command::new("/bin/sh")
        .args(["-c", line])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command line in the namespace at a path.
#[track_caller]
pub fn inside(namespace: &Path, line: &str) -> String {
    sh(&within(namespace, line))
}

pub fn within(namespace: &Path, line: &str) -> String {
    format!("nsenter --net={} sh -c '{line}'", namespace.display())
}

pub fn pings(namespace: &Path, address: &str) -> bool {
    try_sh(&within(namespace, &format!("busybox ping -c 1 -W 1 {address}"))).0
}

/// Waits until only `count` veth ends are left on the host.
#[track_caller]
pub fn veths_left(count: usize) {
    for _ in 0..100 {
        let links = json(&sh("ip -j link show type veth"));
        if links.as_array().unwrap().len() == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{}", sh("ip link show type veth"));
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The rules as nft shows them, without handles and counters.
pub fn rules() -> String {
    sh("nft -s list ruleset")
}

/// A server that answers each connection with the address it came from, in a namespace.
pub fn serve(namespace: &Path, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let namespace = Namespace::open(namespace).unwrap();
    let listener = namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
    answer(listener);
}

/// The same on the host.
pub fn serve_on_host(address: &str) {
    answer(TcpListener::bind(address).unwrap());
}

pub fn answer(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip().to_string();
            stream.write_all(from.as_bytes()).unwrap();
        }
    });
}

/// Connects from a namespace and answers whose address the server saw.
pub fn ask(namespace: &Path, address: &str) -> Result<String, String> {
    let address: SocketAddr = address.parse().unwrap();
    Namespace::open(namespace).unwrap().run(|| connect(address)).unwrap()
}

/// The same, with more time for the answer.
pub fn ask_patiently(namespace: &Path, address: &str, limit: Duration) -> Result<String, String> {
    let address: SocketAddr = address.parse().unwrap();
    Namespace::open(namespace).unwrap().run(|| connect_within(address, limit)).unwrap()
}

/// The same from the host.
pub fn ask_on_host(address: &str) -> Result<String, String> {
    connect(address.parse().unwrap())
}

fn connect(address: SocketAddr) -> Result<String, String> {
    connect_within(address, Duration::from_millis(700))
}

fn connect_within(address: SocketAddr, limit: Duration) -> Result<String, String> {
    let mut stream =
        TcpStream::connect_timeout(&address, limit).map_err(|error| error.kind().to_string())?;
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind().to_string())?;
    Ok(text)
}
