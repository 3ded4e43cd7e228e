//! TLS of the API's TCP sockets, as dockerd's `--tls` and `--tlsverify`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::options::Options;

/// The configuration for TCP sockets; `None` when TLS was not asked for.
pub(crate) fn server_config(options: &Options) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    if !options.tls && !options.tlsverify {
        return Ok(None);
    }
    let (Some(certificate), Some(key)) = (&options.tlscert, &options.tlskey) else {
        bail!("--tls and --tlsverify need --tlscert and --tlskey");
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the key `{}`", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?;
    let builder = if options.tlsverify {
        let Some(authority) = &options.tlscacert else { bail!("--tlsverify needs --tlscacert") };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority)? {
            roots
                .add(certificate)
                .with_context(|| format!("unusable authority in `{}`", authority.display()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .with_context(|| format!("no usable authority in `{}`", authority.display()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, key).context("certificate and key do not fit")?;
    Ok(Some(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from `{}`", path.display()))?;
    if chain.is_empty() {
        bail!("`{}` holds no certificate", path.display());
    }
    Ok(chain)
}
