//! Progress of the model to docker's messages. Pure.
//!
//! Source: moby `distribution/pull_v2.go`, `push_v2.go`, `pkg/progress`, `pkg/streamformatter`.

use shoal_api_wire::image::{ProgressDetail, ProgressMessage};
use shoal_model::{LayerStep, Progress};

use super::container::signed;

/// The messages for one step.
pub(crate) fn messages(progress: Progress) -> Vec<ProgressMessage> {
    let status = |text: String| vec![ProgressMessage { status: text, ..Default::default() }];
    match progress {
        Progress::PullingFrom { repository, tag } => vec![ProgressMessage {
            status: format!("Pulling from {repository}"),
            id: tag,
            ..Default::default()
        }],
        Progress::Layer { id, step } => vec![layer(id, step)],
        Progress::Digest(digest) => status(format!("Digest: {digest}")),
        Progress::Pulled { reference, newer: true } => {
            status(format!("Status: Downloaded newer image for {}", reference.familiar()))
        }
        Progress::Pulled { reference, newer: false } => {
            status(format!("Status: Image is up to date for {}", reference.familiar()))
        }
        Progress::PushingTo { repository } => {
            let name = format!("{}/{}", repository.domain(), repository.path());
            status(format!("The push refers to repository [{name}]"))
        }
        Progress::Pushed { tag, digest, size } => {
            let aux = serde_json::json!({ "Tag": tag, "Digest": digest.to_string(), "Size": size });
            let text = format!("{tag}: digest: {digest} size: {size}");
            let mut messages = status(text);
            messages.push(ProgressMessage {
                progress_detail: Some(ProgressDetail::default()),
                aux: Some(aux),
                ..Default::default()
            });
            messages
        }
        Progress::Loaded { reference, id } => {
            let text = match reference {
                Some(reference) => format!("Loaded image: {}\n", reference.familiar()),
                None => format!("Loaded image ID: {id}\n"),
            };
            vec![ProgressMessage { stream: text, ..Default::default() }]
        }
        Progress::Imported { id } => status(id.to_string()),
        Progress::Note(text) => status(text),
    }
}

fn layer(id: String, step: LayerStep) -> ProgressMessage {
    let (status, sizes) = match step {
        LayerStep::PullingFsLayer => ("Pulling fs layer".to_owned(), None),
        LayerStep::Waiting => ("Waiting".to_owned(), None),
        LayerStep::Downloading { current, total } => {
            ("Downloading".to_owned(), Some((current, total)))
        }
        LayerStep::Verifying => ("Verifying Checksum".to_owned(), None),
        LayerStep::DownloadComplete => ("Download complete".to_owned(), None),
        LayerStep::Extracting { current, total } => {
            ("Extracting".to_owned(), Some((current, total)))
        }
        LayerStep::PullComplete => ("Pull complete".to_owned(), None),
        LayerStep::AlreadyExists => ("Already exists".to_owned(), None),
        LayerStep::Retrying { seconds: 1 } => ("Retrying in 1 second".to_owned(), None),
        LayerStep::Retrying { seconds } => (format!("Retrying in {seconds} seconds"), None),
        LayerStep::Preparing => ("Preparing".to_owned(), None),
        LayerStep::Pushing { current, total } => ("Pushing".to_owned(), Some((current, total))),
        LayerStep::Pushed => ("Pushed".to_owned(), None),
        LayerStep::LayerExists => ("Layer already exists".to_owned(), None),
        LayerStep::MountedFrom { repository } => (format!("Mounted from {repository}"), None),
        LayerStep::Loading { current, total } => {
            ("Loading layer".to_owned(), Some((current, total)))
        }
    };
    let progress = sizes.map(|(current, total)| bar(current, total)).unwrap_or_default();
    let (current, total) = sizes.unwrap_or_default();
    let progress_detail = Some(ProgressDetail { current: signed(current), total: signed(total) });
    ProgressMessage { status, progress_detail, progress, id, ..Default::default() }
}

/// `[=====>      ]  1.2MB/3MB`.
///
/// Source: moby `pkg/jsonmessage` `JSONProgress.String`.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", size(current));
    }
    let done = usize::try_from(current.saturating_mul(50) / total).unwrap_or(50).min(50);
    let left = " ".repeat(50 - done);
    format!("[{}>{left}] {:>8}/{}", "=".repeat(done), size(current), size(total))
}

/// Four significant digits in decimal units.
#[allow(clippy::cast_precision_loss, reason = "shown with four digits")]
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(progress: Progress) -> Vec<String> {
        messages(progress).iter().map(|m| serde_json::to_string(m).unwrap()).collect()
    }

    #[test]
    fn speaks_as_docker() {
        let step = LayerStep::Downloading { current: 512, total: 1024 };
        assert_eq!(
            lines(Progress::Layer { id: "abc".into(), step }),
            [
                r#"{"status":"Downloading","progressDetail":{"current":512,"total":1024},"progress":"[=========================>                         ]     512B/1.024kB","id":"abc"}"#
            ]
        );
        let step = LayerStep::PullComplete;
        assert_eq!(
            lines(Progress::Layer { id: "abc".into(), step }),
            [r#"{"status":"Pull complete","progressDetail":{},"id":"abc"}"#]
        );
        let reference = "busybox:latest".parse().unwrap();
        assert_eq!(
            lines(Progress::Pulled { reference, newer: true }),
            [r#"{"status":"Status: Downloaded newer image for busybox:latest"}"#]
        );
    }
}
