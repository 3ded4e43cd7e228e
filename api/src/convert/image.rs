//! Images of the model to the wire, by version; credentials from the wire.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use shoal_api_wire::container::ContainerConfig;
use shoal_api_wire::image as wire;
use shoal_api_wire::shape::Empty;
use shoal_api_wire::{ApiVersion, json};
use shoal_model::image::{
    Credentials, DistributionDetails, HistoryEntry, ImageDefaults, ImageDetails, ImageRemoval,
    ImageSummary, ManifestRef, Platform,
};
use shoal_model::{Failure, Reference, Timestamp};

use super::container::{graph, healthcheck, signed};
use super::time;

fn names(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::familiar).collect()
}

pub(crate) fn summary(image: &ImageSummary, version: ApiVersion) -> wire::ImageSummary {
    let (mut tags, mut digests) = (names(&image.tags), names(&image.digests));
    if !version.at_least(43) && tags.is_empty() && digests.is_empty() {
        tags = vec!["<none>:<none>".to_owned()];
        digests = vec!["<none>@<none>".to_owned()];
    }
    let size = signed(image.size);
    wire::ImageSummary {
        containers: image.containers.map_or(-1, signed),
        created: image.created.map_or(0, Timestamp::seconds),
        id: image.id.to_string(),
        labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
        parent_id: image.parent.map(|id| id.to_string()).unwrap_or_default(),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: image.shared_size.map_or(-1, signed),
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
    }
}

pub(crate) fn inspect(image: &ImageDetails, version: ApiVersion) -> wire::ImageInspect {
    let size = signed(image.size);
    let parent = image.parent.map(|id| id.to_string()).unwrap_or_default();
    let config = if version.at_least(50) {
        serde_json::to_value(config(&image.defaults))
    } else {
        serde_json::to_value(legacy_config(&image.defaults))
    };
    wire::ImageInspect {
        id: image.id.to_string(),
        repo_tags: names(&image.tags),
        repo_digests: names(&image.digests),
        parent: (!version.at_least(52) || !parent.is_empty()).then_some(parent),
        comment: image.comment.clone(),
        created: time::or_zero(image.created),
        container: (!version.at_least(45)).then(String::new),
        docker_version: (!version.at_least(52)).then(String::new),
        author: image.author.clone(),
        config: config.unwrap_or_default(),
        architecture: image.platform.architecture.clone(),
        variant: image.platform.variant.clone(),
        os: image.platform.os.clone(),
        os_version: image.os_version.clone(),
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
        graph_driver: graph(&image.graph),
        root_fs: wire::RootFs {
            r#type: "layers".to_owned(),
            layers: image.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: wire::Metadata { last_tag_time: time::or_zero(image.last_tagged) },
        descriptor: image.manifest.as_ref().filter(|_| version.at_least(48)).map(descriptor),
    }
}

fn keys(set: &std::collections::BTreeSet<String>) -> BTreeMap<String, Empty> {
    set.iter().map(|key| (key.clone(), Empty {})).collect()
}

fn config(image: &ImageDefaults) -> wire::ImageConfig {
    wire::ImageConfig {
        user: image.user.clone(),
        exposed_ports: keys(&image.exposed_ports),
        env: image.env.clone(),
        entrypoint: image.entrypoint.clone(),
        cmd: image.command.clone(),
        volumes: keys(&image.volumes),
        working_dir: image.working_dir.clone(),
        labels: image.labels.clone(),
        stop_signal: image.stop_signal.clone().unwrap_or_default(),
        healthcheck: image.healthcheck.as_ref().map(healthcheck),
        on_build: image.on_build.clone(),
        shell: image.shell.clone(),
    }
}

/// Before 1.50 the config had all fields of a container's.
fn legacy_config(image: &ImageDefaults) -> ContainerConfig {
    let some = |map: BTreeMap<String, Empty>| (!map.is_empty()).then_some(map);
    ContainerConfig {
        user: image.user.clone(),
        exposed_ports: some(keys(&image.exposed_ports)),
        env: Some(image.env.clone()),
        cmd: image.command.clone().map(Into::into),
        healthcheck: image.healthcheck.as_ref().map(healthcheck),
        volumes: some(keys(&image.volumes)),
        working_dir: image.working_dir.clone(),
        entrypoint: image.entrypoint.clone().map(Into::into),
        on_build: (!image.on_build.is_empty()).then(|| image.on_build.clone()),
        labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
        stop_signal: image.stop_signal.clone().unwrap_or_default(),
        shell: image.shell.clone().map(Into::into),
        ..Default::default()
    }
}

/// The config of a commit request, when it changes anything.
pub(crate) fn defaults(config: ContainerConfig) -> Option<ImageDefaults> {
    if config == ContainerConfig::default() {
        return None;
    }
    Some(ImageDefaults {
        user: config.user,
        exposed_ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.map(|words| words.0),
        command: config.cmd.map(|words| words.0),
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: config.working_dir,
        labels: config.labels.unwrap_or_default(),
        stop_signal: Some(config.stop_signal).filter(|signal| !signal.is_empty()),
        healthcheck: config.healthcheck.as_ref().map(super::spec::healthcheck),
        shell: config.shell.map(|words| words.0),
        on_build: config.on_build.unwrap_or_default(),
    })
}

fn descriptor(manifest: &ManifestRef) -> wire::Descriptor {
    wire::Descriptor {
        media_type: manifest.media_type.clone(),
        digest: manifest.digest.to_string(),
        size: manifest.size,
    }
}

pub(crate) fn history(entry: &HistoryEntry) -> wire::HistoryItem {
    wire::HistoryItem {
        comment: entry.comment.clone(),
        created: entry.created.map_or(0, Timestamp::seconds),
        created_by: entry.created_by.clone(),
        id: entry.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: signed(entry.size),
        tags: (!entry.tags.is_empty()).then(|| names(&entry.tags)),
    }
}

pub(crate) fn removal(removal: &ImageRemoval) -> wire::DeleteItem {
    match removal {
        ImageRemoval::Untagged(reference) => {
            wire::DeleteItem { untagged: reference.familiar(), deleted: String::new() }
        }
        ImageRemoval::Deleted(id) => {
            wire::DeleteItem { deleted: id.to_string(), untagged: String::new() }
        }
    }
}

pub(crate) fn distribution(details: &DistributionDetails) -> wire::DistributionInspect {
    let platform = |platform: &Platform| wire::OciPlatform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: String::new(),
        variant: platform.variant.clone(),
    };
    wire::DistributionInspect {
        descriptor: descriptor(&details.descriptor),
        platforms: details.platforms.iter().map(platform).collect(),
    }
}

