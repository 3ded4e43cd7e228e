//! A lab in which commands are typed, shown with what they print, and what was seen is checked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use shoal_chaos_tests::command::{eventually, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};

/// What comes by itself comes within this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) lab: Guard,
    checked: Vec<&'static str>,
}

pub(crate) fn title(text: &str) {
    println!("\n== {text}");
}

impl Stage {
    /// Makes so many hosts.
    pub(crate) fn up(directory: &Path, hosts: u8) -> anyhow::Result<Self> {
        let kind = directory.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("sd{kind}{}", std::process::id());
        Ok(Self { lab: Guard(Lab::up(&name, directory, hosts, &[])?), checked: Vec::new() })
    }

    /// Imports the image `busybox` on each host, without showing it.
    pub(crate) fn images(&self, rootfs: &Path) -> anyhow::Result<()> {
        image::busybox_rootfs(rootfs)?;
        let rootfs = rootfs.display().to_string();
        for host in self.lab.numbers() {
            self.lab.run(host, &["import", &rootfs, "busybox:latest"])?;
        }
        Ok(())
    }

    /// Ends the daemons, looks for what is left, and removes the hosts; gives what was checked.
    pub(crate) fn finish(mut self) -> anyhow::Result<Vec<&'static str>> {
        self.lab.finish()?;
        self.checked.push("no process, cgroup, mount or link of a container is left behind");
        // `finish` has removed it: the guard would look for it again.
        std::mem::forget(self.lab);
        Ok(self.checked)
    }

    pub(crate) fn check(&mut self, what: &'static str, holds: bool) -> anyhow::Result<()> {
        ensure!(holds, "not so: {what}\n{}", self.lab.log(1));
        self.checked.push(what);
        Ok(())
    }

    /// Types a command of docker's client on a host, shows it with its output, and returns its standard output.
    pub(crate) fn docker(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        self.client("docker", Path::new("docker"), host, arguments)
    }

    /// The same with `shoal`.
    pub(crate) fn shoal(&self, host: u8, arguments: &[&str]) -> anyhow::Result<String> {
        self.client("shoal", &bin_dir()?.join("shoal"), host, arguments)
    }

    fn client(
        &self,
        name: &str,
        program: &Path,
        host: u8,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
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

    /// Asks a web server from a host until it answers; shows question and answer.
    pub(crate) fn request(&self, host: u8, url: &str) -> anyhow::Result<String> {
        println!("h{host}$ wget -qO- {url}");
        let mut answer = None;
        eventually(&format!("an answer of {url}"), PATIENCE, || {
            answer = self.ask(host, url);
            answer.is_some()
        })?;
        let answer = answer.context("it was there")?;
        println!("{answer}");
        Ok(answer)
    }

    fn ask(&self, host: u8, url: &str) -> Option<String> {
        let mut wget = self.lab.inside(host);
        // Not `wget -T`: Debian's static busybox dies of it.
        let output = run(wget.args(["timeout", "3", "busybox", "wget", "-qO-", url])).ok()?;
        let page = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !page.is_empty()).then_some(page)
    }
}

/// A word as a user would type it; of files only the name.
fn quoted(word: &str) -> String {
    let file = word.ends_with(".yaml") || word.ends_with(".tar");
    let word = word.rsplit_once('/').filter(|_| file).map_or(word, |(_, name)| name);
    if word.contains([' ', ';', '{']) { format!("'{word}'") } else { word.to_owned() }
}
