//! TLS settings of one registry: system roots, private roots and client certificates of `certs.d`.
//!
//! Blocking: reads small files. Source: docker docs "certificates" (`<host>/*.crt` roots, `*.cert` with
//! `*.key` client pairs); moby `daemon/pkg/registry/registry.go` `loadTLSConfig`.
//! Differs: client pairs are presented to insecure registries too, where moby skips the directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::endpoint::Trust;

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("failed to read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to parse `{}`", .path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("`{}` is not a usable root certificate", .path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error(
        "missing key `{}` for client certificate `{}`: CA certificates must use the extension .crt",
        .key.display(), .certificate.display()
    )]
    MissingKey { key: PathBuf, certificate: PathBuf },
    #[error("missing client certificate `{}` for key `{}`", .certificate.display(), .key.display())]
    MissingCertificate { certificate: PathBuf, key: PathBuf },
    #[error("`{}` and its key do not fit", .certificate.display())]
    Pair {
        certificate: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Files of one directory under `certs.d`, by purpose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Files {
    roots: Vec<PathBuf>,
    /// Certificate and key.
    pairs: Vec<(PathBuf, PathBuf)>,
}

/// Reads the directory of one registry; absent is empty.
fn list(directory: &Path) -> Result<Files, Error> {
    let failed = |source| Error::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::default()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.path());
    }
    names.sort();
    let mut files = Files::default();
    for path in &names {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => files.roots.push(path.clone()),
            Some("cert") => {
                let key = path.with_extension("key");
                if !names.contains(&key) {
                    return Err(Error::MissingKey { key, certificate: path.clone() });
                }
                files.pairs.push((path.clone(), key));
            }
            Some("key") => {
                let certificate = path.with_extension("cert");
                if !names.contains(&certificate) {
                    return Err(Error::MissingCertificate { certificate, key: path.clone() });
                }
            }
            _ => {}
        }
    }
    Ok(files)
}

/// Builds the settings for a registry. `directory` is `<certs.d>/<host[:port]>`.
///
/// # Errors
/// When a file of the directory cannot be used: ignoring it would fail later, less clearly.
pub(crate) fn client_config(directory: &Path, trust: Trust) -> Result<ClientConfig, Error> {
    let files = list(directory)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let builder = match trust {
        Trust::Verify => builder.with_root_certificates(roots(&files.roots)?),
        Trust::AcceptAny => {
            let verifier = Arc::new(AcceptAny { provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let mut config = match files.pairs.first() {
        None => builder.with_no_client_auth(),
        // One identity per registry: rustls presents a single chain.
        Some((certificate, key)) => {
            let chain = read_certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| Error::Pem { path: key.clone(), source })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| Error::Pair { certificate: certificate.clone(), source })?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(private: &[PathBuf]) -> Result<RootCertStore, Error> {
    let mut store = system_roots().clone();
    for path in private {
        for certificate in read_certificates(path)? {
            store.add(certificate).map_err(|source| Error::Root { path: path.clone(), source })?;
        }
    }
    Ok(store)
}

/// The machine's roots, read once. A machine without any still reaches private registries.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(error = %error, "failed to read a system root certificate");
        }
        let mut store = RootCertStore::empty();
        let (_, unusable) = store.add_parsable_certificates(found.certs);
        if unusable > 0 {
            tracing::debug!(unusable, "left out system root certificates");
        }
        store
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    found.collect::<Result<Vec<_>, _>>().map_err(failed)
}

/// Accepts every certificate, as the user told us to for this registry. Signatures are still checked, so
/// that the peer at least holds the key it shows.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_files_by_purpose_and_misses_halves() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(list(&dir.path().join("absent")).unwrap(), Files::default());
        for name in ["ca.crt", "client.cert", "client.key", "README"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let path = |name: &str| dir.path().join(name);
        assert_eq!(
            list(dir.path()).unwrap(),
            Files {
                roots: vec![path("ca.crt")],
                pairs: vec![(path("client.cert"), path("client.key"))]
            }
        );
        std::fs::write(path("other.key"), "").unwrap();
        assert!(matches!(list(dir.path()), Err(Error::MissingCertificate { .. })));
        std::fs::remove_file(path("other.key")).unwrap();
        std::fs::remove_file(path("client.key")).unwrap();
        assert!(matches!(list(dir.path()), Err(Error::MissingKey { .. })));
    }
}
