//! Signers outside the cluster: cfssl's protocol over HTTPS, this manager's certificate shown.
//!
//! Source: swarmkit `ca/external.go`; cfssl `doc/api/endpoint_sign.txt`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use shoal_base::SharedClock;
use shoal_identity::chain::{self, Trust};
use shoal_identity::{Credentials, PeerIdentity, peer, pem, tls};
use shoal_model::cluster::Cluster;
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::{Classified, ErrorKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::configure::{self, Externals};
use super::{issue, signing};

/// A signer that has not answered by then is given up.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// A signer outside the cluster gave no certificate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("`{url}` is no URL of the form https://HOST[:PORT]/PATH")]
    Url { url: String },
    #[error("failed to use the root of the external CA")]
    Root(#[source] chain::TrustError),
    #[error("failed to connect to external CA `{url}`")]
    Connect {
        url: String,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to talk with external CA `{url}`")]
    Http {
        url: String,
        #[source]
        source: hyper::Error,
    },
    #[error("failed to read the answer of external CA `{url}`")]
    Body {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("external CA `{url}` answered with status {status}: {reason}")]
    Status { url: String, status: u16, reason: String },
    #[error("external CA `{url}` gave an answer that is not cfssl's")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("external CA `{url}` refused: {reason}")]
    Refused { url: String, reason: String },
    #[error("failed to read the certificate of external CA `{url}`")]
    Pem {
        url: String,
        #[source]
        source: pem::Error,
    },
    #[error("failed to use the certificate of external CA `{url}`")]
    Certificate {
        url: String,
        #[source]
        source: chain::Error,
    },
    #[error("external CA `{url}` gave a certificate for someone else")]
    OtherIdentity { url: String },
    #[error("external CA `{url}` did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { url: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Url { .. } | Self::Root(_) | Self::Refused { .. } => ErrorKind::InvalidArgument,
            Self::Connect { .. } | Self::Http { .. } | Self::Body { .. } | Self::Timeout { .. } => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Internal,
        }
    }
}

/// The signers for the root that signs now.
#[derive(Debug)]
pub struct External {
    urls: Vec<String>,
    config: Arc<rustls::ClientConfig>,
    trust: Trust,
    intermediates: String,
    clock: SharedClock,
}

#[derive(Debug, Serialize)]
struct SignRequest<'a> {
    certificate_request: &'a str,
    hosts: Vec<String>,
    subject: Subject,
}

#[derive(Debug, Serialize)]
struct Subject {
    #[serde(rename = "CN")]
    common_name: String,
    names: [Name; 1],
}

#[derive(Debug, Serialize)]
struct Name {
    #[serde(rename = "O")]
    organisation: String,
    #[serde(rename = "OU")]
    unit: &'static str,
}

#[derive(Debug, Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    result: Option<Signed>,
    #[serde(default)]
    errors: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Signed {
    #[serde(default)]
    certificate: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
}

impl External {
    /// The signers that the cluster's spec names for the root that signs now; `None`: there are none.
    ///
    /// # Errors
    /// When that root is damaged.
    pub fn of(cluster: &Cluster, credentials: &Credentials) -> Result<Option<Self>, Error> {
        let (urls, root, intermediates) = signing::external_urls(cluster);
        if urls.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            urls,
            config: tls::external(credentials, root).map_err(Error::Root)?,
            trust: Trust::new(&issue::trust_bundle(&cluster.root)).map_err(Error::Root)?,
            intermediates: intermediates.to_owned(),
            clock: credentials.clock(),
        }))
    }

    /// PEM of the chain for the key of `request`, from the first signer that gives one.
    ///
    /// # Errors
    /// That of the last signer.
    pub async fn sign(&self, request: &str, identity: PeerIdentity) -> Result<String, Error> {
        let body = sign_request(request, identity);
        let mut last = None;
        for url in &self.urls {
            let limit = self.clock.sleep(TIMEOUT);
            let answer = tokio::select! {
                answer = self.ask(url, &body) => answer,
                () = limit => Err(Error::Timeout { url: url.clone() }),
            };
            match answer.and_then(|pem| self.check(url, &pem, identity)) {
                Ok(chain) => return Ok(chain),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is a signer, or `of` had given none"))
    }

    /// A signer is asked, not obeyed: what it gives must be what was asked for.
    fn check(&self, url: &str, text: &str, identity: PeerIdentity) -> Result<String, Error> {
        let url = || url.to_owned();
        let text = format!("{}\n{}", text.trim_end(), self.intermediates);
        let certificates = pem::certificates(text.as_bytes())
            .map_err(|source| Error::Pem { url: url(), source })?;
        let now = self.clock.now();
        let facts = chain::verify(&certificates, &self.trust.roots, Some(identity.cluster), now)
            .map_err(|source| Error::Certificate { url: url(), source })?;
        if facts.identity != identity {
            return Err(Error::OtherIdentity { url: url() });
        }
        Ok(pem::encode(&certificates))
    }

    async fn ask(&self, url: &str, body: &Bytes) -> Result<String, Error> {
        let target = Target::parse(url)?;
        let stream = connect(&target, &self.config)
            .await
            .map_err(|source| Error::Connect { url: url.to_owned(), source })?;
        let (status, body) = post(url, &target, stream, body.clone()).await?;
        read_answer(url, status, &body)
    }
}

/// Checks that for each root one of its signers listens with a certificate of that root.
///
/// # Errors
/// The refusal that docker shows.
pub async fn check_reachable(
    needed: &[Externals],
    credentials: &Credentials,
) -> Result<(), configure::Error> {
    for externals in needed {
        let mut reached = false;
        for url in &externals.urls {
            let limit = credentials.clock().sleep(TIMEOUT);
            let outcome = tokio::select! {
                outcome = reach(url, &externals.root, credentials) => outcome,
                () = limit => Err(Error::Timeout { url: url.clone() }),
            };
            match outcome {
                Ok(()) => {
                    reached = true;
                    break;
                }
                Err(error) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(url, error, "external CA is unreachable or invalid");
                }
            }
        }
        if !reached {
            return Err(configure::Error::NoExternal { which: externals.which });
        }
    }
    Ok(())
}

