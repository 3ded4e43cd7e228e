//! Containers' layers, commit, diff, export, removal: with real overlay mounts. Needs root.

#![allow(clippy::unwrap_used, reason = "a failed expectation of a test is a panic")]

use std::collections::HashMap;
use std::io::Cursor;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use shoal_base::SystemClock;
use shoal_engine_images::archive::diff::ChangeKind;
use shoal_engine_images::archive::load::Options;
use shoal_engine_images::archive::make::{CommitOptions, ImportOptions};
use shoal_engine_images::image::filter::{Filter, Intermediate, Label};
use shoal_engine_images::image::remove::{RemoveOptions, Removed, User};
use shoal_engine_images::image::{Image, Images};
use shoal_engine_images::snapshot::WritableLayer;
use shoal_engine_images::testing::{self, TestImage};
use shoal_model::{Classified, ContainerId, Digest, ErrorKind};

struct Fixture {
    directory: tempfile::TempDir,
    images: Images,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let images = Images::open(directory.path(), Arc::new(SystemClock)).unwrap();
    Fixture { directory, images }
}

fn load(images: &Images, image: &TestImage) -> Arc<Image> {
    let mut bytes = Vec::new();
    image.write_archive(&mut bytes).unwrap();
    let input = Box::new(Cursor::new(bytes));
    let loaded = images.load(input, &Options::default(), &|_| {}).unwrap();
    images.get(loaded[0].id).unwrap()
}

fn container(byte: u8) -> ContainerId {
    ContainerId::from_bytes([byte; 32])
}

/// A mounted container; unmounted when dropped, having no mount point.
struct Mounted(OwnedFd);

impl Mounted {
    fn new(layer: &WritableLayer) -> Self {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        let set = |key: &str, path: &Path| {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, path).unwrap();
        };
        layer.lowers.iter().for_each(|lower| set("lowerdir+", lower));
        set("upperdir", &layer.upper);
        set("workdir", &layer.work);
        rustix::mount::fsconfig_create(context.as_fd()).unwrap();
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let none = MountAttrFlags::empty();
        Self(rustix::mount::fsmount(context.as_fd(), flags, none).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd())).join(name)
    }
}

fn changes(images: &Images, id: &ContainerId) -> Vec<String> {
    let letter = |kind| match kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    let changes = images.changes(id).unwrap();
    changes.iter().map(|change| format!("{} {}", letter(change.kind), change.path)).collect()
}

/// Paths of a tar with the kind of each, sorted as they come.
fn listing(tar: &[u8]) -> HashMap<String, tar::EntryType> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().entry_type()))
        .collect()
}

