//! Text form of certificates and keys.
//!
//! Pure. Source: RFC 7468.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shoal_model::error::{Classified, ErrorKind};

/// Text is not PEM of what it should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read certificates from PEM")]
    Certificates(#[source] rustls_pki_types::pem::Error),
    #[error("no certificate in PEM")]
    NoCertificate,
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// All certificates of a text, at least one.
///
/// # Errors
/// When the text is damaged or holds no certificate.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Certificates)?;
    if found.is_empty() { Err(Error::NoCertificate) } else { Ok(found) }
}

/// The text of certificates, in their order.
pub fn encode(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| block("CERTIFICATE", certificate)).collect()
}

/// One block with lines of 64 digits.
pub(crate) fn block(label: &str, bytes: &[u8]) -> String {
    let digits = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in digits.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_64_digits_and_come_back() {
        let one = CertificateDer::from(vec![7; 50]);
        let text = encode(&[one.clone(), one.clone()]);
        let first = "-----BEGIN CERTIFICATE-----\n\
                     BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n\
                     Bwc=\n-----END CERTIFICATE-----\n";
        assert_eq!(text, format!("{first}{first}"));
        assert_eq!(certificates(text.as_bytes()).unwrap(), [one.clone(), one]);
    }

    #[test]
    fn damaged_text_and_text_without_certificates_are_refused() {
        let cut = b"-----BEGIN CERTIFICATE-----\nBwcH\n";
        assert!(matches!(certificates(cut), Err(Error::Certificates(_))));
        assert!(matches!(certificates(b"hello"), Err(Error::NoCertificate)));
    }
}
