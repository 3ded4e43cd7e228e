//! TLS 1.3 between nodes, both ends with certificates of the cluster.
//!
//! Configurations are made once per listener or connector; what they show and what they believe is read from
//! [`Credentials`] at each handshake, so that a renewal, a turn to a new root or a removal needs no restart.
//! Sessions are never resumed: a resumed session would skip those checks.

use std::sync::Arc;
use std::{fmt, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use shoal_base::SharedClock;
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::{ClusterId, NodeId};

use crate::chain::{self, Trust};
use crate::connect;
use crate::credentials::Credentials;
use crate::peer::PeerIdentity;
use crate::told;

/// The protocol that runs inside.
const ALPN: &[u8] = b"h2";

/// Whom a client expects at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any manager of the cluster.
    Manager,
    /// This node, in whatever role.
    Node(NodeId),
}

impl Expected {
    /// Whether a node is what was expected.
    pub fn is(self, identity: PeerIdentity) -> bool {
        match self {
            Self::Manager => identity.role == NodeRole::Manager,
            Self::Node(node) => identity.node == node,
        }
    }
}

/// The other end is a node of the cluster, but not the expected one, or one that was removed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refused {
    #[error("expected a manager at the other end, found worker `{node}`")]
    NotManager { node: NodeId },
    #[error("expected node `{expected}` at the other end, found `{node}`")]
    OtherNode { expected: NodeId, node: NodeId },
    #[error("the node at the other end was removed from the cluster")]
    Revoked,
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// For a listener. Clients without certificate get in, and may call what [`crate::rules`] lets anyone call.
pub fn server(credentials: &Credentials) -> Arc<ServerConfig> {
    let time = Arc::new(Time(credentials.clock()));
    let mut config = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(Arc::new(Live {
            credentials: credentials.clone(),
            expected: None,
        }))
        .with_cert_resolver(Arc::new(Shown(credentials.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// For calls as this node.
pub fn client(credentials: &Credentials, expected: Expected) -> Arc<ClientConfig> {
    let verifier = Live { credentials: credentials.clone(), expected: Some(expected) };
    let mut config = client_builder(credentials.clock(), Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Shown(credentials.clone())));
    finish(&mut config);
    Arc::new(config)
}

/// For calls of a node that has no certificate yet, or an expired one, to a manager that `trust` believes. `cluster`: when it is known.
pub fn anonymous(
    trust: Trust,
    cluster: Option<ClusterId>,
    clock: SharedClock,
) -> Arc<ClientConfig> {
    let verifier = Fixed { trust, cluster };
    let mut config = client_builder(clock, Arc::new(verifier)).with_no_client_auth();
    finish(&mut config);
    Arc::new(config)
}

/// For the one call that fetches the root: believes anyone, since the answer is checked against the token.
pub(crate) fn unverified(clock: SharedClock) -> Arc<ClientConfig> {
    let mut config = client_builder(clock, Arc::new(Anyone)).with_no_client_auth();
    finish(&mut config);
    Arc::new(config)
}

/// For HTTPS to a signer outside the cluster: names and roots as on the web, with `roots` (PEM) instead of the
/// web's, and this node's certificate shown.
///
/// # Errors
/// When there is no root in `roots`.
pub fn external(
    credentials: &Credentials,
    roots: &str,
) -> Result<Arc<ClientConfig>, chain::TrustError> {
    let trust = Trust::new(roots)?;
    let time = Arc::new(Time(credentials.clock()));
    let mut config = ClientConfig::builder_with_details(provider(), time)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(trust.roots)
        .with_client_cert_resolver(Arc::new(Shown(credentials.clone())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn client_builder(
    clock: SharedClock,
    verifier: Arc<dyn ServerCertVerifier>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_details(provider(), Arc::new(Time(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
}

#[derive(Debug)]
struct Time(SharedClock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now().since(Timestamp::default())))
    }
}

/// Shows the present certificate.
#[derive(Debug)]
struct Shown(Credentials);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().certified))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes what the credentials believe at the time of the handshake.
#[derive(Debug)]
struct Live {
    credentials: Credentials,
    /// `None`: any node of the cluster.
    expected: Option<Expected>,
}

impl Live {
    fn check(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let current = self.credentials.current();
        let cluster = Some(current.identity.cluster);
        let identity = verify(end, rest, &current.trust, cluster, now)?;
        if self.credentials.is_revoked(identity.node) {
            // With an alert of its own: the node learns that it was removed.
            tracing::debug!(node = %identity.node, "refused a node that was removed");
            return Err(CertificateError::Revoked.into());
        }
        self.expected.map_or(Ok(()), |expected| expect(expected, identity))
    }
}

/// Believes what it was made with.
#[derive(Debug)]
struct Fixed {
    trust: Trust,
    cluster: Option<ClusterId>,
}

/// Believes anyone.
#[derive(Debug)]
struct Anyone;

fn verify(
    end: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    trust: &Trust,
    cluster: Option<ClusterId>,
    now: UnixTime,
) -> Result<PeerIdentity, rustls::Error> {
    let chain = std::iter::once(end.clone()).chain(rest.iter().cloned()).collect::<Vec<_>>();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    chain::verify(&chain, &trust.roots, cluster, Timestamp::from_parts(seconds, 0))
        .map(|facts| facts.identity)
        .map_err(wire_error)
}

/// The other end sees an alert without reason; our own words stay on this end.
fn wire_error(error: chain::Error) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn expect(expected: Expected, identity: PeerIdentity) -> Result<(), rustls::Error> {
    let node = identity.node;
    match expected {
        _ if expected.is(identity) => Ok(()),
        Expected::Manager => Err(refused(Refused::NotManager { node })),
        Expected::Node(expected) => Err(refused(Refused::OtherNode { expected, node })),
    }
}

fn refused(reason: Refused) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// Whether a connection failed because the other end says that this node was removed.
pub fn is_revoked(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source())
        // An address that cannot be connected to has no words of its own.
        .take_while(|error| !matches!(error.downcast_ref(), Some(connect::Error::Tcp { .. })));
    causes.any(|error| error.downcast_ref::<io::Error>().is_some_and(told::is_revoked))
}

/// A failed handshake with our own reason as its cause: the library shows such reasons only in their debug form.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))) => {
            io::Error::new(error.kind(), Reason(Arc::clone(reason)))
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => {
            io::Error::new(error.kind(), Reason(Arc::new(Refused::Revoked)))
        }
        _ => error,
    }
}

/// A reason of ours that went through the library.
#[derive(Debug)]
struct Reason(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Reason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

fn signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms())
}

/// TLS 1.2 is not offered, so nothing signed in its way is believed.
fn never_12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            never_12()
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

impl ClientCertVerifier for Live {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: in a turn to a new root a client must not guess by names which certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end, rest, now).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Live {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end, rest, now).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Fixed {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let identity = verify(end, rest, &self.trust, self.cluster, now)?;
        expect(Expected::Manager, identity).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
