//! Secrets and configs, both ways.

use shoal_api_wire::swarm::secret as wire;
use shoal_model::cluster::{Config, ConfigSpec, Secret, SecretSpec};

use super::{Result, annotations, base64_in, base64_out, driver, driver_out, labels_out, meta};

pub(crate) fn secret_spec(wire: wire::SecretSpec) -> Result<SecretSpec> {
    Ok(SecretSpec {
        annotations: annotations(wire.name, wire.labels),
        data: base64_in("Data", &wire.data)?,
        driver: wire.driver.map(driver),
        templating: wire.templating.map(driver),
    })
}

/// Without its data.
pub(crate) fn secret(secret: &Secret) -> wire::Secret {
    let spec = &secret.spec;
    wire::Secret {
        id: secret.id.to_string(),
        meta: meta(&secret.meta),
        spec: wire::SecretSpec {
            name: spec.annotations.name.clone(),
            labels: labels_out(&spec.annotations.labels),
            data: String::new(),
            driver: spec.driver.as_ref().map(driver_out),
            templating: spec.templating.as_ref().map(driver_out),
        },
    }
}

pub(crate) fn config_spec(wire: wire::ConfigSpec) -> Result<ConfigSpec> {
    Ok(ConfigSpec {
        annotations: annotations(wire.name, wire.labels),
        data: base64_in("Data", &wire.data)?,
        templating: wire.templating.map(driver),
    })
}

pub(crate) fn config(config: &Config) -> wire::Config {
    let spec = &config.spec;
    wire::Config {
        id: config.id.to_string(),
        meta: meta(&config.meta),
        spec: wire::ConfigSpec {
            name: spec.annotations.name.clone(),
            labels: labels_out(&spec.annotations.labels),
            data: base64_out(&spec.data),
            templating: spec.templating.as_ref().map(driver_out),
        },
    }
}
