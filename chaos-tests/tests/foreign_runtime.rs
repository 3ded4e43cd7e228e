//! Containers of an OCI runtime program, and what they make of a killed daemon.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use shoal_chaos_tests::command::eventually;
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::image;

#[test]
fn runc_runs_containers_and_they_outlive_the_daemon() {
    let runc =
        ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
    let runc = format!("runc={}", runc.expect("runc is installed by `cargo xtask setup`"));
    let mut host = Host::start(&["--log-level", "debug", "--add-runtime", &runc]).unwrap();
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    let docker = |host: &Host, arguments: &[&str]| host.docker(arguments).unwrap();
    docker(&host, &["import", rootfs.to_str().unwrap(), "busybox"]);
    let run = ["run", "--rm", "--runtime", "runc", "busybox", "echo", "via runc"];
    assert_eq!(docker(&host, &run).trim(), "via runc");

    let script = "echo up; trap 'exit 3' TERM; while :; do sleep 0.05; done";
    docker(
        &host,
        &["run", "-d", "--name", "foreign", "--runtime", "runc", "busybox", "sh", "-c", script],
    );
    let logs = |host: &Host| host.docker(&["logs", "foreign"]).unwrap();
    eventually("the first line", Duration::from_secs(10), || logs(&host).trim() == "up").unwrap();
    assert_eq!(docker(&host, &["exec", "foreign", "echo", "inside"]).trim(), "inside");

    host.kill().unwrap();
    host.launch().unwrap();
    assert_eq!(docker(&host, &["exec", "foreign", "echo", "again"]).trim(), "again");
    docker(&host, &["stop", "foreign"]);
    let state =
        docker(&host, &["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "foreign"]);
    assert_eq!(state.trim(), "exited 3");
    assert_eq!(logs(&host).trim(), "up");
    docker(&host, &["rm", "foreign"]);
    host.finish().unwrap();
}
