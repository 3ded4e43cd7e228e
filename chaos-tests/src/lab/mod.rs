//! Several hosts on one machine: a network namespace, roots and a `shoald` each, joined by a fabric bridge.
//!
//! Everything about a lab is in its directory and in the kernel, nothing only in memory: a lab that one process
//! made can be driven and removed by another. Names of namespaces and cgroups begin with the lab's name.

mod fabric;
mod faults;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::command::{command, eventually, stdout};
use crate::host::{answers, bin_dir};
use crate::{leaks, scratch};

/// So many hosts fit into the fabric's subnet with room to spare.
const HOSTS_MAX: u8 = 100;
/// What the kernel removes after processes were killed is gone within this time.
const GONE: Duration = Duration::from_secs(30);
/// A daemon must answer within this time after its start.
const START: Duration = Duration::from_secs(60);
/// No call of a client that has a limit takes longer.
const CALL_SECONDS: &str = "60";
/// File of a host that has programs of its own: their directory.
const PROGRAMS: &str = "programs";

/// A lab. Dropping it leaves it as it is: call [`Lab::down`], or hold it in a [`Guard`].
#[derive(Debug, Clone)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    hosts: u8,
}

/// Removes its lab when dropped.
#[derive(Debug)]
pub struct Guard(pub Lab);

impl std::ops::Deref for Guard {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Drop for Guard {
    /// Where `SHOAL_HOLD_LAB` is set, the lab of a failed test stays until standard input ends, to be looked at.
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("SHOAL_HOLD_LAB").is_some() {
            eprintln!("lab {} is held in {}", self.0.name, self.0.directory.display());
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        }
        if let Err(error) = self.0.down() {
            eprintln!("the lab was not removed: {error:#}");
        }
    }
}

impl Lab {
    /// Makes `hosts` hosts, numbered from 1, and starts their daemons with `flags`.
    ///
    /// # Errors
    /// When there is such a lab already, or a host does not start; nothing is left then.
    pub fn up(name: &str, directory: &Path, hosts: u8, flags: &[&str]) -> anyhow::Result<Self> {
        Self::prepared(name, directory, hosts, flags, |_, _| Ok(()))
    }