/// Decodes `X-Registry-Auth`. What is damaged counts as absent, as in docker; so does `{}`.
pub(crate) fn registry_auth(header: &str) -> Option<Credentials> {
    let header = header.trim();
    let bytes = URL_SAFE
        .decode(header)
        .or_else(|_| URL_SAFE_NO_PAD.decode(header))
        .or_else(|_| STANDARD.decode(header))
        .ok()?;
    let config = json::decode(&bytes).ok()?;
    credentials(config).ok().filter(|found| *found != Credentials::default())
}

pub(crate) fn credentials(config: wire::AuthConfig) -> Result<Credentials, Failure> {
    let (mut username, mut password) = (config.username, config.password);
    if username.is_empty() && !config.auth.is_empty() {
        let wrong = || Failure::invalid("invalid auth configuration: field auth");
        let bytes = STANDARD.decode(config.auth.trim()).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (name, secret) = text.split_once(':').ok_or_else(wrong)?;
        (username, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    Ok(Credentials {
        username,
        password,
        identity_token: config.identitytoken,
        registry_token: config.registrytoken,
        server: config.serveraddress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_registry_auth_in_both_alphabets() {
        let text = br#"{"username":"u","password":"p?>","serveraddress":"r:5000"}"#;
        for encoded in [URL_SAFE.encode(text), URL_SAFE_NO_PAD.encode(text), STANDARD.encode(text)]
        {
            let found = registry_auth(&encoded).unwrap();
            assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p?>"));
        }
        assert_eq!(registry_auth("e30="), None);
        assert_eq!(registry_auth("!"), None);
        let auth = wire::AuthConfig { auth: STANDARD.encode("a:b:c"), ..Default::default() };
        assert_eq!(credentials(auth).unwrap().password, "b:c");
    }
}
