//! Real Compose as a client, as a program of its own and as a plugin of the docker CLI: everyday projects and
//! one that uses every feature, with images built here.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shoal_chaos_tests::command::{command, stdout};
use shoal_chaos_tests::host::{Host, bin_dir};
use shoal_chaos_tests::script::Client;
use shoal_chaos_tests::{image, script};

/// Image, and what its configuration says.
const IMAGES: [(&str, &[&str]); 4] = [
    ("busybox:latest", &["CMD [\"sh\"]"]),
    ("mysql:8.0", &["ENTRYPOINT [\"mysqld\"]", "EXPOSE 3306", "VOLUME /var/lib/mysql"]),
    ("wordpress:latest", &["ENTRYPOINT [\"app\"]", "EXPOSE 80", "ENV APP=WordPress"]),
    ("nextcloud:latest", &["ENTRYPOINT [\"app\"]", "EXPOSE 80", "ENV APP=Nextcloud"]),
];

fn projects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose")
}

/// How Compose is called.
#[derive(Debug, Clone, Copy)]
enum Form {
    Program,
    Plugin,
}

/// A project on a host of its own.
struct Session {
    host: Host,
    project: &'static str,
    client: Client,
    variables: BTreeMap<String, String>,
}

impl Session {
    /// Starts a host with the images and a copy of the project's files.
    fn start(project: &'static str, form: Form) -> Self {
        let host = Host::start(&["--log-level", "debug"]).unwrap();
        let rootfs = host.path().join("rootfs.tar");
        image::busybox_rootfs_with(&rootfs, &projects().join("rootfs")).unwrap();
        for (name, changes) in IMAGES {
            let changes = changes.iter().flat_map(|change| ["--change", change]);
            let mut arguments = vec!["import"];
            arguments.extend(changes);
            let rootfs = rootfs.display().to_string();
            arguments.extend([rootfs.as_str(), name]);
            host.docker(&arguments).unwrap();
        }
        let files = host.path().join(project);
        stdout(command("cp").arg("-r").arg(projects().join(project)).arg(&files)).unwrap();
        let client = client(&host, &files, form);
        let variables = BTreeMap::from([
            ("files".to_owned(), files.display().to_string()),
            ("net".to_owned(), format!("--net=/run/netns/{}", host.name())),
        ]);
        Self { host, project, client, variables }
    }

    #[track_caller]
    fn play(&mut self, script: &str) {
        let path = projects().join(self.project).join(script);
        let report =
            script::play(&std::fs::read_to_string(path).unwrap(), &self.client, &self.variables)
                .unwrap();
        println!("{} {script}: {} commands", self.project, report.commands);
        assert!(
            report.failures.is_empty(),
            "{} of {} failed:\n{}\n{}",
            report.failures.len(),
            report.commands,
            report.failures.join("\n"),
            self.host.log()
        );
    }
}

/// A client whose word `compose` is Compose with the project's file.
fn client(host: &Host, files: &Path, form: Form) -> Client {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let program = tools.join("venv/bin/docker-compose").canonicalize().unwrap();
    let mut client = host.client("docker", Path::new("docker"));
    let compose = match form {
        Form::Program => vec![program.display().to_string()],
        Form::Plugin => {
            let plugins = host.path().join("client/cli-plugins");
            std::fs::create_dir_all(&plugins).unwrap();
            std::os::unix::fs::symlink(program, plugins.join("docker-compose")).unwrap();
            vec!["docker".to_owned(), "compose".to_owned()]
        }
    };
    client.programs.insert("compose".to_owned(), compose);
    client
        .programs
        .insert("shoal".to_owned(), vec![bin_dir().unwrap().join("shoal").display().to_string()]);
    let file = files.join("compose.yaml").display().to_string();
    let env = [("COMPOSE_FILE", file.as_str()), ("COMPOSE_PROGRESS", "quiet"), ("TOKEN", "t0ken")];
    client.env.extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
    client
}

#[test]
fn wordpress() {
    let mut session = Session::start("wordpress", Form::Program);
    session.play("up.script");
    session.host.kill().unwrap();
    session.host.launch().unwrap();
    session.play("after-kill.script");
    session.host.finish().unwrap();
}

#[test]
fn nextcloud() {
    let mut session = Session::start("nextcloud", Form::Plugin);
    session.play("up.script");
    session.host.finish().unwrap();
}

#[test]
fn every_feature() {
    let mut session = Session::start("features", Form::Program);
    session.play("up.script");
    session.play("change.script");
    session.host.finish().unwrap();
}

#[test]
fn sharing() {
    let mut session = Session::start("sharing", Form::Plugin);
    session.play("up.script");
    session.host.finish().unwrap();
}
