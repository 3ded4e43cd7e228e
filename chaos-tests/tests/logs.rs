//! Logs of services, gathered from several hosts by the unmodified docker CLI.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use shoal_chaos_tests::command::{eventually, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};
use shoal_chaos_tests::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(40);

/// Three members: host 1 manages, all run tasks.
fn cluster(name: &str, directory: PathBuf) -> Guard {
    let lab = Guard(Lab::up(name, &directory, 3, &[]).unwrap());
    let rootfs = directory.join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    for host in lab.numbers() {
        lab.run(host, &["import", &rootfs.display().to_string(), "busybox:latest"]).unwrap();
    }
    lab.run(1, &["swarm", "init", "--advertise-addr", &lab.address(1)]).unwrap();
    let token = lab.run(1, &["swarm", "join-token", "-q", "worker"]).unwrap();
    for host in [2, 3] {
        let remote = format!("{}:2377", lab.address(1));
        let address = lab.address(host);
        lab.run(host, &["swarm", "join", "--advertise-addr", &address, "--token", &token, &remote])
            .unwrap();
    }
    lab
}

fn serve(lab: &Lab, name: &str, replicas: u32, script: &str) {
    let replicas = replicas.to_string();
    let mut create = vec!["service", "create", "-d", "--name", name, "--replicas", &replicas];
    create.extend(["--restart-condition", "none", "--replicas-max-per-node", "1"]);
    create.extend(["busybox:latest", "sh", "-c", script]);
    lab.run(1, &create).unwrap();
}

fn logs(lab: &Lab, arguments: &[&str]) -> (Vec<String>, String, bool) {
    let output = run(lab.docker(1).args(["service", "logs"]).args(arguments)).unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(str::to_owned).collect();
    (lines, String::from_utf8(output.stderr).unwrap(), output.status.success())
}

/// Bytes of all logs of containers.
fn logged(containers: &Path) -> u64 {
    let files = std::fs::read_dir(containers).unwrap().flat_map(|container| {
        std::fs::read_dir(container.unwrap().path()).unwrap().map(|file| file.unwrap())
    });
    let logs = files.filter(|file| file.file_name().to_string_lossy().ends_with("-json.log"));
    logs.map(|file| file.metadata().unwrap().len()).sum()
}

