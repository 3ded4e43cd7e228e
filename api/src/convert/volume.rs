//! Volumes, both ways.

use shoal_api_wire::volume as wire;
use shoal_model::Failure;
use shoal_model::volume::{Volume, VolumeSpec, VolumeUsage};

use super::{mounts, time};

pub(crate) fn volume(volume: &Volume, usage: Option<VolumeUsage>) -> wire::Volume {
    wire::Volume {
        created_at: time::seconds(volume.created),
        driver: volume.driver.clone(),
        labels: (!volume.labels.is_empty()).then(|| volume.labels.clone()),
        mountpoint: volume.mountpoint.clone(),
        name: volume.name.clone(),
        options: (!volume.options.is_empty()).then(|| volume.options.clone()),
        scope: "local".to_owned(),
        usage_data: usage
            .map(|usage| wire::UsageData { ref_count: usage.references, size: usage.bytes }),
    }
}

pub(crate) fn spec(wire: wire::CreateBody) -> Result<VolumeSpec, Failure> {
    if wire.cluster_volume_spec.is_some() {
        return Err(Failure::new(
            shoal_model::ErrorKind::NotImplemented,
            "cluster volumes are not supported",
        ));
    }
    if wire.name.len() == 1 {
        return Err(Failure::invalid(
            "volume name is too short, names should be at least two \
                                     alphanumeric characters",
        ));
    }
    if !wire.name.is_empty() && !mounts::is_volume_name(&wire.name) {
        return Err(Failure::invalid(format!(
            "create {0}: \"{0}\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
             absolute path",
            wire.name
        )));
    }
    Ok(VolumeSpec {
        name: wire.name,
        driver: wire.driver,
        options: wire.driver_opts.unwrap_or_default(),
        labels: wire.labels.unwrap_or_default(),
    })
}
