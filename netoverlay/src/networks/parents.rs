//! Networks directly on a link of the host: their parents, and the links of their members.
//!
//! A member's link is made inside its sandbox at once; nothing of it is in the host's namespace. It is removed
//! before the namespace is let go: the kernel frees a namespace later, and until then its address is taken.

use std::os::fd::AsFd;

use super::Inner;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::kernel::link::{self, SubLink};
use crate::kernel::namespace::{self, Namespace};
use crate::kernel::socket::{Acknowledge, Message};
use crate::network::{Driver, Network};
use crate::parent::{Mode, Origin, ParentOptions};
use crate::sandbox::Sandbox;

impl Inner {
    /// Decides where the parent of a new network comes from, and makes it.
    pub(super) fn make_parent(&self, network: &mut Network) -> Result<(), Error> {
        let name = network.spec.name.clone();
        let driver = network.spec.driver;
        let Some(options) = &mut network.parent else { return Ok(()) };
        self.check_shared(options, &name)?;
        if options.origin == Origin::Host && self.find_link(&options.parent)?.is_none() {
            if options.vlan().is_none() {
                let parent = options.parent.clone();
                return Err(Error::NoParent { network: name, parent });
            }
            options.origin = Origin::Vlan;
        }
        self.ensure_parent(options, &name)?;
        self.probe(driver)
    }

    /// A parent in passthru mode has one network only.
    fn check_shared(&self, options: &ParentOptions, network: &str) -> Result<(), Error> {
        let state = self.state();
        let mut others = state.networks.values().map(|entry| &entry.network);
        let shared = others.find(|other| {
            let exclusive = |one: &ParentOptions| one.mode == Mode::Passthru;
            other.parent.as_ref().is_some_and(|theirs| {
                theirs.parent == options.parent && (exclusive(theirs) || exclusive(options))
            })
        });
        match shared {
            Some(other) => Err(Error::ParentTaken {
                network: network.to_owned(),
                parent: options.parent.clone(),
                by: other.spec.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Makes a parent that is ours where it is missing; answers its index. `None`: it is the host's and gone.
    pub(super) fn ensure_parent(
        &self,
        options: &ParentOptions,
        network: &str,
    ) -> Result<Option<u32>, Error> {
        if let Some(index) = self.find_link(&options.parent)? {
            return Ok(Some(index));
        }
        let (kind, create) = match (options.origin, options.vlan()) {
            (Origin::Dummy, _) => ("dummy", link::create_dummy(&options.parent)),
            (Origin::Vlan, Some((below, number))) => {
                let below_index = self.find_link(below)?.ok_or_else(|| Error::NoParent {
                    network: network.to_owned(),
                    parent: below.to_owned(),
                })?;
                ("vlan", link::create_vlan(&options.parent, below_index, number))
            }
            _ => return Ok(None),
        };
        let made = self.host.route().transact(&[create], Acknowledge::Each);
        made.map_err(|source| match source.errno() {
            Some(libc::EOPNOTSUPP) => Error::NoLinkKind { kind, source },
            _ => Error::Parent { parent: options.parent.clone(), step: "create", source },
        })?;
        self.find_link(&options.parent)
    }

    /// Removes a parent that was made with the network.
    pub(super) fn remove_parent(&self, network: &Network) -> Result<(), Error> {
        let Some(options) = network.parent.as_ref().filter(|one| one.origin != Origin::Host) else {
            return Ok(());
        };
        self.host.remove_link(&options.parent).map_err(|source| Error::Parent {
            parent: options.parent.clone(),
            step: "remove",
            source,
        })
    }

    /// Whether the kernel has links of this kind at all: better refused with the network than with its first
    /// container.
    fn probe(&self, driver: Driver) -> Result<(), Error> {
        let kind = driver.as_str();
        let asked = self.host.route().transact(&[link::probe(driver)], Acknowledge::Each);
        match asked {
            Err(source) if source.errno() == Some(libc::EOPNOTSUPP) => {
                Err(Error::NoLinkKind { kind, source })
            }
            // Incomplete on purpose, and refused for that where the kind is known.
            _ => Ok(()),
        }
    }

    fn find_link(&self, name: &str) -> Result<Option<u32>, Error> {
        let found = link::find(&mut self.host.route(), name).map_err(Error::ReadHost)?;
        Ok(found.map(|link| link.index))
    }

    /// The message that makes a member's link.
    pub(super) fn member_link(
        &self,
        network: &Network,
        options: &ParentOptions,
        endpoint: &Endpoint,
        namespace: &Namespace,
    ) -> Result<Message, Error> {
        let name = &network.spec.name;
        let gone = || Error::NoParent { network: name.clone(), parent: options.parent.clone() };
        let parent = self.ensure_parent(options, name)?.ok_or_else(gone)?;
        Ok(link::create_sub_link(&SubLink {
            name: &endpoint.interface,
            parent,
            mode: options.mode,
            flag: options.flag,
            mac: (network.spec.driver == Driver::Macvlan).then_some(endpoint.mac),
            namespace: namespace.as_fd(),
        }))
    }

    /// Removes the links of members inside a sandbox; absent ones are fine.
    pub(super) fn remove_member_links<'a>(
        &self,
        sandbox: &Sandbox,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<(), Error> {
        let mut endpoints = endpoints.into_iter().filter(|one| one.on_parent).peekable();
        if endpoints.peek().is_none() || !namespace::is_pinned(&sandbox.path) {
            return Ok(());
        }
        let mut namespace = self.open_namespace(sandbox)?;
        let failures = endpoints.filter_map(|endpoint| {
            let removed = link::remove(namespace.route(), &endpoint.interface);
            removed.err().map(|source| Error::Link {
                sandbox: sandbox.id.clone(),
                step: "remove an interface",
                source,
            })
        });
        Error::collect(failures.collect())
    }
}
