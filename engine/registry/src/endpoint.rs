//! Where a registry is: mirrors first, https before http, and who may do without a valid certificate.
//!
//! Pure but for [`lookup`]. Source: moby `daemon/pkg/registry` `service_v2.go` `lookupV2Endpoints`,
//! `config.go` `isSecureIndex`, `ValidateMirror`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use shoal_model::reference::DEFAULT_DOMAIN;

use crate::url::{self, InvalidUrl};

/// The host that serves `docker.io`.
const DEFAULT_HOST: &str = "registry-1.docker.io";

/// How far a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Against the system's roots and the private ones of `certs.d`.
    Verify,
    /// Not at all: an insecure registry.
    AcceptAny,
}

/// What an endpoint is to its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A copy; any failure moves on to the next endpoint.
    Mirror,
    /// The registry itself.
    Upstream,
}

/// One base URL of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, authority and path prefix, without a slash at the end.
    pub(crate) base: String,
    /// `host[:port]`: names the directory under `certs.d`.
    pub(crate) host: String,
    pub(crate) trust: Trust,
    pub(crate) role: Role,
}

/// A pull-through mirror of `docker.io`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    base: String,
    host: String,
}

/// Why a text is no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMirror {
    /// Not a URL.
    #[error("invalid mirror")]
    Url(#[from] InvalidUrl),
    /// More than a URL's scheme, host and path.
    #[error("invalid mirror `{0}`: unsupported query or fragment")]
    Query(String),
}

impl FromStr for Mirror {
    type Err = InvalidMirror;
    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        if text.contains(['?', '#']) {
            return Err(InvalidMirror::Query(text.to_owned()));
        }
        let uri = url::absolute(text)?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        Ok(Self { base: text.trim_end_matches('/').to_owned(), host })
    }
}

/// Registries that may be reached without a valid certificate, or without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insecure {
    networks: Vec<Network>,
    hosts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is neither a host nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid insecure registry `{0}`: must be `host[:port]` or a network in CIDR form")]
pub struct InvalidInsecure(pub String);

impl Insecure {
    /// Nothing is insecure, not even loopback.
    pub fn none() -> Self {
        Self { networks: Vec::new(), hosts: Vec::new() }
    }

    /// The loopback networks, as every docker daemon has them, and what the settings name.
    ///
    /// # Errors
    /// When an entry is neither a host nor a network.
    pub fn with_loopback<T: AsRef<str>>(entries: &[T]) -> Result<Self, InvalidInsecure> {
        let mut list = Self::none();
        list.networks.push(Network { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 });
        list.networks.push(Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 });
        for entry in entries {
            list.add(entry.as_ref())?;
        }
        Ok(list)
    }

    fn add(&mut self, entry: &str) -> Result<(), InvalidInsecure> {
        let wrong = || InvalidInsecure(entry.to_owned());
        let text = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://"));
        let text = text.unwrap_or(entry).trim_end_matches('/');
        match text.split_once('/') {
            Some((address, prefix)) => {
                let address: IpAddr = address.parse().map_err(|_| wrong())?;
                let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
                let bits = if address.is_ipv4() { 32 } else { 128 };
                if prefix > bits {
                    return Err(wrong());
                }
                self.networks.push(Network { address, prefix });
            }
            None if text.is_empty() || text.contains(char::is_whitespace) => return Err(wrong()),
            None => self.hosts.push(text.to_ascii_lowercase()),
        }
        Ok(())
    }

    /// The networks in CIDR form, as `info` shows them.
    pub fn networks(&self) -> Vec<String> {
        self.networks.iter().map(|net| format!("{}/{}", net.address, net.prefix)).collect()
    }

    /// The hosts by name, as `info` shows them.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Decides for a `host[:port]` that has these addresses.
    fn contains(&self, host: &str, addresses: &[IpAddr]) -> bool {
        let host = host.to_ascii_lowercase();
        let bare = without_port(&host);
        let named = self.hosts.iter().any(|entry| *entry == host || entry == bare);
        named || addresses.iter().any(|address| self.networks.iter().any(|net| net.has(*address)))
    }
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if !port.contains(']') && !bare.ends_with(':') => bare,
        _ => host,
    }
}

/// What a caller wants to do decides whether mirrors are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read: mirrors serve too.
    Pull,
    /// Write: the registry itself only.
    Push,
}

