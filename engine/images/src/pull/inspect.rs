//! What a registry says of a reference, without pulling it.
//!
//! Source: moby `daemon/server/router/distribution/distribution_routes.go`.

use serde::Deserialize;
use shoal_engine_registry::{
    Access, Credentials, Descriptor, IndexPlatform, Parsed, Target, platform,
};
use shoal_model::Reference;

use super::CONFIG_MAX;
use super::error::Error;
use super::transfers::Transfers;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Media type, digest and size of the manifest or index.
    pub descriptor: Descriptor,
    /// For which platforms there are images.
    pub platforms: Vec<IndexPlatform>,
}

impl Transfers {
    /// Asks the registry about a reference.
    ///
    /// # Errors
    /// Those of the registry, and of manifests that are not images.
    pub async fn inspect(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Inspected, Error> {
        let failed =
            |source| Error::Inspect { reference: reference.clone(), source: Box::new(source) };
        let client = &self.shared.client;
        let repository = client.repository(reference, credentials, Access::Pull).await;
        let repository = repository.map_err(failed)?;
        let fetched = repository.manifest(&Target::of(reference)).await.map_err(failed)?;
        let platforms = match &fetched.parsed {
            Parsed::Index(index) => platform::all(index),
            Parsed::Manifest(manifest) => {
                let config = repository.small_blob(&manifest.config, CONFIG_MAX).await;
                platform_of(&config.map_err(failed)?).into_iter().collect()
            }
        };
        Ok(Inspected { descriptor: fetched.descriptor, platforms })
    }
}

/// The platform an image config is for; `None` when it does not say.
fn platform_of(config: &[u8]) -> Option<IndexPlatform> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        os: String,
        #[serde(default)]
        variant: String,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    let Config { architecture, os, variant } = config;
    let known = !os.is_empty() || !architecture.is_empty();
    known.then(|| IndexPlatform { architecture, os, variant, ..IndexPlatform::default() })
}
