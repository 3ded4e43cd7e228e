//! Names that the view does not know, asked through 127.0.0.11 on a real kernel: by datagram and by connection,
//! of several name servers that answer, truncate, fail or keep silent.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::attach;
use shoal_base::{Clock, SystemClock};
use shoal_netoverlay::dns::forward::Upstream;
use shoal_netoverlay::dns::{Dns, Service};
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_netoverlay::network::NetworkSpec;

const SERVER: &str = "127.0.0.11:53";
const TRUNCATED: u8 = 0x02;

/// How a name server behaves.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Answers([u8; 4]),
    /// By datagram only the beginning; everything by connection.
    Truncates([u8; 4]),
    Fails,
    Silent,
}

fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn reply(query: &[u8], flags: u8, code: u8, address: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] = 0x81 | flags;
    bytes[3] = 0x80 | code;
    if let Some(address) = address {
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(address);
    }
    bytes
}

/// Starts a name server on the host, at a free port for both kinds.
fn upstream(manner: Manner) -> Upstream {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let asked = &buffer[..length];
            let answer = match manner {
                Manner::Answers(address) => reply(asked, 0, 0, Some(address)),
                Manner::Truncates(_) => reply(asked, TRUNCATED, 0, None),
                Manner::Fails => reply(asked, 0, 2, None),
                Manner::Silent => continue,
            };
            udp.send_to(&answer, from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut asked = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut asked).unwrap();
            let (Manner::Answers(address) | Manner::Truncates(address)) = manner else { continue };
            let answer = reply(&asked, 0, 0, Some(address));
            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    Upstream { address, on_host: true }
}

/// Flags, code and the last four bytes of an answer.
fn show(answer: &[u8]) -> (bool, u8, Option<[u8; 4]>) {
    let address = (answer[7] == 1).then(|| answer[answer.len() - 4..].try_into().unwrap());
    (answer[2] & TRUNCATED != 0, answer[3] & 0xf, address)
}

fn by_datagram(namespace: &Path, name: &str) -> (bool, u8, Option<[u8; 4]>) {
    let socket = Namespace::open(namespace).unwrap();
    let socket = socket.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    socket.send_to(&query(name), SERVER).unwrap();
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from.to_string(), SERVER);
    show(&answer[..length])
}

fn by_connection(namespace: &Path, name: &str) -> (bool, u8, Option<[u8; 4]>) {
    let stream = Namespace::open(namespace).unwrap();
    let mut stream = stream.run(|| TcpStream::connect(SERVER).unwrap()).unwrap();
    let asked = query(name);
    stream.write_all(&u16::try_from(asked.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&asked).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    show(&answer)
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    shoal_base::blocking::run("ask", job).await.unwrap()
}

#[test]
fn other_names_are_asked_of_the_servers_in_their_order() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        networks.create_network(NetworkSpec::bridge("front")).await.unwrap();
        let one = attach(&networks, "one", &["front"]).await;
        let dns = Dns::new(lab.tasks.clone(), Arc::new(SystemClock), "shoal");
        let serve = |manners: &[Manner]| {
            let upstreams = manners.iter().map(|manner| upstream(*manner)).collect();
            let (sandbox, path) = (one.id.clone(), one.path.clone());
            dns.serve(Service { sandbox, path, upstreams, kept: None })
        };
        let [first, second] = [[192, 0, 2, 1], [192, 0, 2, 2]];
        let _kept = serve(&[Manner::Answers(first), Manner::Answers(second)]).await.unwrap();
        let path = one.path.clone();
        assert_eq!(blocking(move || by_datagram(&path, "x.test")).await, (false, 0, Some(first)));
        let path = one.path.clone();
        assert_eq!(blocking(move || by_connection(&path, "x.test")).await, (false, 0, Some(first)));

        // Too long for a datagram: the client is told, and asks again by connection.
        serve(&[Manner::Truncates(first)]).await.unwrap();
        let path = one.path.clone();
        assert_eq!(blocking(move || by_datagram(&path, "x.test")).await, (true, 0, None));
        let path = one.path.clone();
        assert_eq!(blocking(move || by_connection(&path, "x.test")).await, (false, 0, Some(first)));

        // A server that fails, and one that is silent, lead to the next.
        serve(&[Manner::Fails, Manner::Answers(second)]).await.unwrap();
        let path = one.path.clone();
        assert_eq!(blocking(move || by_datagram(&path, "x.test")).await, (false, 0, Some(second)));
        serve(&[Manner::Silent, Manner::Answers(second)]).await.unwrap();
        let path = one.path.clone();
        let begin = SystemClock.monotonic();
        let slow = blocking(move || by_datagram(&path, "slow.test"));
        // Meanwhile others are not kept waiting.
        let path = one.path.clone();
        let other = blocking(move || by_datagram(&path, "127.0.0.1.in-addr.arpa"));
        let (slow, _) = tokio::join!(slow, other);
        assert_eq!(slow, (false, 0, Some(second)));
        let took = SystemClock.monotonic() - begin;
        assert!((4..12).contains(&took.as_secs()), "{took:?}");
        // Nobody knows: a failure, at once, and no negative answer.
        serve(&[Manner::Fails, Manner::Fails]).await.unwrap();
        let path = one.path.clone();
        assert_eq!(blocking(move || by_datagram(&path, "x.test")).await, (false, 2, None));
        dns.remove(&one.id);
    });
}

