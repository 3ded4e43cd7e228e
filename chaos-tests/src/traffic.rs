//! Traffic in the network namespaces of containers, made by threads of the test: nothing needs to be in the image, and
//! sockets stay when a container's programs end.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::monotonic;

/// Port of [`Server`], TCP and UDP.
pub const PORT: u16 = 9000;
/// An answer takes no longer, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two datagrams of a [`Sender`].
const PACE: Duration = Duration::from_millis(20);
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Place(Arc<OwnedFd>);

impl Place {
    /// That of a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let file = std::fs::File::open(format!("/proc/{pid}/ns/net"))
            .with_context(|| format!("no process {pid}"))?;
        Ok(Self(Arc::new(file.into())))
    }

    /// One that has a name on the host, as those of labs.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let file = std::fs::File::open(std::path::Path::new("/run/netns").join(name))
            .with_context(|| format!("no namespace {name}"))?;
        Ok(Self(Arc::new(file.into())))
    }

    /// A socket that has a UDP port of all addresses.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn take_port(&self, port: u16) -> anyhow::Result<UdpSocket> {
        self.run(move || Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?))
    }

    /// Runs `job` on a thread inside.
    fn begin<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let place = self.clone();
        std::thread::spawn(move || {
            move_into_link_name_space(place.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(job())
        })
    }

    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.begin(job).join().map_err(|_| anyhow::anyhow!("a thread panicked"))??
    }

    /// What the server at an address says: its name, and who asks as it sees it.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask(&self, server: IpAddr) -> anyhow::Result<String> {
        self.ask_at(SocketAddr::new(server, PORT))
    }

    /// As [`Place::ask`], on another port.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_at(&self, server: SocketAddr) -> anyhow::Result<String> {
        self.run(move || {
            let mut stream = connect(server)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.trim_end().to_owned())
        })
    }

    /// What a web server gives for a path.
    ///
    /// # Errors
    /// When it gives nothing, or says that something is wrong.
    pub fn fetch(&self, server: SocketAddr, path: &str) -> anyhow::Result<String> {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        self.run(move || {
            let mut stream = connect(server)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let (head, body) = answer.split_once("\r\n\r\n").context("a short answer")?;
            let status = head.split(' ').nth(1).unwrap_or_default();
            anyhow::ensure!(status == "200", "status {status}");
            Ok(body.trim_end().to_owned())
        })
    }

    /// As [`Place::ask`], by one datagram from a new socket.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_by_datagram(&self, server: IpAddr) -> anyhow::Result<String> {
        self.ask_by_datagram_at(SocketAddr::new(server, PORT))
    }

    /// As [`Place::ask_by_datagram`], on another port.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_by_datagram_at(&self, server: SocketAddr) -> anyhow::Result<String> {
        self.run(move || {
            let socket = datagrams_to(server, PATIENCE)?;
            socket.send(b"?")?;
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
    }

    /// As [`Place::ask_by_datagram_at`], twice if need be: a datagram that is under way while its backend leaves may be
    /// lost, as whoever sends datagrams must expect; one that is sent then is not.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn ask_by_datagrams_at(&self, server: SocketAddr) -> anyhow::Result<String> {
        self.ask_by_datagram_at(server).or_else(|_| self.ask_by_datagram_at(server))
    }

    /// A connection that stays, and the name of the server that has it.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn hold(&self, server: IpAddr) -> anyhow::Result<(Held, String)> {
        self.run(move || {
            let stream = connect(SocketAddr::new(server, PORT))?;
            let mut held = Held(BufReader::new(stream));
            let greeting = held.line()?;
            let name = greeting.split(' ').next().unwrap_or_default().to_owned();
            Ok((held, name))
        })
    }
}

fn connect(server: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn datagrams_to(server: SocketAddr, patience: Duration) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// A connection that stays.
#[derive(Debug)]
pub struct Held(BufReader<TcpStream>);

impl Held {
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Asks on the same connection; the name of the server.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn ask(&mut self) -> std::io::Result<String> {
        self.0.get_mut().write_all(b"?\n")?;
        self.line()
    }
}

/// Says its name and who asks, over TCP and UDP on [`PORT`] of all addresses, until it is dropped. After its greeting
/// each line of a TCP client is answered by the name.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(place: &Place, name: &str) -> anyhow::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT);
        let (listener, socket) = place.run(move || {
            let listener = TcpListener::bind(any)?;
            listener.set_nonblocking(true)?;
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok((listener, socket))
        })?;
        let name: Arc<str> = name.into();
        let (greeted, stopped) = (Arc::clone(&name), Arc::clone(&stop));
        let streams = place.begin(move || accept(&listener, &greeted, &stopped));
        let stopped = Arc::clone(&stop);
        let datagrams = place.begin(move || answer(&socket, &name, &stopped));
        Ok(Self { stop, threads: vec![streams, datagrams] })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, name: &Arc<str>, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, peer)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let (name, stop) = (Arc::clone(name), Arc::clone(stop));
        // The sockets are in the namespace already.
        std::thread::spawn(move || {
            let served = serve(stream, peer, &name, &stop);
            drop(served);
        });
    }
}

fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    name: &str,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(format!("{name} {}\n", peer.ip().to_canonical()).as_bytes())?;
    let mut line = String::new();
    while !stop.load(Ordering::Relaxed) {
        match stream.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => stream.get_mut().write_all(format!("{name}\n").as_bytes())?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut buffer = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let text = format!("{name} {}", peer.ip().to_canonical());
            drop(socket.send_to(text.as_bytes(), peer));
        }
    }
}

/// Sends datagrams from one socket without a pause until it is dropped.
#[derive(Debug)]
pub struct Sender {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<(Duration, String)>>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Sender {
    /// Begins to send.
    ///
    /// # Errors
    /// When there is no way to the address.
    pub fn start(place: &Place, server: IpAddr) -> anyhow::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let answers = Arc::<Mutex<Vec<(Duration, String)>>>::default();
        let socket = place.run(move || Ok(datagrams_to(SocketAddr::new(server, PORT), PACE)?))?;
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&answers));
        let thread = place.begin(move || {
            let mut buffer = [0; 256];
            while !stopped.load(Ordering::Relaxed) {
                drop(socket.send(b"?"));
                if let Ok(length) = socket.recv(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let name = text.split(' ').next().unwrap_or_default().to_owned();
                    told.lock().unwrap_or_else(PoisonError::into_inner).push((monotonic(), name));
                    std::thread::sleep(PACE);
                }
            }
        });
        Ok(Self { stop, answers, thread: Some(thread) })
    }

    /// All answers so far: when, and by whom.
    pub fn answers(&self) -> Vec<(Duration, String)> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server of the last answer; empty: there was none.
    pub fn last(&self) -> String {
        self.answers().pop().map(|(_, name)| name).unwrap_or_default()
    }

    /// The longest time without an answer since a moment.
    pub fn silence_since(&self, moment: Duration) -> Duration {
        let answers = self.answers();
        let after = answers.iter().map(|(at, _)| *at).filter(|at| *at >= moment);
        let times: Vec<Duration> =
            std::iter::once(moment).chain(after).chain([monotonic()]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
