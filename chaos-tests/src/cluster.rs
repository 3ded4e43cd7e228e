//! A cluster in a lab: hosts 1 to `managers` are managers, the rest workers. Driven with the real docker client.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::command::{eventually, run};
use crate::image;
use crate::lab::{Guard, Lab};
use crate::scratch::Scratch;

/// What nodes and containers come to by themselves comes within this time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The words in which the client shows a node: host name, status, availability, what it is among managers.
const NODE: &str = "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}";

/// A lab whose hosts are a cluster. It is removed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    lab: Guard,
    /// Of the lab's files.
    _directory: Scratch,
}

impl std::ops::Deref for Cluster {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Cluster {
    /// Hosts that are in no cluster yet.
    ///
    /// # Errors
    /// When a host does not start.
    pub fn hosts(name: &str, hosts: u8) -> anyhow::Result<Self> {
        let directory = Scratch::new()?;
        let lab = Lab::up(name, &directory.path().join("lab"), hosts, &[])?;
        Ok(Self { lab: Guard(lab), _directory: directory })
    }

    /// A cluster of so many managers and workers, all of them ready.
    ///
    /// # Errors
    /// When a host does not start or join.
    pub fn up(name: &str, managers: u8, workers: u8) -> anyhow::Result<Self> {
        let cluster = Self::hosts(name, managers + workers)?;
        cluster.ok(1, &["swarm", "init"])?;
        for host in 2..=managers {
            cluster.join(host, 1, "manager")?;
        }
        for host in managers + 1..=managers + workers {
            cluster.join(host, 1, "worker")?;
        }
        let wanted: Vec<String> = cluster
            .numbers()
            .map(|host| match host {
                1 => "h1 Ready Active Leader".to_owned(),
                _ if host <= managers => format!("h{host} Ready Active Reachable"),
                _ => format!("h{host} Ready Active "),
            })
            .collect();
        cluster.await_nodes(1, &wanted)?;
        Ok(cluster)
    }

    /// What the client gave, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn call(&self, host: u8, arguments: &[&str]) -> anyhow::Result<Output> {
        run(self.limited(host, Path::new("docker")).args(arguments))
    }

    /// Standard output of a client that succeeds, without the last line feed.
    ///
    /// # Errors
    /// When it fails; with the daemon's log.
    pub fn ok(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.call(host, arguments)?;
        if !output.status.success() {
            bail!(
                "docker {} on host {host}: {}\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr),
                self.log(host)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Standard error of a client that fails, without the words that come before the daemon's own.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn refused(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.call(host, arguments)?;
        let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        ensure!(!output.status.success(), "docker {} succeeded", arguments.join(" "));
        Ok(text.strip_prefix("Error response from daemon: ").map(str::to_owned).unwrap_or(text))
    }

    /// A join token, from a manager.
    ///
    /// # Errors
    /// When the manager gives none.
    pub fn token(&self, manager: u8, role: &str) -> anyhow::Result<String> {
        self.ok(manager, &["swarm", "join-token", "-q", role])
    }

    /// Where a host's manager listens.
    pub fn remote(&self, host: u8) -> String {
        format!("{}:2377", self.address(host))
    }

    /// Has a host join by way of a manager.
    ///
    /// # Errors
    /// When it does not.
    pub fn join(&self, host: u8, manager: u8, role: &str) -> anyhow::Result<String> {
        let token = self.token(manager, role)?;
        self.ok(host, &["swarm", "join", "--token", &token, &self.remote(manager)])
    }

    /// The nodes as a manager shows them, by host name.
    ///
    /// # Errors
    /// When it does not.
    pub fn nodes(&self, manager: u8) -> anyhow::Result<Vec<String>> {
        let text = self.ok(manager, &["node", "ls", "--format", NODE])?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// Waits until a manager shows these nodes, leaders as leaders.
    ///
    /// # Errors
    /// When it does not in time; the message holds what it shows.
    pub fn await_nodes(
        &self,
        manager: u8,
        wanted: &[impl AsRef<str> + std::fmt::Debug],
    ) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let mut shows = || {
            last = self.nodes(manager).unwrap_or_else(|error| vec![format!("{error:#}")]);
            // The last column may be empty.
            last.iter().map(|line| line.trim_end()).eq(wanted.iter().map(|l| l.as_ref().trim_end()))
        };
        let waited = eventually("the nodes", PATIENCE, &mut shows);
        waited.with_context(|| format!("host {manager} shows {last:#?}, not {wanted:#?}"))
    }

    /// What `docker info` says of a host's membership.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn state(&self, host: u8) -> anyhow::Result<String> {
        self.ok(host, &["info", "--format", "{{.Swarm.LocalNodeState}}"])
    }

    /// Waits until a host says this of its membership.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_state(&self, host: u8, wanted: &str) -> anyhow::Result<()> {
        let what = format!("host {host} to be {wanted}");
        let is_so = || self.state(host).is_ok_and(|state| state == wanted);
        eventually(&what, PATIENCE, is_so).with_context(|| self.log(host))
    }

    /// The manager that leads, asked of another one.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self, manager: u8) -> anyhow::Result<u8> {
        let nodes = self.nodes(manager)?;
        let line = nodes.iter().find(|line| line.ends_with(" Leader"));
        let name = line.and_then(|line| line.split(' ').next()).context("no manager leads")?;
        Ok(name.trim_start_matches('h').parse()?)
    }

    /// Creates a secret with a small value.
    ///
    /// # Errors
    /// When it is not acknowledged.
    pub fn create_secret(&self, manager: u8, name: &str) -> anyhow::Result<String> {
        self.ok(manager, &["secret", "create", "--label", "by=test", name, "/etc/hostname"])
    }

    /// Names of all secrets.
    ///
    /// # Errors
    /// When the manager does not tell.
    pub fn secrets(&self, manager: u8) -> anyhow::Result<Vec<String>> {
        let text = self.ok(manager, &["secret", "ls", "--format", "{{.Name}}"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Gives all hosts the image `busybox`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn give_image(&self) -> anyhow::Result<()> {
        let directory = Scratch::new()?;
        let rootfs = directory.path().join("rootfs.tar");
        image::busybox_rootfs(&rootfs)?;
        for host in self.numbers() {
            self.ok(host, &["import", &rootfs.display().to_string(), "busybox"])?;
        }
        Ok(())
    }
}
