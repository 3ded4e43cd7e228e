//! A lab whose hosts form a cluster and hold images, for tests and benches of services.
//!
//! The images are `busybox:latest` and `busybox:two`, the same bytes under two names, on each host.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::command::{eventually, run, stdout};
use crate::host::bin_dir;
use crate::http::Connection;
use crate::image;
use crate::lab::{Guard, Lab};
use crate::scratch::Scratch;

/// How long anything may take that is not said to take longer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Flags of services whose containers end at once when they are to stop, and whose image is on each host.
pub const QUICK: [&str; 3] = ["--no-resolve-image", "--stop-signal", "SIGKILL"];

/// The lab. Removed when dropped.
#[derive(Debug)]
pub struct ServiceLab {
    /// Its hosts; the first is a manager.
    pub lab: Guard,
    _directory: Scratch,
}

impl std::ops::Deref for ServiceLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl ServiceLab {
    /// Makes `hosts` hosts with these flags; the first `managers` are managers. All are ready when it returns.
    ///
    /// # Errors
    /// When a host does not start or does not join.
    pub fn up(name: &str, hosts: u8, managers: u8, flags: &[&str]) -> anyhow::Result<Self> {
        let directory = Scratch::new()?;
        let lab = Guard(Lab::up(name, &directory.path().join("l"), hosts, flags)?);
        Self::on(lab, directory, managers)
    }

    /// The same with the hosts of a lab that is up; the directory is for the lab's files.
    ///
    /// # Errors
    /// When a host does not join.
    pub fn on(lab: Guard, directory: Scratch, managers: u8) -> anyhow::Result<Self> {
        let rootfs = directory.path().join("rootfs.tar");
        image::busybox_rootfs(&rootfs)?;
        let rootfs = rootfs.display().to_string();
        for host in lab.numbers() {
            lab.run(host, &["import", "--change", "CMD [\"sh\"]", &rootfs, "busybox:latest"])?;
            lab.run(host, &["tag", "busybox:latest", "busybox:two"])?;
        }
        lab.run(1, &["swarm", "init", "--advertise-addr", &lab.address(1)])?;
        let services = Self { lab, _directory: directory };
        for host in services.numbers().skip(1) {
            services.join(host, 1, if host <= managers { "manager" } else { "worker" })?;
        }
        services.until("all nodes to be ready", || {
            let nodes = services.run(1, &["node", "ls", "--format", "{{.Status}}"])?;
            let ready = nodes.lines().filter(|line| *line == "Ready");
            Ok(ready.count() == services.numbers().count())
        })?;
        Ok(services)
    }

    /// Has a host join by way of a manager.
    ///
    /// # Errors
    /// When it does not.
    pub fn join(&self, host: u8, manager: u8, role: &str) -> anyhow::Result<()> {
        let token = self.run(manager, &["swarm", "join-token", "-q", role])?;
        let (own, remote) = (self.address(host), format!("{}:2377", self.address(manager)));
        let join = ["swarm", "join", "--advertise-addr", &own, "--token", &token, &remote];
        self.run(host, &join).map(drop)
    }

