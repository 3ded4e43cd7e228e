//! Registries that break, lie and dawdle; clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use shoal_engine_images::pull::{Event, PullStep};
use shoal_engine_registry::manifest::media;
use shoal_model::{Classified as _, Digest, ErrorKind, Fact};
use tokio::sync::mpsc;

use crate::server::{Reply, Seen, Server, Then, reply};
use crate::{Host, config, pull_steps, request, tar};

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// An image of one plain layer; `serve` answers for the layer's blob.
fn registry(
    layer: Vec<u8>,
    serve: impl Fn(usize, &Seen, &[u8]) -> Reply + Send + Sync + 'static,
) -> Server {
    let (diff_id, config) = (digest_of(&layer), config(&[digest_of(&layer)]));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": { "mediaType": media::OCI_CONFIG, "digest": digest_of(&config), "size": config.len() },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len(),
        }],
    })
    .to_string();
    let blobs = AtomicUsize::new(0);
    Server::start(move |_, seen| {
        if seen.line.contains("/manifests/") {
            let headers = [("Content-Type", media::OCI_MANIFEST)];
            return reply("200 OK", &headers, manifest.as_bytes());
        }
        if seen.line.ends_with(&digest_of(&config).to_string()) {
            return reply("200 OK", &[], &config);
        }
        serve(blobs.fetch_add(1, Ordering::SeqCst), seen, &layer)
    })
}

fn layer_requests(server: &Server, layer: &[u8]) -> Vec<Option<String>> {
    let digest = digest_of(layer).to_string();
    let all = server.seen().into_iter().filter(|seen| seen.line.ends_with(&digest));
    all.map(|seen| seen.header("range").map(str::to_owned)).collect()
}

/// The first half, then silence; from then on what the range asks for.
fn half_then_rest(number: usize, seen: &Seen, layer: &[u8]) -> Reply {
    if number == 0 {
        let length = layer.len().to_string();
        let Reply(bytes, _) =
            reply("200 OK", &[("Content-Length", &length)], &layer[..layer.len() / 2]);
        return Reply(bytes, Then::Hang);
    }
    let range = seen.header("range").expect("goes on where it broke");
    let first: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    let described = format!("bytes {first}-{}/{}", layer.len() - 1, layer.len());
    reply("206 Partial Content", &[("Content-Range", &described)], &layer[first..])
}

#[tokio::test]
async fn a_client_that_leaves_costs_nothing_but_time() {
    let layer = tar("a", 2_000_000);
    let server = registry(layer.clone(), half_then_rest);
    let name = format!("{}/team/app:1", server.host());
    let host = Host::new();
    let (sender, mut events) = mpsc::channel(4);
    let wanted = request(&name);
    let pull = host.transfers.pull(&wanted, &sender);
    let half = u64::try_from(layer.len() / 2).unwrap();
    let leave = async {
        while let Some(event) = events.recv().await {
            if let Event::Pull { step: PullStep::Downloading { current, .. }, .. } = event
                && current > half / 2
            {
                return;
            }
        }
    };
    tokio::select! {
        pulled = pull => panic!("the registry hangs: {pulled:?}"),
        () = leave => {}
    }
    // All bytes that came are in the ingest, once the writer has put down its last piece.
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match host.images.content().ingest(&digest_of(&layer).hex()) {
                Ok(ingest) if ingest.offset() > 0 => return,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    assert!(host.images.all().is_empty());
    assert!(host.images.content().stat(digest_of(&layer)).unwrap().is_none());

    let (events, pulled) = host.pull(&name).await;
    pulled.unwrap();
    let mut steps = pull_steps(&events, &digest_of(&layer).short());
    steps.retain(|step| *step != "down");
    assert_eq!(steps, ["fs", "verify", "downloaded", "extract", "complete"]);
    let ranges = layer_requests(&server, &layer);
    assert_eq!(ranges.len(), 2);
    assert!(ranges[1].is_some(), "{ranges:?}");
}

#[tokio::test]
async fn two_pulls_share_one_download() {
    let layer = tar("a", 500_000);
    let server = registry(layer.clone(), |_, _, layer| {
        std::thread::sleep(Duration::from_millis(300));
        reply("200 OK", &[], layer)
    });
    let host = Host::new();
    let (one, two) = (format!("{}/one:1", server.host()), format!("{}/two:1", server.host()));
    let ((first, a), (second, b)) = tokio::join!(host.pull(&one), host.pull(&two));
    a.unwrap();
    b.unwrap();
    assert_eq!(layer_requests(&server, &layer).len(), 1);
    let id = digest_of(&layer).short();
    for events in [first, second] {
        assert_eq!(pull_steps(&events, &id).last(), Some(&"complete"));
    }
    let image = host.images.resolve(&one).unwrap();
    assert_eq!(image.references.len(), 2);
}

#[tokio::test]
async fn content_of_another_digest_is_refused_and_thrown_away() {
    let layer = tar("a", 1000);
    let server = registry(layer.clone(), |_, _, layer| {
        let mut lie = layer.to_vec();
        lie[600] ^= 1;
        reply("200 OK", &[], &lie)
    });
    let host = Host::new();
    let error = host.pull(&format!("{}/team/app:1", server.host())).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error:?}");
    assert!(host.images.all().is_empty());
    assert!(host.images.content().stat(digest_of(&layer)).unwrap().is_none());
    assert_eq!(host.images.content().ingest(&digest_of(&layer).hex()).unwrap().offset(), 0);
}

#[tokio::test]
async fn a_damaged_beginning_is_downloaded_again() {
    let layer = tar("a", 1000);
    let server = registry(layer.clone(), |_, seen, layer| match seen.header("range") {
        None => reply("200 OK", &[], layer),
        Some(_) => {
            let described = format!("bytes 100-{}/{}", layer.len() - 1, layer.len());
            reply("206 Partial Content", &[("Content-Range", &described)], &layer[100..])
        }
    });
    let host = Host::new();
    let mut ingest = host.images.content().ingest(&digest_of(&layer).hex()).unwrap();
    ingest.write_bytes(&[0xff; 100]).unwrap();
    drop(ingest);
    host.pull(&format!("{}/team/app:1", server.host())).await.1.unwrap();
    assert_eq!(layer_requests(&server, &layer), [Some("bytes=100-".to_owned()), None]);
}

#[tokio::test]
async fn a_denied_pull_says_what_docker_says() {
    let body =
        br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let server = Server::start(|_, _| reply("403 Forbidden", &[], body));
    let name = format!("{}/team/app", server.host());
    let error = Arc::new(Host::new().pull(&name).await.1.unwrap_err());
    let cause = "denied: requested access to the resource is denied".to_owned();
    assert_eq!(error.fact(), Some(Fact::PullDenied { repository: name, cause }));
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
