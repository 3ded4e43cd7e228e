//! Containers made by an OCI runtime program. The root file system is mounted in the shim's own mount
//! namespace, so that no mount is ever visible on the host. Effects, but for [`classify`].

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::OFlags;
use shoal_shim_protocol::client::receive_with_fds;
use shoal_shim_protocol::config::{InitProgram, Runtime, ShimConfig, UserLookup};
use shoal_shim_protocol::message::{Exec, Failure, FailureKind};
use shoal_shim_protocol::spec::{Mount, Process, Resources, Spec, User};

use crate::failure::{Context, Result, failure};
use crate::init::fsroot::FsRoot;
use crate::init::setup::ChildStdio;
use crate::init::{rootfs, user};
use crate::stdio::Streams;
use crate::{files, sys};

/// A runtime program and the container it serves.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    program: PathBuf,
    args: Vec<String>,
    root: PathBuf,
    container: String,
    work: PathBuf,
}

impl Foreign {
    /// The foreign runtime of a configuration, if it has one.
    pub(crate) fn of(config: &ShimConfig, directory: &Path) -> Option<Self> {
        let Runtime::Oci { path, args, root } = &config.runtime else { return None };
        Some(Self {
            program: path.clone(),
            args: args.clone(),
            root: root.clone(),
            container: config.container.clone(),
            work: directory.join("oci"),
        })
    }

    /// Makes the container; gives its init process, blocked, and its streams.
    pub(crate) fn create(
        &self,
        config: &ShimConfig,
        mut spec: Spec,
        mount_point: &Path,
    ) -> Result<(u32, Streams)> {
        // The container's init process must become the shim's child when the program ends.
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).doing(|| "adopt orphans".to_owned())?;
        sys::unshare(u64::from(libc::CLONE_NEWNS.cast_unsigned()))
            .doing(|| "make a mount namespace".to_owned())?;
        rootfs::mount(&config.rootfs, spec.linux.rootfs_propagation.as_deref(), mount_point)?;
        spec.root.path = mount_point.to_owned();
        spec.process.terminal = config.stdio.tty;
        if let Some(lookup) = &config.user {
            let found = look_up(&FsRoot::open(mount_point)?, lookup)?;
            spec.process.user = User { umask: spec.process.user.umask, ..found };
        }
        spec.mounts.extend(config.init.as_ref().map(init_mount).transpose()?);
        fs::create_dir_all(&self.work).doing(|| format!("make `{}`", self.work.display()))?;
        files::write_json(&self.work.join("config.json"), &spec)?;
        let (mut streams, stdio) =
            Streams::make(config.stdio.tty, config.stdio.open_stdin, config.stdio.console_size)?;
        let bundle = self.work.clone();
        let pid = self.make_process(&["create"], Some(&bundle), None, stdio, &mut streams)?;
        if let (true, Some(size)) = (config.stdio.tty, config.stdio.console_size) {
            streams.resize(size)?;
        }
        Ok((pid, streams))
    }

    /// Runs `create` or `exec`; gives the pid of the new process.
    fn make_process(
        &self,
        verb: &[&str],
        bundle: Option<&Path>,
        process: Option<&Path>,
        stdio: ChildStdio,
        streams: &mut Streams,
    ) -> Result<u32> {
        let pid_file = self.work.join("pid");
        let console = self.work.join("console.sock");
        let _absent = fs::remove_file(&console);
        let mut args: Vec<PathBuf> = verb.iter().map(PathBuf::from).collect();
        for (flag, value) in [("--bundle", bundle), ("--process", process)] {
            args.extend(value.map(|value| [flag.into(), value.to_owned()]).into_iter().flatten());
        }
        args.extend(["--pid-file".into(), pid_file.clone()]);
        let (listener, inherited) = match stdio {
            ChildStdio::Terminal(_) => {
                let listener = UnixListener::bind(&console)
                    .doing(|| format!("listen at `{}`", console.display()))?;
                args.extend(["--console-socket".into(), console]);
                (Some(listener), None)
            }
            ChildStdio::Pipes(pipes) => (None, Some(pipes)),
        };
        args.push(self.container.clone().into());
        self.run(&args, inherited)?;
        if let Some(listener) = listener {
            streams.set_terminal(receive_terminal(&listener)?)?;
        }
        let text =
            fs::read_to_string(&pid_file).doing(|| format!("read `{}`", pid_file.display()))?;
        text.trim().parse().map_err(|_| {
            failure(FailureKind::Internal, format!("the runtime wrote `{text}` as a pid"))
        })
    }

    /// Runs the program and waits for it.
    fn run(&self, args: &[PathBuf], stdio: Option<[OwnedFd; 3]>) -> Result<()> {
        let log = self.work.join("log.json");
        let _absent = fs::remove_file(&log);
        #[allow(clippy::disallowed_methods, reason = "the shim does not depend on shoal-base")]
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).arg("--root").arg(&self.root);
        command.arg("--log").arg(&log).args(["--log-format", "json"]).args(args);
        match stdio {
            Some([input, output, error]) => {
                command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(error)
            }
            None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        };
        let failed = || format!("run runtime `{}`", self.program.display());
        let mut child = command.spawn().doing(failed)?;
        drop(command); // its copies of the pipes would keep them open
        let status = child.wait().doing(failed)?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().rev().find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned))?
        });
        Err(classify(&last.unwrap_or_else(|| format!("the runtime failed with {status}"))))
    }

    fn simple(&self, words: &[&str]) -> Result<()> {
        let mut args: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
        args.push(self.container.clone().into());
        self.run(&args, None)
    }

    pub(crate) fn start(&self) -> Result<()> {
        self.simple(&["start"])
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.simple(&["pause"])
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.simple(&["resume"])
    }

    pub(crate) fn delete(&self) -> Result<()> {
        self.simple(&["delete", "--force"])
    }

    pub(crate) fn update(&self, resources: &Resources) -> Result<()> {
        let file = self.work.join("resources.json");
        files::write_json(&file, resources)?;
        self.simple(&["update", "--resources", &file.to_string_lossy()])
    }

    /// Runs a process in the container of `init`.
    pub(crate) fn exec(&self, request: &Exec, init: u32) -> Result<(u32, Streams)> {
        let mut process: Process = request.process.clone();
        if let Some(lookup) = &request.user {
            let root = FsRoot::open(Path::new(&format!("/proc/{init}/root")))?;
            process.user = User { umask: process.user.umask, ..look_up(&root, lookup)? };
        }
        let file = self.work.join("process.json");
        files::write_json(&file, &process)?;
        let (mut streams, stdio) = Streams::make(process.terminal, request.open_stdin, None)?;
        let verb = ["exec", "--detach"];
        let pid = self.make_process(&verb, None, Some(&file), stdio, &mut streams)?;
        if let Some(size) = process.console_size.filter(|_| process.terminal) {
            streams.resize(size.into())?;
        }
        Ok((pid, streams))
    }
}