    /// As [`Lab::up`]; `prepare` is called for each host before its daemon starts.
    ///
    /// # Errors
    /// As [`Lab::up`], and those of `prepare`.
    pub fn prepared(
        name: &str,
        directory: &Path,
        hosts: u8,
        flags: &[&str],
        prepare: impl FnMut(&Self, u8) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        ensure!((1..=HOSTS_MAX).contains(&hosts), "a lab has 1 to {HOSTS_MAX} hosts");
        ensure!(
            !directory.join("hosts").exists(),
            "there is a lab already in {}: take it down first",
            directory.display()
        );
        ensure!(!fabric::exists(name), "there is a lab named {name} already");
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("flags"), flags.join("\n"))?;
        std::fs::write(directory.join("hosts"), format!("{name}\n{hosts}\n"))?;
        let lab = Self { name: name.to_owned(), directory: directory.to_owned(), hosts };
        if let Err(error) = lab.build(prepare) {
            lab.down().context("and the half-made lab was not removed")?;
            return Err(error);
        }
        Ok(lab)
    }

    fn build(
        &self,
        mut prepare: impl FnMut(&Self, u8) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        {
            let _going = scratch::uninterrupted();
            fabric::create(&self.name)?;
        }
        for host in self.numbers() {
            let _going = scratch::uninterrupted();
            fabric::plug(&self.name, host)?;
            std::fs::create_dir_all(self.path(host))?;
            prepare(self, host)?;
        }
        for host in self.numbers() {
            self.spawn(host)?;
        }
        self.numbers().try_for_each(|host| self.await_start(host))
    }

    /// The lab that was made in `directory`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        Self::find(directory)?.with_context(|| {
            format!("there is no lab in {}: `cargo xtask lab up 3`", directory.display())
        })
    }

    /// The lab that was made in `directory`. `None`: there is none.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn find(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join("hosts");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut lines = text.lines();
        let name = lines.next().unwrap_or_default().to_owned();
        let hosts =
            lines.next().unwrap_or_default().parse().context("the lab's file is damaged")?;
        Ok(Some(Self { name, directory: directory.to_owned(), hosts }))
    }

    /// Numbers of the hosts.
    pub fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.hosts
    }

    fn check(&self, host: u8) -> anyhow::Result<()> {
        ensure!((1..=self.hosts).contains(&host), "there is no host {host}: 1 to {}", self.hosts);
        Ok(())
    }

    /// Address of a host in the fabric.
    pub fn address(&self, host: u8) -> String {
        fabric::address(host)
    }

    /// Network namespace of a host; also its cgroup parent.
    pub fn netns(&self, host: u8) -> String {
        fabric::netns(&self.name, host)
    }

    /// Directory of a host: `data`, `run`, `shoald.log`.
    pub fn path(&self, host: u8) -> PathBuf {
        self.directory.join(format!("h{host}"))
    }

    /// API socket of a host.
    pub fn socket(&self, host: u8) -> PathBuf {
        self.path(host).join("shoal.sock")
    }

    /// Process id of the daemon of a host; `None` while it does not run.
    pub fn pid(&self, host: u8) -> Option<u32> {
        let text = std::fs::read_to_string(self.path(host).join("shoald.pid")).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        // The number may be another process's by now.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let path = self.path(host).display().to_string();
        String::from_utf8_lossy(&line).contains(&path).then_some(pid)
    }

    /// The last lines of a daemon's log.
    pub fn log(&self, host: u8) -> String {
        let text = std::fs::read_to_string(self.path(host).join("shoald.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(300)..].join("\n")
    }

    /// The programs of a host: `cargo xtask` says which, unless it has its own.
    fn programs(&self, host: u8) -> anyhow::Result<PathBuf> {
        match std::fs::read_to_string(self.path(host).join(PROGRAMS)) {
            Ok(own) => Ok(PathBuf::from(own)),
            Err(_) => bin_dir(),
        }
    }

    /// Gives a host the programs of another directory, from the next start of its daemon on; `None`: those of all hosts.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn set_programs(&self, host: u8, directory: Option<&Path>) -> anyhow::Result<()> {
        self.check(host)?;
        let file = self.path(host).join(PROGRAMS);
        match directory {
            Some(directory) => Ok(std::fs::write(file, directory.display().to_string())?),
            None if file.exists() => Ok(std::fs::remove_file(file)?),
            None => Ok(()),
        }
    }

    fn spawn(&self, host: u8) -> anyhow::Result<()> {
        let _going = scratch::uninterrupted();
        let root = self.path(host);
        let log =
            std::fs::File::options().create(true).append(true).open(root.join("shoald.log"))?;
        let flags = std::fs::read_to_string(self.directory.join("flags")).unwrap_or_default();
        let settings = std::fs::read_to_string(root.join("environment")).unwrap_or_default();
        let settings = settings.lines().filter_map(|line| line.split_once('='));
        // A host name of its own, as every host has.
        command("nsenter")
            .arg(format!("--net=/run/netns/{}", self.netns(host)))
            .args(["--", "unshare", "--uts", "--", "busybox", "sh", "-c"])
            .args(["hostname \"$0\" && exec \"$@\"", &format!("h{host}")])
            .arg(self.programs(host)?.join("shoald"))
            .args(["--data-root", &root.join("data").display().to_string()])
            .args(["--exec-root", &root.join("run").display().to_string()])
            .args(["--host", &format!("unix://{}", self.socket(host).display())])
            .args(["--pidfile", &root.join("shoald.pid").display().to_string()])
            .args(["--config-file", &root.join("daemon.json").display().to_string()])
            .args(["--cgroup-parent", &format!("/{}", self.netns(host))])
            .args(flags.lines())
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start shoald of host {host}"))?;
        Ok(())
    }

    fn await_start(&self, host: u8) -> anyhow::Result<()> {
        let socket = self.socket(host);
        eventually(&format!("the daemon of host {host}"), START, || answers(&socket))
            .with_context(|| self.log(host))
    }

    /// Starts the daemon of a host again and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not start.
    pub fn start(&self, host: u8) -> anyhow::Result<()> {
        self.check(host)?;
        ensure!(self.pid(host).is_none(), "the daemon of host {host} runs already");
        self.spawn(host)?;
        self.await_start(host)
    }

    /// Gives the daemon of a host an environment, from its next start on.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn environment(&self, host: u8, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        self.check(host)?;
        let lines = variables.iter().map(|(name, value)| format!("{name}={value}\n"));
        let file = self.path(host).join("environment");
        Ok(std::fs::write(file, lines.collect::<String>())?)
    }

    /// A `docker` command for a host.
    pub fn docker(&self, host: u8) -> Command {
        self.client(host, Path::new("docker"))
    }

    /// A client program for a host.
    pub fn client(&self, host: u8, program: &Path) -> Command {
        let mut client = command(program);
        client
            .env("DOCKER_HOST", format!("unix://{}", self.socket(host).display()))
            .env("DOCKER_CONFIG", self.directory.join("client"))
            .env("DOCKER_CLI_HINTS", "false")
            .env("NO_COLOR", "1");
        client
    }

    /// A client program for a host that is ended when it takes too long.
    pub fn limited(&self, host: u8, program: &Path) -> Command {
        let mut client = self.client(host, Path::new("timeout"));
        client.args(["-k", "1", CALL_SECONDS]).arg(program);
        client
    }

    /// Runs `docker` on a host and gives its output without the last line feed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(stdout(self.docker(host).args(arguments))?.trim_end().to_owned())
    }

    /// A command in the network namespace of a host.
    pub fn inside(&self, host: u8) -> Command {
        let mut inside = command("nsenter");
        inside.arg(format!("--net=/run/netns/{}", self.netns(host))).arg("--");
        inside
    }

    /// Ends the daemons in good order, and removes the hosts if they left nothing on the machine. The containers
    /// were removed before.
    ///
    /// # Errors
    /// When a daemon does not end, or something is left; the message lists it, and the lab stays.
    pub fn finish(&self) -> anyhow::Result<()> {
        for host in self.numbers() {
            if self.pid(host).is_some() {
                self.stop(host)?;
            }
        }
        let left: Vec<String> = self.numbers().flat_map(|host| self.leaks(host)).collect();
        ensure!(left.is_empty(), "left behind by the daemons:\n  {}", left.join("\n  "));
        self.down()
    }

    /// What a host without a daemon has left on the machine. Files go with the directory, and `eth0` with the
    /// namespace.
    fn leaks(&self, host: u8) -> Vec<String> {
        let stays = |line: &str| line.starts_with("file ") || line.contains(fabric::UPLINK);
        leaks::of_host(&self.netns(host), &self.path(host), GONE, stays)
    }

    /// Ends the daemons with all containers and removes everything. Attempts every step.
    ///
    /// # Errors
    /// When something is left; the message lists it.
    pub fn down(&self) -> anyhow::Result<()> {
        let mut left = Vec::new();
        for host in self.numbers() {
            // Paused daemons and frozen containers can be killed, too.
            leaks::clear(&self.netns(host), &self.path(host));
            left.extend(self.leaks(host));
            if let Err(error) = fabric::unplug(&self.name, host) {
                left.push(format!("{error:#}"));
            }
        }
        if let Err(error) = fabric::remove(&self.name) {
            left.push(format!("{error:#}"));
        }
        if left.is_empty() {
            return match std::fs::remove_dir_all(&self.directory) {
                // It was taken down before.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                    .with_context(|| format!("cannot remove {}", self.directory.display())),
                _ => Ok(()),
            };
        }
        bail!("left behind by the lab:\n  {}", left.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_lab_that_is_not_there_is_told() {
        let scratch = Scratch::new().unwrap();
        let directory = scratch.path().join("lab");
        assert!(Lab::find(&directory).unwrap().is_none());
        let error = format!("{:#}", Lab::open(&directory).unwrap_err());
        let wanted = format!("there is no lab in {}: `cargo xtask lab up 3`", directory.display());
        assert_eq!(error, wanted);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("hosts"), "nosuchlab\n").unwrap();
        assert_eq!(
            format!("{:#}", Lab::find(&directory).unwrap_err()).split(':').next(),
            Some("the lab's file is damaged")
        );
    }
}
