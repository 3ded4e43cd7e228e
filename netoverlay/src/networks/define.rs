//! Networks come and go: names, subnets, bridges, files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use shoal_base::random::id32;
use shoal_model::NetworkId;

use super::Inner;
use super::host::set_sysctl;
use crate::error::Error;
use crate::ipam::{self, Pool as Supply, choose};
use crate::network::{BridgeOptions, Driver, Network, NetworkSpec, Pool, PoolSpec};
use crate::parent::ParentOptions;
use crate::sandbox::SandboxId;
use crate::subnet::Subnet;

/// Names of the networks that always exist.
const PREDEFINED: [(&str, Driver); 3] =
    [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)];

impl Inner {
    /// Reads the definitions, and makes the pre-defined networks as the settings say.
    pub(super) fn load_networks(&self) -> Result<(), Error> {
        let mut stored = self.store.networks()?;
        for (name, driver) in PREDEFINED {
            let position = stored.iter().position(|network| network.spec.name == name);
            let known = position.map(|position| stored.swap_remove(position));
            if driver == Driver::Bridge && !self.settings.default_network {
                continue;
            }
            let network = match driver {
                Driver::Bridge => self.default_bridge(known.as_ref())?,
                Driver::Host
                | Driver::Null
                | Driver::Macvlan
                | Driver::Ipvlan
                | Driver::Overlay => known.clone().unwrap_or_else(|| {
                    let spec = NetworkSpec { driver, ipv4: true, ..NetworkSpec::bridge(name) };
                    self.new_network(spec, Vec::new(), None)
                }),
            };
            if known.as_ref() != Some(&network) {
                self.store.write_network(&network)?;
            }
            self.state().add_network(network);
        }
        for network in stored {
            self.state().add_network(network);
        }
        Ok(())
    }

    /// Removes what an earlier daemon made of a default network that is now disabled.
    pub(super) fn drop_disabled_default(&self) -> Result<(), Error> {
        if self.settings.default_network {
            return Ok(());
        }
        let stored = self.store.networks()?;
        let Some(left) = stored.into_iter().find(|network| network.spec.name == "bridge") else {
            return Ok(());
        };
        self.remove_bridge(&left)?;
        self.store.remove_network(&left.id)
    }

    /// Network `bridge`: settings first, then as it was, then the bridge that is there, then a pool.
    fn default_bridge(&self, known: Option<&Network>) -> Result<Network, Error> {
        let settings = &self.settings;
        let name = &settings.bridge;
        let before = known
            .and_then(|network| network.pool(true))
            .map(|pool| Subnet { address: pool.gateway, prefix: pool.subnet.prefix });
        let address = match settings.bridge_address.or(before) {
            Some(address) => address,
            None => match self.host.address_of(name)? {
                Some(address) => address,
                None => self.free_subnet("bridge", true)?,
            },
        };
        let wanted = PoolSpec {
            subnet: Some(address.network()),
            range: settings.bridge_range,
            gateway: (address.network() != address).then_some(address.address),
            auxiliary: BTreeMap::new(),
        };
        let pool = complete_pool("bridge", address, &wanted)?;
        let mut options = BridgeOptions::parse(&BTreeMap::new(), name.clone(), settings.mtu)?;
        options.inter_container = settings.inter_container;
        options.masquerade = settings.masquerade;
        let spec = NetworkSpec {
            options: docker_options(&options),
            pools: vec![wanted],
            ..NetworkSpec::bridge("bridge")
        };
        let mut network = self.new_network(spec, vec![pool], Some(options));
        if let Some(known) = known {
            network.id = known.id.clone();
            network.created = known.created;
        }
        Ok(network)
    }

    fn new_network(
        &self,
        spec: NetworkSpec,
        pools: Vec<Pool>,
        bridge: Option<BridgeOptions>,
    ) -> Network {
        let id = NetworkId::from_bytes(id32(&*self.ports.random));
        Network {
            id,
            created: self.ports.clock.now(),
            spec,
            pools,
            bridge,
            parent: None,
            overlay: None,
            mesh: None,
        }
    }

