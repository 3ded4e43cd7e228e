//! Whether a certificate is that of a node of this cluster, now.
//!
//! Pure. The same check serves both ends of a connection and a node that looks at its own files.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};
use shoal_model::Timestamp;
use shoal_model::cluster::{ClusterId, NodeId};
use shoal_model::error::{Classified, ErrorKind};

use crate::peer::{self, Facts};
use crate::root::Date;
use crate::{pem, tls};

/// So long after its end a certificate can still be renewed with proof of its key: two years, so that a cluster
/// that was switched off for a year starts again.
pub const GRACE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// A chain is not believed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no certificate")]
    Empty,
    #[error(transparent)]
    Subject(#[from] peer::Error),
    #[error("certificate of node `{node}` expired on {not_after} and it is {now} here")]
    Expired { node: NodeId, not_after: Date, now: Date },
    #[error(
        "certificate of node `{node}` is valid from {not_before} on and it is {now} here: the clock of this \
         host is behind, or the clock of the manager that signed it is ahead"
    )]
    NotYetValid { node: NodeId, not_before: Date, now: Date },
    #[error("certificate of node `{node}` is of cluster `{actual}`, not of `{expected}`")]
    OtherCluster { node: NodeId, actual: ClusterId, expected: ClusterId },
    #[error("certificate of node `{node}` is not signed by the root of the cluster")]
    NotTrusted {
        node: NodeId,
        #[source]
        source: rustls::Error,
    },
    #[error(
        "certificate of node `{node}` expired on {not_after}, too long ago to be renewed: leave the cluster and join again"
    )]
    BeyondGrace { node: NodeId, not_after: Date },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Forbidden
    }
}

/// What a node trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    /// PEM of the roots.
    pub bundle: String,
    /// The same, prepared.
    pub roots: Arc<RootCertStore>,
}

impl Trust {
    /// Trust in the roots of `bundle` (PEM).
    ///
    /// # Errors
    /// When there is none, or one is damaged.
    pub fn new(bundle: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(bundle.as_bytes()).map_err(TrustError::Pem)? {
            roots.add(certificate).map_err(TrustError::Root)?;
        }
        Ok(Self { bundle: bundle.to_owned(), roots: Arc::new(roots) })
    }
}

/// A bundle of roots is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TrustError {
    #[error("failed to read the roots to trust")]
    Pem(#[source] pem::Error),
    #[error("failed to use a root to trust")]
    Root(#[source] rustls::Error),
}

impl Classified for TrustError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Checks a chain: a node's certificate first. With `cluster`, its organisation too.
///
/// # Errors
/// Says what is wrong with it; times before trust, since an expired certificate of ours deserves better words.
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    cluster: Option<ClusterId>,
    now: Timestamp,
) -> Result<Facts, Error> {
    let (certificate, facts) = first(chain)?;
    let node = facts.identity.node;
    if now >= facts.not_after {
        return Err(Error::Expired { node, not_after: Date(facts.not_after), now: Date(now) });
    }
    if now < facts.not_before {
        return Err(Error::NotYetValid {
            node,
            not_before: Date(facts.not_before),
            now: Date(now),
        });
    }
    trusted(certificate, &chain[1..], roots, &facts, now)?;
    of_cluster(&facts, cluster)?;
    Ok(facts)
}

/// Checks a chain that has expired, as it was at its end.
///
/// # Errors
/// As [`verify`], and when it expired more than [`GRACE`] ago.
pub fn verify_expired(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    cluster: ClusterId,
    now: Timestamp,
) -> Result<Facts, Error> {
    let (certificate, facts) = first(chain)?;
    if now >= facts.not_after.after(GRACE) {
        let not_after = Date(facts.not_after);
        return Err(Error::BeyondGrace { node: facts.identity.node, not_after });
    }
    let end = Timestamp::from_parts(facts.not_after.seconds() - 1, 0);
    trusted(certificate, &chain[1..], roots, &facts, now.min(end))?;
    of_cluster(&facts, Some(cluster))?;
    Ok(facts)
}

/// The certificate in `chain` or among the roots that signed the first one: name and public key in DER, as
/// docker's `TLSInfo` shows them. `None`: it is not there.
pub fn issuer(chain: &[CertificateDer<'_>], bundle: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let leaf = peer::parse(chain.first()?).ok()?;
    let roots = pem::certificates(bundle.as_bytes()).ok()?;
    chain[1..].iter().chain(&roots).find_map(|candidate| {
        let candidate = peer::parse(candidate).ok()?;
        let named = candidate.subject() == leaf.issuer();
        let signed = named && leaf.verify_signature(Some(candidate.public_key())).is_ok();
        signed.then(|| (candidate.subject().as_raw().to_vec(), candidate.public_key().raw.to_vec()))
    })
}

fn first<'a, 'b>(
    chain: &'a [CertificateDer<'b>],
) -> Result<(&'a CertificateDer<'b>, Facts), Error> {
    let certificate = chain.first().ok_or(Error::Empty)?;
    Ok((certificate, peer::facts(certificate)?))
}

fn of_cluster(facts: &Facts, expected: Option<ClusterId>) -> Result<(), Error> {
    let (node, actual) = (facts.identity.node, facts.identity.cluster);
    match expected {
        Some(expected) if expected != actual => Err(Error::OtherCluster { node, actual, expected }),
        _ => Ok(()),
    }
}

fn trusted(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    facts: &Facts,
    at: Timestamp,
) -> Result<(), Error> {
    let time = UnixTime::since_unix_epoch(at.since(Timestamp::default()));
    let node = facts.identity.node;
    ParsedCertificate::try_from(certificate)
        .and_then(|parsed| {
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                time,
                tls::algorithms().all,
            )
        })
        .map_err(|source| Error::NotTrusted { node, source })
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
