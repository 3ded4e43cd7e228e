//! Mounts, devices, filters, logs, namespaces that are joined.

use shoal_shim_protocol::config::{LogFile, LogSink, SeccompProgram};
use shoal_shim_protocol::local_log;
use shoal_shim_protocol::message::{FailureKind, Request, Response};
use shoal_shim_protocol::spec::{Device, Mount, NamespaceKind, Rlimit};

use crate::support::{Bench, is_foreign, refused};

#[test]
fn bind_mounts_and_tmpfs() {
    let mut bench = Bench::new(&[
        "sh",
        "-c",
        "cat /data/file /single; touch /data/x 2>/dev/null || echo ro; touch /rw/made; \
         stat -c %a /scratch; grep -c noexec /proc/mounts >/dev/null && echo mounted",
    ]);
    let volume = bench.path("volume");
    std::fs::create_dir_all(volume.join("rw")).unwrap();
    std::fs::write(volume.join("file"), "volume\n").unwrap();
    let bind = |source: &std::path::Path, destination: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options: options.iter().map(|word| (*word).to_owned()).collect(),
        ..Mount::default()
    };
    bench.spec.mounts.extend([
        bind(&volume, "/data", &["rbind", "ro", "rprivate"]),
        bind(&volume.join("file"), "/single", &["rbind", "rprivate"]),
        bind(&volume.join("rw"), "/rw", &["rbind", "rslave"]),
        Mount {
            destination: "/scratch".to_owned(),
            kind: Some("tmpfs".to_owned()),
            source: Some("tmpfs".to_owned()),
            options: vec!["noexec".to_owned(), "mode=1770".to_owned(), "size=1m".to_owned()],
            ..Mount::default()
        },
    ]);
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    assert_eq!(bench.output(), "volume\nvolume\nro\n1770\nmounted\n");
    assert!(volume.join("rw/made").exists());
    bench.finish();
}

#[test]
fn links_of_the_image_do_not_lead_out() {
    let mut bench = Bench::new(&["sh", "-c", "cat /trap/inside/file"]);
    let (victim, volume) = (bench.path("victim"), bench.path("volume"));
    std::fs::create_dir_all(&victim).unwrap();
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("file"), "found\n").unwrap();
    std::os::unix::fs::symlink(&victim, bench.path("layer/trap")).unwrap();
    std::fs::create_dir_all(bench.path("layer").join(victim.strip_prefix("/").unwrap())).unwrap();
    bench.spec.mounts.push(Mount {
        destination: "/trap/inside".to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(volume.to_string_lossy().into_owned()),
        options: vec!["rbind".to_owned()],
        ..Mount::default()
    });
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    assert_eq!(bench.output(), "found\n");
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0, "the host was touched");
    bench.finish();
}

#[test]
fn devices_rlimits_sysctls() {
    let script = "stat -c '%t:%T %a' /dev/extra; ulimit -n; cat /proc/sys/net/ipv4/ip_default_ttl";
    let mut bench = Bench::new(&["sh", "-c", script]);
    bench.spec.linux.devices.push(Device {
        kind: "c".to_owned(),
        path: "/dev/extra".to_owned(),
        major: 1,
        minor: 5,
        file_mode: Some(0o640),
        uid: Some(0),
        gid: Some(0),
    });
    bench.spec.process.rlimits.push(Rlimit {
        kind: "RLIMIT_NOFILE".to_owned(),
        soft: 100,
        hard: 200,
    });
    bench.spec.linux.sysctl.insert("net.ipv4.ip_default_ttl".to_owned(), "33".to_owned());
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    assert_eq!(bench.output(), "1:5 640\n100\n33\n");
    bench.finish();
}