    pub(super) fn create_network(&self, spec: NetworkSpec) -> Result<Arc<Network>, Error> {
        check_name(&spec.name)?;
        if !spec.driver.has_endpoints() || spec.driver == Driver::Overlay {
            return Err(Error::UnknownDriver { driver: spec.driver.as_str().to_owned() });
        }
        let pools = self.complete_pools(&spec)?;
        let mut network = self.new_network(spec, pools, None);
        let options = &network.spec.options;
        if network.spec.driver == Driver::Bridge {
            let name = format!("br-{}", network.id.short());
            network.bridge = Some(BridgeOptions::parse(options, name, self.settings.mtu)?);
        } else {
            let dummy = format!("dm-{}", network.id.short());
            network.parent = Some(ParentOptions::parse(network.spec.driver, options, dummy)?);
        }
        if let Err(error) = self.make_parent(&mut network) {
            self.log_leftover(&network, [self.remove_unshared_parent(&network)]);
            return Err(error);
        }
        if let Err(error) = self.insert_checked(&network) {
            self.log_leftover(&network, [self.remove_unshared_parent(&network)]);
            return Err(error);
        }
        let made = self
            .store
            .write_network(&network)
            .and_then(|()| self.realize(&network))
            .map(|()| Arc::new(network.clone()));
        if made.is_err() {
            self.undo_network(&network);
        }
        made
    }

    /// Adds a network to the state unless a name, bridge or subnet is taken: under one lock, because
    /// several may be created at once.
    fn insert_checked(&self, network: &Network) -> Result<(), Error> {
        let mut state = self.state();
        let name = &network.spec.name;
        for other in state.networks.values().map(|entry| &entry.network) {
            if other.spec.name == *name {
                return Err(Error::NetworkExists { name: name.clone() });
            }
            if let (Some(one), Some(two)) = (&network.bridge, &other.bridge)
                && one.name == two.name
            {
                let by = other.spec.name.clone();
                return Err(Error::BridgeTaken { bridge: one.name.clone(), by });
            }
            for (pool, taken) in product(&network.pools, &other.pools) {
                if pool.subnet.overlaps(taken.subnet) {
                    return Err(Error::Overlap {
                        network: name.clone(),
                        subnet: pool.subnet,
                        with: format!("`{}` of network `{}`", taken.subnet, other.spec.name),
                    });
                }
            }
        }
        state.add_network(network.clone());
        Ok(())
    }