/// Budgets of answers from the view: printed; the limits fail on a change of kind only.
#[test]
#[allow(clippy::print_stdout, reason = "the numbers are the point")]
fn speed_of_answers_from_the_view() {
    lab::run(|lab| async move {
        use shoal_netoverlay::dns::view::Membership;
        let networks = lab.start().await;
        networks.create_network(NetworkSpec::bridge("front")).await.unwrap();
        let one = attach(&networks, "one", &["front"]).await;
        let dns = Dns::new(lab.tasks.clone(), Arc::new(SystemClock), "shoal");
        dns.set(
            &one.id,
            vec![Membership {
                network: one.endpoints[0].network.clone(),
                network_name: "front".to_owned(),
                names: vec!["one".to_owned()],
                links: Default::default(),
                ipv4: Some(Ipv4Addr::new(172, 18, 0, 2)),
                ipv6: None,
            }],
        );
        let (sandbox, path) = (one.id.clone(), one.path.clone());
        let service = Service { sandbox, path, upstreams: Vec::new(), kept: None };
        let _kept = dns.serve(service).await.unwrap();
        let path = one.path.clone();
        let (median, rate) = blocking(move || measure(&path)).await;
        println!("answer from the view: median {median:?}; {rate} queries/s of one sender");
        assert!(median < Duration::from_millis(5) && rate > 1_000, "{median:?} {rate}");
        dns.remove(&one.id);
    });
}

/// Median of one query after the other, and answers per second with sixty-four under way.
fn measure(namespace: &Path) -> (Duration, usize) {
    let socket = Namespace::open(namespace).unwrap();
    let socket = socket.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(SERVER).unwrap();
    let asked = query("one");
    let mut answer = [0; 512];
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let begin = SystemClock.monotonic();
        socket.send(&asked).unwrap();
        socket.recv(&mut answer).unwrap();
        times.push(SystemClock.monotonic() - begin);
    }
    times.sort_unstable();
    let (count, window) = (50_000_u32, 64);
    let begin = SystemClock.monotonic();
    for number in 0..count + window {
        if number < count {
            socket.send(&asked).unwrap();
        }
        if number >= window {
            socket.recv(&mut answer).unwrap();
        }
    }
    let took = SystemClock.monotonic() - begin;
    (
        times[times.len() / 2],
        usize::try_from(u128::from(count) * 1_000_000 / took.as_micros()).unwrap(),
    )
}
