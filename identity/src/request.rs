//! A node's key and its request for a certificate.
//!
//! Pure, except that keys come from the kernel's randomness: the library that makes them takes no other.

use std::fmt;

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, SigningKey as _};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use shoal_model::error::{Classified, ErrorKind};

/// A key or a request is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to make a key")]
    Generate(#[source] rcgen::Error),
    #[error("failed to read the node's key")]
    Key(#[source] rcgen::Error),
    #[error("failed to make a certificate request")]
    Make(#[source] rcgen::Error),
    #[error("failed to read a certificate request")]
    Request(#[source] rcgen::Error),
    #[error("certificate request is not text")]
    NotText(#[source] std::str::Utf8Error),
    #[error("key of a certificate request is not ECDSA P-256")]
    Algorithm,
    #[error("failed to sign")]
    Sign(#[source] rcgen::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Generate(_) | Self::Make(_) | Self::Sign(_) => ErrorKind::Internal,
            Self::Key(_) => ErrorKind::DataLoss,
            Self::Request(_) | Self::NotText(_) | Self::Algorithm => ErrorKind::InvalidArgument,
        }
    }
}

/// The key of a node: ECDSA P-256.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    /// When the library fails.
    pub fn generate() -> Result<Self, Error> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(Error::Generate)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When it is no PEM of an ECDSA P-256 key in PKCS #8.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        KeyPair::from_pkcs8_pem_and_sign_algo(text, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(Error::Key)
    }

    /// PEM, PKCS #8. Secret.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// PEM of a request for a certificate. It names nobody: the signer alone says who a node is.
    ///
    /// # Errors
    /// When the library fails.
    pub fn request(&self) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|request| request.pem()).map_err(Error::Make)
    }

    /// ECDSA P-256 with SHA-256, ASN.1.
    ///
    /// # Errors
    /// When the library fails.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(Error::Sign)
    }

    /// DER of the public key, with its algorithm.
    pub fn public(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&self.0)
    }

    pub(crate) fn private_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }
}

impl fmt::Debug for NodeKey {
    /// Without the key: it must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

/// Reads a request and checks that its maker has the key.
///
/// # Errors
/// When it is damaged, its signature is wrong, or its key is of another kind.
pub(crate) fn public_key(request: &str) -> Result<rcgen::PublicKey, Error> {
    let parsed = CertificateSigningRequestParams::from_pem(request).map_err(Error::Request)?;
    if rcgen::PublicKeyData::algorithm(&parsed.public_key) == &rcgen::PKCS_ECDSA_P256_SHA256 {
        Ok(parsed.public_key)
    } else {
        Err(Error::Algorithm)
    }
}

/// Reads a request as it comes from the network: [`public_key`] of bytes, for its errors alone.
///
/// # Errors
/// As said there.
pub fn check(request: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(request).map_err(Error::NotText)?;
    public_key(text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_the_request_carries_it() {
        let key = NodeKey::generate().unwrap();
        let same = NodeKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(same.public(), key.public());
        let request = same.request().unwrap();
        let carried = public_key(&request).unwrap();
        assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&carried), key.public());
    }

    #[test]
    fn a_request_whose_maker_has_another_key_is_refused() {
        let text = NodeKey::generate().unwrap().request().unwrap();
        let mut digits = text.lines().collect::<Vec<_>>();
        let last = digits.len() - 2;
        let changed = digits[last].replace(|c: char| c.is_ascii_alphabetic() && c < 'Y', "Y");
        digits[last] = &changed;
        assert!(matches!(public_key(&digits.join("\n")), Err(Error::Request(_))));
    }

    #[test]
    fn other_kinds_of_key_and_other_texts_are_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        assert!(matches!(check(request.as_bytes()), Err(Error::Algorithm)));
        assert!(matches!(check(b"hello"), Err(Error::Request(_))));
        assert!(matches!(check(&[0xff]), Err(Error::NotText(_))));
        assert!(matches!(NodeKey::from_pem("hello"), Err(Error::Key(_))));
    }
}
