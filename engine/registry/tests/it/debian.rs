//! Debian's `docker-registry` on loopback, with its data and certificates in a directory of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// What a registry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    None,
    /// User `ann`, password `hunter2`.
    Password,
    /// TLS with a certificate of a private authority, see [`Registry::authority`].
    Tls,
    /// The same, and the client must show a certificate of that authority, see [`Registry::client`].
    MutualTls,
}

pub(crate) struct Registry {
    child: Child,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Registry {
    pub(crate) fn start(guard: Guard) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(directory.path().join("config.yml"), config(directory.path(), port, guard))
            .unwrap();
        let mut command = shoal_base::command::new("docker-registry");
        command.arg("serve").arg(directory.path().join("config.yml"));
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        command.stderr(Stdio::from(log.try_clone().unwrap())).stdout(Stdio::from(log));
        let child = command.spawn().expect("docker-registry is installed");
        let registry = Self { child, directory, port };
        let mut attempts = 0;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            attempts += 1;
            assert!(attempts < 1000, "docker-registry did not start: {}", registry.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A client's certificate and key, PEM.
    pub(crate) fn client(&self) -> (String, String) {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap();
        (read("client.cert"), read("client.key"))
    }

    /// The private authority's certificate, PEM.
    pub(crate) fn authority(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("ca.crt")).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(directory: &Path, port: u16, guard: Guard) -> String {
    let root = directory.join("data");
    let guarded = match guard {
        Guard::None => String::new(),
        Guard::Password => {
            let file = directory.join("htpasswd");
            let output = shoal_base::command::new("htpasswd")
                .args(["-Bbn", "-C", "4", "ann", "hunter2"])
                .stdout(Stdio::piped())
                .output()
                .expect("htpasswd is installed");
            std::fs::write(&file, output.stdout).unwrap();
            format!("auth:\n  htpasswd:\n    realm: shoal\n    path: {}\n", file.display())
        }
        Guard::Tls | Guard::MutualTls => {
            make_certificates(directory);
            let at = directory.display();
            let clients = match guard {
                Guard::MutualTls => format!("    clientcas:\n      - {at}/ca.crt\n"),
                _ => String::new(),
            };
            let server =
                format!("  tls:\n    certificate: {at}/server.crt\n    key: {at}/server.key\n");
            server + &clients
        }
    };
    format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
         enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{guarded}",
        root.display()
    )
}

fn make_certificates(directory: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let write = |name: &str, label: &str, der: &[u8]| {
        std::fs::write(directory.join(name), pem(label, der)).unwrap();
    };
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["ann".to_owned()]).unwrap();
    let client = client.signed_by(&client_key, &authority).unwrap();
    write("client.cert", "CERTIFICATE", client.der());
    write("client.key", "PRIVATE KEY", &client_key.serialize_der());
    write("ca.crt", "CERTIFICATE", authority.der());
    write("server.crt", "CERTIFICATE", server.der());
    write("server.key", "PRIVATE KEY", &key.serialize_der());
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
