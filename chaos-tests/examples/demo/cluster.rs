//! Five hosts: a cluster is made, runs services, and outlives its leader and a worker.

use std::time::Duration;

use anyhow::ensure;
use shoal_chaos_tests::command::{eventually, monotonic, run};
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};

const HOSTS: u8 = 5;
const MANAGERS: u8 = 3;

struct Demo {
    lab: Guard,
    checked: Vec<&'static str>,
}

/// Plays it; gives what was checked.
pub(crate) fn play() -> anyhow::Result<Vec<&'static str>> {
    let directory = tempfile::Builder::new().prefix("sd-").tempdir()?;
    let name = format!("sd{}", std::process::id());
    // Short: sockets of containers live beneath it.
    let root = directory.path().join("l");
    println!("\n== five hosts (network namespaces), a shoald on each");
    let lab = Guard(Lab::up(&name, &root, HOSTS, &[])?);
    let mut demo = Demo { lab, checked: Vec::new() };
    demo.images(&directory.path().join("rootfs.tar"))?;
    demo.join()?;
    demo.service()?;
    demo.updates()?;
    demo.leader()?;
    demo.worker()?;
    demo.type_in(2, &["service", "rm", "web"])?;
    demo.await_tasks("no task is left", 2, |tasks| tasks.is_empty())?;
    let checked = std::mem::take(&mut demo.checked);
    demo.lab.down()?;
    // It is gone: the guard would look for it again.
    std::mem::forget(demo.lab);
    Ok(checked)
}

impl Demo {
    fn images(&self, rootfs: &std::path::Path) -> anyhow::Result<()> {
        image::busybox_rootfs(rootfs)?;
        let rootfs = rootfs.display().to_string();
        for host in self.lab.numbers() {
            self.lab.run(host, &["import", &rootfs, "busybox:latest"])?;
        }
        Ok(())
    }

    fn join(&mut self) -> anyhow::Result<()> {
        println!("\n== hosts become a cluster");
        self.type_in(1, &["swarm", "init"])?;
        for host in 2..=HOSTS {
            let role = if host <= MANAGERS { "manager" } else { "worker" };
            let token = self.lab.run(1, &["swarm", "join-token", "-q", role])?;
            self.type_in(host, &["swarm", "join", "--token", &token, "10.99.0.1:2377"])?;
        }
        let ready = || {
            let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
            self.lab.run(3, &["node", "ls", "--format", format]).unwrap_or_default()
        };
        eventually("five nodes", Duration::from_secs(20), || {
            ready().lines().filter(|line| line.contains("Ready")).count() == usize::from(HOSTS)
        })?;
        self.type_in(3, &["node", "ls"])?;
        let managers = ready().lines().filter(|line| line.trim_end().ends_with(['r', 'e'])).count();
        self.check("five nodes are ready, seen by any manager", managers >= usize::from(MANAGERS))
    }

    fn service(&mut self) -> anyhow::Result<()> {
        println!("\n== a service with a secret, spread over the nodes");
        let secret = self.lab.path(1).join("secret");
        std::fs::write(&secret, "s3cret")?;
        self.type_in(1, &["secret", "create", "key", &secret.display().to_string()])?;
        let began = monotonic();
        self.type_in(
            2,
            &[
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                "web",
                "--replicas",
                "10",
                "--secret",
                "key",
                "--stop-grace-period",
                "1s",
                "busybox",
                "sh",
                "-c",
                "cat /run/secrets/key; echo; exec sleep 1000",
            ],
        )?;
        self.await_tasks("ten tasks run", 1, |tasks| {
            tasks.iter().filter(|task| task.is_running()).count() == 10
        })?;
        println!("# ten tasks run after {:?}", monotonic() - began);
        self.type_in(3, &["service", "ps", "web"])?;
        let nodes: std::collections::BTreeSet<String> =
            self.tasks(1)?.into_iter().map(|task| task.node).collect();
        self.check("each node has tasks", nodes.len() == usize::from(HOSTS))?;
        let container = self.lab.run(5, &["ps", "-q", "--filter", "name=web"])?;
        let container = container.lines().next().unwrap_or_default().to_owned();
        let seen = self.type_in(5, &["logs", &container])?;
        self.check("a task on a worker reads the secret", seen == "s3cret")
    }