    /// Runs `docker` on the first host.
    ///
    /// # Errors
    /// When it fails; the message has what it printed.
    pub fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(1, arguments)
    }

    /// `docker service create NAME` with [`QUICK`] flags, attached and quiet.
    ///
    /// # Errors
    /// When it fails.
    pub fn create(&self, name: &str, flags: &[&str], command: &[&str]) -> anyhow::Result<String> {
        self.docker(&self.creation(name, flags, command, "-q"))
    }

    /// As [`ServiceLab::create`], without waiting for anything.
    ///
    /// # Errors
    /// When it fails.
    pub fn begin(&self, name: &str, flags: &[&str], command: &[&str]) -> anyhow::Result<String> {
        self.docker(&self.creation(name, flags, command, "-d"))
    }

    fn creation<'a>(
        &self,
        name: &'a str,
        flags: &[&'a str],
        command: &[&'a str],
        how: &'a str,
    ) -> Vec<&'a str> {
        let mut arguments = vec!["service", "create", how, "--name", name];
        arguments.extend(QUICK);
        arguments.extend(flags);
        arguments.push("busybox");
        arguments.extend(command);
        arguments
    }

    /// `shoal` on a host.
    ///
    /// # Errors
    /// When the directory of the programs is not known.
    pub fn shoal(&self, host: u8) -> anyhow::Result<Command> {
        Ok(self.lab.client(host, &bin_dir()?.join("shoal")))
    }

    /// Standard output of `shoal` on a host.
    ///
    /// # Errors
    /// When it fails; the message has what it printed.
    pub fn said(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(stdout(self.shoal(host)?.args(arguments))?.trim_end().to_owned())
    }

    /// What `shoal` on the first host says when it must fail.
    ///
    /// # Errors
    /// When it does not fail.
    pub fn shoal_refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        refusal(self.shoal(1)?.args(arguments), arguments)
    }

    /// What `docker` on the first host says when it must fail.
    ///
    /// # Errors
    /// When it does not fail.
    pub fn refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        refusal(self.lab.docker(1).args(arguments), arguments)
    }

    /// Waits until the condition holds; an error of the condition counts as no.
    ///
    /// # Errors
    /// When it does not hold within [`PATIENCE`].
    pub fn until(
        &self,
        what: &str,
        condition: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.until_within(what, PATIENCE, condition)
    }

    /// As [`ServiceLab::until`] with another limit.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub fn until_within(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        eventually(what, limit, || condition().unwrap_or(false))
    }

    /// Lines of `docker service ps` in this format, sorted.
    ///
    /// # Errors
    /// When it fails.
    pub fn ps(&self, service: &str, format: &str) -> anyhow::Result<Vec<String>> {
        let arguments = ["service", "ps", "--no-trunc", "--format", format, service];
        let text = stdout(self.lab.docker(1).args(arguments))?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// `docker service inspect -f FORMAT NAME`.
    ///
    /// # Errors
    /// When it fails.
    pub fn inspect(&self, service: &str, format: &str) -> anyhow::Result<String> {
        self.docker(&["service", "inspect", "-f", format, service])
    }

    /// The `REPLICAS` column of a service.
    ///
    /// # Errors
    /// When it fails.
    pub fn replicas(&self, service: &str) -> anyhow::Result<String> {
        let filter = format!("name={service}");
        self.docker(&["service", "ls", "--filter", &filter, "--format", "{{.Replicas}}"])
    }

    /// Waits for the `REPLICAS` column.
    ///
    /// # Errors
    /// When it is another one for too long; the message shows the tasks.
    pub fn await_replicas(&self, service: &str, wanted: &str) -> anyhow::Result<()> {
        let what = format!("{wanted} of service {service}");
        self.until(&what, || Ok(self.replicas(service)? == wanted)).with_context(|| {
            self.docker(&["service", "ps", "--no-trunc", service]).unwrap_or_default()
        })
    }

    /// Ids of the containers of a service on a host.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn containers(&self, host: u8, service: &str) -> anyhow::Result<Vec<String>> {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let text = self.run(host, &["ps", "-q", "--no-trunc", "--filter", &filter])?;
        let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
        ids.sort();
        Ok(ids)
    }

    /// Output of a command in the only container of a service on a host.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn exec(&self, host: u8, service: &str, command: &[&str]) -> anyhow::Result<String> {
        let containers = self.containers(host, service)?;
        let [container] = &containers[..] else {
            anyhow::bail!("{} containers of {service} on host {host}", containers.len());
        };
        stdout(self.lab.docker(host).args(["exec", container]).args(command))
    }

    /// Removes services and waits until no host has a container of any service.
    ///
    /// # Errors
    /// When one stays.
    pub fn remove(&self, services: &[&str]) -> anyhow::Result<()> {
        self.docker(&[&["service", "rm"], services].concat())?;
        self.until("the containers to go", || {
            for host in self.numbers() {
                let filter = "label=com.docker.swarm.service.name";
                if !self.run(host, &["ps", "-aq", "--filter", filter])?.is_empty() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// A call of the API of a host, with a body or none, and its answer.
    ///
    /// # Errors
    /// When it is refused.
    pub fn api(
        &self,
        host: u8,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        call(&mut Connection::open(&self.socket(host))?, method, path, &body)
    }
}

fn refusal(command: &mut Command, arguments: &[&str]) -> anyhow::Result<String> {
    let output = run(command)?;
    ensure!(!output.status.success(), "{arguments:?} did not fail");
    Ok(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
}

/// A call on a connection.
///
/// # Errors
/// When it is refused.
pub fn call(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<Value> {
    let answer = connection.call(method, path, body.as_bytes())?;
    if answer.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&answer).with_context(|| format!("answer of {method} {path}"))
}

/// Writes a file beneath a directory, for clients that read files.
///
/// # Errors
/// When it cannot be written.
pub fn file(directory: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}
