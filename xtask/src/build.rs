//! Builds the three programs into one directory.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run::{cargo, command, on_path, output, root, sh};

/// Where the programs are after [`run`].
pub(crate) fn directory(release: bool) -> PathBuf {
    target().join("programs").join(profile(release))
}

fn profile(release: bool) -> &'static str {
    if release { "release" } else { "debug" }
}

/// Where cargo puts what it builds, whatever directory it runs in.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&target).unwrap_or(target)
}

/// Builds `shoald`, `shoal` and the static `shoal-shim`; returns the directory that holds them.
///
/// The shim is always optimised: it is resident once per container, and its size is a budget.
pub(crate) fn run(release: bool) -> anyhow::Result<PathBuf> {
    run_in(&root(), release, &target(), directory(release))
}

/// The same from other sources, with another target directory, into another directory. Two source trees must not share a
/// target directory: cargo takes the packages of one for those of the other.
pub(crate) fn run_in(
    sources: &Path,
    release: bool,
    target: &Path,
    directory: PathBuf,
) -> anyhow::Result<PathBuf> {
    let mut programs = cargo();
    programs.current_dir(sources).env("CARGO_TARGET_DIR", target);
    programs.args(["build", "--locked", "-p", "shoal-daemon", "-p", "shoal-cli"]);
    if release {
        programs.arg("--release");
    }
    linker(&mut programs);
    sh(&mut programs)?;

    let triple = shim_target()?;
    let mut shim = cargo();
    shim.current_dir(sources).env("CARGO_TARGET_DIR", target);
    shim.args(["build", "--locked", "-p", "shoal-shim", "--profile", "shim", "--target", &triple]);
    shim.env("RUSTFLAGS", "-C target-feature=+crt-static");
    sh(&mut shim)?;

    // A directory of their own: cargo puts a shim that is not static beside the others when tests are built.
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let built = target.join(profile(release));
    for program in ["shoald", "shoal"] {
        place(&built.join(program), &directory.join(program))?;
    }
    place(&target.join(&triple).join("shim/shoal-shim"), &directory.join("shoal-shim"))?;
    Ok(directory)
}

/// Copies a program; not over the old file, which a running one has mapped.
fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh)
        .and_then(|_| std::fs::rename(&fresh, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Uses mold where it is installed: linking is most of an incremental build.
pub(crate) fn linker(command: &mut std::process::Command) {
    if on_path("mold") && std::env::var_os("RUSTFLAGS").is_none() {
        command.env("RUSTFLAGS", "-C link-arg=-fuse-ld=mold");
    }
}

/// The musl target makes the smallest shim; where it is not installed, static glibc serves.
fn shim_target() -> anyhow::Result<String> {
    let arch = std::env::consts::ARCH;
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let musl = format!("{arch}-unknown-linux-musl");
    let installed =
        PathBuf::from(sysroot.trim()).join("lib/rustlib").join(&musl).join("lib").is_dir();
    Ok(if installed { musl } else { format!("{arch}-unknown-linux-gnu") })
}
