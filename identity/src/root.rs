//! The root of a cluster: made, read, cross-signed; and what signs the certificates of nodes.
//!
//! Pure, except that new keys come from the kernel's randomness (see [`crate::request`]).
//!
//! A turn to another root goes like this: the old root signs the new root's key (the *cross-signed* certificate).
//! From then on nodes get certificates of the new key, with the cross-signed certificate in their chain; so they
//! are believed by those that trust the old root only and by those that trust the new one.
//!
//! Source: swarmkit `ca/certificates.go`.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use shoal_base::random::Random;
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeRole;
use shoal_model::error::{Classified, ErrorKind};
use time::OffsetDateTime;

use crate::peer::{self, PeerIdentity};
use crate::{pem, request, sec1};

/// Life of a root: twenty years.
pub const ROOT_LIFE: Duration = Duration::from_secs(630_720_000);
/// Certificates begin so long before they are made, for clocks that are behind.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// Shortest life of a node's certificate.
pub const EXPIRY_MIN: Duration = Duration::from_secs(3600);
/// Common name of a root; also a name that managers' certificates carry.
const NAME: &str = "swarm-ca";

/// A root cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to make a root certificate")]
    Make(#[source] rcgen::Error),
    #[error("failed to read the root certificate")]
    Certificate(#[source] pem::Error),
    #[error("failed to read the root certificate")]
    Damaged(#[source] peer::Error),
    #[error("root must be one certificate, not {count}")]
    NotOne { count: usize },
    #[error("root certificate is not one of a certificate authority")]
    NotAuthority,
    #[error("root certificate is not signed by itself")]
    NotSelfSigned,
    #[error(
        "root certificate is valid from {not_before} to {not_after} only, and it is {now} here"
    )]
    NotValidNow { not_before: Date, not_after: Date, now: Date },
    #[error("failed to read the key of the root")]
    Key(#[source] rustls_pki_types::pem::Error),
    #[error("key of the root is of a kind that is not known")]
    KeyKind(#[source] Option<rcgen::Error>),
    #[error("key is not that of the root certificate")]
    KeyOfAnother,
    #[error("no valid signer found")]
    NoKey,
    #[error("name of the root has a part of a kind that is not known")]
    Name,
    #[error("failed to use the certificate request")]
    Request(#[source] request::Error),
    #[error("failed to sign")]
    Sign(#[source] rcgen::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Make(_) | Self::Sign(_) => ErrorKind::Internal,
            Self::NoKey => ErrorKind::Unavailable,
            Self::Request(source) => source.kind(),
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// A time as people read it in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(pub Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.seconds()) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "second {}", self.0.seconds()),
        }
    }
}

/// A root, with or without its key.
pub struct Root {
    certificate: String,
    der: CertificateDer<'static>,
    not_after: Timestamp,
    key: Option<KeyPair>,
}

impl Root {
    /// A new root for twenty years.
    ///
    /// # Errors
    /// When the library fails.
    pub fn generate(now: Timestamp, random: &dyn Random) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::Make)?;
        let mut params = authority(now, now.after(ROOT_LIFE), random);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        let der: CertificateDer<'static> = params.self_signed(&key).map_err(Error::Make)?.into();
        let not_after = facts(&der, now)?;
        Ok(Self {
            certificate: pem::encode(std::slice::from_ref(&der)),
            der,
            not_after,
            key: Some(key),
        })
    }

    /// Reads a root, and its key unless that is empty (external signers).
    ///
    /// # Errors
    /// When it is not exactly one certificate of an authority signed by itself and valid now, or the key is
    /// not its key.
    pub fn load(certificate: &str, key: &str, now: Timestamp) -> Result<Self, Error> {
        let mut found = pem::certificates(certificate.as_bytes()).map_err(Error::Certificate)?;
        let der = match (found.pop(), found.len()) {
            (Some(der), 0) => der,
            (_, rest) => return Err(Error::NotOne { count: rest + 1 }),
        };
        let not_after = facts(&der, now)?;
        let key = if key.is_empty() { None } else { Some(read_key(key)?) };
        if let Some(key) = &key {
            let parsed = peer::parse(&der).map_err(Error::Damaged)?;
            if key.subject_public_key_info() != parsed.public_key().raw {
                return Err(Error::KeyOfAnother);
            }
        }
        Ok(Self { certificate: pem::encode(std::slice::from_ref(&der)), der, not_after, key })
    }

    /// PEM, one certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// End of its life.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// PEM of the key, PKCS #8; `None` without one. Secret.
    pub fn key_pem(&self) -> Option<String> {
        self.key.as_ref().map(KeyPair::serialize_pem)
    }

    /// Digest of the PEM, as join tokens carry it.
    pub fn digest(&self) -> [u8; 32] {
        digest(self.certificate.as_bytes())
    }

    /// DER of the name.
    ///
    /// # Panics
    /// Never: the certificate was read when the root was made.
    pub fn subject(&self) -> Vec<u8> {
        let parsed = peer::parse(&self.der).expect("read when the root was made");
        parsed.subject().as_raw().to_vec()
    }

    /// DER of the public key, with its algorithm.
    ///
    /// # Panics
    /// Never: the certificate was read when the root was made.
    pub fn public_key(&self) -> Vec<u8> {
        let parsed = peer::parse(&self.der).expect("read when the root was made");
        parsed.public_key().raw.to_vec()
    }

    /// PEM of `new`'s name and key, signed by this root.
    ///
    /// # Errors
    /// When this root has no key, or the new one's name is of unknown kinds.
    pub fn cross_sign(
        &self,
        new: &Self,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String, Error> {
        let parsed = peer::parse(&new.der).map_err(Error::Damaged)?;
        let mut params = authority(now, self.not_after.min(new.not_after), random);
        params.distinguished_name = copy_name(parsed.subject())?;
        params.use_authority_key_identifier_extension = true;
        let public = SubjectPublicKeyInfo::from_der(parsed.public_key().raw)
            .map_err(|source| Error::KeyKind(Some(source)))?;
        let signed = params.signed_by(&public, &self.issuer()?).map_err(Error::Sign)?;
        Ok(pem::encode(&[signed.into()]))
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, Error> {
        let key = self.key.as_ref().ok_or(Error::NoKey)?;
        Issuer::from_ca_cert_der(&self.der, key).map_err(Error::Sign)
    }
}

impl fmt::Debug for Root {
    /// Without the key: it must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("certificate", &self.certificate)
            .field("has_key", &self.key.is_some())
            .finish()
    }
}

/// SHA-256 of a root's PEM.
pub fn digest(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Text of [`digest`]: `sha256:` and 64 digits.
pub fn digest_text(certificate: &[u8]) -> String {
    let digits = digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

/// What a certificate is to say.
#[derive(Debug, Clone, Copy)]
pub struct Issue {
    /// Who the node is.
    pub identity: PeerIdentity,
    /// How long it is valid; at least [`EXPIRY_MIN`], and never beyond the root's end.
    pub expiry: Duration,
    /// The time.
    pub now: Timestamp,
}

/// Signs certificates of nodes.
#[derive(Debug)]
pub struct Signer {
    root: Root,
    /// PEM of what goes between a node's certificate and the root; empty but during a turn to a new root.
    intermediates: String,
}

impl Signer {
    /// A signer that puts `intermediates` (PEM, may be empty) into the chains.
    ///
    /// # Errors
    /// When the root has no key.
    pub fn new(root: Root, intermediates: String) -> Result<Self, Error> {
        if root.key.is_none() {
            return Err(Error::NoKey);
        }
        Ok(Self { root, intermediates })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// PEM of the chain for the key of `request`: the certificate, then the intermediates. Of the request only
    /// the key counts.
    ///
    /// # Errors
    /// When the request is bad, or the library fails.
    pub fn sign(&self, request: &str, issue: Issue, random: &dyn Random) -> Result<String, Error> {
        let key = request::public_key(request).map_err(Error::Request)?;
        let Issue { identity, expiry, now } = issue;
        let mut params = CertificateParams::default();
        params.not_before = date(before(now));
        params.not_after = date(now.after(expiry.max(EXPIRY_MIN)).min(self.root.not_after));
        params.serial_number = Some(serial(random));
        let node = identity.node.to_string();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, identity.cluster.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, peer::unit(identity.role));
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.subject_alt_names = alternative_names(identity.role, node)?;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.root.issuer()?).map_err(Error::Sign)?;
        Ok(pem::encode(&[signed.into()]) + &self.intermediates)
    }
}

/// The names that swarmkit's nodes look for: role, id, and the authority's for managers.
fn alternative_names(role: NodeRole, node: String) -> Result<Vec<rcgen::SanType>, Error> {
    let authority = (role == NodeRole::Manager).then(|| NAME.to_owned());
    [peer::unit(role).to_owned(), node]
        .into_iter()
        .chain(authority)
        .map(|name| name.try_into().map(rcgen::SanType::DnsName).map_err(Error::Sign))
        .collect()
}

fn authority(now: Timestamp, not_after: Timestamp, random: &dyn Random) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date(before(now));
    params.not_after = date(not_after);
    params.serial_number = Some(serial(random));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Checks a root and gives the end of its life.
fn facts(der: &CertificateDer<'_>, now: Timestamp) -> Result<Timestamp, Error> {
    let parsed = peer::parse(der).map_err(Error::Damaged)?;
    if !parsed.is_ca() {
        return Err(Error::NotAuthority);
    }
    if parsed.subject() != parsed.issuer() || parsed.verify_signature(None).is_err() {
        return Err(Error::NotSelfSigned);
    }
    let not_before = Timestamp::from_parts(parsed.validity().not_before.timestamp(), 0);
    let not_after = Timestamp::from_parts(parsed.validity().not_after.timestamp(), 0);
    if now < not_before || now >= not_after {
        let (not_before, not_after, now) = (Date(not_before), Date(not_after), Date(now));
        return Err(Error::NotValidNow { not_before, not_after, now });
    }
    Ok(not_after)
}

fn read_key(text: &str) -> Result<KeyPair, Error> {
    let der = match PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(Error::Key)? {
        PrivateKeyDer::Sec1(key) => {
            PrivateKeyDer::Pkcs8(sec1::to_pkcs8(&key).ok_or(Error::KeyKind(None))?.into())
        }
        other => other,
    };
    KeyPair::try_from(&der).map_err(|source| Error::KeyKind(Some(source)))
}

/// A name part by part: the library keeps its own reader to itself.
fn copy_name(name: &x509_parser::x509::X509Name<'_>) -> Result<DistinguishedName, Error> {
    use x509_parser::asn1_rs::Tag;
    let mut copy = DistinguishedName::new();
    for attribute in name.iter_attributes() {
        let oid = attribute.attr_type().iter().ok_or(Error::Name)?.collect::<Vec<_>>();
        let text = || std::str::from_utf8(attribute.attr_value().data).map_err(|_| Error::Name);
        let value = match attribute.attr_value().header.tag() {
            Tag::Utf8String => rcgen::DnValue::Utf8String(text()?.to_owned()),
            Tag::PrintableString => {
                rcgen::DnValue::PrintableString(text()?.try_into().map_err(|_| Error::Name)?)
            }
            Tag::Ia5String => {
                rcgen::DnValue::Ia5String(text()?.try_into().map_err(|_| Error::Name)?)
            }
            _ => return Err(Error::Name),
        };
        copy.push(DnType::from_oid(&oid), value);
    }
    Ok(copy)
}

fn before(now: Timestamp) -> Timestamp {
    let back = i64::try_from(BACKDATE.as_secs()).expect("an hour fits");
    Timestamp::from_parts(now.seconds().saturating_sub(back), 0)
}

/// Within the years that certificates can say.
fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.seconds().max(0))
        .expect("a timestamp of the model ends in the year 2262")
}

/// Positive, and not the same twice.
fn serial(random: &dyn Random) -> rcgen::SerialNumber {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    rcgen::SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