#[test]
fn a_committed_container_is_what_it_was() {
    let fixture = fixture();
    let images = &fixture.images;
    let extra = testing::files_layer(&[("old/a", b"1"), ("old/b", b"2"), ("gone", b"3")]).unwrap();
    let base = load(images, &TestImage::busybox().unwrap().with_layer(extra).named("base"));
    let id = container(1);
    let layer = images.snapshots().prepare(&id, &base.config.diff_ids).unwrap();
    let error = images.snapshots().prepare(&id, &base.config.diff_ids).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    {
        let mounted = Mounted::new(&layer);
        std::fs::write(mounted.path("etc/new"), b"new").unwrap();
        std::fs::hard_link(mounted.path("etc/new"), mounted.path("etc/same")).unwrap();
        std::fs::remove_file(mounted.path("gone")).unwrap();
        std::fs::remove_dir_all(mounted.path("old")).unwrap();
        std::fs::create_dir(mounted.path("old")).unwrap();
        std::fs::write(mounted.path("old/c"), b"c").unwrap();
        std::fs::write(mounted.path("n".repeat(150).as_str()), b"long").unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(mounted.path("etc/new"), "user.k", b"v", flags).unwrap();
    }
    let long = format!("A /{}", "n".repeat(150));
    let expected = [
        "C /etc",
        "A /etc/new",
        "A /etc/same",
        "D /gone",
        &long,
        "C /old",
        "D /old/a",
        "D /old/b",
        "A /old/c",
    ];
    assert_eq!(changes(images, &id), expected);
    assert_eq!(images.snapshots().usage(&id).unwrap().bytes, 8);
    let options = CommitOptions {
        defaults: base.config.defaults.clone(),
        changes: vec!["CMD [\"true\"]".to_owned()],
        author: "me".to_owned(),
        comment: "done".to_owned(),
        created_by: "sh".to_owned(),
        parent: Some(base.id),
        parent_config: base.config_json.clone().into_bytes(),
    };
    let made = images.commit(&id, &base.layers, &options).unwrap();
    assert_eq!(made.config.defaults.command, Some(vec!["true".to_owned()]));
    assert_eq!(made.parent, Some(base.id));
    let history = images.history(&made).unwrap();
    let ids: Vec<_> = history.iter().map(|line| line.id).collect();
    assert_eq!(ids, [Some(made.id), Some(base.id), None]);
    assert_eq!(
        (history[0].comment.as_str(), history[1].tags.as_slice()),
        ("done", &["base:latest".to_owned()][..])
    );

    let export = |root| {
        let mut out = Vec::new();
        images.export(root, &mut out).unwrap();
        out
    };
    let view = images.snapshots().view_container(&id).unwrap();
    let before = export(view.as_fd());
    let view = images.snapshots().view_layers(&made.config.diff_ids).unwrap();
    let after = export(view.as_fd());
    let (listed, files) = (listing(&before), listing(&after));
    let mut only_mount_points = diff(&listed, &files);
    only_mount_points.sort();
    let expected = [
        ".dockerenv",
        "dev/console",
        "dev/pts/",
        "dev/shm/",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
    ];
    assert_eq!(only_mount_points, expected);
    assert!(files.contains_key("old/c") && !files.contains_key("old/a"));
    assert!(!files.contains_key("gone") && files.contains_key(&"n".repeat(150)));
    assert_eq!(files["etc/same"], tar::EntryType::Link);

    // An import of the export is the same file system in one layer.
    let options = ImportOptions { changes: vec!["USER 1".to_owned()], ..ImportOptions::default() };
    let imported = images.import(Box::new(Cursor::new(before.clone())), &options).unwrap();
    assert_eq!(imported.config.defaults.user, "1");
    let view = images.snapshots().view_layers(&imported.config.diff_ids).unwrap();
    assert!(export(view.as_fd()) == before);
    images.snapshots().remove(&id).unwrap();
    assert_eq!(images.snapshots().containers().unwrap(), []);
}

fn diff<'a>(
    one: &'a HashMap<String, tar::EntryType>,
    two: &'a HashMap<String, tar::EntryType>,
) -> Vec<&'a String> {
    one.keys()
        .filter(|key| !two.contains_key(*key))
        .chain(two.keys().filter(|key| !one.contains_key(*key)))
        .collect()
}

#[test]
fn chains_of_127_layers_mount() {
    let fixture = fixture();
    let mut image = TestImage::busybox().unwrap().named("deep");
    for index in 1..126 {
        let name = format!("layer-{index}");
        image = image.with_layer(testing::files_layer(&[(&name, b"x")]).unwrap());
    }
    let repeated = image.layers[5].clone();
    let image = load(&fixture.images, &image.with_layer(repeated));
    let id = container(2);
    let layer = fixture.images.snapshots().prepare(&id, &image.config.diff_ids).unwrap();
    assert_eq!(layer.lowers.len(), 126 + 1, "a repeated layer is stacked once, below mount points");
    let relative = layer.lowers_relative(fixture.images.snapshots().root());
    let options: usize = relative.iter().map(|path| path.as_os_str().len() + 1).sum();
    assert!(options < 3500, "{options} bytes must leave room in a page");
    let mounted = Mounted::new(&layer);
    assert!(mounted.path("layer-1").exists() && mounted.path("layer-125").exists());
    std::fs::write(mounted.path("x"), b"").unwrap();
    drop(mounted);
    assert_eq!(changes(&fixture.images, &id), ["A /x"]);
}

fn remove(images: &Images, name: &str, force: bool, users: &[User]) -> Result<Vec<String>, String> {
    let options = RemoveOptions { force, keep_parents: false };
    let show = |removed: Removed| match removed {
        Removed::Untagged(name) => format!("untagged {name}"),
        Removed::Deleted(id) => format!("deleted {id}"),
    };
    images
        .remove(name, options, &|_| users.to_vec())
        .map(|removed| removed.into_iter().map(show).collect())
        .map_err(|error| error.to_string())
}

fn stored(fixture: &Fixture) -> usize {
    fixture.directory.path().join("content/blobs/sha256").read_dir().unwrap().count()
}