    fn updates(&mut self) -> anyhow::Result<()> {
        println!("\n== a rolling update, and one that fails and rolls back");
        self.type_in(
            1,
            &[
                "service",
                "update",
                "--detach",
                "--update-parallelism",
                "5",
                "--update-order",
                "start-first",
                "--env-add",
                "RELEASE=2",
                "web",
            ],
        )?;
        self.await_update("completed")?;
        let env = "{{json .Spec.TaskTemplate.ContainerSpec.Env}}";
        let released = self.lab.run(2, &["service", "inspect", "--format", env, "web"])?;
        self.check("the update is complete", released == "[\"RELEASE=2\"]")?;
        self.type_in(
            1,
            &[
                "service",
                "update",
                "--detach",
                "--update-failure-action",
                "rollback",
                "--env-add",
                "RELEASE=3",
                "--args",
                "false",
                "web",
            ],
        )?;
        self.await_update("rollback_completed")?;
        let released = self.lab.run(2, &["service", "inspect", "--format", env, "web"])?;
        self.check("an update that fails rolls back by itself", released == "[\"RELEASE=2\"]")
    }

    fn leader(&mut self) -> anyhow::Result<()> {
        println!("\n== the leader is killed");
        let leader =
            self.lab.run(2, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?;
        let leader = leader.lines().find_map(|line| line.strip_suffix(" Leader"));
        let leader: u8 = leader.unwrap_or("h1").trim_start_matches('h').parse()?;
        let other = if leader == 2 { 3 } else { 2 };
        println!("# kill -9 shoald on h{leader}");
        self.lab.kill(leader)?;
        let began = monotonic();
        eventually("a new leader", Duration::from_secs(15), || {
            let update = ["service", "update", "--detach", "--label-add", "seen=new-leader", "web"];
            self.lab.run(other, &update).is_ok()
        })?;
        println!("# written again after {:?}", monotonic() - began);
        self.lab.start(leader)?;
        self.check("another manager leads and writes", true)
    }

    fn worker(&mut self) -> anyhow::Result<()> {
        println!("\n== a node dies with all that ran there");
        self.type_in(2, &["swarm", "update", "--dispatcher-heartbeat", "1s"])?;
        // Sessions learn of the shorter period with their next heartbeat.
        let of_five = |tasks: &[Task]| tasks.iter().filter(|task| task.node == "h5").count();
        ensure!(of_five(&self.tasks(2)?) > 0, "nothing runs on h5");
        println!("# power off h5");
        self.lab.crash(5)?;
        self.await_tasks("ten tasks run elsewhere", 2, |tasks| {
            tasks.iter().filter(|task| task.is_running() && task.node != "h5").count() == 10
        })?;
        self.type_in(2, &["node", "ls"])?;
        self.check("what ran on a dead node runs elsewhere", true)
    }

    fn tasks(&self, host: u8) -> anyhow::Result<Vec<Task>> {
        let format = "{{.Node}}|{{.CurrentState}}|{{.DesiredState}}";
        let text = self.lab.run(
            host,
            &[
                "service",
                "ps",
                "--no-trunc",
                "--filter",
                "desired-state=running",
                "--format",
                format,
                "web",
            ],
        )?;
        Ok(text.lines().filter_map(Task::parse).collect())
    }

    fn await_tasks(
        &mut self,
        what: &'static str,
        host: u8,
        holds: impl Fn(&[Task]) -> bool,
    ) -> anyhow::Result<()> {
        eventually(what, Duration::from_secs(60), || holds(&self.tasks(host).unwrap_or_default()))?;
        self.check(what, true)
    }

    fn await_update(&self, state: &str) -> anyhow::Result<()> {
        let format = "{{.UpdateStatus.State}}";
        eventually(&format!("an update that is {state}"), Duration::from_secs(60), || {
            self.lab
                .run(2, &["service", "inspect", "--format", format, "web"])
                .is_ok_and(|found| found == state)
        })
    }

    fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "not so: {what}\n{}", self.lab.log(1));
        self.checked.push(what);
        Ok(())
    }

    /// Types a command on a host, shows it with its output, and returns its standard output.
    fn type_in(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        let quoted = |word: &&str| {
            if word.contains([' ', ';']) { format!("'{word}'") } else { (*word).to_owned() }
        };
        let words: Vec<String> = arguments.iter().map(quoted).collect();
        println!("h{host}$ docker {}", words.join(" "));
        let output = run(self.lab.docker(host).args(arguments))?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        print!("{out}{err}");
        ensure!(
            output.status.success(),
            "docker failed: {}\n{}",
            output.status,
            self.lab.log(host)
        );
        Ok(out.trim_end().to_owned())
    }
}

struct Task {
    node: String,
    state: String,
}

impl Task {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('|');
        Some(Self { node: parts.next()?.to_owned(), state: parts.next()?.to_owned() })
    }

    fn is_running(&self) -> bool {
        self.state.starts_with("Running")
    }
}