fn look_up(root: &FsRoot, lookup: &UserLookup) -> Result<User> {
    let read = |path: &str| {
        let file = root.open_at(path, OFlags::RDONLY).ok()?;
        std::io::read_to_string(fs::File::from(file)).ok()
    };
    let passwd = read("/etc/passwd").unwrap_or_default();
    user::resolve(lookup, &passwd, &read("/etc/group").unwrap_or_default())
}

/// The mount of the `--init` program.
pub(crate) fn init_mount(init: &InitProgram) -> Result<Mount> {
    let source = match init {
        InitProgram::Shim => PathBuf::from("/proc/self/exe"),
        InitProgram::Path { path } => path.clone(),
    };
    let source = fs::canonicalize(&source)
        .doing(|| format!("find the init program `{}`", source.display()))?;
    Ok(Mount {
        destination: "/sbin/docker-init".to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        options: vec!["bind".to_owned(), "ro".to_owned()],
        ..Mount::default()
    })
}

fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd> {
    let failed = || "receive the terminal from the runtime".to_owned();
    let (socket, _) = listener.accept().doing(failed)?;
    let mut fds = Vec::new();
    receive_with_fds(&socket, &mut [0; 4096], &mut fds).doing(failed)?;
    fds.pop().ok_or_else(|| failure(FailureKind::Internal, "the runtime sent no terminal"))
}

/// What a runtime's message means: foreign text is classified here only.
fn classify(text: &str) -> Failure {
    let marker = "unable to start container process: ";
    let message = text.rsplit_once(marker).map_or(text, |(_, rest)| rest);
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let kind = if has(&["unable to find user", "unable to find group"]) {
        FailureKind::UnknownUser
    } else if !has(&["exec: ", "exec /"]) {
        FailureKind::Internal
    } else if has(&["executable file not found", "no such file or directory"]) {
        FailureKind::CommandNotFound
    } else {
        FailureKind::CommandNotExecutable
    };
    failure(kind, message.trim_start_matches("error during container init: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_runc() {
        for (text, kind, message) in [
            (
                "runc create failed: unable to start container process: exec: \"nope\": \
                 executable file not found in $PATH",
                FailureKind::CommandNotFound,
                "exec: \"nope\": executable file not found in $PATH",
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc\": is a directory",
                FailureKind::CommandNotExecutable,
                "exec: \"/etc\": is a directory",
            ),
            ("container_linux.go: boom", FailureKind::Internal, "container_linux.go: boom"),
        ] {
            assert_eq!(classify(text), failure(kind, message));
        }
    }
}
