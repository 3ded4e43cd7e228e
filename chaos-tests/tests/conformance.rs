//! The unmodified docker CLI in two releases, docker-py, and `shoal`, each against a daemon of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shoal_chaos_tests::command::{command, run};
use shoal_chaos_tests::host::{self, Host, bin_dir};
use shoal_chaos_tests::{image, script};

/// Scripts in the order of their names: the first leaves the images that the others use.
fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    scripts.sort();
    scripts
}

/// A directory of the tools that `cargo xtask setup` unpacks.
fn tool(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(path)
}

#[track_caller]
fn session(name: &str, program: &Path) {
    let host = Host::start(&["--log-level", "debug"]).unwrap();
    session_on(host, name, program);
}

#[track_caller]
fn session_on(host: Host, name: &str, program: &Path) {
    let tmp = host.path().join("files");
    std::fs::create_dir(&tmp).unwrap();
    let rootfs = tmp.join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    let variables = BTreeMap::from([
        ("tmp".to_owned(), tmp.display().to_string()),
        ("rootfs".to_owned(), rootfs.display().to_string()),
        ("me".to_owned(), if name.starts_with("shoal") { "shoal" } else { "docker" }.to_owned()),
        // The old client has no such flag, and says nothing anyway.
        ("quiet".to_owned(), if name == "docker20" { "" } else { "-q" }.to_owned()),
    ]);
    let only = std::env::var("SHOAL_SCRIPTS").unwrap_or_default();
    let client = host.client(name, program);
    let (mut commands, mut failures) = (0, Vec::new());
    for path in scripts() {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if !only.is_empty() && !only.split(',').any(|part| file.contains(part)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let report = script::play(&text, &client, &variables).unwrap();
        println!("{name} {file}: {} commands, {} failed", report.commands, report.failures.len());
        commands += report.commands;
        failures.extend(report.failures.into_iter().map(|failure| format!("{file} {failure}")));
    }
    assert!(
        failures.is_empty(),
        "{} of {commands} failed:\n{}\n{}",
        failures.len(),
        failures.join("\n"),
        host.log()
    );
    host.finish().unwrap();
}

#[test]
fn docker_cli_28() {
    let on_path = ["/usr/local/bin/docker", "/usr/bin/docker"];
    let Some(docker) = on_path.into_iter().map(Path::new).find(|path| path.is_file()) else {
        // A machine without the newer client still has Debian's, below; say so where it is read.
        println!("no docker CLI is installed on this machine: only Debian's 20.10 is tested");
        return;
    };
    session("docker", docker);
}

#[test]
fn docker_cli_20_10() {
    session("docker20", &tool("docker.io/usr/bin/docker"));
}

#[test]
fn shoal_cli() {
    session("shoal", &bin_dir().unwrap().join("shoal"));
}

/// Docker's own daemon (Debian's 20.10), driven by `shoal`: `cargo xtask test dockerd` unpacks it.
#[test]
fn shoal_drives_dockerd() {
    let directories = host::dockerd().expect("unpacked by `cargo xtask test dockerd`");
    let host = Host::start_dockerd(directories).unwrap();
    session_on(host, "shoal,dockerd", &bin_dir().unwrap().join("shoal"));
}

/// Plays a file of tests of docker-py against a host of its own.
#[track_caller]
fn docker_py_plays(file: &str) {
    let host = Host::start(&["--log-level", "debug"]).unwrap();
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    let mut pytest = command(tool("venv/bin/python"));
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(file))
        .env("DOCKER_HOST", format!("unix://{}", host.socket().display()))
        .env("ROOTFS", &rootfs);
    let output = run(&mut pytest).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}\n{}", host.log());
    host.finish().unwrap();
}

#[test]
fn docker_py() {
    docker_py_plays("test_docker_py.py");
}

#[test]
fn bad_networks() {
    docker_py_plays("test_bad_networks.py");
}

#[test]
fn docker_py_of_a_cluster() {
    docker_py_plays("test_docker_py_swarm.py");
}
