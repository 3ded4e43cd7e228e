//! The network between the hosts of a lab: a bridge in a namespace of its own, one veth pair for each host.

use std::path::Path;

use crate::command::{command, stdout};

/// A host's link to the fabric, as `ip` shows it.
pub(super) const UPLINK: &str = ": eth0@";

fn bridge(lab: &str) -> String {
    format!("{lab}-fabric")
}

pub(super) fn netns(lab: &str, host: u8) -> String {
    format!("{lab}-h{host}")
}

pub(super) fn address(host: u8) -> String {
    format!("10.99.0.{host}")
}

/// Port of the bridge to which a host is plugged.
pub(super) fn port(host: u8) -> String {
    format!("p{host}")
}

/// Whether there is a fabric of this name.
pub(super) fn exists(lab: &str) -> bool {
    Path::new("/run/netns").join(bridge(lab)).exists()
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    stdout(command("ip").args(arguments)).map(|_| ())
}

/// Runs `ip` in the fabric's namespace.
pub(super) fn within(lab: &str, arguments: &[&str]) -> anyhow::Result<()> {
    stdout(command("ip").args(["-n", &bridge(lab)]).args(arguments)).map(|_| ())
}

/// Makes namespace and bridge.
pub(super) fn create(lab: &str) -> anyhow::Result<()> {
    ip(&["netns", "add", &bridge(lab)])?;
    within(lab, &["link", "add", "br0", "type", "bridge", "stp_state", "0"])?;
    within(lab, &["link", "set", "br0", "up"])
}

/// Makes the namespace of a host with `eth0` in the fabric; nothing is behind the fabric, so there is no
/// default route and what is not here is unreachable at once.
pub(super) fn plug(lab: &str, host: u8) -> anyhow::Result<()> {
    let (namespace, port) = (netns(lab, host), port(host));
    ip(&["netns", "add", &namespace])?;
    let pair = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace];
    within(lab, &pair)?;
    within(lab, &["link", "set", &port, "master", "br0", "up"])?;
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &format!("{}/24", address(host)), "dev", "eth0"],
        &["address", "add", &format!("fd00:99::{host}/64"), "dev", "eth0", "nodad"],
        &["link", "set", "eth0", "up"],
    ] {
        stdout(command("ip").args(["-n", &namespace]).args(arguments))?;
    }
    Ok(())
}

fn delete(namespace: &str) -> anyhow::Result<()> {
    if Path::new("/run/netns").join(namespace).exists() {
        ip(&["netns", "delete", namespace])?;
    }
    Ok(())
}

/// Removes the namespace of a host; none is fine.
pub(super) fn unplug(lab: &str, host: u8) -> anyhow::Result<()> {
    delete(&netns(lab, host))
}

/// Removes bridge and namespace; none is fine.
pub(super) fn remove(lab: &str) -> anyhow::Result<()> {
    delete(&bridge(lab))
}
