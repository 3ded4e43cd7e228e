//! Who a peer is, from the subject of its certificate.
//!
//! Pure. The common name is the node's id, the organisational unit its role, the organisation the cluster's id.
//!
//! Source: swarmkit `ca/auth.go`, `ca/certificates.go` `PrepareCSR`.

use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::{ClusterId, NodeId};
use shoal_model::error::{Classified, ErrorKind};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Who a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node.
    pub node: NodeId,
    /// Its role when the certificate was signed.
    pub role: NodeRole,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What a listener knows of the other end of a connection. Found in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct PeerInfo {
    /// Its address.
    pub address: SocketAddr,
    /// Who it is; `None`: it showed no certificate.
    pub identity: Option<PeerIdentity>,
}

/// What a node's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who it is for.
    pub identity: PeerIdentity,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// DER of the issuer's name.
    pub issuer_subject: Vec<u8>,
    /// DER of the public key, with its algorithm.
    pub public_key: Vec<u8>,
}

/// A certificate is not one of a node.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read a certificate")]
    Damaged(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    #[error("certificate of a node has no single {field}")]
    NotSingle { field: &'static str },
    #[error("certificate names node `{id}`, which is no id")]
    Node { id: String },
    #[error("certificate names cluster `{id}`, which is no id")]
    Cluster { id: String },
    #[error("certificate names role `{role}`, which is no role")]
    Role { role: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Forbidden
    }
}

/// The organisational unit of a role.
pub const fn unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => "swarm-manager",
        NodeRole::Worker => "swarm-worker",
    }
}

/// Reads a node's certificate. Does not check who signed it.
///
/// # Errors
/// When it is damaged or not that of a node.
pub fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, Error> {
    let parsed = parse(certificate)?;
    let subject = parsed.subject();
    let node = single(subject.iter_common_name(), "common name")?;
    let cluster = single(subject.iter_organization(), "organisation")?;
    let identity = PeerIdentity {
        node: NodeId::parse(node).ok_or_else(|| Error::Node { id: node.to_owned() })?,
        role: role(subject)?,
        cluster: ClusterId::parse(cluster)
            .ok_or_else(|| Error::Cluster { id: cluster.to_owned() })?,
    };
    Ok(Facts {
        identity,
        not_before: Timestamp::from_parts(parsed.validity().not_before.timestamp(), 0),
        not_after: Timestamp::from_parts(parsed.validity().not_after.timestamp(), 0),
        issuer_subject: parsed.issuer().as_raw().to_vec(),
        public_key: parsed.public_key().raw.to_vec(),
    })
}

/// DER of the subject's name and of the public key, of any certificate.
///
/// # Errors
/// When it is damaged.
pub fn name_and_key(certificate: &CertificateDer<'_>) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let parsed = parse(certificate)?;
    Ok((parsed.subject().as_raw().to_vec(), parsed.public_key().raw.to_vec()))
}

pub(crate) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed).map_err(Error::Damaged)
}

fn role(subject: &X509Name<'_>) -> Result<NodeRole, Error> {
    let name = single(subject.iter_organizational_unit(), "organisational unit")?;
    [NodeRole::Manager, NodeRole::Worker]
        .into_iter()
        .find(|role| unit(*role) == name)
        .ok_or_else(|| Error::Role { role: name.to_owned() })
}

/// A second value could make two readers see two identities.
fn single<'a>(
    mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
    field: &'static str,
) -> Result<&'a str, Error> {
    let value = values.next().ok_or(Error::NotSingle { field })?;
    if values.next().is_some() {
        return Err(Error::NotSingle { field });
    }
    value.as_str().map_err(|_| Error::NotSingle { field })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn names_that_are_not_a_nodes_are_refused_by_field() {
        let id = crate::testing::NODE.to_string();
        let organisation = (DnType::OrganizationName, id.as_str());
        let unit = (DnType::OrganizationalUnitName, "swarm-worker");
        let node = (DnType::CommonName, id.as_str());
        let refusal =
            |names: &[(DnType, &str)]| facts(&certificate(names)).unwrap_err().to_string();
        assert_eq!(
            [
                refusal(&[unit.clone(), node.clone()]),
                refusal(&[organisation.clone(), node.clone()]),
                refusal(&[organisation.clone(), unit.clone()]),
                refusal(&[organisation.clone(), unit.clone(), (DnType::CommonName, "swarm-ca")]),
                refusal(&[(DnType::OrganizationName, "acme"), unit.clone(), node.clone()]),
                refusal(&[
                    organisation.clone(),
                    (DnType::OrganizationalUnitName, "swarm-ca"),
                    node.clone()
                ]),
            ],
            [
                "certificate of a node has no single organisation",
                "certificate of a node has no single organisational unit",
                "certificate of a node has no single common name",
                "certificate names node `swarm-ca`, which is no id",
                "certificate names cluster `acme`, which is no id",
                "certificate names role `swarm-ca`, which is no role",
            ]
        );
        assert!(facts(&certificate(&[organisation, unit, node])).is_ok());
        assert!(matches!(facts(&CertificateDer::from(vec![1, 2, 3])), Err(Error::Damaged(_))));
    }
}
