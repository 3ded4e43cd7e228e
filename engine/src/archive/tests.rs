//! Both ways, on trees with every sort of file and with traps.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::beneath;

fn container() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("srv/app/sub")).unwrap();
    fs::write(path("srv/app/file"), "content").unwrap();
    fs::set_permissions(path("srv/app/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(path("srv/app/file"), path("srv/app/sub/again")).unwrap();
    symlink("/srv/app", path("link")).unwrap();
    symlink("link/file", path("link2")).unwrap();
    symlink("/nowhere/x", path("broken")).unwrap();
    symlink("/etc", path("out")).unwrap();
    dir
}

fn exported(root: &std::path::Path, path: &str) -> Vec<String> {
    let root = beneath::root(root).unwrap();
    let mut bytes = Vec::new();
    export(root.as_fd(), path, &mut bytes).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let line = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let link =
            entry.link_name_bytes().map(|link| format!(" -> {}", String::from_utf8_lossy(&link)));
        let header = entry.header();
        format!(
            "{} {:?} {:o} {}{}",
            String::from_utf8_lossy(&entry.path_bytes()),
            header.entry_type(),
            header.mode().unwrap(),
            header.size().unwrap(),
            link.unwrap_or_default()
        )
    };
    archive.entries().unwrap().map(line).collect()
}

#[test]
fn paths_are_described_with_modes_of_the_kernel() {
    let dir = container();
    let root = beneath::root(dir.path()).unwrap();
    let found = |path: &str| {
        let stat = stat(root.as_fd(), path).unwrap();
        format!("{} {:x} {:?}", stat.name, stat.mode, stat.link_target)
    };
    assert_eq!(found("/srv/app/file"), "file 89ed \"\"");
    assert_eq!(found("srv/app/../app/"), "app 41ed \"\"");
    assert_eq!(found("link"), "link a1ff \"/srv/app\"");
    assert_eq!(found("link/"), "link 41ed \"\"");
    assert_eq!(found("link2"), "link2 a1ff \"/srv/app/file\"");
    assert_eq!(found("broken"), "broken a1ff \"/nowhere/x\"");
    assert!(found("/").starts_with("/ 4"));
    assert_eq!(stat(root.as_fd(), "/srv/app/file").unwrap().size, 7);
    assert!(matches!(stat(root.as_fd(), "/none"), Err(Error::NotFound { .. })));
    assert!(matches!(stat(root.as_fd(), "/out/passwd"), Err(Error::NotFound { .. })));
}

#[test]
fn directories_files_and_links_are_exported_as_docker_does() {
    let dir = container();
    let tree = |name: &str| {
        vec![
            format!("{name}/ Directory 755 0"),
            format!("{name}/file Regular 4755 7"),
            format!("{name}/sub/ Directory 755 0"),
            format!("{name}/sub/again Link 4755 0 -> {name}/file"),
        ]
    };
    assert_eq!(exported(dir.path(), "/srv/app"), tree("app"));
    assert_eq!(exported(dir.path(), "/srv/app/."), tree("."));
    assert_eq!(exported(dir.path(), "/link/"), tree("link"));
    assert_eq!(exported(dir.path(), "/link"), ["link Symlink 777 0 -> /srv/app"]);
    assert_eq!(exported(dir.path(), "link/file"), ["file Regular 4755 7"]);
    assert_eq!(exported(dir.path(), "/")[1], "/broken Symlink 777 0 -> /nowhere/x");
}

#[test]
fn long_names_and_devices_survive_both_ways() {
    let from = tempfile::tempdir().unwrap();
    let deep = format!("d/{}/{}", "x".repeat(90), "y".repeat(90));
    fs::create_dir_all(from.path().join(&deep)).unwrap();
    fs::write(from.path().join(&deep).join("f"), "1").unwrap();
    let fifo = from.path().join("d/pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::chown(&fifo, Some(3_000_000), Some(7)).unwrap();
    let root = beneath::root(from.path()).unwrap();
    let mut bytes = Vec::new();
    export(root.as_fd(), "/d", &mut bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    unpack(to.path(), "/", &bytes, OPTIONS).unwrap();
    assert_eq!(fs::read_to_string(to.path().join(&deep).join("f")).unwrap(), "1");
    let meta = fs::symlink_metadata(to.path().join("d/pipe")).unwrap();
    assert!(meta.file_type().is_fifo());
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o640, 3_000_000, 7));
}

const OPTIONS: ImportOptions = ImportOptions {
    overwrite: Overwrite::Anything,
    owner: Owner::Archive,
    root: RootAccess::Writable,
};

fn unpack(
    root: &std::path::Path,
    path: &str,
    bytes: &[u8],
    options: ImportOptions,
) -> Result<(), Error> {
    import(beneath::root(root).unwrap().as_fd(), path, bytes, options)
}

