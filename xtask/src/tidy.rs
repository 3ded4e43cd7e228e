//! Checks of the house: arrows between crates, places of `unsafe`, files that grew too large, dead links.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run::{cargo, output, root};

/// Which crates of ours each crate may depend on (DESIGN section 2). A crate that is missing here is an error.
const ARROWS: &[(&str, &[&str])] = &[
    ("shoal-model", &[]),
    ("shoal-base", &["shoal-model"]),
    ("shoal-shim-protocol", &[]),
    ("shoal-shim", &["shoal-shim-protocol"]),
    ("shoal-engine-registry", &["shoal-model", "shoal-base"]),
    ("shoal-engine-images", &["shoal-model", "shoal-base", "shoal-engine-registry"]),
    (
        "shoal-engine",
        &[
            "shoal-model",
            "shoal-base",
            "shoal-engine-images",
            "shoal-engine-registry",
            "shoal-shim-protocol",
        ],
    ),
    ("shoal-netoverlay", &["shoal-model", "shoal-base"]),
    ("shoal-identity", &["shoal-model", "shoal-base", "shoal-proto"]),
    ("shoal-proto", &["shoal-model"]),
    ("shoal-manager-core", &["shoal-model"]),
    ("base2histogram", &[]),
    ("shoal-manager-raft", &["shoal-model", "shoal-base", "shoal-proto"]),
    (
        "shoal-manager",
        &[
            "shoal-model",
            "shoal-base",
            "shoal-proto",
            "shoal-identity",
            "shoal-manager-core",
            "shoal-manager-raft",
        ],
    ),
    (
        "shoal-worker",
        &["shoal-model", "shoal-base", "shoal-proto", "shoal-identity", "shoal-gotemplate"],
    ),
    ("shoal-gotemplate", &[]),
    ("shoal-api-wire", &[]),
    ("shoal-api", &["shoal-model", "shoal-base", "shoal-api-wire"]),
    ("shoal-cli", &["shoal-api-wire", "shoal-gotemplate"]),
    (
        "shoal-daemon",
        &[
            "shoal-model",
            "shoal-base",
            "shoal-engine",
            "shoal-engine-images",
            "shoal-engine-registry",
            "shoal-netoverlay",
            "shoal-identity",
            "shoal-proto",
            "shoal-manager-core",
            "shoal-manager-raft",
            "shoal-manager",
            "shoal-worker",
            "shoal-api",
            "shoal-api-wire",
        ],
    ),
    ("shoal-chaos-tests", &["shoal-model", "shoal-base", "shoal-api-wire"]),
    (
        "shoal-sim",
        &[
            "shoal-model",
            "shoal-base",
            "shoal-identity",
            "shoal-proto",
            "shoal-manager-core",
            "shoal-manager-raft",
            "shoal-manager",
            "shoal-worker",
            "shoal-chaos-tests",
        ],
    ),
    ("shoal-report", &[]),
    ("shoal-xtask", &["shoal-report"]),
];

/// Crates that must not see these crates of others, directly or not.
const NEVER: &[(&str, &[&str])] = &[
    ("shoal-model", &["tokio", "prost", "http", "hyper"]),
    ("shoal-shim", &["tokio", "hyper", "tracing"]),
    ("shoal-engine", &["axum", "tonic", "openraft"]),
    ("shoal-manager-core", &["tokio", "tonic", "openraft"]),
    ("shoal-worker", &["openraft"]),
    ("shoal-cli", &["axum", "rtnetlink"]),
];

const UNSAFE_ALLOWED: &[&str] = &["engine/src/sys", "engine/shim/", "netoverlay/src/kernel"];

/// Lines of a source file, tests included.
const FILE_LINES_MAX: usize = 700;

/// Runs all checks and reports every finding.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    arrows(&mut findings)?;
    sources(&mut findings)?;
    links(&mut findings)?;
    if !findings.is_empty() {
        bail!("tidy found:\n  {}", findings.join("\n  "));
    }
    println!("tidy: arrows, unsafe, sizes and links are as they should be");
    Ok(())
}

fn arrows(findings: &mut Vec<String>) -> anyhow::Result<()> {
    let metadata =
        output(cargo().args(["metadata", "--locked", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cannot read cargo metadata")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(format!(
                "crate {name} has no row in the table of arrows (xtask/src/tidy.rs)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let development = dependency["kind"].as_str() == Some("dev");
            if target.starts_with("shoal-") && !allowed.contains(&target) && !development {
                findings.push(format!("{name} may not depend on {target}"));
            }
        }
    }
    for (name, forbidden) in NEVER {
        let tree = output(
            cargo().args(["tree", "--locked", "-e", "normal", "--prefix", "none", "-p", name]),
        )?;
        for crate_name in *forbidden {
            if tree.lines().any(|line| line.split(' ').next() == Some(crate_name)) {
                findings.push(format!("{name} may not see {crate_name}"));
            }
        }
    }
    Ok(())
}

fn sources(findings: &mut Vec<String>) -> anyhow::Result<()> {
    for path in tracked("*.rs")? {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        let shown = path.display();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!(
                "{shown} has {lines} lines, more than {FILE_LINES_MAX}: split it by subject"
            ));
        }
        let place = path.to_string_lossy();
        let uses_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        if uses_unsafe
            && !UNSAFE_ALLOWED.iter().any(|allowed| place.starts_with(allowed))
            && !place.starts_with("xtask/")
        {
            findings.push(format!("{shown} uses unsafe outside {UNSAFE_ALLOWED:?}"));
        }
        let source = place.contains("/src/") && !place.ends_with("/tests.rs");
        if source && !text.trim_start().starts_with("//!") {
            findings.push(format!("{shown} does not begin with a module comment (//!)"));
        }
    }
    Ok(())
}

/// Relative links in Markdown files must lead somewhere.
fn links(findings: &mut Vec<String>) -> anyhow::Result<()> {
    for path in tracked("*.md")? {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let base = path.parent().unwrap_or_else(|| Path::new(""));
            if !root().join(base).join(file).exists() {
                findings.push(format!("{} links to {file}, which does not exist", path.display()));
            }
        }
    }
    Ok(())
}

fn tracked(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let list = output(crate::run::command("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        pattern,
    ]))?;
    Ok(list.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}
