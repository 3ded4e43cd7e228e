//! The commands, and the groups they are shown in.

mod build;
mod cluster;
mod container;
mod copy;
mod disk;
mod events;
mod exec;
mod format;
mod forward;
mod host;
mod image;
mod images;
mod info;
mod inspect;
mod kept;
mod list;
mod logs;
mod network;
mod node;
mod objects;
mod prune;
mod reach;
mod recovery;
mod registry;
mod run;
mod service;
mod shape;
mod stack;
mod start;
mod stats;
mod swarm;
mod transfer;
mod version;
mod volume;

use crate::args::Command;

/// A word under which commands are found.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

pub(crate) const GROUPS: &[Group] = &[
    Group { name: "builder", about: "Manage builds" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "image", about: "Manage images" },
    Group { name: "config", about: "Manage configs of the cluster" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "node", about: "Manage nodes of the cluster" },
    Group { name: "secret", about: "Manage secrets of the cluster" },
    Group { name: "service", about: "Manage services of the cluster" },
    Group { name: "stack", about: "Manage stacks of services" },
    Group { name: "swarm", about: "Manage the cluster" },
    Group { name: "system", about: "Manage the engine" },
    Group { name: "volume", about: "Manage volumes" },
];

/// What is shown first in help.
pub(crate) const COMMON: &[&str] = &["run", "exec", "ps", "build", "pull"];

static TABLES: &[&[Command]] = &[
    build::COMMANDS,
    container::COMMANDS,
    copy::COMMANDS,
    disk::COMMANDS,
    events::COMMANDS,
    exec::COMMANDS,
    forward::COMMANDS,
    host::COMMANDS,
    image::COMMANDS,
    images::COMMANDS,
    info::COMMANDS,
    inspect::COMMANDS,
    kept::COMMANDS,
    list::COMMANDS,
    logs::COMMANDS,
    network::COMMANDS,
    node::COMMANDS,
    prune::COMMANDS,
    recovery::COMMANDS,
    registry::COMMANDS,
    run::COMMANDS,
    service::COMMANDS,
    stack::COMMANDS,
    start::COMMANDS,
    stats::COMMANDS,
    swarm::COMMANDS,
    transfer::COMMANDS,
    version::COMMANDS,
    volume::COMMANDS,
];

/// All commands.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    TABLES.iter().copied().flatten()
}

/// The command that has this name.
pub(crate) fn by_path(path: &str) -> Option<&'static Command> {
    all().find(|command| command.paths.contains(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_flags_are_unique() {
        let mut names: Vec<&str> = all().flat_map(|command| command.paths).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for command in all() {
            let flags = command.all_flags();
            for pair in flags.windows(2) {
                assert_ne!(pair[0].long, pair[1].long, "{}", command.paths[0]);
            }
            let mut letters: Vec<char> =
                flags.iter().map(|flag| flag.short).filter(|c| *c != '\0').collect();
            let count = letters.len();
            letters.sort_unstable();
            letters.dedup();
            assert_eq!(letters.len(), count, "{}", command.paths[0]);
        }
    }
}
