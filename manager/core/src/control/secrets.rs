//! Secrets and configs.
//!
//! Source: swarmkit `manager/controlapi/secret.go`, `config.go`.

use shoal_model::cluster::{
    Config, ConfigId, ConfigSpec, Meta, Secret, SecretId, SecretSpec, Service, Version,
};

use super::{Error, Result, find, validate};
use crate::ids::Ids;
use crate::store::Txn;

/// A secret has fewer bytes.
pub const SECRET_BYTES: usize = 500 * 1024;
/// A config has fewer bytes.
pub const CONFIG_BYTES: usize = 1000 * 1024;

const LABELS_ONLY: &str = "only updates to Labels are allowed";

/// Creates a secret.
///
/// # Errors
/// When the spec is malformed or the name taken.
pub fn create_secret(txn: &mut Txn, ids: &mut dyn Ids, spec: SecretSpec) -> Result<SecretId> {
    validate::object_name(&spec.annotations.name)?;
    if spec.driver.is_some() {
        return Err(Error::unimplemented("secrets of drivers are not implemented by Shoal"));
    }
    if !(1..SECRET_BYTES).contains(&spec.data.len()) {
        return Err(Error::invalid(format!(
            "secret data must be larger than 0 and less than {SECRET_BYTES} bytes"
        )));
    }
    if txn.secret_by_name(&spec.annotations.name).is_some() {
        return Err(Error::exists(format!("secret {} already exists", spec.annotations.name)));
    }
    let id = ids.secret();
    txn.put_secret(Secret { id, meta: Meta::default(), spec })?;
    Ok(id)
}

/// Changes the labels of a secret.
///
/// # Errors
/// When anything else would change, or the secret was changed since `version`.
pub fn update_secret(
    txn: &mut Txn,
    reference: &str,
    version: Version,
    spec: &SecretSpec,
) -> Result<()> {
    let mut secret = Secret::clone(find::secret(txn, reference)?);
    let same_data = spec.data.is_empty() || spec.data == secret.spec.data;
    if spec.annotations.name != secret.spec.annotations.name || !same_data {
        return Err(Error::invalid(LABELS_ONLY));
    }
    in_sequence(&secret.meta, version)?;
    if secret.spec.annotations.labels != spec.annotations.labels {
        secret.spec.annotations.labels.clone_from(&spec.annotations.labels);
        txn.put_secret(secret)?;
    }
    Ok(())
}

/// Removes a secret that no service uses.
///
/// # Errors
/// When there is none, or a service uses it.
pub fn remove_secret(txn: &mut Txn, reference: &str) -> Result<()> {
    let secret = find::secret(txn, reference)?;
    let (id, name) = (secret.id, &secret.spec.annotations.name);
    unused("secret", name, txn.services_with_secret(id).map(|service| &**service))?;
    Ok(txn.remove_secret(id)?)
}

/// Creates a config.
///
/// # Errors
/// When the spec is malformed or the name taken.
pub fn create_config(txn: &mut Txn, ids: &mut dyn Ids, spec: ConfigSpec) -> Result<ConfigId> {
    validate::object_name(&spec.annotations.name)?;
    if !(1..CONFIG_BYTES).contains(&spec.data.len()) {
        return Err(Error::invalid(format!(
            "config data must be larger than 0 and less than {CONFIG_BYTES} bytes"
        )));
    }
    if txn.config_by_name(&spec.annotations.name).is_some() {
        return Err(Error::exists(format!("config {} already exists", spec.annotations.name)));
    }
    let id = ids.config();
    txn.put_config(Config { id, meta: Meta::default(), spec })?;
    Ok(id)
}

/// Changes the labels of a config.
///
/// # Errors
/// When anything else would change, or the config was changed since `version`.
pub fn update_config(
    txn: &mut Txn,
    reference: &str,
    version: Version,
    spec: &ConfigSpec,
) -> Result<()> {
    let mut config = Config::clone(find::config(txn, reference)?);
    let same_data = spec.data.is_empty() || spec.data == config.spec.data;
    if spec.annotations.name != config.spec.annotations.name || !same_data {
        return Err(Error::invalid(LABELS_ONLY));
    }
    in_sequence(&config.meta, version)?;
    if config.spec.annotations.labels != spec.annotations.labels {
        config.spec.annotations.labels.clone_from(&spec.annotations.labels);
        txn.put_config(config)?;
    }
    Ok(())
}

/// Removes a config that no service uses.
///
/// # Errors
/// When there is none, or a service uses it.
pub fn remove_config(txn: &mut Txn, reference: &str) -> Result<()> {
    let config = find::config(txn, reference)?;
    let (id, name) = (config.id, &config.spec.annotations.name);
    unused("config", name, txn.services_with_config(id).map(|service| &**service))?;
    Ok(txn.remove_config(id)?)
}

/// Whether the caller knows the newest version.
pub(super) fn in_sequence(meta: &Meta, version: Version) -> Result<()> {
    if meta.version == version { Ok(()) } else { Err(Error::OutOfSequence) }
}

fn unused<'a>(kind: &str, name: &str, users: impl Iterator<Item = &'a Service>) -> Result<()> {
    let users: Vec<_> = users.map(|service| service.spec.annotations.name.as_str()).collect();
    let services = match users.len() {
        0 => return Ok(()),
        1 => "service",
        _ => "services",
    };
    let users = users.join(", ");
    Err(Error::invalid(format!("{kind} '{name}' is in use by the following {services}: {users}")))
}