    /// Makes rules and bridge. Rules come first: the bridge is never without its isolation.
    pub(super) fn realize(&self, network: &Network) -> Result<(), Error> {
        self.apply_rules()?;
        if self.settings.forwarding {
            set_sysctl("ipv4/ip_forward", "1")?;
        }
        if self.settings.forwarding && network.pool(false).is_some() {
            set_sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        let index = self.host.ensure_bridge(network)?;
        self.state().entry(&network.id)?.bridge_index = index;
        Ok(())
    }

    fn undo_network(&self, network: &Network) {
        self.state().networks.remove(&network.id);
        let undone = [
            self.remove_bridge(network),
            self.remove_unshared_parent(network),
            self.host.apply_rules(|| self.desired_rules()).map(drop),
            self.store.remove_network(&network.id),
        ];
        self.log_leftover(network, undone);
    }

    /// Removes a parent that was made with the network, unless another network lies on it meanwhile.
    fn remove_unshared_parent(&self, network: &Network) -> Result<(), Error> {
        let Some(own) = &network.parent else { return Ok(()) };
        let shared = {
            let state = self.state();
            let mut others = state.networks.values().filter_map(|one| one.network.parent.as_ref());
            others.any(|other| other.parent == own.parent)
        };
        if shared { Ok(()) } else { self.remove_parent(network) }
    }

    fn log_leftover<const N: usize>(&self, network: &Network, undone: [Result<(), Error>; N]) {
        for error in undone.into_iter().filter_map(Result::err) {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(network = network.spec.name, error, "left behind by a failed creation");
        }
    }

    pub(super) fn remove_bridge(&self, network: &Network) -> Result<(), Error> {
        let Some(bridge) = &network.bridge else { return Ok(()) };
        self.host.remove_link(&bridge.name).map_err(|source| Error::Bridge {
            bridge: bridge.name.clone(),
            step: "remove",
            source,
        })
    }

    pub(super) fn remove_network(&self, id: &NetworkId) -> Result<(), Error> {
        let network = {
            let mut state = self.state();
            let entry = state.entry(id)?;
            let network = Arc::clone(&entry.network);
            let name = &network.spec.name;
            if PREDEFINED.iter().any(|(predefined, _)| name == predefined) {
                return Err(Error::Predefined { name: name.clone() });
            }
            let endpoints: Vec<String> = entry.endpoints().map(SandboxId::to_string).collect();
            if !endpoints.is_empty() {
                return Err(Error::NetworkInUse { network: name.clone(), endpoints });
            }
            state.networks.remove(id);
            network
        };
        // The file goes last: a network that was not wholly removed comes back with the next start.
        let removed = self
            .remove_bridge(&network)
            .and_then(|()| self.remove_unshared_parent(&network))
            .and_then(|()| self.host.apply_rules(|| self.desired_rules()).map(drop))
            .and_then(|()| self.store.remove_network(id));
        if removed.is_err() {
            self.state().add_network(Network::clone(&network));
        }
        removed
    }

    pub(super) fn clear(&self) -> Result<(), Error> {
        let networks: Vec<_> = {
            let mut state = self.state();
            let entries = state.networks.values_mut();
            entries
                .map(|entry| {
                    entry.bridge_index = None;
                    Arc::clone(&entry.network)
                })
                .collect()
        };
        let mut results: Vec<_> =
            networks.iter().map(|network| self.remove_bridge(network)).collect();
        if let Some(network) = networks.iter().find(|network| network.mesh.is_some()) {
            results.push(self.host.apply_mesh(None).map(drop));
            results.push(self.remove_all_ways());
            results.push(self.remove_mesh_links(network));
        }
        results.push(self.withdraw_admission());
        results.push(self.host.drop_rules());
        Error::collect(results.into_iter().filter_map(Result::err).collect())
    }

    fn complete_pools(&self, spec: &NetworkSpec) -> Result<Vec<Pool>, Error> {
        let name = &spec.name;
        if !spec.ipv4 && !spec.ipv6 {
            return Err(Error::NoFamily { network: name.clone() });
        }
        let used = self.host.used_subnets(None)?;
        let mut pools: Vec<Pool> = Vec::new();
        for wanted in &spec.pools {
            let Some(subnet) = wanted.subnet else { continue };
            // A subnet of a family that the network does not have is not looked at, as with docker.
            if !(if subnet.is_ipv4() { spec.ipv4 } else { spec.ipv6 }) {
                continue;
            }
            let again = pools.iter().any(|pool| pool.subnet.is_ipv4() == subnet.is_ipv4());
            if spec.driver == Driver::Bridge && again {
                return Err(Error::SeveralSubnets { network: name.clone() });
            }
            if subnet.network() != subnet {
                let why = "host bits are set";
                return Err(Error::InvalidSubnet { network: name.clone(), subnet, why });
            }
            let ours = |used: &&Subnet| self.is_ours(**used);
            // A network on a link of the host usually has that link's subnet.
            let apart = spec.driver == Driver::Bridge;
            if let Some(route) =
                used.iter().filter(|used| apart && !ours(used)).find(|used| used.overlaps(subnet))
            {
                let with = format!("`{route}`, which the host routes elsewhere");
                return Err(Error::Overlap { network: name.clone(), subnet, with });
            }
            pools.push(complete_pool(name, subnet, wanted)?);
        }
        for (ipv4, enabled) in [(true, spec.ipv4), (false, spec.ipv6)] {
            if enabled && !pools.iter().any(|pool| pool.subnet.is_ipv4() == ipv4) {
                let subnet = self.free_subnet(name, ipv4)?;
                let open = spec.pools.iter().find(|pool| {
                    let family = pool.gateway.is_none_or(|gateway| gateway.is_ipv4() == ipv4);
                    pool.subnet.is_none() && family
                });
                pools.push(complete_pool(name, subnet, &open.cloned().unwrap_or_default())?);
            }
        }
        for (index, pool) in pools.iter().enumerate() {
            if let Some(other) =
                pools[..index].iter().find(|other| other.subnet.overlaps(pool.subnet))
            {
                let with = format!("`{}` of the same network", other.subnet);
                return Err(Error::Overlap { network: name.clone(), subnet: pool.subnet, with });
            }
        }
        Ok(pools)
    }

    /// Whether a route belongs to one of our own networks: those are compared by name.
    fn is_ours(&self, route: Subnet) -> bool {
        let state = self.state();
        let mut pools = state.networks.values().flat_map(|entry| &entry.network.pools);
        pools.any(|pool| pool.subnet.contains(route.address) && pool.subnet.prefix <= route.prefix)
    }

    fn free_subnet(&self, network: &str, ipv4: bool) -> Result<Subnet, Error> {
        let mut used = self.host.used_subnets(None)?;
        let mut pools = self.settings.pools.clone();
        {
            let state = self.state();
            let entries = state.networks.values();
            used.extend(entries.flat_map(|entry| &entry.network.pools).map(|pool| pool.subnet));
        }
        if !ipv4 {
            pools.push(self.unique_local());
        }
        choose(&pools, ipv4, &used)
            .map_err(|source| Error::Pools { network: network.to_owned(), source })
    }

    /// A supply of IPv6 subnets of this daemon's own (RFC 4193), fixed by the id of network `bridge`.
    fn unique_local(&self) -> Supply {
        let state = self.state();
        let id = state.resolve("bridge").map(|entry| entry.network.id.clone());
        let digits = id.map_or_else(|_| "0".repeat(10), |id| id.as_str()[..10].to_owned());
        let global = u128::from_str_radix(&digits, 16).unwrap_or_default();
        let bits = 0xfd_u128 << 120 | global << 80;
        let base = Subnet { address: std::net::Ipv6Addr::from_bits(bits).into(), prefix: 48 };
        Supply { base, size: 64 }
    }
}

fn product<'a, T>(one: &'a [T], two: &'a [T]) -> impl Iterator<Item = (&'a T, &'a T)> {
    one.iter().flat_map(move |first| two.iter().map(move |second| (first, second)))
}

