//! Debian's `docker-registry` inside the network namespace of a host, on its loopback.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::command::{command, eventually, run};
use crate::host::Host;

/// Where it listens; the namespace is the host's own, so the port is free.
pub const ADDRESS: &str = "127.0.0.1:5000";

/// A running registry. Its data lies in the host's directory. Ends when dropped.
#[derive(Debug)]
pub struct Registry(Child);

impl Registry {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer within ten seconds.
    pub fn start(host: &Host) -> anyhow::Result<Self> {
        let directory = host.path().join("registry");
        std::fs::create_dir(&directory)?;
        let config = directory.join("config.yml");
        let data = directory.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{ADDRESS}\"}}\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(directory.join("log"))?;
        let child = command("nsenter")
            .arg(format!("--net=/run/netns/{}", host.name()))
            .args(["--", "docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start docker-registry")?;
        let registry = Self(child);
        let probe = || {
            let mut probe = command("nsenter");
            probe.arg(format!("--net=/run/netns/{}", host.name()));
            probe.args(["--", "busybox", "wget", "-q", "-O", "/dev/null"]);
            probe.arg(format!("http://{ADDRESS}/v2/"));
            run(&mut probe).is_ok_and(|output| output.status.success())
        };
        eventually("docker-registry", Duration::from_secs(10), probe)?;
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
