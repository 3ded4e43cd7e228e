//! A container of busybox in a shim of its own, driven through the protocol. Needs root.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use shoal_shim_protocol::client::{Client, Error};
use shoal_shim_protocol::config::{
    CONFIG_FORMAT, CgroupDriver, LogFile, LogSink, Rootfs, Runtime, ShimConfig, StdioConfig,
};
use shoal_shim_protocol::message::{Event, Exec, Failure, Request, Response, State, Streams};
use shoal_shim_protocol::spec::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Spec,
};
use shoal_shim_protocol::state::Exit;
use shoal_shim_protocol::{CONFIG_FILE, SOCKET_FILE};

pub(crate) struct Bench {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) config: ShimConfig,
    pub(crate) spec: Spec,
    pub(crate) shim: Option<Child>,
}

/// The shim under test; SHOAL_TEST_SHIM names another build, e.g. the static one that is shipped.
pub(crate) fn program() -> PathBuf {
    let other = std::env::var_os("SHOAL_TEST_SHIM");
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_shoal-shim").into()).into()
}

pub(crate) fn is_foreign() -> bool {
    std::env::var_os("SHOAL_TEST_RUNTIME").is_some()
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn mount(destination: &str, kind: &str, options: &str) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(kind.to_owned()),
        options: options.split(',').map(str::to_owned).collect(),
        ..Mount::default()
    }
}

pub(crate) fn process(args: &[&str]) -> Process {
    let caps = text(&["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"]);
    Process {
        args: text(args),
        env: text(&["PATH=/usr/sbin:/bin"]),
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Capabilities::default()
        }),
        ..Process::default()
    }
}

fn default_spec(id: &str, args: &[&str]) -> Spec {
    use NamespaceKind::{Cgroup, Ipc, Network, Pid, Uts};
    let kinds = [Pid, Network, NamespaceKind::Mount, Ipc, Uts, Cgroup];
    Spec {
        oci_version: "1.0.2".to_owned(),
        process: process(args),
        hostname: Some("tester".to_owned()),
        mounts: vec![
            mount("/proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=67108864"),
            mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        ],
        linux: Linux {
            namespaces: kinds.map(|kind| Namespace { kind, path: None }).to_vec(),
            cgroups_path: Some(format!("/{id}")),
            resources: Some(Resources {
                devices: vec![
                    DeviceRule { access: Some("rwm".to_owned()), ..DeviceRule::default() },
                    rule("c", 1, None),
                    rule("c", 5, None),
                    rule("c", 136, None),
                ],
                ..Resources::default()
            }),
            masked_paths: text(&["/proc/kcore", "/proc/scsi", "/absent"]),
            readonly_paths: text(&["/proc/sys"]),
            ..Linux::default()
        },
        ..Spec::default()
    }
}

fn rule(kind: &str, major: i64, minor: Option<i64>) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: Some(major),
        minor,
        access: Some("rwm".to_owned()),
    }
}

