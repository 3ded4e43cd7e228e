//! Five hosts: a cluster is made, runs a stack from a file, and outlives its leader and a worker.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use shoal_chaos_tests::command::{eventually, monotonic, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};

const HOSTS: u8 = 5;
const MANAGERS: u8 = 3;

/// The example that is shipped.
const STACK: &str = include_str!("../../../deploy/stacks/shop.yaml");
const PATIENCE: Duration = Duration::from_secs(60);

struct Demo {
    lab: Guard,
    /// The file, which changes with each release.
    stack: PathBuf,
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
    let stack = directory.path().join("shop.yaml");
    std::fs::write(&stack, STACK)?;
    let mut demo = Demo { lab, stack, checked: Vec::new() };
    demo.images(&directory.path().join("rootfs.tar"))?;
    demo.join()?;
    demo.stack()?;
    demo.mesh()?;
    demo.updates()?;
    demo.leader()?;
    demo.worker()?;
    println!("\n== all of it goes");
    demo.type_shoal(2, &["stack", "rm", "--detach=false", "shop"])?;
    let left = demo.lab.run(2, &["stack", "ls", "--format", "{{.Name}}"])?;
    demo.check("nothing is left of the stack", left.is_empty())?;
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

    /// A stack from a file: what a user has in hand.
    fn stack(&mut self) -> anyhow::Result<()> {
        println!(
            "\n== a stack: web service, database with a volume, secret, config, network, published port"
        );
        let began = monotonic();
        self.deploy(&[])?;
        println!("# deployed and stable after {:?}", monotonic() - began);
        self.type_in(2, &["stack", "services", "shop"])?;
        self.type_in(3, &["stack", "ps", "shop"])?;
        self.check("a stack from YAML runs", self.running("shop_web")? == 3)
    }

    fn deploy(&self, more: &[&str]) -> anyhow::Result<String> {
        let file = self.stack.display().to_string();
        let flags = ["stack", "deploy", "--detach=false", "-q", "--resolve-image=never"];
        self.type_shoal(1, &[&flags[..], &["-c", &file], more, &["shop"]].concat())
    }

    /// The published port answers on every node, and the service sees who asks.
    fn mesh(&mut self) -> anyhow::Result<()> {
        println!("\n== requests through the mesh, on every node, from h4");
        let client = self.lab.address(4);
        let mut answered = BTreeSet::new();
        for host in self.lab.numbers() {
            let url = format!("http://{}:8080/cgi-bin/page", self.lab.address(host));
            println!("h4$ wget -qO- {url}");
            let page = eventually_some("an answer", || self.ask(4, &url))?;
            println!("{page}");
            ensure!(page.starts_with("hello from "), "database, secret or config did not arrive");
            ensure!(page.contains("key of 6 bytes"), "the secret did not arrive");
            // A node that asks itself is seen by its own address in the mesh.
            if host != 4 {
                ensure!(page.contains(&format!("to {client},")), "the client's address is lost");
            }
            answered.insert(page);
        }
        self.check(
            "each node answers, and the service sees the client's address",
            !answered.is_empty(),
        )
    }

