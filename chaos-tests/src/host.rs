//! A host for tests: a network namespace, data roots, a cgroup parent and one `shoald` in them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::command::{command, eventually, stdout};
use crate::scratch::{self, Scratch};
use crate::script::Client;

/// The directory that holds `shoald`, `shoal` and `shoal-shim`: `cargo xtask` says it in `SHOAL_BIN_DIR`.
///
/// # Errors
/// When the variable is not set.
pub fn bin_dir() -> anyhow::Result<PathBuf> {
    let directory = std::env::var_os("SHOAL_BIN_DIR");
    directory.map(PathBuf::from).context("SHOAL_BIN_DIR is not set: run through `cargo xtask test`")
}

/// The docker CLI of this machine, or Debian's, which `cargo xtask` unpacks.
///
/// # Errors
/// When the search path has none.
pub fn docker_cli() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join("docker"));
    found
        .find(|program| program.is_file())
        .context("no docker CLI on the path: run `cargo xtask setup`")
}

/// The directories of Docker's daemon and of what it runs, where `cargo xtask` has unpacked Debian's. They come first on its
/// search path.
pub fn dockerd() -> Option<Vec<PathBuf>> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/dockerd");
    let directories = ["wrappers", "usr/bin", "usr/sbin"].map(|directory| tools.join(directory));
    directories[0].is_dir().then(|| directories.into())
}

/// Whether a daemon answers there. That a connection is accepted says nothing: a child that the killed daemon
/// had just forked still holds the old socket until it executes its program.
pub(crate) fn answers(socket: &Path) -> bool {
    let ping = || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: shoal\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status == *b"HTTP/1.1 200")
    };
    ping().unwrap_or(false)
}

/// A daemon answers within this time after its start.
const START: Duration = Duration::from_secs(20);

/// One simulated host. Dropping it ends the daemon and everything the host holds.
#[derive(Debug)]
pub struct Host {
    name: String,
    root: Scratch,
    daemon: Option<Child>,
    flags: Vec<String>,
    engine: Engine,
}

/// The daemon of a host.
#[derive(Debug)]
enum Engine {
    Shoald,
    /// Docker's own; its programs are in these directories, which come first on its search path.
    Dockerd(Vec<PathBuf>),
}

impl Engine {
    /// The program with what it needs around it. Both understand the same flags.
    fn command(&self, netns: &str) -> anyhow::Result<Command> {
        let mut launch = command("nsenter");
        launch.arg(format!("--net=/run/netns/{netns}")).arg("--");
        match self {
            Self::Shoald => {
                launch.arg(bin_dir()?.join("shoald"));
            }
            Self::Dockerd(directories) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let path = directories.iter().cloned().chain(std::env::split_paths(&path));
                // Its mounts shall not be seen on this machine.
                launch.env("PATH", std::env::join_paths(path)?);
                launch.args(["unshare", "--mount", "--", "dockerd"]);
            }
        }
        Ok(launch)
    }
}

impl Host {
    /// Makes the namespace and starts a daemon in it.
    ///
    /// # Errors
    /// When the namespace cannot be made or the daemon does not answer.
    pub fn start(flags: &[&str]) -> anyhow::Result<Self> {
        Self::of(Engine::Shoald, flags)
    }

    /// The same with Docker's own daemon, whose programs are in `directories`.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub fn start_dockerd(directories: Vec<PathBuf>) -> anyhow::Result<Self> {
        Self::of(Engine::Dockerd(directories), &[])
    }

    fn of(engine: Engine, flags: &[&str]) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shoal-t{}-{number}", std::process::id());
        let root = Scratch::new()?;
        std::fs::write(root.path().join(scratch::NETNS), &name)?;
        stdout(command("ip").args(["netns", "add", &name]))?;
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut host = Self { name, root, daemon: None, flags, engine };
        std::fs::write(host.path().join("daemon.json"), "{}")?;
        stdout(command("ip").args(["-n", &host.name, "link", "set", "lo", "up"]))?;
        host.launch()?;
        Ok(host)
    }

    /// Starts the daemon again after [`Host::kill`] or [`Host::stop`].
    ///
    /// # Errors
    /// When it does not answer within ten seconds.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let root = self.root.path().display();
        let child = self
            .engine
            .command(&self.name)?
            .args(["--data-root", &format!("{root}/data"), "--exec-root", &format!("{root}/run")])
            .args(["--host", &format!("unix://{}", self.socket().display())])
            .args(["--pidfile", &format!("{root}/shoald.pid")])
            .args(["--config-file", &format!("{root}/daemon.json")])
            .args(["--cgroup-parent", &format!("/{}", self.name)])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {:?}", self.engine))?;
        self.daemon = Some(child);
        let socket = self.socket();
        eventually("the daemon's socket", START, || answers(&socket)).with_context(|| self.log())
    }

    /// Ends the daemon at once, as a crash would.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Ends the daemon with SIGTERM and waits for it.
    ///
    /// # Errors
    /// When there is none, or it does not end within ten seconds.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        stdout(command("kill").arg(daemon.id().to_string()))?;
        let ended = eventually("the daemon's end", Duration::from_secs(10), || {
            matches!(daemon.try_wait(), Ok(Some(_)))
        });
        if ended.is_err() {
            daemon.kill()?;
            bail!("shoald did not end on SIGTERM\n{}", self.log());
        }
        Ok(())
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.root.path().join("shoal.sock")
    }

    /// The host's directory: `data`, `run`, the log, room for files of tests.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Name of the network namespace and of the cgroup parent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    fn log_path(&self) -> PathBuf {
        self.root.path().join("shoald.log")
    }

    /// What the daemon logged, the last part.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A client program that talks to this host.
    pub fn client(&self, name: &str, program: &Path) -> Client {
        let env = vec![
            ("DOCKER_HOST".to_owned(), format!("unix://{}", self.socket().display())),
            ("DOCKER_CONFIG".to_owned(), self.path().join("client").display().to_string()),
            ("DOCKER_CLI_HINTS".to_owned(), "false".to_owned()),
            ("NO_COLOR".to_owned(), "1".to_owned()),
        ];
        let program = program.display().to_string();
        Client { name: name.to_owned(), program, env, programs: BTreeMap::new() }
    }

    /// Runs the client with these arguments and returns its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let client = self.client("docker", Path::new("docker"));
        let mut docker = command(&client.program);
        docker.envs(client.env).args(arguments);
        Ok(stdout(&mut docker)?.trim_end().to_owned())
    }

    /// Removes all containers, ends the daemon and reports what is left on the machine.
    ///
    /// # Errors
    /// When anything is left; the message lists it.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let ids = self.docker(&["ps", "-aq"])?;
        if !ids.is_empty() {
            let mut arguments = vec!["rm", "-f", "-v"];
            arguments.extend(ids.lines());
            self.docker(&arguments)?;
        }
        self.stop()?;
        // The namespace of a dockerd's containers on the host's network is kept under this name.
        let is_docker = matches!(self.engine, Engine::Dockerd(_));
        let stays = |line: &str| is_docker && line.ends_with("/netns/default");
        let left = crate::leaks::of_host(&self.name, self.path(), Duration::from_secs(5), stays);
        if !left.is_empty() {
            bail!("left behind by {}:\n  {}\n{}", self.name, left.join("\n  "), self.log());
        }
        Ok(())
    }
}

impl Drop for Host {
    /// Ends the daemon; what a failed test leaves goes with the directory, so that one failure does not become many.
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