/// `docker service logs -f` while it runs.
struct Following {
    child: Child,
    heard: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Following {
    fn begin(lab: &Lab, arguments: &[&str]) -> Self {
        let mut client = lab.docker(1);
        client.args(["service", "logs", "-f", "--raw"]).args(arguments);
        let mut child = client.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let heard = std::sync::Arc::default();
        let into: std::sync::Arc<std::sync::Mutex<String>> = std::sync::Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    fn hears(&self, what: &str) {
        let came = eventually(what, PATIENCE, || self.heard().lines().any(|line| line == what));
        assert!(came.is_ok(), "`{what}` did not come: {}", self.heard());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_of_a_service_come_from_all_hosts_in_order_and_say_where_they_come_from() {
    let directory = Scratch::new().unwrap();
    let lab = cluster("shoallogs", directory.path().join("lab"));
    serve(
        &lab,
        "web",
        3,
        "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 1; done; sleep 1000",
    );
    let all = || logs(&lab, &["--raw", "web"]);
    let came = eventually("nine lines", PATIENCE, || all().0.len() == 9);
    assert!(came.is_ok(), "{:?}\n{}", all(), lab.log(1));

    let (lines, errors, good) = all();
    assert!(good);
    let expected: Vec<String> = (1..=3).map(|i| format!("out {i}\n").repeat(3)).collect();
    assert_eq!(lines.join("\n") + "\n", expected.concat(), "merged by time");
    assert_eq!(errors.lines().filter(|line| *line == "err 2").count(), 3);

    let (lines, ..) = logs(&lab, &["--no-resolve", "--no-trunc", "--tail", "2", "web"]);
    assert_eq!(lines.len(), 3, "of two lines per task one is of stdout: {lines:?}");
    let named: Vec<String> = lab
        .run(1, &["service", "ps", "--no-trunc", "-q", "web"])
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    for task in &named {
        assert!(lines.iter().any(|line| line.contains(task.as_str())), "{task}: {lines:?}");
    }
    let (lines, ..) = logs(&lab, &["--no-task-ids", "web"]);
    let origins: BTreeSet<&str> =
        lines.iter().map(|line| line.split_once('|').unwrap().0.trim_end()).collect();
    let placed = lab.run(1, &["service", "ps", "--format", "{{.Name}}@{{.Node}}", "web"]).unwrap();
    assert_eq!(origins, placed.lines().collect());

    let (lines, ..) = logs(&lab, &["--raw", &named[0]]);
    assert_eq!(lines, ["out 1", "out 2", "out 3"]);
    let (lines, error, good) = logs(&lab, &["nothing"]);
    assert_eq!((lines, good), (Vec::new(), false));
    assert!(error.contains("no such task or service: nothing"), "{error}");
}

#[test]
fn shoal_executes_in_a_task_from_a_manager_that_does_not_run_it() {
    let directory = Scratch::new().unwrap();
    let lab = cluster("shoalexec", directory.path().join("lab"));
    serve(&lab, "web", 3, "hostname > /name; sleep 1000");
    let ps =
        ["service", "ps", "--no-trunc", "--format", "{{.ID}} {{.Node}} {{.CurrentState}}", "web"];
    let running = || {
        let tasks = lab.run(1, &ps).unwrap();
        let lines = tasks.lines().filter_map(|line| line.split_once(" Running")?.0.split_once(' '));
        lines.map(|(id, host)| (id.to_owned(), host.to_owned())).collect::<Vec<_>>()
    };
    eventually("three tasks that run", PATIENCE, || running().len() == 3).unwrap();
    let shoal = bin_dir().unwrap().join("shoal");
    for (id, host) in running() {
        let number: u8 = host.trim_start_matches('h').parse().unwrap();
        let container = lab.run(number, &["ps", "-q", "--no-trunc"]).unwrap();
        let output = run(lab.client(1, &shoal).args(["exec", &id, "cat", "/name"])).unwrap();
        let name = String::from_utf8(output.stdout).unwrap();
        assert_eq!(name.trim_end(), &container[..12], "{host}: {:?}", output.stderr);
        let script = "cat; echo gone >&2; exit 7";
        let mut client = lab.client(1, &shoal);
        client.args(["exec", "-i", &id, "sh", "-c", script]).stdin(Stdio::piped());
        let mut child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"there and back").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (&output.stdout[..], &output.stderr[..], output.status.code()),
            (&b"there and back"[..], &b"gone\n"[..], Some(7))
        );
    }
    let output = run(lab.client(1, &shoal).args(["exec", "nothing", "true"])).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("No such container: nothing"), "{error}");
}

#[test]
fn who_follows_sees_new_tasks_and_goes_on_after_a_daemon_was_killed() {
    let directory = Scratch::new().unwrap();
    let lab = cluster("shoalfollow", directory.path().join("lab"));
    let script = "i=0; while true; do i=$((i+1)); echo $(hostname) $i; sleep 1; done";
    lab.run(
        1,
        &[
            "service",
            "create",
            "-d",
            "--name",
            "web",
            "--replicas",
            "2",
            "--replicas-max-per-node",
            "1",
            "--hostname",
            "{{.Node.Hostname}}",
            "busybox:latest",
            "sh",
            "-c",
            script,
        ],
    )
    .unwrap();
    let following = Following::begin(&lab, &["web"]);
    let hosts = || {
        let heard = following.heard();
        heard
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect::<BTreeSet<_>>()
    };
    eventually("lines of two hosts", PATIENCE, || hosts().len() == 2).unwrap();
    lab.run(1, &["service", "scale", "-d", "web=3"]).unwrap();
    eventually("lines of three hosts", PATIENCE, || hosts().len() == 3).unwrap();

    lab.kill(3).unwrap();
    let written = || logged(&lab.path(3).join("data/containers"));
    let before = written();
    eventually("lines without a daemon", PATIENCE, || written() > before + 100).unwrap();
    lab.start(3).unwrap();
    let last = || {
        let heard = following.heard();
        heard.lines().filter_map(|line| line.strip_prefix("h3 ")?.parse::<u32>().ok()).max()
    };
    let before = last().unwrap();
    following.hears(&format!("h3 {}", before + 6));
    let heard = following.heard();
    let numbers: Vec<u32> =
        heard.lines().filter_map(|line| line.strip_prefix("h3 ")?.parse().ok()).collect();
    let expected: Vec<u32> = (1..=u32::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(numbers, expected, "nothing twice, nothing left out");

    lab.run(1, &["service", "rm", "web"]).unwrap();
    let mut following = following;
    let ended = eventually("the end", PATIENCE, || following.child.try_wait().unwrap().is_some());
    assert!(ended.is_ok(), "following ends with the service");
}

#[test]
fn a_host_that_is_out_of_reach_is_named_after_what_the_others_say() {
    let directory = Scratch::new().unwrap();
    let lab = cluster("shoallost", directory.path().join("lab"));
    serve(&lab, "web", 3, "echo here; sleep 1000");
    let all = || logs(&lab, &["--raw", "web"]);
    let came = eventually("three lines", PATIENCE, || all().0.len() == 3);
    assert!(came.is_ok(), "{:?}\n{}", all(), lab.log(1));
    lab.kill(2).unwrap();
    let (lines, error, good) = all();
    assert_eq!((lines.len(), good), (2, false), "{lines:?} {error}");
    let node = lab.run(1, &["node", "ls", "--format", "{{.ID}} {{.Hostname}}"]).unwrap();
    let node = node.lines().find_map(|line| line.strip_suffix(" h2")).unwrap();
    let expected = format!(
        "warning: incomplete log stream. some logs could not be retrieved for the following reasons: node {node} is not \
         available"
    );
    assert!(error.contains(&expected), "{error}");
    lab.start(2).unwrap();
    let back = eventually("three lines again", PATIENCE, || all().0.len() == 3);
    assert!(back.is_ok(), "{:?}", all());
}