#[test]
fn seccomp_filter_is_loaded() {
    if is_foreign() {
        return; // takes linux.seccomp
    }
    // Load the number of the call; mkdir (83) and mkdirat (258) fail with EPERM; all else is allowed.
    let instructions: [(u16, u8, u8, u32); 5] = [
        (0x20, 0, 0, 0),
        (0x15, 1, 0, 83),
        (0x15, 0, 1, 258),
        (0x06, 0, 0, 0x0005_0001),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let bytes: Vec<u8> = instructions
        .iter()
        .flat_map(|(code, yes, no, value)| {
            let mut raw = code.to_ne_bytes().to_vec();
            raw.extend([*yes, *no]);
            raw.extend(value.to_ne_bytes());
            raw
        })
        .collect();
    for no_new_privileges in [false, true] {
        let mut bench =
            Bench::new(&["sh", "-c", "mkdir /x 2>&1; grep ^Seccomp: /proc/self/status"]);
        std::fs::write(bench.path("filter"), &bytes).unwrap();
        bench.config.seccomp = Some(SeccompProgram { path: bench.path("filter"), flags: 0 });
        bench.spec.process.no_new_privileges = no_new_privileges;
        assert_eq!(bench.run().code, 0, "{}", bench.output());
        assert_eq!(
            bench.output(),
            "mkdir: can't create directory '/x': Operation not permitted\nSeccomp:\t2\n"
        );
        bench.finish();
    }
}

#[test]
fn local_log_is_readable() {
    let mut bench = Bench::new(&["sh", "-c", "echo one; echo -n two"]);
    let path = bench.path("local.log");
    bench.config.logs = vec![LogSink::Local {
        file: LogFile { path: path.clone(), max_bytes: None, max_files: 1 },
    }];
    assert_eq!(bench.run().code, 0);
    let bytes = std::fs::read(&path).unwrap();
    let mut rest = bytes.strip_prefix(&local_log::MAGIC).unwrap();
    let mut lines = Vec::new();
    while let Some((record, length)) = local_log::decode(rest).unwrap() {
        lines.push((record.line.to_vec(), record.partial));
        rest = &rest[length..];
    }
    assert_eq!(lines, [(b"one".to_vec(), false), (b"two".to_vec(), true)]);
    bench.finish();
}

#[test]
fn namespaces_of_another_container() {
    let mut first = Bench::new(&["sleep", "1000"]);
    let Response::Started { pid, .. } = first.spawn().call(&Request::Run).unwrap() else {
        panic!()
    };
    let mut second = Bench::new(&[
        "sh",
        "-c",
        "hostname; readlink /proc/self/ns/net; head -c 5 /proc/1/cmdline",
    ]);
    for namespace in &mut second.spec.linux.namespaces {
        let name = match namespace.kind {
            NamespaceKind::Network => "net",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Ipc => "ipc",
            _ => continue,
        };
        namespace.path = Some(format!("/proc/{pid}/ns/{name}").into());
    }
    second.spec.hostname = None;
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(second.run().code, 0, "{}", second.output());
    assert_eq!(second.output(), format!("tester\n{}\nsleep", link.display()));
    second.finish();
    first.finish();
}

#[test]
fn hosts_pid_namespace_leaves_no_process() {
    let mut bench = Bench::new(&["sh", "-c", "sleep 987654 & exit 0"]);
    bench.spec.linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Pid);
    assert_eq!(bench.run().code, 0);
    bench.finish(); // a process left behind would keep the cgroups
}

#[test]
fn hundred_layers() {
    let mut bench = Bench::new(&["sh", "-c", "cat /layer-99 /layer-0"]);
    let shoal_shim_protocol::config::Rootfs::Overlay { lower, .. } = &mut bench.config.rootfs
    else {
        panic!()
    };
    let base = lower[0].parent().unwrap().to_owned();
    for number in 0..100 {
        let layer = base.join(format!("more-{number}"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join(format!("layer-{number}")), format!("{number}\n")).unwrap();
        lower.insert(0, layer);
    }
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    assert_eq!(bench.output(), "99\n0\n");
    bench.finish();
}

#[test]
fn what_is_not_served_is_said() {
    if is_foreign() {
        return;
    }
    let mut bench = Bench::new(&["true"]);
    bench.spec.process.apparmor_profile = Some("docker-default".to_owned());
    let failure = refused(bench.spawn().call(&Request::Run));
    assert_eq!(failure.kind, FailureKind::NotImplemented);
    bench.finish();
}
