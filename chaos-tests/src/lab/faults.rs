//! What can go wrong in a lab: daemons that die or hang, links that are cut or lose packets.

use std::time::Duration;

use anyhow::Context;

use super::{Lab, fabric};
use crate::command::{command, eventually, stdout};

/// Table of the cuts within each host; the daemons' own tables are not touched.
const TABLE: &str = "shoal-lab";

impl Lab {
    fn signal(&self, host: u8, signal: &str) -> anyhow::Result<u32> {
        self.check(host)?;
        let pid = self.pid(host).with_context(|| format!("no daemon runs on host {host}"))?;
        stdout(command("kill").args([signal, &pid.to_string()]))?;
        Ok(pid)
    }

    /// Ends the daemon of a host at once, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, host: u8) -> anyhow::Result<()> {
        self.signal(host, "-9")?;
        self.await_end(host)
    }

    /// Ends the daemon of a host in good order.
    ///
    /// # Errors
    /// When it does not run, or does not end within a minute.
    pub fn stop(&self, host: u8) -> anyhow::Result<()> {
        self.signal(host, "-15")?;
        self.await_end(host)
    }

    fn await_end(&self, host: u8) -> anyhow::Result<()> {
        let what = format!("the end of the daemon of host {host}");
        eventually(&what, Duration::from_secs(60), || self.pid(host).is_none())
    }

    /// Ends the daemon of a host and all its containers, as a power failure would; its disk stays.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn crash(&self, host: u8) -> anyhow::Result<()> {
        self.check(host)?;
        crate::leaks::clear(&self.netns(host), &self.path(host));
        self.await_end(host)
    }

    /// Stops the daemon of a host from running, without ending it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, host: u8) -> anyhow::Result<()> {
        self.signal(host, "-STOP").map(|_| ())
    }

    /// Lets a paused daemon go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, host: u8) -> anyhow::Result<()> {
        self.signal(host, "-CONT").map(|_| ())
    }

    /// Takes a host off the fabric.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn unplug(&self, host: u8) -> anyhow::Result<()> {
        self.check(host)?;
        fabric::within(&self.name, &["link", "set", &fabric::port(host), "down"])
    }

    fn nft(&self, host: u8, script: &str) -> anyhow::Result<()> {
        stdout(self.inside(host).args(["nft", script])).map(|_| ())
    }

    /// Rules within a host that drop what comes from other hosts.
    fn drop_from(&self, host: u8, rule: &str) -> anyhow::Result<()> {
        let chain = "{ type filter hook prerouting priority -500; }";
        self.nft(host, &format!("add table inet {TABLE}"))?;
        self.nft(host, &format!("add chain inet {TABLE} in {chain}"))?;
        self.nft(host, &format!("add rule inet {TABLE} in {rule}"))
    }

    /// Drops all packets from `from` to `to`, in this direction only.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn cut_one_way(&self, from: u8, to: u8) -> anyhow::Result<()> {
        self.check(from)?;
        self.check(to)?;
        self.drop_from(to, &format!("ip saddr {} drop", self.address(from)))?;
        self.drop_from(to, &format!("ip6 saddr fd00:99::{from} drop"))
    }

    /// Drops all packets between two hosts.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn cut(&self, a: u8, b: u8) -> anyhow::Result<()> {
        self.cut_one_way(a, b)?;
        self.cut_one_way(b, a)
    }

    /// Drops so many of a hundred packets that reach a host, at random.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn lose(&self, host: u8, percent: u8) -> anyhow::Result<()> {
        self.check(host)?;
        let rule = format!("iifname eth0 numgen random mod 100 < {percent} drop");
        self.drop_from(host, &rule)
    }

    /// Undoes all cuts and losses, and plugs all hosts in.
    ///
    /// # Errors
    /// When a host does not let itself be mended.
    pub fn heal(&self) -> anyhow::Result<()> {
        for host in self.numbers() {
            // `add` first, so that there is something to delete.
            self.nft(host, &format!("add table inet {TABLE}; delete table inet {TABLE}"))?;
            fabric::within(&self.name, &["link", "set", &fabric::port(host), "up"])?;
        }
        Ok(())
    }
}
