//! Several hosts on one machine: a namespace and a runtime each, joined by a bridge, and a client beside them.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shoal_base::random::SystemRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{SystemClock, SystemDisk};
use shoal_chaos_tests::scratch::Scratch;
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_netoverlay::{Networks, Ports, Settings};
use tokio::runtime::Runtime;

use super::{inside, sh};

/// All of them.
pub struct Hosts {
    directory: Scratch,
    /// From one on.
    hosts: Vec<Host>,
}

/// One host.
pub struct Host {
    pub path: PathBuf,
    pub settings: Settings,
    runtime: Option<Runtime>,
    networks: Option<Networks>,
    tasks: Tasks,
}

impl Hosts {
    /// `count` hosts with started networks.
    pub fn new(count: usize) -> Self {
        let directory = Scratch::new().unwrap();
        let mut hosts = Self { directory, hosts: Vec::new() };
        let fabric = hosts.make("fabric");
        inside(&fabric, "ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up");
        hosts.plug("client", 100);
        for number in 1..=count {
            let path = hosts.plug(&format!("host{number}"), number);
            let root = hosts.directory.path().join(format!("root{number}"));
            let mut settings = Settings::new(root.join("data"), root.join("exec"));
            settings.spare_namespaces = 1;
            let tasks = Tasks::new();
            filter_bridged(&path, false);
            let mut host = Host { path, settings, runtime: None, networks: None, tasks };
            host.start();
            hosts.hosts.push(host);
        }
        hosts
    }

    pub fn client(&self) -> PathBuf {
        self.directory.path().join("client")
    }

    /// From one on.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number - 1]
    }

    /// A container as one makes it by hand: a namespace with `address` at a bridge of the host that `device` is a port of.
    pub fn container_by_hand(&self, host: usize, device: &str, address: &str) -> PathBuf {
        let path = self.make(&format!("hand{host}"));
        let lines = format!(
            "ip link add handbr type bridge mcast_snooping 0 && ip link set handbr mtu 1450 up && \
             ip link set {device} master handbr && \
             ip link add handv master handbr mtu 1450 type veth peer name eth0 mtu 1450 netns {} && \
             ip link set handv up",
            path.display()
        );
        inside(&self.host(host).path, &lines);
        inside(&path, &format!("ip link set eth0 up && ip addr add {address} dev eth0"));
        path
    }

    fn make(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        Namespace::create().unwrap().pin(&path).unwrap();
        inside(&path, "ip link set lo up; sysctl -qw net.ipv6.conf.lo.disable_ipv6=0");
        path
    }

    fn plug(&self, name: &str, number: usize) -> PathBuf {
        let path = self.make(name);
        let fabric = self.directory.path().join("fabric");
        sh(&format!(
            "nsenter --net={} ip link add eth0 type veth peer name p{number} netns {}",
            path.display(),
            fabric.display()
        ));
        inside(&fabric, &format!("ip link set p{number} master br0 up"));
        for line in [
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0",
            "sysctl -qw net.ipv4.conf.all.rp_filter=1",
            &format!("ip addr add 203.0.113.{number}/24 dev eth0"),
            &format!("ip -6 addr add fd00:203::{number:x}/64 dev eth0 nodad"),
            "ip link set eth0 up",
        ] {
            inside(&path, line);
        }
        path
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The directory takes along what is pinned beneath.
        self.hosts.iter_mut().for_each(Host::stop);
    }
}

impl Host {
    /// A daemon's networks. `live`: what is to be taken over.
    pub fn start_with(&mut self, live: &[&str]) {
        let namespace = Namespace::open(&self.path).unwrap();
        let runtime = namespace.run(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().unwrap()
        });
        self.runtime = Some(runtime.unwrap());
        self.tasks = Tasks::new();
        let ports = Ports {
            disk: Arc::new(SystemDisk),
            random: Arc::new(SystemRandom),
            clock: Arc::new(SystemClock),
            tasks: self.tasks.clone(),
        };
        let settings = self.settings.clone();
        let live = live.iter().map(|name| (super::id(name), Vec::new())).collect();
        let networks = self.run(async move {
            let networks = Networks::open(settings, ports).await.unwrap();
            for (id, restored) in networks.restore(live).await.unwrap() {
                restored.unwrap_or_else(|error| panic!("{id}: {error}"));
            }
            networks
        });
        self.networks = Some(networks);
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Ends as a daemon that is killed: nothing is tidied up.
    pub fn stop(&mut self) {
        self.networks = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }

    pub fn networks(&self) -> Networks {
        self.networks.clone().unwrap()
    }

    /// Runs in the host's namespace.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.runtime.as_ref().unwrap().handle().spawn(async move {
            let _ = sender.send(future.await);
        });
        receiver.recv().unwrap()
    }
}

/// Whether bridged packets of a host pass its filters. `false`: the kernel has no such choice at the moment.
pub fn filter_bridged(namespace: &Path, on: bool) -> bool {
    let value = u8::from(on);
    let keys =
        ["iptables", "ip6tables"].map(|one| format!("net.bridge.bridge-nf-call-{one}={value}"));
    super::try_sh(&super::within(namespace, &format!("sysctl -qw {}", keys.join(" ")))).0
}

/// A server of datagrams that answers each with its name and the address that it came from.
pub fn serve_datagrams(namespace: &Path, address: &str, name: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Namespace::open(namespace).unwrap().run(|| UdpSocket::bind(address).unwrap());
    let (socket, name) = (socket.unwrap(), name.to_owned());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// A socket that sends datagrams from a namespace.
pub fn sender(namespace: &Path, to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    let bind = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let made = Namespace::open(namespace).unwrap().run(|| {
        let socket = UdpSocket::bind(bind).unwrap();
        socket.connect(to).unwrap();
        socket
    });
    let socket = made.unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    socket
}

/// Sends a datagram and reads the answer.
pub fn exchange(socket: &UdpSocket) -> Result<String, String> {
    socket.send(b"x").map_err(|error| error.kind().to_string())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|error| error.kind().to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A server that sends back what it gets, in a namespace.
pub fn echo(namespace: &Path, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = Namespace::open(namespace).unwrap().run(|| TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.unwrap().incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut back);
            });
        }
    });
}

/// A connection from a namespace.
pub fn stream(namespace: &Path, to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().unwrap();
    let limit = Duration::from_secs(2);
    let made = Namespace::open(namespace).unwrap().run(|| TcpStream::connect_timeout(&to, limit));
    let stream = made.unwrap().unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream
}
