//! Where the daemon is: `unix://` and `tcp://`.

use tokio::net::{TcpStream, UnixStream};

use super::{Duplex, Error};

const SOCKETS: [&str; 2] = ["/run/shoal/shoal.sock", "/var/run/docker.sock"];

/// An address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(String),
    Tcp(String),
}

impl Host {
    /// # Errors
    /// When the scheme is not one of ours.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("unix", path)) => Ok(Self::Unix(path.to_owned())),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                let port =
                    address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if port { address.to_owned() } else { format!("{address}:2375") }))
            }
            Some((scheme, _)) => {
                Err(format!("the scheme `{scheme}` of the host `{text}` is not implemented"))
            }
            None if text.starts_with('/') => Ok(Self::Unix(text.to_owned())),
            None => Self::parse(&format!("tcp://{text}")),
        }
    }

    /// Shoal's socket when it is there, else docker's.
    pub(crate) fn default() -> Self {
        let present = SOCKETS.iter().find(|path| std::path::Path::new(path).exists());
        Self::Unix((*present.unwrap_or(&SOCKETS[0])).to_owned())
    }

    /// The value of the `Host` header.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Unix(_) => "api.moby.localhost",
            Self::Tcp(address) => address,
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Duplex>, Error> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Error::Transport {
                what: format!(
                    "permission denied while trying to connect to the Docker daemon socket at {self}"
                ),
            },
            _ => Error::Unreachable { host: self.to_string() },
        };
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_dockers_forms() {
        assert_eq!(Host::parse("unix:///a/b"), Ok(Host::Unix("/a/b".into())));
        assert_eq!(Host::parse("tcp://h:1"), Ok(Host::Tcp("h:1".into())));
        assert_eq!(Host::parse("h"), Ok(Host::Tcp("h:2375".into())));
        assert!(Host::parse("ssh://h").unwrap_err().contains("`ssh`"));
    }
}
