//! Where a daemon is: the forms of `DOCKER_HOST`.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;

use super::Error;

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
        /// `None`: plain.
        tls: Option<TlsOptions>,
    },
    /// `ssh://user@host:port`.
    Ssh {
        /// Login name.
        user: Option<String>,
        /// Name or address.
        host: String,
        /// Port.
        port: Option<u16>,
        /// What is run there; it connects its stdio with the daemon.
        command: Vec<String>,
    },
}

/// Certificates of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Authorities of the daemon, PEM; `None` or a missing file: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM; a missing file is as `None`.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Accept any certificate of the daemon.
    pub skip_verification: bool,
}

/// Port without TLS.
const PORT_PLAIN: u16 = 2375;
/// Port with TLS.
const PORT_TLS: u16 = 2376;

impl Endpoint {
    /// Parses `DOCKER_HOST`; `tls` is used for `tcp://` only.
    ///
    /// # Errors
    /// When it has no known form.
    pub fn parse(text: &str, tls: Option<TlsOptions>) -> Result<Self, Error> {
        let wrong = |reason| Error::InvalidHost { host: text.to_owned(), reason };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("the protocol is missing"))?;
        match scheme {
            "unix" if rest.is_empty() => Err(wrong("the path is missing")),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let tls = if scheme == "https" {
                    tls.or_else(|| Some(TlsOptions::default()))
                } else {
                    tls
                };
                let default = if tls.is_some() { PORT_TLS } else { PORT_PLAIN };
                let authority = rest.split('/').next().unwrap_or_default();
                let (host, port) =
                    split_port(authority).ok_or_else(|| wrong("the port is no number"))?;
                let host = if host.is_empty() { "localhost".to_owned() } else { host };
                Ok(Self::Tcp { host, port: port.unwrap_or(default), tls })
            }
            "ssh" => {
                let authority = rest.split('/').next().unwrap_or_default();
                let (user, address) = match authority.rsplit_once('@') {
                    Some((user, _)) if user.contains(':') => {
                        return Err(wrong("plain-text password is not supported"));
                    }
                    Some((user, address)) => (Some(user.to_owned()), address),
                    None => (None, authority),
                };
                let (host, port) =
                    split_port(address).ok_or_else(|| wrong("the port is no number"))?;
                // ssh would read it as an option.
                if host.is_empty()
                    || host.starts_with('-')
                    || user.as_deref().is_some_and(|user| user.starts_with('-'))
                {
                    return Err(wrong("the host name is missing"));
                }
                let command = ["docker", "system", "dial-stdio"].map(str::to_owned).to_vec();
                Ok(Self::Ssh { user, host, port, command })
            }
            _ => Err(wrong("the protocol is not one of unix, tcp, ssh")),
        }
    }

    /// The `Host` header, as docker's client sends it.
    pub(super) fn host_header(&self) -> HeaderValue {
        match self {
            Self::Unix(_) | Self::Ssh { .. } => HeaderValue::from_static("api.moby.localhost"),
            Self::Tcp { host, port, .. } => HeaderValue::from_str(&join(host, *port))
                .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{}", join(host, *port)),
            Self::Ssh { user, host, port, .. } => {
                f.write_str("ssh://")?;
                user.iter().try_for_each(|user| write!(f, "{user}@"))?;
                f.write_str(host)?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))
            }
        }
    }
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host without brackets, and port; `None` when the port is malformed.
fn split_port(authority: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((host.to_owned(), port));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), Some(port.parse().ok()?))),
        None => Some((authority.to_owned(), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Endpoint::parse(text, None).map_or_else(|error| error.to_string(), |e| e.to_string())
    }

    #[test]
    fn parses_the_forms_of_docker_host() {
        for (text, expected) in [
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
            ("https://h/x", "tcp://h:2376"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            ("tcp://:99", "tcp://localhost:99"),
            ("ssh://me@h:22", "ssh://me@h:22"),
            ("ssh://h", "ssh://h"),
            ("ssh://-oX=y", "unable to parse docker host `ssh://-oX=y`: the host name is missing"),
            ("tcp://h:x", "unable to parse docker host `tcp://h:x`: the port is no number"),
            ("/run/x", "unable to parse docker host `/run/x`: the protocol is missing"),
            (
                "fd://",
                "unable to parse docker host `fd://`: the protocol is not one of unix, tcp, ssh",
            ),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
