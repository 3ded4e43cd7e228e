//! The budgets of one host's networks. Run by `cargo xtask bench`.
//!
//! Differences of whole starts are what a network costs a user; the bare kernel is measured in the same run.

#![allow(clippy::cast_precision_loss, reason = "a report for people")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shoal_chaos_tests::command::{command, monotonic, stdout};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::image;
use shoal_chaos_tests::network::enter;
use shoal_report::{Row, Sheet};

const ROUNDS: usize = 30;
/// Bytes through a bridge in one round.
const VOLUME: usize = 1 << 30;
/// Queries of one sender.
const QUERIES: usize = 20_000;
const SENDERS: usize = 4;
/// Queries of one sender under way.
const WINDOW: usize = 16;
const NAME_SERVER: &str = "127.0.0.11:53";

fn main() -> anyhow::Result<()> {
    let host = Host::start(&["--log-level", "warn"])?;
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs)?;
    host.docker(&["import", &rootfs.display().to_string(), "busybox:latest"])?;
    host.docker(&["network", "create", "front"])?;
    let mut sheet = Sheet::begin()?;
    starts(&host, &mut sheet)?;
    names(&host, &mut sheet)?;
    throughput(&host, &mut sheet)?;
    sheet.finish();
    host.finish()
}

/// Creates and starts a container; answers its id and how long the start took, in milliseconds.
fn start(api: &mut Connection, network: &str, ports: &Value) -> anyhow::Result<(String, f64)> {
    let exposed: Value =
        ports.as_object().into_iter().flatten().map(|(key, _)| (key.clone(), json!({}))).collect();
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL",
        "ExposedPorts": exposed,
        "HostConfig": { "NetworkMode": network, "PortBindings": ports },
    });
    let answer = api.call("POST", "/containers/create", body.to_string().as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let id = answer["Id"].as_str().context("no Id")?.to_owned();
    let begin = monotonic();
    api.call("POST", &format!("/containers/{id}/start"), b"")?;
    Ok((id, (monotonic() - begin).as_secs_f64() * 1e3))
}

fn remove(api: &mut Connection, id: &str) -> anyhow::Result<()> {
    api.call("DELETE", &format!("/containers/{id}?force=1"), b"").map(drop)
}

/// What a network, and a port beside a thousand, add to a start. Kinds alternate, so that a change of the
/// machine's load hits all.
fn starts(host: &Host, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut api = Connection::open(&host.socket())?;
    let binding = |port: u16| (format!("{port}/tcp"), json!([{ "HostPort": port.to_string() }]));
    let mut many = Vec::new();
    for group in 0..10_u16 {
        let first = 20_000 + group * 100;
        let ports: Value = (first..first + 100).map(binding).collect();
        many.push(start(&mut api, "bridge", &ports)?.0);
    }
    let mut starts = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        let one: Value = [binding(30_000 + u16::try_from(round)?)].into_iter().collect();
        let kinds = [("none", json!({})), ("bridge", json!({})), ("bridge", one)];
        for (starts, (mode, ports)) in starts.iter_mut().zip(&kinds) {
            let (id, milliseconds) = start(&mut api, mode, ports)?;
            starts.push(milliseconds);
            remove(&mut api, &id)?;
        }
    }
    for id in many {
        remove(&mut api, &id)?;
    }
    let [none, bridge, published] = starts.map(|mut starts| {
        starts.sort_unstable_by(f64::total_cmp);
        starts[starts.len() / 2]
    });
    // Differences of medians: single differences are mostly the noise of two starts.
    let how = "difference of medians of 30 starts with and without";
    sheet.add(Row::at_most("network of a container", "ms", &[bridge - none], 5.0).how(how))?;
    sheet.add(Row::at_most("a port beside 1,000", "ms", &[published - bridge], 3.0).how(how))?;
    Ok(())
}

fn namespace(host: &Host, id: &str) -> anyhow::Result<PathBuf> {
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", id])?;
    Ok(PathBuf::from(format!("/proc/{pid}/ns/net")))
}

/// Runs a job on a thread inside a namespace.
fn inside<T: Send + 'static>(
    namespace: &Path,
    job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> std::thread::JoinHandle<anyhow::Result<T>> {
    let namespace = namespace.to_owned();
    std::thread::spawn(move || {
        enter(&namespace)?;
        job()
    })
}

