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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, Method};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use shoal_api::server::{Listener, serve};
use shoal_api_wire::client::{Body, Client, Endpoint, TlsOptions};
use shoal_base::tasks::TaskKind;
use support::{ports, served};

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
