//! Which mount wins, and what is refused.

use expect_test::{Expect, expect};

use super::*;

fn bind(text: &str) -> BindMount {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    BindMount {
        source: parts.next().unwrap(),
        target: parts.next().unwrap(),
        options: parts
            .next()
            .map(|words| words.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
    }
}

fn mount(kind: MountKind, target: &str, read_only: bool) -> Mount {
    Mount { kind, target: target.into(), read_only, consistency: String::new() }
}

fn bind_kind(source: &str, options: BindOptions) -> MountKind {
    MountKind::Bind { source: source.into(), options }
}

fn line(mount: &Planned) -> String {
    let source = match &mount.source {
        PlannedSource::Bind { path, create } => format!("bind {path} create={create}"),
        PlannedSource::Volume { name, options } => format!(
            "volume {} driver={:?} nocopy={} subpath={:?}",
            name.as_deref().unwrap_or("(anonymous)"),
            options.driver,
            options.no_copy,
            options.subpath
        ),
        PlannedSource::Tmpfs(options) => format!("tmpfs {options:?}"),
        PlannedSource::Image { reference, subpath } => format!("image {reference} {subpath:?}"),
        PlannedSource::Inherited(source) => format!("inherited {source:?}"),
    };
    let access = if mount.writable { "rw" } else { "ro" };
    let propagation = mount.propagation.map_or("-", Propagation::as_str);
    format!(
        "{} <- {source} {access} {propagation} mode={:?} listed={}\n",
        mount.target, mount.mode, mount.listed
    )
}

#[track_caller]
fn check(spec: &ContainerSpec, inherited: &[Inherited], expected: Expect) {
    let planned = plan(spec, inherited).unwrap();
    expected.assert_eq(&planned.iter().map(line).collect::<String>());
}

#[test]
fn every_sort_of_mount() {
    let mut spec = ContainerSpec {
        volumes: ["/v1".to_owned(), "/named".to_owned()].into(),
        ..ContainerSpec::default()
    };
    spec.host.binds =
        vec![bind("/srv/:/b//c:ro,rslave"), bind("named:/named"), bind("other:/o:nocopy")];
    spec.host.tmpfs.insert("/run".into(), "size=1m".into());
    spec.host.mounts = vec![
        mount(
            bind_kind("/etc", BindOptions { non_recursive: true, ..BindOptions::default() }),
            "/etc2",
            true,
        ),
        mount(
            MountKind::Volume { source: String::new(), options: VolumeMountOptions::default() },
            "/anon",
            false,
        ),
        mount(
            MountKind::Volume {
                source: "sub".into(),
                options: VolumeMountOptions {
                    subpath: "a/b".into(),
                    ..VolumeMountOptions::default()
                },
            },
            "/sub",
            false,
        ),
        mount(
            MountKind::Tmpfs(TmpfsOptions { size_bytes: 1 << 30, ..TmpfsOptions::default() }),
            "/t",
            true,
        ),
        mount(MountKind::Image { source: "alpine".into(), subpath: String::new() }, "/img", false),
    ];
    check(
        &spec,
        &[],
        expect![[r#"
        /anon <- volume (anonymous) driver="" nocopy=false subpath="" rw - mode="z" listed=true
        /b/c <- bind /srv create=true ro rslave mode="ro,rslave" listed=true
        /etc2 <- bind /etc create=false ro - mode="" listed=true
        /img <- image alpine "" ro - mode="" listed=true
        /named <- volume named driver="" nocopy=false subpath="" rw - mode="z" listed=true
        /o <- volume other driver="" nocopy=true subpath="" rw - mode="nocopy" listed=true
        /run <- tmpfs "size=1m" rw - mode="" listed=false
        /sub <- volume sub driver="" nocopy=false subpath="a/b" rw - mode="z" listed=true
        /t <- tmpfs "ro,size=1g" ro - mode="" listed=true
        /v1 <- volume (anonymous) driver="" nocopy=false subpath="" rw - mode="" listed=true
    "#]],
    );
}

#[test]
fn explicit_mounts_beat_inherited_ones_and_those_beat_the_images() {
    let other = |target: &str, writable| Resolved {
        writable,
        listed: true,
        ..Resolved::own_file("/other".into(), target)
    };
    let inherited = Inherited {
        wish: VolumesFrom { container: "x".into(), mode: "ro".into() },
        mounts: vec![
            other("/a", true),
            other("/b", true),
            Resolved { listed: false, ..other("/etc/hosts", true) },
        ],
    };
    let mut spec = ContainerSpec { volumes: ["/a".to_owned()].into(), ..ContainerSpec::default() };
    spec.host.binds = vec![bind("/mine:/b")];
    check(
        &spec,
        &[inherited],
        expect![[r#"
        /a <- inherited Bind { path: "/other", create: false } ro - mode="" listed=true
        /b <- bind /mine create=true rw - mode="" listed=true
    "#]],
    );
}

#[track_caller]
fn refused(change: impl FnOnce(&mut ContainerSpec), expected: &str) {
    let mut spec = ContainerSpec::default();
    change(&mut spec);
    assert_eq!(plan(&spec, &[]).unwrap_err().to_string(), expected);
}

#[test]
fn two_mounts_on_one_target_are_refused() {
    refused(
        |spec| spec.host.binds = vec![bind("/a:/x"), bind("/b:/x/")],
        "Duplicate mount point: /x",
    );
    refused(
        |spec| {
            spec.host.binds = vec![bind("/a:/x")];
            spec.host.mounts = vec![mount(bind_kind("/b", BindOptions::default()), "/x", false)];
        },
        "Duplicate mount point: /x",
    );
    refused(
        |spec| {
            spec.host.binds = vec![bind("/a:/x")];
            spec.host.tmpfs.insert("/x".into(), String::new());
        },
        "Duplicate mount point: /x",
    );
}

#[test]
fn malformed_wishes_are_refused() {
    refused(
        |spec| spec.host.binds = vec![bind("/a:/")],
        "invalid volume specification: '/a:/': invalid specification: destination can't be '/'",
    );
    refused(
        |spec| spec.host.binds = vec![bind("/a:b")],
        "invalid volume specification: '/a:b': invalid mount path: 'b' mount path must be absolute",
    );
    refused(
        |spec| spec.host.binds = vec![bind("a/b:/x")],
        "\"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
    );
    refused(
        |spec| spec.host.binds = vec![bind("vol:/x:rshared")],
        "invalid mount config for type \"volume\": field BindOptions must not be specified",
    );
    refused(
        |spec| spec.host.binds = vec![bind("/a:/x:nocopy")],
        "invalid mount config for type \"bind\": field VolumeOptions must not be specified",
    );
    refused(
        |spec| spec.host.mounts = vec![mount(bind_kind("", BindOptions::default()), "/x", false)],
        "invalid mount config for type \"bind\": field Source must not be empty",
    );
    refused(
        |spec| {
            let options =
                VolumeMountOptions { subpath: "../x".into(), ..VolumeMountOptions::default() };
            spec.host.mounts =
                vec![mount(MountKind::Volume { source: "vol".into(), options }, "/x", false)];
        },
        "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
    );
    refused(
        |spec| {
            let options = BindOptions { read_only_force_recursive: true, ..BindOptions::default() };
            spec.host.mounts = vec![mount(bind_kind("/a", options), "/x", false)];
        },
        "invalid mount config for type \"bind\": mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
    );
    refused(
        |spec| {
            spec.host.tmpfs.insert("run".into(), String::new());
        },
        "invalid mount path: 'run' mount path must be absolute",
    );
}