fn join<T>(thread: std::thread::JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// Answers of the name server about a container.
fn names(host: &Host, sheet: &mut Sheet) -> anyhow::Result<()> {
    let id = host.docker(&[
        "run",
        "-d",
        "--name",
        "named",
        "--network",
        "front",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let namespace = namespace(host, &id)?;
    let one = join(inside(&namespace, || ask(QUERIES / 4, 1)))?;
    let figures: Vec<f64> = one.iter().map(|took| took.as_secs_f64() * 1e6).collect();
    sheet.add(Row::at_most("name from the view", "µs", &figures, 100.0))?;
    let mut figures = Vec::new();
    for _ in 0..5 {
        let begin = monotonic();
        let senders: Vec<_> =
            (0..SENDERS).map(|_| inside(&namespace, || ask(QUERIES, WINDOW))).collect();
        for sender in senders {
            join(sender)?;
        }
        figures.push((monotonic() - begin).as_secs_f64() * 1e6 / (SENDERS * QUERIES) as f64);
    }
    // 50,000 queries a second.
    sheet.add(Row::at_most("time per query of many", "µs", &figures, 20.0))?;
    host.docker(&["rm", "-f", "named"])?;
    Ok(())
}

/// Asks for `named` with so many queries under way; answers how long each step took.
fn ask(count: usize, window: usize) -> anyhow::Result<Vec<Duration>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(NAME_SERVER)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05named\0\0\x01\0\x01";
    let mut answer = [0; 512];
    for _ in 1..window {
        socket.send(query)?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = monotonic();
        socket.send(query)?;
        let length = socket.recv(&mut answer)?;
        anyhow::ensure!(length > query.len() && answer[7] == 1, "not answered");
        times.push(monotonic() - begin);
    }
    Ok(times)
}

/// The same volume through Shoal's bridge and through one that was made by hand.
fn throughput(host: &Host, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut ends = Vec::new();
    for name in ["from", "to"] {
        let id = host.docker(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "front",
            "busybox",
            "sleep",
            "1000",
        ])?;
        ends.push(namespace(host, &id)?);
    }
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address: Ipv4Addr = host.docker(&["inspect", "-f", format, "to"])?.parse()?;
    let bare = Bare::make(host)?;
    let mut figures = Vec::new();
    for _ in 0..7 {
        let ours = carry(&ends[0], &ends[1], address)?;
        let kernel = carry(&bare.namespace(0), &bare.namespace(1), Ipv4Addr::new(10, 200, 0, 2))?;
        figures.push(ours / kernel);
    }
    let what = "1 GiB through the bridge, to the bare kernel's time";
    sheet.add(Row::at_most(what, "×", &figures, 1.05))?;
    host.docker(&["rm", "-f", "from", "to"])?;
    Ok(())
}

/// Seconds to carry the volume.
fn carry(from: &Path, to: &Path, address: Ipv4Addr) -> anyhow::Result<f64> {
    let listener = join(inside(to, || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5001))?)))?;
    let receiver = std::thread::spawn(move || -> anyhow::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 17];
        while stream.read(&mut buffer)? > 0 {}
        stream.write_all(b"!")?;
        Ok(())
    });
    let sender = inside(from, move || {
        let mut stream = TcpStream::connect(SocketAddr::from((address, 5001)))?;
        let buffer = vec![0; 1 << 17];
        let begin = monotonic();
        for _ in 0..VOLUME / buffer.len() {
            stream.write_all(&buffer)?;
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_exact(&mut [0])?;
        Ok((monotonic() - begin).as_secs_f64())
    });
    let took = join(sender)?;
    join(receiver)?;
    Ok(took)
}

/// Two namespaces on a bridge in a third, made with `ip` and without any rule.
struct Bare(String);

impl Bare {
    fn make(host: &Host) -> anyhow::Result<Self> {
        let bare = Self(format!("{}-b", host.name()));
        let ip = |line: String| stdout(command("sh").args(["-ec", &line])).map(drop);
        let middle = &bare.0;
        ip(format!(
            "ip netns add {middle}; ip -n {middle} link add br0 type bridge forward_delay 0"
        ))?;
        ip(format!("ip -n {middle} link set br0 up"))?;
        for end in 0..2 {
            let name = format!("{middle}{end}");
            ip(format!("ip netns add {name}; ip -n {name} link set lo up"))?;
            ip(format!(
                "ip -n {middle} link add v{end} master br0 type veth peer name eth0 netns {name}"
            ))?;
            ip(format!("ip -n {middle} link set v{end} up; ip -n {name} link set eth0 up"))?;
            ip(format!("ip -n {name} addr add 10.200.0.{}/24 dev eth0", end + 1))?;
        }
        Ok(bare)
    }

    fn namespace(&self, end: usize) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}{end}", self.0))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for name in [format!("{}0", self.0), format!("{}1", self.0), self.0.clone()] {
            let _ = stdout(command("ip").args(["netns", "del", &name]));
        }
    }
}
