//! Proof that the maker of a new request has the key of an expired certificate.
//!
//! Pure. An expired certificate opens no connection, so a node that was switched off for long shows it inside a
//! call, with a signature by its key over the new request. The signature is of use for that request only.

use rustls::SignatureScheme;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use shoal_model::error::{Classified, ErrorKind};

use crate::request::NodeKey;
use crate::{peer, request, tls};

/// Says what the signature is for, so that no other signature of the key can stand for it.
const PURPOSE: &[u8] = b"shoal renewal of an expired certificate, format 1\0";

/// A proof does not hold.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read the expired certificate")]
    Certificate(#[source] peer::Error),
    #[error("request is not signed by the key of the expired certificate")]
    Wrong,
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthorized
    }
}

/// Signs `request` (PEM) with the key of the old certificate.
///
/// # Errors
/// When the library fails.
pub fn make(old: &NodeKey, request: &[u8]) -> Result<Vec<u8>, request::Error> {
    old.sign(&message(request))
}

/// Checks that `signature` over `request` was made with the key of `old`.
///
/// # Errors
/// When it was not.
pub fn check(old: &CertificateDer<'_>, request: &[u8], signature: &[u8]) -> Result<(), Error> {
    let parsed = peer::parse(old).map_err(Error::Certificate)?;
    let key = parsed.public_key().subject_public_key.data.as_ref();
    let algorithms = tls::algorithms()
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256)
        .map_or(&[][..], |(_, algorithms)| algorithms);
    let message = message(request);
    let holds = algorithms
        .iter()
        .any(|algorithm| algorithm.verify_signature(key, &message, signature).is_ok());
    if holds { Ok(()) } else { Err(Error::Wrong) }
}

fn message(request: &[u8]) -> Vec<u8> {
    [PURPOSE, &Sha256::digest(request)].concat()
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::node::NodeRole;

    use super::*;
    use crate::root::Signer;
    use crate::testing::{NOW, certificates, identity, node, root};

    #[test]
    fn only_the_old_key_over_this_request_proves_anything() {
        let signer = Signer::new(root(), String::new()).unwrap();
        let (chain, key) = node(&signer, identity(NodeRole::Worker), NOW);
        let old = &certificates(&chain)[0];
        let proof = make(&key, b"request").unwrap();
        check(old, b"request", &proof).unwrap();
        assert!(matches!(check(old, b"another", &proof), Err(Error::Wrong)));
        assert!(matches!(check(old, b"request", b""), Err(Error::Wrong)));
        let other = make(&NodeKey::generate().unwrap(), b"request").unwrap();
        assert!(matches!(check(old, b"request", &other), Err(Error::Wrong)));
        let plain = key.sign(&Sha256::digest(b"request")).unwrap();
        assert!(matches!(check(old, b"request", &plain), Err(Error::Wrong)));
    }
}
