//! Pure cgroup v2, where this machine has none: a user-mode kernel boots, runs a daemon, and limits are enforced.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::path::Path;

use shoal_chaos_tests::command::{command, run};
use shoal_chaos_tests::host::{bin_dir, docker_cli};
use shoal_chaos_tests::image;
use shoal_chaos_tests::scratch::Scratch;

const CHECKS: [&str; 13] = [
    "version",
    "memory",
    "cpu",
    "pids",
    "device-refused",
    "device-granted",
    "io",
    "update",
    "pause",
    "views",
    "layers",
    "cgroups-removed",
    "end",
];

#[test]
fn limits_are_enforced_on_pure_cgroup_v2() {
    let files = Scratch::new().unwrap();
    let rootfs = files.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    let disk = files.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let uml = Path::new(env!("CARGO_MANIFEST_DIR")).join("uml");
    let init = uml.join("init.sh");
    let xstate = files.path().join("xstate.so");
    let mut compile = command("cc");
    compile.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
    run(compile.arg(&xstate).arg(uml.join("xstate.c"))).unwrap();
    let mut kernel = command("timeout");
    kernel
        .args([
            "-k",
            "5",
            "400",
            "linux.uml",
            "mem=1G",
            "rootfstype=hostfs",
            "rootflags=/",
            "root=/dev/root",
            "rw",
        ])
        .args(["con=null", "con0=null,fd:1", "quiet"])
        .arg(format!("ubd0={}", disk.display()))
        .arg(format!("init={}", init.display()))
        .arg(format!("uml_dir={}", files.path().display()))
        .arg(format!("SHOAL_BIN={}", bin_dir().unwrap().canonicalize().unwrap().display()))
        .arg(format!("SHOAL_ROOTFS={}", rootfs.display()))
        .arg(format!("SHOAL_DOCKER={}", docker_cli().unwrap().canonicalize().unwrap().display()))
        .env("LD_PRELOAD", &xstate)
        .env("TMPDIR", files.path());
    let output = run(&mut kernel).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    println!("{text}");
    let missing: Vec<&str> = CHECKS
        .into_iter()
        .filter(|check| !text.lines().any(|line| line == format!("ok {check}")))
        .collect();
    assert!(missing.is_empty(), "not shown to hold: {missing:?}\n{text}");
}
