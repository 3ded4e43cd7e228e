//! The whole life of services of all four modes, of secrets, configs and nodes, as scripted sessions with exact output:
//! once by the unmodified docker CLI, once by `shoal`, in one lab of five hosts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::scratch::Scratch;
use shoal_chaos_tests::script::{self, Client};
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::lab;

/// Scripts in the order of their names. Each leaves the cluster as it found it.
fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "script")).collect();
    scripts.sort();
    scripts
}

fn client(lab: &ServiceLab, name: &str, program: PathBuf) -> Client {
    let env = [
        ("DOCKER_HOST", format!("unix://{}", lab.socket(1).display())),
        ("DOCKER_CONFIG", lab.path(1).join("client").display().to_string()),
        ("DOCKER_CLI_HINTS", "false".to_owned()),
        ("NO_COLOR", "1".to_owned()),
        ("FROM_OURS", "handed on".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let program = program.display().to_string();
    Client { name: name.to_owned(), program, env, programs: BTreeMap::new() }
}

#[test]
fn sessions_of_both_clients_have_the_same_exact_output() {
    let lab = lab("script", 5, 3, &[]);
    let files = Scratch::new().unwrap();
    let only = std::env::var("SHOAL_SCRIPTS").unwrap_or_default();
    let (mut commands, mut failures) = (0, Vec::new());
    for (name, program) in
        [("docker", PathBuf::from("docker")), ("shoal", bin_dir().unwrap().join("shoal"))]
    {
        let client = client(&lab, name, program);
        let variables = BTreeMap::from([
            ("tmp".to_owned(), files.path().display().to_string()),
            ("me".to_owned(), name.to_owned()),
            ("address".to_owned(), lab.address(1)),
        ]);
        for path in scripts() {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            if !only.is_empty() && !only.split(',').any(|part| file.contains(part)) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let report = script::play(&text, &client, &variables).unwrap();
            commands += report.commands;
            let failed = report.failures.into_iter();
            failures.extend(failed.map(|failure| format!("{name} {file} {failure}")));
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {commands} failed:\n{}", failures.join("\n"));
    lab.until("the containers to go", || {
        let gone = |host| Ok::<_, anyhow::Error>(lab.run(host, &["ps", "-aq"])?.is_empty());
        lab.numbers().map(gone).try_fold(true, |all, one| Ok(all && one?))
    })
    .unwrap();
}