/// The endpoints of `domain`, in the order in which they are tried.
pub(crate) fn plan(
    domain: &str,
    access: Access,
    mirrors: &[Mirror],
    is_insecure: impl Fn(&str) -> bool,
) -> Vec<Endpoint> {
    let trust = |host: &str| if is_insecure(host) { Trust::AcceptAny } else { Trust::Verify };
    if domain == DEFAULT_DOMAIN {
        let used = if access == Access::Pull { mirrors } else { &[] };
        let copies = used.iter().map(|mirror| Endpoint {
            base: mirror.base.clone(),
            host: mirror.host.clone(),
            trust: trust(&mirror.host),
            role: Role::Mirror,
        });
        return copies.chain([upstream("https", DEFAULT_HOST, Trust::Verify)]).collect();
    }
    let trust = trust(domain);
    let mut endpoints = vec![upstream("https", domain, trust)];
    if trust == Trust::AcceptAny {
        endpoints.push(upstream("http", domain, trust));
    }
    endpoints
}

fn upstream(scheme: &str, host: &str, trust: Trust) -> Endpoint {
    Endpoint {
        base: format!("{scheme}://{host}"),
        host: host.to_owned(),
        trust,
        role: Role::Upstream,
    }
}

/// Looks up what `plan` must know: which of these hosts are insecure.
pub(crate) async fn lookup(
    domain: &str,
    access: Access,
    mirrors: &[Mirror],
    insecure: &Insecure,
) -> Vec<Endpoint> {
    let mut known = Vec::<(String, bool)>::new();
    for host in mirrors.iter().map(|mirror| mirror.host.as_str()).chain([domain]) {
        // A name that does not resolve is secure: the attempt to connect reports it.
        let addresses = if insecure.networks.is_empty() { Vec::new() } else { resolve(host).await };
        known.push((host.to_owned(), insecure.contains(host, &addresses)));
    }
    plan(domain, access, mirrors, |host| known.iter().any(|(name, is)| name == host && *is))
}

async fn resolve(host: &str) -> Vec<IpAddr> {
    if host == DEFAULT_DOMAIN {
        return Vec::new();
    }
    let bare = without_port(host).trim_start_matches('[').trim_end_matches(']').to_owned();
    if let Ok(address) = bare.parse() {
        return vec![address];
    }
    let found = tokio::net::lookup_host((bare, 0)).await;
    found.map(|all| all.map(|socket| socket.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(domain: &str, access: Access, insecure: bool) -> Vec<String> {
        let mirrors =
            ["https://m.example/", "http://10.0.0.1:5000"].map(|text| text.parse().unwrap());
        let endpoints = plan(domain, access, &mirrors, |host| insecure && host != "m.example");
        endpoints.iter().map(|e| format!("{} {:?} {:?}", e.base, e.trust, e.role)).collect()
    }

    #[test]
    fn mirrors_serve_pulls_of_docker_io_only() {
        assert_eq!(
            shown("docker.io", Access::Pull, true),
            [
                "https://m.example Verify Mirror",
                "http://10.0.0.1:5000 AcceptAny Mirror",
                "https://registry-1.docker.io Verify Upstream"
            ]
        );
        assert_eq!(
            shown("docker.io", Access::Push, true),
            ["https://registry-1.docker.io Verify Upstream"]
        );
        assert_eq!(shown("r.example", Access::Pull, false), ["https://r.example Verify Upstream"]);
        assert_eq!(
            shown("r.example:5000", Access::Pull, true),
            [
                "https://r.example:5000 AcceptAny Upstream",
                "http://r.example:5000 AcceptAny Upstream"
            ]
        );
    }

    #[test]
    fn insecure_by_network_or_name() {
        let list = Insecure::with_loopback(&["10.1.0.0/16", "r.example", "s.example:5000", "::/0"]);
        let list = list.unwrap();
        let ip = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        assert!(list.contains("127.0.0.5:80", &ip("127.0.0.5")));
        assert!(list.contains("x", &ip("10.1.2.3")));
        assert!(!list.contains("x", &ip("10.2.2.3")));
        assert!(list.contains("x", &ip("2001:db8::1")));
        assert!(list.contains("R.example:443", &[]));
        assert!(list.contains("s.example:5000", &[]));
        assert!(!list.contains("s.example", &[]));
        assert_eq!(list.networks()[..2], ["127.0.0.0/8", "::1/128"]);
        for bad in ["10.0.0.0/33", "a/b", "", "a b"] {
            assert_eq!(Insecure::with_loopback(&[bad]), Err(InvalidInsecure(bad.to_owned())));
        }
    }

    #[test]
    fn mirrors_are_plain_urls() {
        assert!("https://m.example/path/".parse::<Mirror>().is_ok());
        for bad in ["m.example", "ftp://m.example", "https://m.example?x=1", "https://u@m.example"]
        {
            assert!(bad.parse::<Mirror>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_cut_off() {
        for (host, bare) in
            [("a:1", "a"), ("a", "a"), ("[::1]:5", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1")]
        {
            assert_eq!(without_port(host), bare);
        }
    }
}
