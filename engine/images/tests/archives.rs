//! Load, save and unpack on a real file system. Needs root: devices, owners and overlay mounts.

#![allow(clippy::unwrap_used, reason = "a failed expectation of a test is a panic")]

use std::io::{Cursor, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::{Arc, Mutex};

use shoal_base::SystemClock;
use shoal_engine_images::archive::load::{Loaded, Options, Progress};
use shoal_engine_images::image::Images;
use shoal_engine_images::testing::{self, TestImage};
use shoal_engine_images::unpack::Limits;
use shoal_model::error::Chain;
use tar::{Builder, EntryType, Header};

struct Fixture {
    directory: tempfile::TempDir,
    images: Images,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let images = Images::open(directory.path(), Arc::new(SystemClock)).unwrap();
    Fixture { directory, images }
}

fn archive(image: &TestImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_archive(&mut bytes).unwrap();
    bytes
}

fn load(images: &Images, bytes: Vec<u8>) -> Result<Vec<Loaded>, String> {
    images
        .load(Box::new(Cursor::new(bytes)), &Options::default(), &|_| {})
        .map_err(|error| Chain(&error).to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn blobs(fixture: &Fixture) -> usize {
    std::fs::read_dir(fixture.directory.path().join("content/blobs/sha256")).unwrap().count()
}

#[test]
fn saved_images_load_as_the_same_images() {
    let one = fixture();
    let layer = testing::files_layer(&[("a", b"one")]).unwrap();
    let first = TestImage::busybox().unwrap().named("app:1").named("app:2");
    let second = first.clone().with_layer(layer);
    let second = TestImage { names: vec!["host:5000/other:x".to_owned()], ..second };
    for image in [&first, &second] {
        load(&one.images, archive(image)).unwrap();
    }
    let mut saved = Vec::new();
    one.images.save(&["app".to_owned(), "host:5000/other:x".to_owned()], &mut saved).unwrap();
    for bytes in [saved.clone(), gzip(&saved), zstd::encode_all(&saved[..], 1).unwrap()] {
        let two = fixture();
        let loaded = load(&two.images, bytes).unwrap();
        let ids: Vec<_> = loaded.iter().map(|image| image.id).collect();
        assert_eq!(ids, [first.id(), second.id()]);
        let mut again = Vec::new();
        two.images.save(&["app".to_owned(), "host:5000/other:x".to_owned()], &mut again).unwrap();
        assert_eq!(testing::sha256(&again), testing::sha256(&saved));
    }
    // As an OCI layout alone.
    let three = fixture();
    let mut stripped = Builder::new(Vec::new());
    for entry in tar::Archive::new(&saved[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.as_os_str() != "manifest.json" {
            let mut header = entry.header().clone();
            stripped.append_data(&mut header, path, &mut entry).unwrap();
        }
    }
    let loaded = load(&three.images, stripped.into_inner().unwrap()).unwrap();
    let names: Vec<_> = loaded.iter().flat_map(|l| &l.names).map(ToString::to_string).collect();
    let hub = "docker.io/library/app";
    assert_eq!(names, [format!("{hub}:1"), format!("{hub}:2"), "host:5000/other:x".to_owned()]);
}

#[test]
fn a_load_reports_progress_and_survives_a_restart() {
    let fixture = fixture();
    let image = TestImage::busybox().unwrap().named("busybox");
    let seen = Mutex::new(Vec::new());
    let input = Box::new(Cursor::new(archive(&image)));
    fixture.images.load(input, &Options::default(), &|p| seen.lock().unwrap().push(p)).unwrap();
    let total = image.layers[0].len() as u64;
    let diff_id = image.diff_ids()[0];
    let step = |current| Progress::Layer { diff_id, current, total };
    assert_eq!(*seen.lock().unwrap(), [step(0), step(total)]);
    let reopened = Images::open(fixture.directory.path(), Arc::new(SystemClock)).unwrap();
    for name in ["busybox", "busybox:latest", &image.id().to_string(), &image.id().short()] {
        assert_eq!(reopened.resolve(name).unwrap().id, image.id(), "{name}");
    }
    assert_eq!(reopened.resolve("nope").unwrap_err().to_string(), "no such image: `nope`");
    let link = reopened.snapshots().layer_path(diff_id).join("bin/sh");
    assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some("busybox"));
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let image = TestImage::busybox().unwrap().named("busybox");
    let good = archive(&image);
    let fixture = fixture();
    let mut flipped = good.clone();
    flipped[100_000] ^= 1; // within the layer
    let mut squashed = gzip(&good);
    squashed.truncate(squashed.len() / 2);
    let lying = TestImage { layers: vec![b"no tar at all".repeat(100)], ..image };
    for (bytes, expected) in [
        (good[..good.len() / 2].to_vec(), "failed to read the content being stored"),
        (flipped, "layer unpacks to `sha256:"),
        (squashed, "failed to read the content being stored"),
        (b"hello".to_vec(), "the archive is truncated"),
        (b"BZh9xxxx".to_vec(), "archives compressed with bzip2 are not supported"),
        (vec![0; 1024], "it is no image archive"),
        (archive(&lying), "a header's checksum is wrong"),
    ] {
        let error = load(&fixture.images, bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(blobs(&fixture), 0, "{error}");
        assert_eq!(fixture.images.all(), []);
    }
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(1);
    header.set_size(size);
    header
}

/// A header whose name the `tar` crate would refuse to write.
fn raw(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, data: &[u8]) {
    let mut header = header(kind, data.len() as u64);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.append(&header, data).unwrap();
}

fn unpack(fixture: &Fixture, tar: Vec<u8>) -> Result<std::path::PathBuf, String> {
    unpack_within(fixture, tar, &Limits::default())
}

fn unpack_within(
    fixture: &Fixture,
    tar: Vec<u8>,
    limits: &Limits,
) -> Result<std::path::PathBuf, String> {
    let snapshots = fixture.images.snapshots();
    let diff_id = testing::sha256(&tar);
    snapshots
        .unpack(diff_id, Box::new(Cursor::new(tar)), None, limits)
        .map(|_| snapshots.layer_path(diff_id))
        .map_err(|error| Chain(&error).to_string())
}

#[test]
fn layers_keep_all_that_tar_can_say() {
    let fixture = fixture();
    let mut tar = Builder::new(Vec::new());
    let records: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.note", b"a\0b"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("mtime", b"12.000000345"),
    ];
    tar.append_pax_extensions(records).unwrap();
    let mut file = header(EntryType::Regular, 3);
    file.set_mode(0o4755);
    file.set_uid(3_000_000);
    file.set_gid(7);
    tar.append_data(&mut file, "d/setuid", &b"abc"[..]).unwrap();
    let long = "n".repeat(200);
    tar.append_data(&mut header(EntryType::Regular, 1), &long, &b"x"[..]).unwrap();
    tar.append_link(&mut header(EntryType::Link, 0), "d/hard", "d/setuid").unwrap();
    raw(&mut tar, EntryType::Fifo, "fifo", "", b"");
    let mut device = header(EntryType::Char, 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    tar.append_data(&mut device, "null", &b""[..]).unwrap();
    raw(&mut tar, EntryType::Regular, "d/.wh.gone", "", b"");
    raw(&mut tar, EntryType::Regular, "o/.wh..wh..opq", "", b"");
    raw(&mut tar, EntryType::Regular, "both/new", "", b"");
    raw(&mut tar, EntryType::Regular, ".wh.both", "", b"");
    let root = unpack(&fixture, tar.into_inner().unwrap()).unwrap();
    let setuid = root.join("d/setuid").metadata().unwrap();
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o4755, 3_000_000, 7));
    assert_eq!((setuid.mtime(), setuid.mtime_nsec(), setuid.nlink()), (12, 345, 2));
    assert_eq!(xattr(&root.join("d/setuid"), "user.note").as_deref(), Some(&b"a\0b"[..]));
    assert_eq!(xattr(&root.join("d/setuid"), "security.capability").unwrap().len(), 20);
    assert_eq!(xattr(&root.join("d/setuid"), "trusted.overlay.redirect"), None);
    assert!(root.join(long).exists());
    assert!(root.join("fifo").metadata().unwrap().file_type().is_fifo());
    let whiteout = root.join("d/gone").metadata().unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(root.join("null").metadata().unwrap().rdev(), rustix::fs::makedev(1, 3));
    for opaque in ["o", "both"] {
        let value = xattr(&root.join(opaque), "trusted.overlay.opaque");
        assert_eq!(value.as_deref(), Some(&b"y"[..]), "{opaque}");
    }
}

fn xattr(path: &std::path::Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    Some(buffer[..length].to_vec())
}

#[test]
fn sparse_files_of_gnu_tar_keep_their_holes() {
    let fixture = fixture();
    let source = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"end", (8 << 20) - 3).unwrap();
    for format in ["--format=gnu", "--format=posix --sparse-version=0.1", "--format=posix"] {
        let mut command = shoal_base::command::new("tar");
        command
            .args(["-S", "-C"])
            .arg(source.path())
            .args(format.split(' '))
            .args(["-c", "sparse"]);
        let tar = command.stdout(std::process::Stdio::piped()).output().unwrap();
        assert!(tar.status.success() && tar.stdout.len() < 100_000, "{format}");
        let path = unpack(&fixture, tar.stdout).unwrap().join("sparse");
        assert!(path.metadata().unwrap().blocks() < 64, "{format}");
        let (one, two) = (std::fs::read(path), std::fs::read(source.path().join("sparse")));
        assert!(one.unwrap() == two.unwrap(), "{format}");
    }
}

#[test]
fn nothing_is_made_outside_of_the_layer() {
    let fixture = fixture();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, b"untouched").unwrap();
    let target = outside.path().to_str().unwrap().to_owned();
    let secret_name = secret.to_str().unwrap().to_owned();
    let attempt = |entries: &[(EntryType, &str, &str)]| {
        let mut tar = Builder::new(Vec::new());
        for (kind, path, link) in entries {
            let data: &[u8] = if *kind == EntryType::Regular { b"evil" } else { b"" };
            raw(&mut tar, *kind, path, link, data);
        }
        unpack(&fixture, tar.into_inner().unwrap())
    };
    use EntryType::{Directory, Link, Regular, Symlink};
    let leads_out = |result: Result<_, String>| {
        let error: String = result
            .map(|path: std::path::PathBuf| path.display().to_string())
            .expect_err("must be refused");
        assert!(error.contains("leads out of its root"), "{error}");
    };
    leads_out(attempt(&[(Regular, "../evil", "")]));
    leads_out(attempt(&[(Regular, "a/../../evil", "")]));
    leads_out(attempt(&[(Link, "x", "../../../../etc/passwd")]));
    leads_out(attempt(&[(Regular, "../.wh.evil", "")]));
    // A link to an outside file, by a symbolic link or by an absolute name, finds nothing there.
    for entries in [
        &[(Symlink, "l", target.as_str()), (Link, "x", "l/secret")][..],
        &[(Link, "x", secret_name.as_str())],
        &[(Symlink, "l", &target), (Regular, "l/secret", "")],
        &[(Symlink, "l", "../../../../../../.."), (Link, "x", "l/etc/passwd")],
    ] {
        attempt(entries).unwrap_err();
    }
    // A name that is a link is replaced, not followed.
    let root = attempt(&[(Symlink, "l", &secret_name), (Regular, "l", "")]).unwrap();
    assert_eq!(std::fs::read(root.join("l")).unwrap(), b"evil");
    assert!(root.join("l").symlink_metadata().unwrap().is_file());
    // What a chroot would allow stays inside.
    let root = attempt(&[
        (Directory, "usr/lib/", ""),
        (Symlink, "lib", "/usr/lib"),
        (Regular, "lib/x", ""),
    ]);
    assert!(root.unwrap().join("usr/lib/x").exists());
    assert_eq!(std::fs::read(&secret).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fixture.directory.path().join("snapshots/new").read_dir().unwrap().count(), 0);
}

#[test]
fn bombs_are_bounded() {
    let fixture = fixture();
    let limits = Limits { bytes_max: 1 << 20, entries_max: 10, ratio_max: 50, ratio_from: 1 << 18 };
    let zeros = |count| testing::files_layer(&[("z", &vec![0; count][..])]).unwrap();
    let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    for (tar, expected) in [
        (zeros(2 << 20), "more than 1048576 bytes"),
        (gzip(&zeros(1 << 19)), "more than 50 times its size"),
        (zstd::encode_all(&zeros(1 << 19)[..], 1).unwrap(), "more than 50 times its size"),
        (testing::files_layer(&many).unwrap(), "more than 10 entries"),
    ] {
        let error = unpack_within(&fixture, tar, &limits).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