/// Any name that is not blank, as with docker.
fn check_name(name: &str) -> Result<(), Error> {
    if PREDEFINED.iter().any(|(predefined, _)| name == *predefined) {
        return Err(Error::ReservedName { name: name.to_owned() });
    }
    if name.trim().is_empty() { Err(Error::NoName) } else { Ok(()) }
}

/// Checks a pool against its subnet and gives it a gateway.
fn complete_pool(network: &str, subnet: Subnet, wanted: &PoolSpec) -> Result<Pool, Error> {
    let subnet = subnet.network();
    let invalid = |why| Error::InvalidSubnet { network: network.to_owned(), subnet, why };
    if subnet.host_bits() < 2 {
        return Err(invalid("it has no room for a gateway and an endpoint"));
    }
    if let Some(range) = wanted.range
        && !(subnet.contains(range.address) && range.prefix >= subnet.prefix)
    {
        return Err(invalid("the IP range lies outside of it"));
    }
    let mut free = ipam::Addresses::new(subnet, wanted.range, []);
    let mut take = |address| match free.take(address) {
        Err(ipam::Error::Outside { .. }) if !subnet.contains(address) => {
            Err(Some(invalid("the gateway or an auxiliary address lies outside of it")))
        }
        taken => taken.map(drop).map_err(|_| None),
    };
    if let Some(gateway) = wanted.gateway {
        let taken = || Error::GatewayTaken { network: network.to_owned(), gateway };
        take(gateway).map_err(|error| error.unwrap_or_else(taken))?;
    }
    for (name, address) in &wanted.auxiliary {
        let taken = || Error::AuxiliaryTaken {
            network: network.to_owned(),
            name: name.clone(),
            address: *address,
        };
        take(*address).map_err(|error| error.unwrap_or_else(taken))?;
    }
    let gateway = wanted.gateway.or_else(|| first_free(subnet, wanted));
    let gateway = gateway.ok_or_else(|| invalid("no address is left for the gateway"))?;
    Ok(Pool { subnet, range: wanted.range, gateway, auxiliary: wanted.auxiliary.clone() })
}

/// The first address of the range, or of the subnet, that is not reserved.
fn first_free(subnet: Subnet, wanted: &PoolSpec) -> Option<IpAddr> {
    let reserved = wanted.auxiliary.values().copied();
    ipam::Addresses::new(subnet, wanted.range, reserved)
        .take_next()
        .ok()
        .map(|address| address.address)
}

/// The options that docker shows for network `bridge`.
fn docker_options(options: &BridgeOptions) -> BTreeMap<String, String> {
    [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", options.inter_container.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", options.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0".to_owned()),
        ("com.docker.network.bridge.name", options.name.clone()),
        ("com.docker.network.driver.mtu", options.mtu.to_string()),
    ]
    .map(|(option, value)| (option.to_owned(), value))
    .into()
}