async fn reach(url: &str, root: &str, credentials: &Credentials) -> Result<(), Error> {
    let config = tls::external(credentials, root).map_err(Error::Root)?;
    connect(&Target::parse(url)?, &config)
        .await
        .map(drop)
        .map_err(|source| Error::Connect { url: url.to_owned(), source })
}

struct Target {
    uri: Uri,
    name: ServerName<'static>,
    address: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Error> {
        let bad = || Error::Url { url: url.to_owned() };
        let uri = url.parse::<Uri>().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(plain.to_owned()).map_err(|_| bad())?;
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
        Ok(Self { name, address, uri })
    }
}

async fn connect(
    target: &Target,
    config: &Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(config)).connect(target.name.clone(), stream).await
}

async fn post(
    url: &str,
    target: &Target,
    stream: TlsStream<TcpStream>,
    body: Bytes,
) -> Result<(u16, Bytes), Error> {
    let failed = |source| Error::Http { url: url.to_owned(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = target.uri.authority().map_or("", |authority| authority.as_str());
    let request = http::Request::post(path)
        .header(http::header::HOST, host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|_| Error::Url { url: url.to_owned() })?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|source| Error::Body { url: url.to_owned(), source })?;
        Ok((status, body.to_bytes()))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        // The connection has ended, but what it brought may still be read.
        ended = connection => {
            ended.map_err(failed)?;
            exchange.await
        }
    }
}

fn sign_request(request: &str, identity: PeerIdentity) -> Bytes {
    let (node, unit) = (identity.node.to_string(), peer::unit(identity.role));
    let mut hosts = vec![unit.to_owned(), node.clone()];
    if identity.role == NodeRole::Manager {
        hosts.push("swarm-ca".to_owned());
    }
    let names = [Name { organisation: identity.cluster.to_string(), unit }];
    let subject = Subject { common_name: node, names };
    let body = SignRequest { certificate_request: request, hosts, subject };
    serde_json::to_vec(&body).expect("texts always have a form in JSON").into()
}

fn read_answer(url: &str, status: u16, body: &[u8]) -> Result<String, Error> {
    let url = || url.to_owned();
    let parsed = serde_json::from_slice::<Answer>(body);
    let reason = |answer: &Answer| {
        let messages = answer.errors.iter().map(|error| error.message.as_str());
        messages.collect::<Vec<_>>().join("; ")
    };
    match parsed {
        Ok(Answer { success: true, result: Some(Signed { certificate }), .. })
            if (200..300).contains(&status) && !certificate.is_empty() =>
        {
            Ok(certificate)
        }
        // Its own trouble may pass; what it says of the request will not.
        Ok(answer) if (200..500).contains(&status) => {
            Err(Error::Refused { url: url(), reason: reason(&answer) })
        }
        Ok(answer) => Err(Error::Status { url: url(), status, reason: reason(&answer) }),
        Err(source) if (200..300).contains(&status) => Err(Error::Answer { url: url(), source }),
        Err(_) => Err(Error::Status { url: url(), status, reason: String::new() }),
    }
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
