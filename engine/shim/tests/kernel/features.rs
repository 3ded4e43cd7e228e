//! Mounts, devices, filters, logs, namespaces that are joined.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use shoal_shim_protocol::config::{LogFile, LogSink, SeccompProgram, SyslogAddress, SyslogFormat};
use shoal_shim_protocol::local_log;
use shoal_shim_protocol::message::{Event, FailureKind, Request, Response, Streams};
use shoal_shim_protocol::spec::{
    Device, IdMapping, Memory, Mount, Namespace, NamespaceKind, Rlimit,
};

use crate::support::{Bench, is_foreign, refused, wait_exit};

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
        file: LogFile { path: path.clone(), max_bytes: None, max_files: 1, compress: false },
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

#[test]
fn user_namespace() {
    let mut bench =
        Bench::new(&["sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null"]);
    let map = IdMapping { container_id: 0, host_id: 200_000, size: 65_536 };
    bench.spec.linux.uid_mappings = vec![map];
    bench.spec.linux.gid_mappings = vec![map];
    bench.spec.linux.namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
    // The mapped root must be able to reach the layers.
    for name in ["", "run", "upper", "work", "layer"] {
        use std::os::unix::fs::PermissionsExt;
        let path = bench.path(name);
        std::os::unix::fs::chown(&path, Some(200_000), Some(200_000)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    let words: Vec<String> = bench.output().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["0", "0", "200000", "65536", "null"]);
    bench.finish();
}

#[test]
fn memory_killer_is_heard_while_the_container_lives() {
    let script = "(x=$(yes | head -c 200000000)); sleep 1000";
    let mut bench = Bench::new(&["sh", "-c", script]);
    let resources = bench.spec.linux.resources.as_mut().unwrap();
    resources.memory = Some(Memory { limit: Some(16 << 20), ..Memory::default() });
    let mut events = bench.spawn();
    events.call(&Request::Subscribe).unwrap();
    bench.client().call(&Request::Run).unwrap();
    while events.next_event().unwrap() != Event::Oom {}
    bench.finish();
}

#[test]
fn slow_clients_hold_back_only_while_they_live() {
    let mut bench = Bench::new(&["sh", "-c", "yes | head -c 2000000; echo; echo end"]);
    bench.config.logs.clear();
    let mut events = bench.spawn();
    events.call(&Request::Subscribe).unwrap();
    bench.client().call(&Request::Create).unwrap();
    let streams = Streams { stdin: false, stdout: true, stderr: true };
    let mut slow = bench.client();
    slow.call(&Request::Attach { exec: None, streams }).unwrap();
    let mut fast = bench.client();
    fast.call(&Request::Attach { exec: None, streams }).unwrap();
    bench.client().call(&Request::Start).unwrap();
    drop(slow); // never read a byte
    let output = fast.read_to_end().unwrap();
    assert!(output.len() > 2_000_000 && output.ends_with(b"\nend\n"));
    assert_eq!(wait_exit(&mut events).code, 0);
    bench.finish();
}

#[test]
fn full_disks_do_not_stop_the_container() {
    let mut bench = Bench::new(&["sh", "-c", "echo a; echo b; exit 4"]);
    let file = LogFile { path: "/dev/full".into(), max_bytes: None, max_files: 1, compress: false };
    bench.config.logs = vec![LogSink::JsonFile { file, attributes: BTreeMap::new() }];
    assert_eq!(bench.run().code, 4);
    assert_eq!(bench.state().log_records_dropped, 2);
    bench.finish();
}

#[test]
fn syslog_and_journal_receive_lines() {
    let mut bench = Bench::new(&["sh", "-c", "echo hello"]);
    let socket = |name: &str| std::os::unix::net::UnixDatagram::bind(bench.path(name)).unwrap();
    let (syslog, journal) = (socket("syslog"), socket("journal"));
    bench.config.logs = vec![
        LogSink::Syslog {
            address: SyslogAddress::Unix { path: bench.path("syslog") },
            format: SyslogFormat::Unix,
            facility: 3,
            tag: "tag".to_owned(),
            hostname: "h".to_owned(),
        },
        LogSink::Journald {
            socket: bench.path("journal"),
            fields: BTreeMap::from([("CONTAINER_ID".to_owned(), "c".to_owned())]),
        },
    ];
    assert_eq!(bench.run().code, 0);
    let receive = |socket: &std::os::unix::net::UnixDatagram| {
        let mut buffer = [0; 512];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let line = receive(&syslog);
    assert!(line.starts_with("<30>") && line.ends_with("]: hello\n"), "{line}");
    assert_eq!(receive(&journal), "CONTAINER_ID=c\nPRIORITY=6\nMESSAGE=hello\n");
    bench.finish();
}

#[test]
fn a_stuck_log_holds_up_no_container_that_does_not_wait_for_it() {
    let mut bench = Bench::new(&["sh", "-c", "yes 0123456789 | head -n 20000"]);
    let log = bench.path("json.log");
    rustix::fs::mknodat(rustix::fs::CWD, &log, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let open = std::fs::OpenOptions::new().read(true).write(true).open(&log);
    let mut reader = std::io::BufReader::new(open.unwrap());
    bench.config.log_buffer = Some(1 << 16);
    assert_eq!(bench.run().code, 0);
    let dropped = bench.state().log_records_dropped;
    assert!((1..20_000).contains(&dropped), "{dropped} records were lost");
    let mut line = String::new();
    for _ in dropped..20_000 {
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with(r#"{"log":"0123456789\n","stream":"stdout","time""#), "{line}");
    }
    bench.finish();
}

#[test]
fn all_is_written_that_a_container_did_not_wait_for() {
    let mut bench = Bench::new(&["sh", "-c", "echo one; echo two >&2"]);
    bench.config.log_buffer = Some(1_000_000);
    assert_eq!(bench.run().code, 0);
    let log = std::fs::read_to_string(bench.path("json.log")).unwrap();
    assert!(log.contains(r#""one\n""#) && log.contains(r#""two\n""#), "{log}");
    assert_eq!(bench.state().log_records_dropped, 0);
    bench.finish();
}

#[test]
fn an_absent_log_server_is_an_error() {
    let mut bench = Bench::new(&["true"]);
    let socket = bench.path("absent");
    bench.config.logs = vec![LogSink::Journald { socket, fields: BTreeMap::new() }];
    let failure = refused(bench.spawn().call(&Request::Run));
    assert_eq!(failure.kind, FailureKind::LogDriver);
    bench.finish();
}
