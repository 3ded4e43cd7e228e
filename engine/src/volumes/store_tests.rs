//! The store on a real disk.

use std::sync::Arc;

use shoal_base::random::SystemRandom;
use shoal_base::{SystemClock, SystemDisk};

use super::super::LabelFilter;
use super::*;

pub(in crate::volumes) fn open(root: &Path) -> Local {
    try_open(root).unwrap()
}

fn try_open(root: &Path) -> Result<Local, Error> {
    Local::open(
        root.to_owned(),
        Arc::new(SystemDisk),
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    )
}

fn named(name: &str) -> VolumeSpec {
    VolumeSpec { name: name.into(), ..VolumeSpec::default() }
}

fn container(digit: u8) -> ContainerId {
    ContainerId::from_bytes([digit; 32])
}

#[test]
fn volumes_survive_a_restart_and_leftovers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut spec = named("data");
    spec.labels.insert("a".into(), "b".into());
    let volume = store.create(&spec).unwrap();
    assert_eq!(volume.mountpoint, dir.path().join("data/_data").display().to_string());
    let anonymous = store.create(&VolumeSpec::default()).unwrap();
    assert!(anonymous.anonymous && anonymous.name.len() == 64);
    fs::create_dir_all(dir.path().join("half/_data")).unwrap();
    fs::create_dir_all(dir.path().join(".removing-x/_data")).unwrap();
    let again = open(dir.path());
    assert_eq!(again.inspect("data").unwrap(), volume);
    assert_eq!(again.list(&Filter::default()).len(), 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn creating_twice_finds_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = store.create(&named("data")).unwrap();
    assert_eq!(store.create(&named("data")).unwrap(), first);
    let plugin = VolumeSpec { driver: "ceph".into(), ..named("data") };
    assert!(matches!(store.create(&plugin), Err(Error::UnknownDriver { .. })));
    assert!(matches!(store.create(&named("../x")), Err(Error::InvalidName { .. })));
}

#[test]
fn a_volume_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let request = || VolumeRequest { name: Some("data".into()), ..VolumeRequest::default() };
    let grant = store.acquire(&container(1), request()).unwrap();
    fs::write(grant.data.join("file"), "content").unwrap();
    let error = store.remove("data", Removal::Force).unwrap_err();
    assert!(
        matches!(&error, Error::InUse { containers, .. } if *containers == [container(1).to_string()])
    );
    assert_eq!(store.usage("data").unwrap(), VolumeUsage { bytes: 7, references: 1 });
    store.release(&container(1), Release::RemoveAnonymous).unwrap();
    store.remove("data", Removal::Strict).unwrap();
    assert!(!dir.path().join("data").exists());
    assert!(matches!(store.remove("data", Removal::Strict), Err(Error::NotFound { .. })));
    store.remove("data", Removal::Force).unwrap();
}

#[test]
fn anonymous_volumes_go_with_their_last_container() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let grant = store.acquire(&container(1), VolumeRequest::default()).unwrap();
    store.share(&container(2), &grant.name).unwrap();
    store.release(&container(1), Release::RemoveAnonymous).unwrap();
    assert!(grant.data.exists());
    store.release(&container(2), Release::RemoveAnonymous).unwrap();
    assert!(!grant.data.exists());
    let kept = store.acquire(&container(3), VolumeRequest::default()).unwrap();
    store.release(&container(3), Release::Keep).unwrap();
    assert!(kept.data.exists());
}

#[test]
fn volumes_of_an_unfinished_creation_are_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let own = store.acquire(&container(1), VolumeRequest::default()).unwrap();
    let request = VolumeRequest { name: Some("named".into()), ..VolumeRequest::default() };
    store.acquire(&container(1), request).unwrap();
    store.acquire(&container(2), VolumeRequest::default()).unwrap();
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.made_for(&container(1)), std::slice::from_ref(&own.name));
    store.discard("named").unwrap();
    store.restore(&container(3), [own.name.clone()]);
    store.discard(&own.name).unwrap();
    assert!(own.data.exists(), "a volume in use stays");
    store.release(&container(3), Release::Keep).unwrap();
    store.discard(&own.name).unwrap();
    store.discard(&own.name).unwrap();
    assert_eq!(store.list(&Filter::default()).len(), 2);
}

#[test]
fn pruning_takes_anonymous_volumes_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let labelled = VolumeSpec { labels: [("keep".into(), "1".into())].into(), ..named("kept") };
    store.create(&labelled).unwrap();
    store.create(&named("plain")).unwrap();
    let anonymous = store.create(&VolumeSpec::default()).unwrap();
    fs::write(Path::new(&anonymous.mountpoint).join("f"), "12345").unwrap();
    store.create(&named("used")).unwrap();
    store.restore(&container(1), ["used".to_owned(), "vanished".to_owned()]);
    let filter = Filter { labels: vec![LabelFilter::Lacks("keep=1".into())], ..Filter::default() };
    let pruned = store.prune(&filter, PruneScope::Anonymous);
    assert_eq!(pruned, Pruned { volumes: vec![anonymous.name], bytes: 5 });
    assert_eq!(store.prune(&filter, PruneScope::All).volumes, ["plain"]);
    let names: Vec<String> =
        store.list(&Filter::default()).into_iter().map(|(volume, _)| volume.name).collect();
    assert_eq!(names, ["kept", "used"]);
}

#[test]
fn filters_select() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .create(&VolumeSpec { labels: [("tier".into(), "db".into())].into(), ..named("db-data") })
        .unwrap();
    store.create(&named("web-data")).unwrap();
    store.restore(&container(1), ["web-data".to_owned()]);
    let select = |filter: Filter| -> Vec<String> {
        store.list(&filter).into_iter().map(|(volume, _)| volume.name).collect()
    };
    assert_eq!(select(Filter { names: vec!["web".into()], ..Filter::default() }), ["web-data"]);
    assert_eq!(select(Filter { dangling: Some(true), ..Filter::default() }), ["db-data"]);
    assert_eq!(
        select(Filter { labels: vec![LabelFilter::Has("tier".into())], ..Filter::default() }),
        ["db-data"]
    );
    assert_eq!(
        select(Filter { labels: vec![LabelFilter::Has("tier=web".into())], ..Filter::default() }),
        [""; 0]
    );
    assert_eq!(select(Filter { drivers: vec!["local".into()], ..Filter::default() }).len(), 2);
}

#[test]
fn a_newer_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).create(&named("data")).unwrap();
    fs::write(dir.path().join("data/volume.json"), r#"{"format":9}"#).unwrap();
    assert!(matches!(try_open(dir.path()), Err(Error::NewerFormat { format: 9, .. })));
}

#[test]
fn a_damaged_record_leaves_the_data_to_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let volume = store.create(&named("data")).unwrap();
    store.create(&named("other")).unwrap();
    fs::write(Path::new(&volume.mountpoint).join("f"), "precious").unwrap();
    fs::write(dir.path().join("data/volume.json"), "{").unwrap();
    let again = open(dir.path());
    assert_eq!(again.list(&Filter::default()).len(), 1);
    let remade = again.create(&named("data")).unwrap();
    assert_eq!(fs::read_to_string(Path::new(&remade.mountpoint).join("f")).unwrap(), "precious");
}