#[test]
fn removal_untags_then_deletes_and_frees() {
    let fixture = fixture();
    let images = &fixture.images;
    let image = load(images, &TestImage::busybox().unwrap().named("a:1").named("b:1"));
    let digest: Digest = testing::sha256(b"manifest");
    images
        .add_repo_digest(
            &"b".parse::<shoal_model::Reference>().unwrap().with_digest(digest),
            image.id,
        )
        .unwrap();
    let short = image.id.short();
    let error = remove(images, &short, false, &[]).unwrap_err();
    assert_eq!(
        error,
        format!("image `{short}` is in use: image is referenced in multiple repositories")
    );
    assert_eq!(remove(images, "a:1", false, &[]).unwrap(), ["untagged a:1"]);
    let stopped = User { container: "c0ffee".to_owned(), running: false };
    let running = User { running: true, ..stopped.clone() };
    let error = remove(images, "b:1", false, std::slice::from_ref(&stopped)).unwrap_err();
    assert_eq!(
        error,
        format!("image `b:1` is in use: container c0ffee is using its referenced image {short}")
    );
    let error = remove(images, &short, true, &[running]).unwrap_err();
    assert_eq!(
        error,
        format!("image `{short}` is in use: image is being used by running container c0ffee")
    );
    assert_eq!(stored(&fixture), 2);
    let expected = [
        "untagged b:1".to_owned(),
        format!("untagged b@{digest}"),
        format!("deleted {}", image.id),
        // The chain id of a lowest layer is its diff id.
        format!("deleted {}", image.config.diff_ids[0]),
    ];
    assert_eq!(remove(images, "b:1", true, &[stopped]).unwrap(), expected);
    assert_eq!(stored(&fixture), 0);
    assert!(images.snapshots().layer(image.config.diff_ids[0]).unwrap().is_none());
    assert_eq!(remove(images, "b:1", false, &[]).unwrap_err(), "no such image: `b:1`");
}

#[test]
fn layers_of_containers_outlive_their_image_and_a_restart() {
    let fixture = fixture();
    let image = load(&fixture.images, &TestImage::busybox().unwrap().named("a"));
    let id = container(3);
    let layer = fixture.images.snapshots().prepare(&id, &image.config.diff_ids).unwrap();
    remove(&fixture.images, "a", true, &[]).unwrap();
    assert!(layer.lowers[1].join("bin/busybox").exists());
    let unfinished =
        fixture.directory.path().join("snapshots/containers").join(container(4).as_str());
    std::fs::create_dir(&unfinished).unwrap();
    let empty = unfinished.with_file_name(container(5).as_str());
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(empty.join("layer.json"), "").unwrap();
    let torn = fixture.directory.path().join("snapshots/new/torn/fs");
    std::fs::create_dir_all(&torn).unwrap();
    let reopened = Images::open(fixture.directory.path(), Arc::new(SystemClock)).unwrap();
    assert_eq!(reopened.snapshots().writable(&id).unwrap(), layer);
    assert!(layer.lowers[1].join("bin/busybox").exists());
    assert!(!unfinished.exists() && !empty.exists() && !torn.exists());
    reopened.snapshots().remove(&id).unwrap();
    reopened.sweep().unwrap();
    assert!(!layer.lowers[1].exists());
}

#[test]
fn prune_and_list_follow_their_filters() {
    let fixture = fixture();
    let images = &fixture.images;
    let layered =
        |byte: &[u8]| TestImage::empty().with_layer(testing::files_layer(&[("f", byte)]).unwrap());
    let mut labelled = layered(b"2").named("keep:1");
    labelled.config["Labels"] = serde_json::json!({"stage": "x"});
    let (dangling, kept) = (load(images, &layered(b"1")), load(images, &labelled));
    let names = |filter: &Filter| -> Vec<Digest> {
        let listed = images.list(filter, Intermediate::Hide).unwrap();
        listed.iter().map(|line| line.image.id).collect()
    };
    let only = |dangling| Filter { dangling: Some(dangling), ..Filter::default() };
    assert_eq!(names(&only(true)), [dangling.id]);
    assert_eq!(names(&only(false)), [kept.id]);
    let by_label = Filter { labels: vec![Label::parse("stage=x")], ..Filter::default() };
    assert_eq!(names(&by_label), [kept.id]);
    let by_name = Filter { references: vec!["ke*".to_owned()], ..Filter::default() };
    assert_eq!(names(&by_name), [kept.id]);
    let since = Filter { since: vec!["nope".to_owned()], ..Filter::default() };
    assert!(images.list(&since, Intermediate::Hide).is_err());
    let usage = images.disk_usage(&|id| id == kept.id).unwrap();
    assert_eq!((usage.layers, usage.reclaimable), (2, 1));
    let pruned = images.prune(&Filter::default(), &|_| Vec::new()).unwrap();
    assert_eq!(
        pruned.removed,
        [Removed::Deleted(dangling.id), Removed::Deleted(dangling.config.diff_ids[0])]
    );
    let pruned = images
        .prune(&only(false), &|_| vec![User { container: "c".to_owned(), running: false }])
        .unwrap();
    assert_eq!((pruned.removed, pruned.freed), (vec![], 0));
    let pruned = images.prune(&only(false), &|_| Vec::new()).unwrap();
    assert_eq!(
        pruned.removed,
        [
            Removed::Untagged("keep:1".to_owned()),
            Removed::Deleted(kept.id),
            Removed::Deleted(kept.config.diff_ids[0]),
        ]
    );
    assert!(pruned.freed > 1000);
}

