//! `import` and `commit`: new images from a file system or from what a container changed.
//!
//! Source: moby `daemon/images/image_import.go`, `image_commit.go`, `image/image.go NewChildImage`.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_model::image::{ImageDefaults, Platform};
use shoal_model::{ContainerId, Digest};

use super::tree::{self, Tree, write_tree};
use super::{Error, changes, oci};
use crate::content::{Committed, Expected};
use crate::image::config::{defaults_json, rfc3339};
use crate::image::{self, Image, Images, LayerBlob, NewImage};
use crate::unpack::{Limits, stream};

/// What an import says about the image.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    /// Comment in the history; empty: docker's own.
    pub message: String,
    /// `None`: this machine's.
    pub platform: Option<Platform>,
    /// Bounds.
    pub limits: Limits,
}

/// What a commit says about the image.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// How containers of the image run, `changes` not yet applied: the container's own settings.
    pub defaults: ImageDefaults,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    /// Author.
    pub author: String,
    /// Comment.
    pub comment: String,
    /// The container's command, for the history.
    pub created_by: String,
    /// The image the container was made from; `None` when it is gone.
    pub parent: Option<Digest>,
    /// Config of that image, byte for byte: what of it is not changed is kept.
    pub parent_config: Vec<u8>,
}

impl Images {
    /// Makes an image with one layer of a file system archive (plain, gzip or zstd). It has no name yet.
    ///
    /// # Errors
    /// When the archive or a change is bad, or the disk fails.
    pub fn import(
        &self,
        input: Box<dyn Read + Send>,
        options: &ImportOptions,
    ) -> Result<Arc<Image>, Error> {
        let mut defaults = ImageDefaults::default();
        changes::apply(&mut defaults, &options.changes)?;
        let lease = self.lease();
        let mut plain =
            stream::plain(input, options.limits).map_err(|e| Error::Archive(e.into()))?;
        let mut ingest = self.content().ingest_anonymous()?;
        ingest
            .copy_from(&mut plain, &mut |_| {})
            .map_err(|source| Error::Store { path: "layer".to_owned(), source })?;
        let layer = plain_layer(ingest.commit(Expected::default(), &lease)?);
        self.unpack_layer(&layer, &options.limits, &lease)?;
        let now = rfc3339(self.clock().now());
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let message = &options.message;
        let mut config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": now,
            "comment": message,
            "config": defaults_json(&defaults),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created": now, "comment": message}],
        });
        if !platform.variant.is_empty() {
            config["variant"] = platform.variant.into();
        }
        let config_json = config.to_string().into_bytes();
        let new = NewImage { config_json, layers: vec![layer], manifest: None, parent: None };
        Ok(self.register(new, &lease)?)
    }

    /// Makes an image of what a container changed on top of its image's layers. It has no name yet. The
    /// container should be stopped or paused meanwhile.
    ///
    /// # Errors
    /// When a change is bad, or the disk fails.
    pub fn commit(
        &self,
        container: &ContainerId,
        base: &[LayerBlob],
        options: &CommitOptions,
    ) -> Result<Arc<Image>, Error> {
        let mut defaults = options.defaults.clone();
        changes::apply(&mut defaults, &options.changes)?;
        let lease = self.lease();
        for layer in base {
            lease.hold(layer.digest);
            lease.hold(layer.diff_id);
        }
        let upper = self.snapshots().writable(container)?.upper;
        let directory = std::fs::File::open(&upper)
            .map_err(|e| tree::files(upper.as_os_str().as_encoded_bytes(), e))?;
        let mut ingest = self.content().ingest_anonymous()?;
        write_tree(std::os::fd::AsFd::as_fd(&directory), Tree::Upper, &mut ingest)?;
        let layer = plain_layer(ingest.commit(Expected::default(), &lease)?);
        self.unpack_layer(&layer, &Limits::default(), &lease)?;
        let layers: Vec<LayerBlob> = base.iter().cloned().chain([layer]).collect();
        let now = rfc3339(self.clock().now());
        let config_json = child_config(&layers, options, &defaults, &now)?;
        let parent = options.parent;
        Ok(self.register(NewImage { config_json, layers, manifest: None, parent }, &lease)?)
    }

    /// Writes a file system as a tar stream: `root` is a [`crate::snapshot::View`] of a stopped container,
    /// or the root of a running one.
    ///
    /// # Errors
    /// When files cannot be read or `out` fails.
    pub fn export(&self, root: BorrowedFd<'_>, out: &mut dyn std::io::Write) -> Result<(), Error> {
        write_tree(root, Tree::Whole, out)
    }
}

fn plain_layer(blob: Committed) -> LayerBlob {
    let media_type = oci::LAYER.to_owned();
    LayerBlob { digest: blob.digest, size: blob.size, media_type, diff_id: blob.digest }
}

/// The parent's config with new defaults, one more layer and one more step of history.
fn child_config(
    layers: &[LayerBlob],
    options: &CommitOptions,
    defaults: &ImageDefaults,
    now: &str,
) -> Result<Vec<u8>, Error> {
    let parsed: Result<Value, _> = serde_json::from_slice(&options.parent_config);
    let mut config = match parsed {
        Ok(Value::Object(config)) => config,
        Ok(_) => Map::new(),
        Err(source) => {
            return Err(Error::Json { path: "config of the parent".to_owned(), source });
        }
    };
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    // Docker's: they describe the container that the parent was made in.
    for stale in ["container", "container_config", "docker_version", "id", "parent"] {
        config.remove(stale);
    }
    let mut step = image::HistoryEntry {
        created: Some(now.to_owned()),
        created_by: options.created_by.clone(),
        author: options.author.clone(),
        comment: options.comment.clone(),
        empty_layer: false,
    };
    step.created_by.truncate(step.created_by.floor_char_boundary(64 * 1024));
    let step = serde_json::to_value(step).expect("plain data is JSON");
    match config.get_mut("history") {
        Some(Value::Array(history)) => history.push(step),
        _ => drop(config.insert("history".to_owned(), json!([step]))),
    }
    config.insert("created".to_owned(), now.into());
    config.insert("author".to_owned(), options.author.clone().into());
    config.insert("comment".to_owned(), options.comment.clone().into());
    config.insert("config".to_owned(), defaults_json(defaults));
    config.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
    Ok(Value::Object(config).to_string().into_bytes())
}