/// An archive with these entries: name, type, content or link.
fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o2750);
        header.set_uid(11);
        header.set_gid(12);
        header.set_mtime(1_000_000_000);
        let content: &[u8] = if *kind == tar::EntryType::Regular { text.as_bytes() } else { b"" };
        header.set_size(u64::try_from(content.len()).unwrap());
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        if content.is_empty() {
            fields.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

use tar::EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn archives_are_unpacked_with_owner_mode_and_time() {
    let dir = container();
    let bytes = archive(&[
        ("./", Directory, ""),
        ("new/", Directory, ""),
        ("new/a", Regular, "one"),
        ("new/b", Link, "new/a"),
        ("implied/deep/c", Regular, "two"),
        ("sub", Directory, ""),
    ]);
    unpack(dir.path(), "/link", &bytes, OPTIONS).unwrap();
    let app = dir.path().join("srv/app");
    let meta = fs::metadata(app.join("new/a")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (11, 12, 0o2750));
    assert_eq!(meta.ino(), fs::metadata(app.join("new/b")).unwrap().ino());
    assert_eq!(fs::metadata(app.join("new")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_to_string(app.join("implied/deep/c")).unwrap(), "two");
    assert!(app.join("sub/again").exists(), "directories are merged");
    let owner = Owner::Fixed { uid: 5, gid: 6 };
    unpack(dir.path(), "/link", &bytes, ImportOptions { owner, ..OPTIONS }).unwrap();
    let meta = fs::metadata(app.join("new/a")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (5, 6));
}

#[test]
fn compressed_archives_are_recognised() {
    use std::io::Write;
    let bytes = archive(&[("a", Regular, "one")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
    for packed in [gzip.finish().unwrap(), zstd] {
        let dir = container();
        unpack(dir.path(), "/srv", &packed, OPTIONS).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("srv/a")).unwrap(), "one");
    }
    let bzip2 = unpack(container().path(), "/", b"BZh91AY", OPTIONS).unwrap_err();
    assert_eq!(bzip2.to_string(), "archives compressed with bzip2 are not supported");
}

#[test]
fn nothing_gets_out_of_the_container() {
    let dir = container();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let bytes = archive(&[("evil", Symlink, target), ("evil/x", Regular, "boo")]);
    let error = unpack(dir.path(), "/srv", &bytes, OPTIONS).map_err(|error| error.to_string());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(error.is_err(), "the link's target does not exist in the container");
    let up = archive(&[("../../x", Regular, "boo")]);
    assert!(matches!(unpack(dir.path(), "/srv", &up, OPTIONS), Err(Error::Breakout { .. })));
    let link = archive(&[("y", Link, "../../etc/passwd")]);
    assert!(matches!(unpack(dir.path(), "/srv", &link, OPTIONS), Err(Error::Breakout { .. })));
    // A link that stands there already is replaced, not followed.
    let over = archive(&[("out", Regular, "mine")]);
    unpack(dir.path(), "/", &over, OPTIONS).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), "mine");
}

#[test]
fn directories_and_files_do_not_replace_each_other_unless_allowed() {
    let dir = container();
    let strict = ImportOptions { overwrite: Overwrite::SameKind, ..OPTIONS };
    let file = archive(&[("sub", Regular, "x")]);
    let directory = archive(&[("file", Directory, "")]);
    let refused =
        |bytes: &[u8]| unpack(dir.path(), "/srv/app", bytes, strict).unwrap_err().to_string();
    assert_eq!(refused(&file), "cannot overwrite directory \"sub\" with non-directory");
    assert_eq!(refused(&directory), "cannot overwrite non-directory \"file\" with directory");
    unpack(dir.path(), "/srv/app", &file, OPTIONS).unwrap();
    unpack(dir.path(), "/srv/app", &directory, OPTIONS).unwrap();
    assert!(dir.path().join("srv/app/sub").is_file() && dir.path().join("srv/app/file").is_dir());
}

#[test]
fn a_read_only_root_and_bad_targets_are_refused() {
    let dir = container();
    let bytes = archive(&[("a", Regular, "one")]);
    let read_only = ImportOptions { root: RootAccess::ReadOnly, ..OPTIONS };
    assert!(matches!(unpack(dir.path(), "/srv", &bytes, read_only), Err(Error::RootReadOnly)));
    assert!(matches!(
        unpack(dir.path(), "/srv/app/file", &bytes, OPTIONS),
        Err(Error::NotADirectory)
    ));
    assert!(matches!(unpack(dir.path(), "/none", &bytes, OPTIONS), Err(Error::NotFound { .. })));
}

#[test]
fn a_volume_is_writable_or_not_by_its_own_mount() {
    use rustix::mount::{MountFlags, UnmountFlags};
    let dir = container();
    let volume = dir.path().join("vol");
    fs::create_dir(&volume).unwrap();
    rustix::mount::mount("vol", &volume, "tmpfs", MountFlags::empty(), None).unwrap();
    let bytes = archive(&[("a", Regular, "one")]);
    let read_only = ImportOptions { root: RootAccess::ReadOnly, ..OPTIONS };
    let written = unpack(dir.path(), "/vol", &bytes, read_only);
    let there = volume.join("a").exists();
    let flags = MountFlags::RDONLY;
    let remounted = rustix::mount::mount_remount(&volume, flags, c"");
    let refused = unpack(dir.path(), "/vol", &bytes, OPTIONS);
    rustix::mount::unmount(&volume, UnmountFlags::DETACH).unwrap();
    written.unwrap();
    remounted.unwrap();
    assert!(there);
    assert!(matches!(refused, Err(Error::VolumeReadOnly)), "{refused:?}");
}

#[test]
fn blank_numbers_of_a_header_are_zeros() {
    let mut header = tar::Header::new_gnu();
    header.set_path("blank").unwrap();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    let old = header.as_old_mut();
    (old.uid, old.gid, old.mtime) = ([b' '; 8], [0; 8], [b' '; 12]);
    old.mode = *b"0000640\0";
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, std::io::empty()).unwrap();
    let dir = container();
    unpack(dir.path(), "/srv", &builder.into_inner().unwrap(), OPTIONS).unwrap();
    let meta = fs::metadata(dir.path().join("srv/blank")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mtime(), meta.mode() & 0o777), (0, 0, 0, 0o640));
}