    fn ask(&self, host: u8, url: &str) -> Option<String> {
        let mut wget = self.lab.inside(host);
        let output = run(wget.args(["busybox", "wget", "-T", "3", "-qO-", url])).ok()?;
        let page = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !page.is_empty()).then_some(page)
    }

    fn updates(&mut self) -> anyhow::Result<()> {
        println!("\n== more of it, and another release under load");
        self.type_shoal(1, &["service", "scale", "--detach", "shop_web=6"])?;
        eventually("six tasks", PATIENCE, || {
            self.running("shop_web").is_ok_and(|count| count == 6)
        })?;
        // What was scaled by hand is in the file from now on.
        let text = std::fs::read_to_string(&self.stack)?.replace("replicas: 3", "replicas: 6");
        std::fs::write(&self.stack, text.replace("RELEASE:-1", "RELEASE:-2"))?;
        let load = self.load(5)?;
        self.deploy(&[])?;
        let (asked, failed) = load.end()?;
        println!("# {asked} requests meanwhile, {failed} failed");
        let page = eventually_some("an answer", || {
            self.ask(4, &format!("http://{}:8080/cgi-bin/page", self.lab.address(1)))
        })?;
        ensure!(page.contains("release 2"), "not the new release: {page}");
        self.check("a rolling update under load fails no request", asked > 20 && failed == 0)?;

        println!("\n== a release that does not start");
        let broken = self.stack.with_file_name("broken.yaml");
        std::fs::write(&broken, "services: {web: {command: ['false']}}\n")?;
        let path = broken.display().to_string();
        let file = self.stack.display().to_string();
        let flags = ["stack", "deploy", "--detach", "--resolve-image=never", "-c"];
        self.type_shoal(1, &[&flags[..], &[&file, "-c", &path, "shop"]].concat())?;
        self.await_update("rollback_completed")?;
        self.type_in(
            1,
            &["service", "inspect", "--format", "{{.UpdateStatus.Message}}", "shop_web"],
        )?;
        let runs = self.running("shop_web")? == 6;
        self.check("a release that does not start is rolled back by itself", runs)
    }

    /// One request after the other from a host, until it is told to end.
    fn load(&self, host: u8) -> anyhow::Result<Load> {
        let directory = tempfile::tempdir()?;
        let address = self.lab.address(1);
        let script = format!(
            "cd {}; while [ ! -e stop ]; do if busybox wget -T 5 -qO- http://{address}:8080/cgi-bin/page \
             | busybox grep -q ^hello; then echo . >> good; else echo . >> bad; fi; done",
            directory.path().display()
        );
        let child = self.lab.inside(host).args(["sh", "-c", &script]).spawn()?;
        Ok(Load { directory, child })
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
            let update =
                ["service", "update", "--detach", "--label-add", "seen=new-leader", "shop_web"];
            self.lab.run(other, &update).is_ok()
        })?;
        println!("# written again after {:?}", monotonic() - began);
        self.lab.start(leader)?;
        self.check("another manager leads and writes", true)
    }

    fn worker(&mut self) -> anyhow::Result<()> {
        println!("\n== a node dies with all that ran there");
        self.type_in(2, &["swarm", "update", "--dispatcher-heartbeat", "1s"])?;
        let of_five = |demo: &Self| {
            demo.nodes("shop_web").map(|nodes| nodes.iter().filter(|node| *node == "h5").count())
        };
        ensure!(of_five(self)? > 0, "nothing runs on h5");
        println!("# power off h5");
        self.lab.crash(5)?;
        eventually("six tasks elsewhere", PATIENCE, || {
            self.nodes("shop_web")
                .is_ok_and(|nodes| nodes.iter().filter(|node| *node != "h5").count() == 6)
        })?;
        self.type_in(2, &["node", "ls"])?;
        let url = format!("http://{}:8080/cgi-bin/page", self.lab.address(2));
        let page = eventually_some("an answer", || self.ask(4, &url))?;
        println!("h4$ wget -qO- {url}\n{page}");
        self.check("what ran on a dead node runs elsewhere and is reached", true)
    }

    /// The nodes of the tasks of a service that run.
    fn nodes(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let format = "{{.Node}} {{.CurrentState}}";
        let filter = "desired-state=running";
        let arguments =
            ["service", "ps", "--no-trunc", "--filter", filter, "--format", format, service];
        let text = self.lab.run(2, &arguments)?;
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
            self.lab
                .run(2, &["service", "inspect", "--format", format, "shop_web"])
                .is_ok_and(|found| found == state)
        })
    }

    fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "not so: {what}\n{}", self.lab.log(1));
        self.checked.push(what);
        Ok(())
    }

    /// Types a command of docker's client on a host, shows it with its output, and returns its standard output.
    fn type_in(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        self.type_with("docker", Path::new("docker"), host, arguments)
    }

    /// The same with `shoal`.
    fn type_shoal(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        self.type_with("shoal", &bin_dir()?.join("shoal"), host, arguments)
    }

    fn type_with(
        &self,
        name: &str,
        program: &Path,
        host: u8,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let quoted = |word: &&str| {
            let word =
                word.rsplit_once('/').filter(|_| word.ends_with(".yaml")).map_or(*word, |w| w.1);
            if word.contains([' ', ';']) { format!("'{word}'") } else { word.to_owned() }
        };
        let words: Vec<String> = arguments.iter().map(quoted).collect();
        println!("h{host}$ {name} {}", words.join(" "));
        let output = run(self.lab.client(host, program).env("SHOP_KEY", "s3cret").args(arguments))?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        print!("{out}{err}");
        ensure!(
            output.status.success(),
            "{name} failed: {}\n{}",
            output.status,
            self.lab.log(host)
        );
        Ok(out.trim_end().to_owned())
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

/// Waits for a value.
fn eventually_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let mut found = None;
    eventually(what, PATIENCE, || {
        found = find();
        found.is_some()
    })?;
    found.context("it was there")
}