#[test]
fn a_retagged_name_leaves_its_old_image_dangling() {
    let fixture = fixture();
    let images = &fixture.images;
    let one = load(images, &TestImage::empty().named("n:1"));
    let other = TestImage::empty().with_layer(testing::files_layer(&[("f", b"")]).unwrap());
    let two = load(images, &other.named("n:1"));
    let check = |images: &Images| {
        assert_eq!(images.resolve("n:1").unwrap().id, two.id);
        assert!(images.get(one.id).unwrap().is_dangling());
    };
    check(images);
    check(&Images::open(fixture.directory.path(), Arc::new(SystemClock)).unwrap());
}

#[test]
fn after_the_machine_went_down_doubtful_data_is_made_again_or_dropped() {
    use std::os::unix::fs::MetadataExt;
    let fixture = fixture();
    let root = fixture.directory.path();
    let layered = |name: &str| {
        let layer = testing::files_layer(&[("f", name.as_bytes())]).unwrap();
        TestImage::empty().with_layer(layer).named(name)
    };
    let sealed = load(&fixture.images, &layered("sealed"));
    fixture.images.seal().unwrap();
    let good = load(&fixture.images, &layered("good"));
    let torn = load(&fixture.images, &layered("torn"));
    let file =
        |image: &Image| fixture.images.snapshots().layer_path(image.config.diff_ids[0]).join("f");
    let inode = |image: &Image| file(image).metadata().unwrap().ino();
    let before = (inode(&sealed), inode(&good));
    std::fs::write(file(&good), b"").unwrap(); // as an unsynced file may be found
    std::fs::write(fixture.images.content().path(torn.layers[0].digest), b"").unwrap();
    std::fs::write(root.join("images/boot"), b"an earlier boot").unwrap();
    let reopened = Images::open(root, Arc::new(SystemClock)).unwrap();
    assert_eq!(inode(&sealed), before.0);
    assert_eq!(std::fs::read(file(&good)).unwrap(), b"good");
    assert_eq!(reopened.resolve("torn").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(reopened.all().len(), 2);
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(std::fs::read(root.join("images/boot")).unwrap(), boot);
}

#[test]
fn records_of_a_newer_release_are_refused() {
    let fixture = fixture();
    let image = load(&fixture.images, &TestImage::empty().named("n"));
    let path = fixture.directory.path().join(format!("images/{}.json", image.id.hex()));
    let record = std::fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2");
    std::fs::write(&path, record).unwrap();
    let error = Images::open(fixture.directory.path(), Arc::new(SystemClock)).unwrap_err();
    assert!(error.to_string().contains("has format 2, this release knows up to 1"), "{error}");
}

/// Whatever the order of their digests.
#[test]
fn prune_takes_parents_after_their_children() {
    let fixture = fixture();
    let images = &fixture.images;
    let layer = testing::files_layer(&[("f", b"1")]).unwrap();
    let base = load(images, &TestImage::empty().with_layer(layer).named("base:1"));
    let (id, mut parent) = (container(1), base.clone());
    images.snapshots().prepare(&id, &base.config.diff_ids).unwrap();
    for number in 0..6 {
        let options = CommitOptions {
            author: number.to_string(),
            parent: Some(parent.id),
            parent_config: parent.config_json.clone().into_bytes(),
            ..CommitOptions::default()
        };
        let made = images.commit(&id, &parent.layers, &options).unwrap();
        images.tag(&format!("made:{number}").parse().unwrap(), made.id).unwrap();
        parent = made;
    }
    images.snapshots().remove(&id).unwrap();
    let all = Filter { dangling: Some(false), ..Filter::default() };
    images.prune(&all, &|_| Vec::new()).unwrap();
    assert!(images.all().is_empty());
}
