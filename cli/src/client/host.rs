//! Where the daemon is: `unix://`, `tcp://` with or without TLS, `ssh://`.

use std::path::Path;

use shoal_api_wire::client::{Dialer, Endpoint, TlsOptions};

use super::{Duplex, Error};

const SOCKETS: [&str; 2] = ["/run/shoal/shoal.sock", "/var/run/docker.sock"];

/// An address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(Endpoint);

/// The certificates in a directory, by docker's names.
pub(crate) fn certificates(directory: &Path, skip_verification: bool) -> TlsOptions {
    TlsOptions {
        ca: Some(directory.join("ca.pem")),
        certificate: Some(directory.join("cert.pem")),
        key: Some(directory.join("key.pem")),
        skip_verification,
    }
}

impl Host {
    /// Parses an address; `tls` is used for `tcp://` only.
    ///
    /// # Errors
    /// When it has no known form.
    pub(crate) fn parse(text: &str, tls: Option<TlsOptions>) -> Result<Self, String> {
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false if text.starts_with('/') => format!("unix://{text}"),
            false => format!("tcp://{text}"),
        };
        Endpoint::parse(&whole, tls).map(Self).map_err(|error| error.to_string())
    }

    /// Shoal's socket when it is there, else docker's.
    pub(crate) fn default() -> Self {
        let present = SOCKETS.iter().find(|path| Path::new(path).exists());
        Self(Endpoint::Unix(present.unwrap_or(&SOCKETS[0]).into()))
    }

    /// The value of the `Host` header.
    pub(super) fn authority(&self) -> String {
        match &self.0 {
            Endpoint::Unix(_) | Endpoint::Ssh { .. } => "api.moby.localhost".to_owned(),
            tcp @ Endpoint::Tcp { .. } => tcp.to_string().trim_start_matches("tcp://").to_owned(),
        }
    }

    /// What to do when nobody answers there.
    pub(super) fn advice(&self) -> &'static str {
        match &self.0 {
            Endpoint::Unix(_) => {
                "Start it with 'systemctl start shoald', or with 'shoald' as root."
            }
            Endpoint::Tcp { tls: None, .. } => {
                "Is it started with '--host tcp://…', and does it perhaps want TLS (--tlsverify)?"
            }
            Endpoint::Tcp { .. } => "Is it started with '--host tcp://… --tlsverify'?",
            Endpoint::Ssh { .. } => "Is it started on that host?",
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Duplex>, Error> {
        use shoal_api_wire::client::Error as Wire;
        let dialer = Dialer::new(self.0.clone())
            .map_err(|error| Error::Transport { what: error.to_string() })?;
        match dialer.connect().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(Wire::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                let what = format!(
                    "permission denied while trying to connect to the Docker daemon socket at {self}"
                );
                Err(Error::Transport { what })
            }
            // The daemon is there, but one of the two does not trust the other.
            Err(Wire::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::InvalidData =>
            {
                Err(Error::Transport { what: format!("TLS with {self} failed: {source}") })
            }
            Err(Wire::Connect { .. }) => {
                Err(Error::Unreachable { host: self.to_string(), advice: self.advice() })
            }
            Err(other) => Err(Error::Transport { what: other.to_string() }),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_dockers_forms() {
        let shown = |text: &str, tls: bool| {
            let tls = tls.then(TlsOptions::default);
            Host::parse(text, tls).map_or_else(|why| why, |host| host.to_string())
        };
        assert_eq!(shown("unix:///a/b", false), "unix:///a/b");
        assert_eq!(shown("/a/b", true), "unix:///a/b");
        assert_eq!(shown("tcp://h:1", false), "tcp://h:1");
        assert_eq!(shown("h", false), "tcp://h:2375");
        assert_eq!(shown("h", true), "tcp://h:2376");
        assert_eq!(shown("ssh://me@h", false), "ssh://me@h");
        assert!(shown("npipe:///x", false).contains("is not one of unix, tcp, ssh"));
        let host = Host::parse("tcp://[::1]:5", None).unwrap();
        assert_eq!(host.authority(), "[::1]:5");
    }
}
