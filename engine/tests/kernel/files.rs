//! Files in and out, what changed, what is used, the engine's own files.

use bytes::Bytes;
use futures_util::StreamExt;
use shoal_model::container::{ArchivePutOptions, PathChangeKind};
use shoal_model::{Classified, ErrorKind};

use crate::support::{Host, within};

fn tar_of(name: &str, content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

async fn names(stream: shoal_engine::ByteStream) -> Vec<String> {
    let chunks: Vec<Bytes> = stream.map(|chunk| chunk.unwrap()).collect().await;
    let mut archive = tar::Archive::new(std::io::Cursor::new(chunks.concat()));
    let entries = archive.entries().unwrap();
    entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_both_ways() {
    let host = Host::new().await;
    host.create("cc", "sleep 100", |_| {}).await;
    host.engine.start("cc").await.unwrap();
    let chunk = Bytes::from(tar_of("new", "hello"));
    let archive = futures_util::stream::iter([Ok(chunk)]).boxed();
    let options = ArchivePutOptions::default();
    host.engine.unarchive("cc", "/tmp", options, archive).await.unwrap();
    assert_eq!(host.exec("cc", &["cat", "/tmp/new"]).await, "hello");
    let (stat, stream) = host.engine.archive("cc", "/tmp/new").await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size, stat.mode), ("new", 5, 0o100_640));
    assert_eq!(within(names(stream)).await, ["new"]);
    let missing = host.engine.path_stat("cc", "/nope").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    within(host.engine.kill("cc", "KILL")).await.unwrap();
    assert_eq!(host.engine.path_stat("cc", "/tmp/new").await.unwrap().size, 5);
    let changed = host.engine.changes("cc").await.unwrap();
    assert!(
        changed.iter().any(|one| one.path == "/tmp/new" && one.kind == PathChangeKind::Added),
        "{changed:?}"
    );
    let all = within(names(host.engine.export("cc").await.unwrap())).await;
    assert!(all.iter().any(|name| name.ends_with("tmp/new")), "{all:?}");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_files_top_and_stats() {
    let host = Host::new().await;
    host.create("cc", "sleep 100", |spec| {
        spec.hostname = "box".to_owned();
        spec.host.extra_hosts = vec!["other:10.1.2.3".to_owned()];
    })
    .await;
    host.engine.start("cc").await.unwrap();
    assert_eq!(host.exec("cc", &["cat", "/etc/hostname"]).await, "box\n");
    let hosts = host.exec("cc", &["cat", "/etc/hosts"]).await;
    assert!(hosts.contains("10.1.2.3\tother\n"), "{hosts}");
    let top = host.engine.top("cc", &[]).await.unwrap();
    let command = top.titles.iter().position(|title| title == "CMD").unwrap();
    assert!(top.processes.iter().any(|row| row[command].contains("sleep 100")), "{top:?}");
    let mut samples = host.engine.stats("cc").unwrap();
    let sample = within(samples.next()).await.unwrap().unwrap();
    assert!(sample.at.is_some() && sample.memory.usage > 0 && sample.pids.current >= 1);
    host.finish().await;
}
