//! Five hosts: a cluster is made, runs a stack from a file, and outlives its leader and a worker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use shoal_chaos_tests::command::{eventually, monotonic};
use shoal_chaos_tests::lab::Lab;

use crate::stage::{PATIENCE, Stage, title};

const HOSTS: u8 = 5;
const MANAGERS: u8 = 3;

/// The example that is shipped.
const STACK: &str = include_str!("../../../deploy/stacks/shop.yaml");
/// What the service of the example answers on its published port.
const PAGE: &str = "/cgi-bin/page";

struct Demo {
    stage: Stage,
    /// The file, which changes with each release.
    file: PathBuf,
}

/// Plays it in a lab of five hosts; gives what was checked. Files of the user are in `home`.
pub(crate) fn play(home: &Path, directory: &Path) -> anyhow::Result<Vec<&'static str>> {
    title("five hosts (network namespaces), a shoald on each");
    let file = home.join("shop.yaml");
    std::fs::write(&file, STACK)?;
    let mut demo = Demo { stage: Stage::up(directory, HOSTS)?, file };
    demo.stage.images(&home.join("rootfs.tar"))?;
    demo.join()?;
    demo.stack()?;
    demo.mesh()?;
    demo.updates()?;
    demo.leader()?;
    demo.worker()?;
    demo.end()?;
    demo.stage.finish()
}

impl Demo {
    fn join(&mut self) -> anyhow::Result<()> {
        title("hosts become a cluster");
        self.stage.docker(1, &["swarm", "init"])?;
        for host in 2..=HOSTS {
            let role = if host <= MANAGERS { "manager" } else { "worker" };
            let token = self.lab().run(1, &["swarm", "join-token", "-q", role])?;
            self.stage.docker(host, &["swarm", "join", "--token", &token, "10.99.0.1:2377"])?;
        }
        let ready = || {
            let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
            self.lab().run(3, &["node", "ls", "--format", format]).unwrap_or_default()
        };
        eventually("five nodes", Duration::from_secs(20), || {
            ready().lines().filter(|line| line.contains("Ready")).count() == usize::from(HOSTS)
        })?;
        self.stage.docker(3, &["node", "ls"])?;
        let managers = ready().lines().filter(|line| line.trim_end().ends_with(['r', 'e'])).count();
        self.check("five nodes are ready, seen by any manager", managers >= usize::from(MANAGERS))
    }

    /// A stack from a file: what a user has in hand.
    fn stack(&mut self) -> anyhow::Result<()> {
        title(
            "a stack: web service, database with a volume, secret, config, network, published port",
        );
        let began = monotonic();
        self.deploy(&[])?;
        println!("# deployed and stable after {:?}", monotonic() - began);
        self.stage.docker(2, &["stack", "services", "shop"])?;
        self.stage.docker(3, &["stack", "ps", "shop"])?;
        self.check("a stack from YAML runs", self.running("shop_web")? == 3)
    }

    fn deploy(&self, more: &[&str]) -> anyhow::Result<String> {
        let file = self.file.display().to_string();
        let flags = ["stack", "deploy", "--detach=false", "-q", "--resolve-image=never"];
        self.stage.shoal(1, &[&flags[..], &["-c", &file], more, &["shop"]].concat())
    }

    /// The published port answers on every node, and the service sees who asks.
    fn mesh(&mut self) -> anyhow::Result<()> {
        title("requests through the mesh, on every node, from h4");
        let client = self.lab().address(4);
        for host in self.lab().numbers() {
            let page = self.stage.request(4, &self.url(host))?;
            ensure!(page.starts_with("hello from "), "database or config did not arrive");
            ensure!(page.contains("key of 6 bytes"), "the secret did not arrive");
            // A node that asks itself is seen by its own address in the mesh.
            if host != 4 {
                ensure!(page.contains(&client), "the client's address is lost");
            }
        }
        self.check("each node answers, and the service sees the client's address", true)
    }

    fn updates(&mut self) -> anyhow::Result<()> {
        title("more of it, and another release under load");
        self.stage.shoal(1, &["service", "scale", "--detach", "shop_web=6"])?;
        eventually("six tasks", PATIENCE, || {
            self.running("shop_web").is_ok_and(|count| count == 6)
        })?;
        // What was scaled by hand is in the file from now on.
        let text = std::fs::read_to_string(&self.file)?.replace("replicas: 3", "replicas: 6");
        std::fs::write(&self.file, text.replace("RELEASE:-1", "RELEASE:-2"))?;
        let load = self.load(5)?;
        self.deploy(&[])?;
        let (asked, failed) = load.end()?;
        println!("# {asked} requests meanwhile, {failed} failed");
        let page = self.stage.request(4, &self.url(1))?;
        ensure!(page.contains("release 2"), "not the new release: {page}");
        self.check("a rolling update under load fails no request", asked > 20 && failed == 0)?;

        title("a release that does not start");
        let broken = self.file.with_file_name("broken.yaml");
        std::fs::write(&broken, "services: {web: {command: ['false']}}\n")?;
        let path = broken.display().to_string();
        let file = self.file.display().to_string();
        let flags = ["stack", "deploy", "--detach", "--resolve-image=never", "-c"];
        self.stage.shoal(1, &[&flags[..], &[&file, "-c", &path, "shop"]].concat())?;
        self.await_update("rollback_completed")?;
        self.stage.docker(
            1,
            &["service", "inspect", "--format", "{{.UpdateStatus.Message}}", "shop_web"],
        )?;
        let runs = self.running("shop_web")? == 6;
        self.check("a release that does not start is rolled back by itself", runs)
    }

