//! HTTP proxies between us and registries: which one, and the tunnel through it.
//!
//! Source: docker docs "Daemon proxy configuration"; RFC 9110 §9.3.6 (CONNECT). As in Go, loopback is never
//! proxied. Differs: the proxy itself is reached over plain HTTP only.

use std::fmt;
use std::io;
use std::net::IpAddr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::url;

const HEAD_MAX: usize = 8 << 10;

/// The daemon's proxy settings, in the form of the environment variables. Empty: none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For http registries.
    pub http: String,
    /// For https registries.
    pub https: String,
    /// Hosts, domains and networks that are reached directly, separated by commas.
    pub no: String,
}

impl fmt::Debug for Proxy {
    /// Without the URLs: they may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("http", &!self.http.is_empty())
            .field("https", &!self.https.is_empty())
            .field("no", &self.no)
            .finish()
    }
}

impl Proxy {
    pub(crate) fn matcher(&self) -> Matcher {
        let builder = Matcher::builder().http(self.http.clone()).https(self.https.clone());
        builder.no(self.no.clone()).build()
    }
}

/// The proxy for a URL, if there is one.
pub(crate) fn for_url(matcher: &Matcher, target: &Uri) -> Option<Intercept> {
    let host = target.host()?.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if loopback { None } else { matcher.intercept(target) }
}

/// Opens a connection to the proxy.
pub(crate) async fn connect(proxy: &Intercept) -> io::Result<TcpStream> {
    let uri = proxy.uri();
    if uri.scheme_str() != Some("http") {
        let scheme = uri.scheme_str().unwrap_or_default();
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("proxies of scheme `{scheme}` are not supported"),
        ));
    }
    let host = uri.host().unwrap_or_default();
    TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), url::port(uri))).await
}

/// Asks the proxy at the other end of `stream` to connect it to the target.
pub(crate) async fn tunnel(
    stream: &mut TcpStream,
    target: &Uri,
    authorization: Option<&HeaderValue>,
) -> io::Result<()> {
    let peer = format!("{}:{}", target.host().unwrap_or_default(), url::port(target));
    let mut head = format!("CONNECT {peer} HTTP/1.1\r\nHost: {peer}\r\n").into_bytes();
    if let Some(value) = authorization {
        head.extend(b"Proxy-Authorization: ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await?;
    // Byte by byte: what follows the head belongs to TLS.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == HEAD_MAX {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    if line.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        return Ok(());
    }
    Err(io::Error::other(format!("the proxy refused: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_exceptions_are_reached_directly() {
        let proxy = Proxy {
            http: "http://p.example:3128".to_owned(),
            https: "http://ann:pw@p.example:3129".to_owned(),
            no: "internal.example,10.0.0.0/8".to_owned(),
        };
        assert!(!format!("{proxy:?}").contains("pw"));
        let matcher = proxy.matcher();
        let used = |target: &str| {
            let found = for_url(&matcher, &target.parse().unwrap())?;
            Some(found.uri().port_u16().unwrap())
        };
        assert_eq!(used("http://r.example/v2/"), Some(3128));
        assert_eq!(used("https://r.example/v2/"), Some(3129));
        for direct in [
            "https://internal.example/",
            "https://r.internal.example/",
            "http://10.1.2.3:5000/",
            "http://127.0.0.1:5000/",
            "https://localhost/",
            "https://[::1]:5000/",
        ] {
            assert_eq!(used(direct), None, "{direct}");
        }
        assert!(
            for_url(&Proxy::default().matcher(), &"https://r.example/".parse().unwrap()).is_none()
        );
    }
}
