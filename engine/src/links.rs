//! Legacy links (`--link container:alias`): names of other containers in `/etc/hosts`.
//!
//! They belong to the default bridge: the addresses that the other containers have when this one starts. On
//! user-defined networks a link is a name that DNS answers from what is there when it is asked, so nothing about
//! it is written or checked but its form. The variables of links, which docker makes only on demand since 29, are
//! not made.
//!
//! Source: moby `daemon/container_operations_unix.go setupLinkedContainers`, `daemon_unix.go registerLinks`; `opts.ParseLink`.

use std::net::IpAddr;

use shoal_model::container::{ContainerSpec, NetworkMode};

use crate::container::view::View;
use crate::core::Core;
use crate::error::Error;
use crate::files::hosts::Line;
use crate::resolve;

/// One link.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    /// Name or id of the other container.
    container: &'a str,
    /// What it is called here.
    alias: &'a str,
}

/// Reads `container:alias`, `container`, or as inspect shows it, `/container:/this/alias`.
fn parse(text: &str) -> Result<Link<'_>, Error> {
    let bad = || Error::Invalid { field: "Links", reason: format!("bad format for links: {text}") };
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    let container = container.strip_prefix('/').unwrap_or(container);
    let alias = alias.rsplit_once('/').map_or(alias, |(_, last)| last);
    let blank = |word: &str| word.is_empty() || word.contains(char::is_whitespace);
    if blank(container) || blank(alias) || alias.contains(':') {
        return Err(bad());
    }
    Ok(Link { container, alias })
}

/// The network of links that are written to `/etc/hosts`.
const BRIDGE: &str = "bridge";

/// The links of the host specification, which docker honours on the default bridge only.
fn on_bridge(spec: &ContainerSpec) -> impl Iterator<Item = &String> {
    let honoured = matches!(spec.host.network_mode, NetworkMode::Bridge | NetworkMode::Default);
    spec.host.links.iter().filter(move |_| honoured)
}

/// Checks the links of a new container: those of the default bridge name a container that is there.
///
/// # Errors
/// A malformed link, or an unknown container.
pub(crate) fn check(core: &Core, spec: &ContainerSpec) -> Result<(), Error> {
    for link in on_bridge(spec) {
        let link = parse(link)?;
        resolve::container(core, link.container).map_err(|_| Error::Invalid {
            field: "Links",
            reason: format!("could not get container for {}", link.container),
        })?;
    }
    spec.endpoints.values().flat_map(|endpoint| &endpoint.links).try_for_each(|link| {
        parse(link)?;
        Ok(())
    })
}

/// Lines of `/etc/hosts` for the links of a container. One that runs already loses those that lead nowhere.
///
/// # Errors
/// When the container starts, and a linked one is gone, does not run, or is not on the network.
pub(crate) fn lines(core: &Core, view: &View) -> Result<Vec<Line>, Error> {
    let starting = !view.state.phase.is_live();
    let mut lines = Vec::new();
    for link in on_bridge(&view.record.spec) {
        match lines_of(core, view, &parse(link)?) {
            Err(error) if starting => return Err(error),
            found => lines.extend(found.into_iter().flatten()),
        }
    }
    Ok(lines)
}

fn lines_of(core: &Core, view: &View, link: &Link<'_>) -> Result<Vec<Line>, Error> {
    let other = resolve::container(core, link.container)?.view();
    let (name, alias) = (other.name(), link.alias);
    let conflict = |reason| Error::Conflict { container: view.name().to_owned(), reason };
    if !other.state.phase.is_live() {
        let reason = format!("Cannot link to a non running container: /{name} AS {alias}");
        return Err(conflict(reason));
    }
    let settings = other.network.as_ref().and_then(|settings| settings.endpoints.get(BRIDGE));
    let endpoint = settings
        .ok_or_else(|| conflict(format!("linked container {name} is not on network {BRIDGE}")))?;
    let v4 = endpoint.ipv4.map(|(address, _)| IpAddr::V4(address));
    let v6 = endpoint.ipv6.map(|(address, _)| IpAddr::V6(address));
    let names = names(alias, &other.record.spec.hostname, name);
    let line = |address| Line { address, names: names.clone() };
    Ok(v4.into_iter().chain(v6).map(line).collect())
}

/// Alias, host name, and the container's name unless that is the alias.
fn names(alias: &str, hostname: &str, name: &str) -> Vec<String> {
    let mut names = vec![alias.to_owned(), hostname.to_owned()];
    if alias != name {
        names.push(name.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_in_all_forms() {
        for (text, container, alias) in
            [("db:mysql", "db", "mysql"), ("db", "db", "db"), ("/db:/web/mysql", "db", "mysql")]
        {
            assert_eq!(parse(text).unwrap(), Link { container, alias });
        }
        for bad in ["", ":a", "a:", "a:b:c", "a b:c"] {
            let message = format!("invalid Links: bad format for links: {bad}");
            assert_eq!(parse(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_name_is_not_repeated() {
        assert_eq!(names("db", "0123", "db"), ["db", "0123"]);
        assert_eq!(names("mysql", "0123", "db"), ["mysql", "0123", "db"]);
    }
}