    /// One request after the other from a host, until it is told to end.
    fn load(&self, host: u8) -> anyhow::Result<Load> {
        let directory = tempfile::tempdir()?;
        let script = format!(
            "cd {}; while [ ! -e stop ]; do if timeout 5 busybox wget -qO- {} \
             | busybox grep -q ^hello; then echo . >> good; else echo . >> bad; fi; done",
            directory.path().display(),
            self.url(1)
        );
        let child = self.lab().inside(host).args(["sh", "-c", &script]).spawn()?;
        Ok(Load { directory, child })
    }

    fn leader(&mut self) -> anyhow::Result<()> {
        title("the leader is killed");
        let leader =
            self.lab().run(2, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?;
        let leader = leader.lines().find_map(|line| line.strip_suffix(" Leader"));
        let leader: u8 = leader.unwrap_or("h1").trim_start_matches('h').parse()?;
        let other = if leader == 2 { 3 } else { 2 };
        println!("# kill -9 shoald on h{leader}");
        self.lab().kill(leader)?;
        let began = monotonic();
        eventually("a new leader", Duration::from_secs(15), || {
            let update =
                ["service", "update", "--detach", "--label-add", "seen=new-leader", "shop_web"];
            self.lab().run(other, &update).is_ok()
        })?;
        println!("# written again after {:?}", monotonic() - began);
        self.lab().start(leader)?;
        self.check("another manager leads and writes", true)
    }

    fn worker(&mut self) -> anyhow::Result<()> {
        title("a node dies with all that ran there");
        self.stage.docker(2, &["swarm", "update", "--dispatcher-heartbeat", "1s"])?;
        let of_five = |demo: &Self| {
            demo.nodes("shop_web").map(|nodes| nodes.iter().filter(|node| *node == "h5").count())
        };
        ensure!(of_five(self)? > 0, "nothing runs on h5");
        println!("# power off h5");
        self.lab().crash(5)?;
        eventually("six tasks elsewhere", PATIENCE, || {
            self.nodes("shop_web")
                .is_ok_and(|nodes| nodes.iter().filter(|node| *node != "h5").count() == 6)
        })?;
        self.stage.docker(2, &["node", "ls"])?;
        let page = self.stage.request(4, &self.url(2))?;
        ensure!(page.contains("release 2"), "not the release of before: {page}");
        self.check("what ran on a dead node runs elsewhere and is reached", true)
    }

    /// The dead node comes back, the stack goes, the nodes leave.
    fn end(&mut self) -> anyhow::Result<()> {
        title("all of it goes");
        println!("# power on h5");
        self.lab().start(5)?;
        self.stage.shoal(2, &["stack", "rm", "--detach=false", "shop"])?;
        let stacks = self.stage.docker(2, &["stack", "ls", "--format", "{{.Name}}"])?;
        ensure!(stacks.is_empty(), "a stack is left");
        for host in self.lab().numbers() {
            eventually(&format!("the containers of h{host} to go"), PATIENCE, || {
                self.lab().run(host, &["ps", "-aq"]).is_ok_and(|left| left.is_empty())
            })?;
        }
        // From the workers to the last manager.
        for host in (1..=HOSTS).rev() {
            self.stage.docker(host, &["swarm", "leave", "--force"])?;
        }
        self.check("nothing is left of the stack, and nodes leave", true)
    }

    /// The nodes of the tasks of a service that run.
    fn nodes(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let format = "{{.Node}} {{.CurrentState}}";
        let filter = "desired-state=running";
        let arguments =
            ["service", "ps", "--no-trunc", "--filter", filter, "--format", format, service];
        let text = self.lab().run(2, &arguments)?;
        let running = text.lines().filter_map(|line| {
            line.split_once(' ').filter(|(_, state)| state.starts_with("Running"))
        });
        Ok(running.map(|(node, _)| node.to_owned()).collect())
    }

    fn running(&self, service: &str) -> anyhow::Result<usize> {
        Ok(self.nodes(service)?.len())
    }

    fn await_update(&self, state: &str) -> anyhow::Result<()> {
        let format = "{{.UpdateStatus.State}}";
        eventually(&format!("an update that is {state}"), PATIENCE, || {
            self.lab()
                .run(2, &["service", "inspect", "--format", format, "shop_web"])
                .is_ok_and(|found| found == state)
        })
    }

    fn lab(&self) -> &Lab {
        &self.stage.lab
    }

    fn url(&self, host: u8) -> String {
        format!("http://{}:8080{PAGE}", self.lab().address(host))
    }

    fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        self.stage.check(what, holds)
    }
}

/// Requests that go on until they are told to end.
struct Load {
    directory: tempfile::TempDir,
    child: std::process::Child,
}

impl Load {
    /// How many were answered or not, and how many were not.
    fn end(mut self) -> anyhow::Result<(usize, usize)> {
        std::fs::write(self.directory.path().join("stop"), "")?;
        self.child.wait()?;
        let count = |name: &str| {
            std::fs::read(self.directory.path().join(name)).map_or(0, |lines| lines.len() / 2)
        };
        Ok((count("good") + count("bad"), count("bad")))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // After an error: `end` has waited already where all went well.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