impl Bench {
    pub(crate) fn new(args: &[&str]) -> Self {
        let temp = tempfile::Builder::new().prefix("shoal-shim-").tempdir().unwrap();
        let id = temp.path().file_name().unwrap().to_str().unwrap().to_owned();
        let path = |name: &str| temp.path().join(name);
        for name in ["run", "bundle", "layer/bin", "layer/etc", "layer/tmp", "upper", "work"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", path("layer/bin/busybox")).unwrap();
        for applet in "sh echo cat ls sleep id true false env stty mount dd head tail grep kill \
                       hostname mkdir touch pwd readlink test stat ulimit yes tty ps"
            .split_whitespace()
        {
            std::os::unix::fs::symlink("busybox", path("layer/bin").join(applet)).unwrap();
        }
        std::fs::write(path("layer/etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/w:\n")
            .unwrap();
        std::fs::write(path("layer/etc/group"), "root:x:0:\nwww:x:34:\nadm:x:4:web\n").unwrap();
        std::fs::write(path("layer/bin/data"), "no program").unwrap();
        // SHOAL_TEST_RUNTIME=/usr/sbin/runc runs the same tests on that runtime.
        let runtime = match std::env::var_os("SHOAL_TEST_RUNTIME") {
            None => Runtime::Own,
            Some(program) => {
                Runtime::Oci { path: program.into(), args: Vec::new(), root: path("runtime") }
            }
        };
        let config = ShimConfig {
            format: CONFIG_FORMAT,
            container: id.clone(),
            bundle: path("bundle"),
            rootfs: Rootfs::Overlay {
                lower: vec![path("layer")],
                upper: path("upper"),
                work: path("work"),
                options: Vec::new(),
            },
            user: None,
            stdio: StdioConfig::default(),
            logs: vec![LogSink::JsonFile {
                file: LogFile {
                    path: path("json.log"),
                    max_bytes: None,
                    max_files: 1,
                    compress: false,
                },
                attributes: std::collections::BTreeMap::new(),
            }],
            log_buffer: None,
            runtime,
            cgroup_driver: CgroupDriver::Cgroupfs,
            seccomp: None,
            init: None,
            outcome_file: path("outcome.json"),
        };
        let spec = default_spec(&id, args);
        Self { temp, config, spec, shim: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Puts what the test's own program is linked with into the image: a dynamically linked shim can
    /// then be the container's init, too. A static one needs none of it.
    pub(crate) fn add_shared_libraries(&self) {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        for library in mapped.filter(|path| path.contains(".so")) {
            let copy = self.path("layer").join(library.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(library, copy).unwrap();
            if library.contains("/ld-linux") {
                std::fs::create_dir_all(self.path("layer/lib64")).unwrap();
                let name = std::path::Path::new(library).file_name().unwrap();
                std::fs::copy(library, self.path("layer/lib64").join(name)).unwrap();
            }
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run").join(SOCKET_FILE)
    }

    /// Spawns the shim as the engine does.
    pub(crate) fn spawn(&mut self) -> Client {
        let json = |path: &Path, bytes: Vec<u8>| std::fs::write(path, bytes).unwrap();
        json(&self.path("run").join(CONFIG_FILE), serde_json::to_vec(&self.config).unwrap());
        json(&self.path("bundle/config.json"), serde_json::to_vec(&self.spec).unwrap());
        let listener = UnixListener::bind(self.socket()).unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test drives the program itself")]
        let mut command = std::process::Command::new(program());
        let child = command
            .arg("--dir")
            .arg(self.path("run"))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.shim = Some(child);
        self.client()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    /// Runs the container to its end.
    pub(crate) fn run(&mut self) -> Exit {
        let mut events = self.spawn();
        events.call(&Request::Subscribe).unwrap();
        self.client().call(&Request::Run).unwrap();
        wait_exit(&mut events)
    }

    pub(crate) fn output(&self) -> String {
        let text = std::fs::read_to_string(self.path("json.log")).unwrap();
        let line = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["log"].as_str().unwrap().to_owned()
        };
        text.lines().map(line).collect()
    }

    pub(crate) fn state(&self) -> State {
        match self.client().call(&Request::State).unwrap() {
            Response::State(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a process in the container; gives its output and its exit.
    pub(crate) fn exec(&self, id: &str, process: Process) -> Result<(String, Exit), Failure> {
        let mut events = self.client();
        events.call(&Request::Subscribe).unwrap();
        let mut client = self.client();
        let exec = Exec {
            id: id.to_owned(),
            process,
            user: None,
            open_stdin: false,
            attach: Some(Streams { stdin: false, stdout: true, stderr: true }),
        };
        match client.call(&Request::Exec(Box::new(exec))) {
            Err(Error::Refused(failure)) => return Err(failure),
            result => result.unwrap(),
        };
        let output = String::from_utf8(client.read_to_end().unwrap()).unwrap();
        loop {
            if let Event::ExecExited { exec, exit } = events.next_event().unwrap() {
                assert_eq!(exec, id);
                return Ok((output, exit));
            }
        }
    }

    /// Ends the shim and checks that nothing is left.
    pub(crate) fn finish(mut self) {
        let groups = self.state().cgroups;
        self.client().call(&Request::Shutdown { kill: true }).unwrap();
        let status = self.shim.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(!self.path("run").exists(), "the run directory is left");
        for group in groups {
            assert!(!group.path.exists(), "{} is left", group.path.display());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.temp.path().to_str().unwrap()), "a mount is left");
    }
}

/// `shoal-shim --cleanup`.
pub(crate) fn cleanup(run: &Path) -> std::process::ExitStatus {
    #[allow(clippy::disallowed_methods, reason = "a test drives the program itself")]
    let mut command = std::process::Command::new(program());
    command.args(["--cleanup", "--dir"]).arg(run).status().unwrap()
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            let _gone = shim.kill();
            let _status = shim.wait();
            let _status = cleanup(&self.path("run"));
        }
    }
}

pub(crate) fn wait_exit(events: &mut Client) -> Exit {
    loop {
        if let Event::Exited(exit) = events.next_event().unwrap() {
            return exit;
        }
    }
}

pub(crate) fn refused(result: Result<Response, Error>) -> Failure {
    match result {
        Err(Error::Refused(failure)) => failure,
        other => panic!("{other:?}"),
    }
}
