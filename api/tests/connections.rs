//! The API over TCP with mutual TLS, and what a client that vanishes leaves.

#[allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    clippy::unwrap_used,
    reason = "shared by tests"
)]
mod support;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use shoal_api::ports::Ports;
use shoal_api::server::{Listener, serve};
use shoal_api_wire::client::{Body, Client, Endpoint, TlsOptions};
use shoal_base::tasks::TaskKind;
use support::{ports, served};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A directory with a CA, and a certificate for the server and one for the client.
struct Certificates(PathBuf);

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn openssl(dir: &Path, line: &str) {
    let mut command = shoal_base::command::new("openssl");
    let status = command.args(line.split(' ')).current_dir(dir).status().unwrap();
    assert!(status.success(), "openssl {line}");
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn certificates() -> Certificates {
    let dir = std::env::temp_dir().join(format!("shoal-api-{}-tls", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
    for (name, extension) in
        [("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")]
    {
        let subject = format!("-subj /CN={name} -addext {extension}");
        openssl(&dir, &format!("req {key} -keyout {name}.key -out {name}.csr {subject}"));
        let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy";
        openssl(&dir, &format!("x509 -req -in {name}.csr {sign} -out {name}.pem"));
    }
    Certificates(dir)
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn server_config(dir: &Path) -> rustls::ServerConfig {
    let certificate = |name: &str| CertificateDer::from_pem_file(dir.join(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate("server.pem")], key)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_lets_in_who_has_a_certificate() {
    let served = served("tls");
    let certificates = certificates();
    let dir = &certificates.0;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = ports(&served.fake, &served.tasks);
    let clock = ports.clock.clone();
    let listener = Listener::Tls(listener, Arc::new(server_config(dir)));
    let server = serve(listener, shoal_api::router(ports), served.tasks.clone(), clock);
    served.tasks.spawn(TaskKind::ApiListener, server);

    let options = TlsOptions {
        ca: Some(dir.join("ca.pem")),
        certificate: Some(dir.join("client.pem")),
        key: Some(dir.join("client.key")),
        skip_verification: false,
    };
    let client = |options| {
        let host = "127.0.0.1".to_owned();
        Client::new(Endpoint::Tcp { host, port, tls: Some(options) }).unwrap()
    };
    let version: serde_json::Value = client(options.clone()).get("/version").await.unwrap();
    assert_eq!(version["ApiVersion"], "1.55");
    let without = TlsOptions { certificate: None, key: None, ..options.clone() };
    assert!(client(without).get::<serde_json::Value>("/version").await.is_err());
    let stranger = TlsOptions { ca: Some(dir.join("client.pem")), ..options };
    assert!(client(stranger).get::<serde_json::Value>("/version").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_ends_its_stream() {
    let served = served("vanish");
    let client = Client::new(Endpoint::Unix(served.socket.clone())).unwrap();
    let path = "/containers/echo/logs?stdout=1&follow=1";
    // The head arrives although there is no line yet.
    let answer = client.request(Method::GET, path, HeaderMap::new(), Body::Empty).await.unwrap();
    let mut following = served.fake.following.subscribe();
    assert!(*following.borrow_and_update());
    drop((answer, client));
    let ended = following.wait_for(|following| !following);
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn output_waits_until_the_head_of_the_answer_was_read() {
    let served = served("head");
    let socket = served.socket.with_extension("waits");
    let reads = Arc::new(AtomicBool::new(false));
    let unread = {
        let reads = Arc::clone(&reads);
        move |_: BorrowedFd<'_>| Ok(u32::from(!reads.load(Ordering::SeqCst)))
    };
    let ports = Ports { unread: Arc::new(unread), ..ports(&served.fake, &served.tasks) };
    let clock = ports.clock.clone();
    let listener = Listener::Unix(tokio::net::UnixListener::bind(&socket).unwrap());
    let server = serve(listener, shoal_api::router(ports), served.tasks.clone(), clock);
    served.tasks.spawn(TaskKind::ApiListener, server);

    let mut client = UnixStream::connect(&socket).await.unwrap();
    std::fs::remove_file(&socket).unwrap();
    let head = "POST /containers/echo/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\
                Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    // Input may come with the request's head; its echo may not come with the answer's.
    client.write_all(format!("{head}hi").as_bytes()).await.unwrap();
    served.fake.clock.sleep(Duration::from_millis(150)).await;
    reads.store(true, Ordering::SeqCst);
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).await.unwrap();
    let answer = String::from_utf8_lossy(&buffer[..count]);
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\n"), "{answer}");
    let count = client.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"\x01\0\0\0\0\0\0\x02hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_still_writes_its_body() {
    let served = served("refusal");
    let mut client = UnixStream::connect(&served.socket).await.unwrap();
    let length = 4 << 20;
    let head = format!("POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; length]).await.unwrap();
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).await.unwrap();
    assert!(buffer[..count].starts_with(b"HTTP/1.1 404"));
    // The connection goes on.
    client.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let count = client.read(&mut buffer).await.unwrap();
    assert!(buffer[..count].starts_with(b"HTTP/1.1 200"));
}
