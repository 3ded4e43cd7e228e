//! The API's port to networks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use shoal_api::ports::Networks;
use shoal_engine::Engine;
use shoal_model::container::{EndpointSpec, Pruned};
use shoal_model::error::Fact;
use shoal_model::filters::{NetworkFilters, PruneFilters, all_labels};
use shoal_model::network::{Ipam, IpamPool, Network, NetworkDetails, NetworkMember, NetworkSpec};
use shoal_model::{ErrorKind, EventKind, Failure, NetworkId, ObjectKind, boolean};
use shoal_netoverlay::network::{self, Driver, PoolSpec};
use shoal_netoverlay::subnet::Subnet;

/// Networks that always exist.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Driver options that say what `EnableIPv4` and `EnableIPv6` of the request do.
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// Networks of this host.
#[derive(Debug)]
pub(crate) struct HostNetworks {
    pub(crate) networks: shoal_netoverlay::Networks,
    pub(crate) engine: Engine,
}

impl HostNetworks {
    fn publish(&self, action: &str, network: &network::Network) {
        let attributes = BTreeMap::from([
            ("name".to_owned(), network.spec.name.clone()),
            ("type".to_owned(), network.spec.driver.as_str().to_owned()),
        ]);
        self.engine.events().publish(EventKind::Network, action, network.id.as_str(), attributes);
    }

    /// A network of this host alone: those of the cluster are a manager's to show and to remove.
    fn local(&self, name: &str) -> Result<std::sync::Arc<network::Network>, Failure> {
        let network = self.networks.resolve(name)?;
        if is_of_cluster(&network) {
            let error = shoal_netoverlay::Error::NoSuchNetwork { name: name.to_owned() };
            return Err(error.into());
        }
        Ok(network)
    }

    /// A refusal because of members names them as dockerd does, where the network side knows ids only.
    fn with_members(&self, failure: Failure, network: &network::Network) -> Failure {
        let name = &network.spec.name;
        let members = self.engine.members_of_network(name);
        let endpoints = members.iter().filter_map(|container| {
            let id = &container.network.endpoints.get(name)?.endpoint_id;
            Some(format!("name:{:?} id:{:?}", container.name, id.get(..12).unwrap_or(id)))
        });
        let endpoints: Vec<String> = endpoints.collect();
        match failure.fact() {
            Some(Fact::NetworkInUse { network, .. }) if !endpoints.is_empty() => {
                let network = network.clone();
                Failure::of(failure.kind(), Fact::NetworkInUse { network, endpoints })
            }
            _ => failure,
        }
    }

    fn is_used(&self, network: &network::Network) -> bool {
        !self.engine.members_of_network(&network.spec.name).is_empty()
    }
}

#[async_trait]
impl Networks for HostNetworks {
    async fn list(&self, filters: NetworkFilters) -> Result<Vec<Network>, Failure> {
        let mut networks = self.networks.list();
        networks.retain(|network| !is_of_cluster(network));
        networks.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let fits = |network: &&std::sync::Arc<network::Network>| {
            fits(&filters, network)
                && filters.dangling.is_none_or(|dangling| {
                    !PREDEFINED.contains(&network.spec.name.as_str())
                        && dangling != self.is_used(network)
                })
        };
        Ok(networks.iter().filter(fits).map(|network| to_model(network)).collect())
    }

    async fn create(&self, spec: NetworkSpec) -> Result<(NetworkId, Vec<String>), Failure> {
        let network = self.networks.create_network(from_model(spec)?).await?;
        self.publish("create", &network);
        Ok((network.id.clone(), Vec::new()))
    }

    async fn inspect(&self, name: &str) -> Result<NetworkDetails, Failure> {
        let network = self.local(name)?;
        let mut members = BTreeMap::new();
        for container in self.engine.members_of_network(&network.spec.name) {
            let Some(endpoint) = container.network.endpoints.get(&network.spec.name) else {
                continue;
            };
            members.insert(
                container.id.as_str().to_owned(),
                NetworkMember {
                    name: container.name.clone(),
                    endpoint_id: endpoint.endpoint_id.clone(),
                    mac_address: endpoint.mac_address.clone(),
                    ipv4: endpoint.ipv4,
                    ipv6: endpoint.ipv6,
                },
            );
        }
        Ok(NetworkDetails { network: to_model(&network), members })
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        let network = self.local(name)?;
        let removed = self.networks.remove_network(network.id.clone()).await;
        removed.map_err(|error| self.with_members(error.into(), &network))?;
        self.publish("destroy", &network);
        Ok(())
    }

    async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: EndpointSpec,
    ) -> Result<(), Failure> {
        Ok(self.engine.connect(network, container, endpoint).await?)
    }

    async fn disconnect(&self, network: &str, container: &str, force: bool) -> Result<(), Failure> {
        match self.engine.disconnect(network, container).await {
            // The container is gone, and its endpoint with it.
            Err(_) if force && self.engine.resolve(container).is_err() => Ok(()),
            other => Ok(other?),
        }
    }

    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure> {
        let mut pruned = Pruned::default();
        for network in self.networks.list() {
            let name = &network.spec.name;
            if PREDEFINED.contains(&name.as_str())
                || is_of_cluster(&network)
                || self.is_used(&network)
                || !filters.matches(network.created, &network.spec.labels)
            {
                continue;
            }
            match self.networks.remove_network(network.id.clone()).await {
                Ok(()) => {
                    self.publish("destroy", &network);
                    pruned.removed.push(name.clone());
                }
                Err(error) => {
                    tracing::warn!(network = name, error = %shoal_model::error::Chain(&error), "not pruned");
                }
            }
        }
        Ok(pruned)
    }
}

fn is_of_cluster(network: &network::Network) -> bool {
    network.spec.driver == Driver::Overlay
}

fn fits(filters: &NetworkFilters, network: &network::Network) -> bool {
    let any = |values: &[String], test: &dyn Fn(&str) -> bool| {
        values.is_empty() || values.iter().any(|value| test(value))
    };
    let predefined = PREDEFINED.contains(&network.spec.name.as_str());
    any(&filters.ids, &|id| network.id.as_str().starts_with(id))
        && any(&filters.names, &|name| network.spec.name.contains(name))
        && any(&filters.drivers, &|driver| network.spec.driver.as_str() == driver)
        && any(&filters.scopes, &|scope| scope == "local")
        && all_labels(&filters.labels, &network.spec.labels)
        && filters.custom.is_none_or(|custom| custom != predefined)
}

fn to_model(network: &network::Network) -> Network {
    let spec = &network.spec;
    let asked = |pool: &network::Pool| {
        spec.pools.iter().any(|wanted| wanted.subnet.is_some_and(|s| s.network() == pool.subnet))
    };
    let pools = network.pools.iter().map(|pool| IpamPool {
        chosen: !asked(pool),
        subnet: pool.subnet.to_string(),
        ip_range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: Some(pool.gateway),
        auxiliary: pool
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    });
    Network {
        id: network.id.clone(),
        created: network.created,
        predefined: PREDEFINED.contains(&spec.name.as_str()),
        spec: NetworkSpec {
            name: spec.name.clone(),
            driver: spec.driver.as_str().to_owned(),
            scope: "local".to_owned(),
            enable_ipv4: Some(spec.ipv4),
            enable_ipv6: Some(spec.ipv6),
            ipam: Ipam {
                driver: "default".to_owned(),
                options: (!spec.ipam_options.is_empty()).then(|| spec.ipam_options.clone()),
                pools: pools.collect(),
            },
            internal: spec.internal,
            attachable: spec.attachable,
            options: spec.options.clone(),
            labels: spec.labels.clone(),
            ..NetworkSpec::default()
        },
    }
}

fn from_model(spec: NetworkSpec) -> Result<network::NetworkSpec, Failure> {
    let driver = match spec.driver.as_str() {
        "" | "bridge" => Driver::Bridge,
        "macvlan" => Driver::Macvlan,
        "ipvlan" => Driver::Ipvlan,
        other => return Err(no_plugin(other)),
    };
    if spec.ingress || spec.config_only || !spec.config_from.is_empty() {
        return Err(Failure::new(
            ErrorKind::NotImplemented,
            "networks for the routing mesh and configuration-only networks are not implemented",
        ));
    }
    if !matches!(spec.ipam.driver.as_str(), "" | "default") {
        return Err(no_plugin(&spec.ipam.driver));
    }
    let mut options = spec.options;
    let ipv4 = family(spec.enable_ipv4, &mut options, ENABLE_IPV4)?.unwrap_or(true);
    let ipv6 = family(spec.enable_ipv6, &mut options, ENABLE_IPV6)?.unwrap_or(false);
    Ok(network::NetworkSpec {
        name: spec.name,
        driver,
        ipv4,
        ipv6,
        internal: spec.internal,
        attachable: spec.attachable,
        labels: spec.labels,
        options,
        ipam_options: spec.ipam.options.unwrap_or_default(),
        pools: spec.ipam.pools.into_iter().map(pool).collect::<Result<_, _>>()?,
    })
}

/// A driver that is none of ours could only be a plugin.
fn no_plugin(name: &str) -> Failure {
    let object = ObjectKind::Plugin;
    Failure::of(ErrorKind::NotFound, Fact::NoSuch { object, name: name.to_owned() })
}

/// Whether a network has a family: what the field says, else the driver option. An option that the field
/// overrules is not kept.
fn family(
    field: Option<bool>,
    options: &mut BTreeMap<String, String>,
    option: &str,
) -> Result<Option<bool>, Failure> {
    if field.is_some() {
        options.remove(option);
        return Ok(field);
    }
    let Some(value) = options.get(option) else { return Ok(None) };
    let wrong = || Failure::invalid(format!("driver-opt \"{option}\" is not a valid bool"));
    boolean::parse(value).map(Some).ok_or_else(wrong)
}

fn pool(pool: IpamPool) -> Result<PoolSpec, Failure> {
    let subnet = |text: &str| -> Result<Option<Subnet>, Failure> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|error: shoal_netoverlay::subnet::Invalid| Failure::invalid(error.to_string()))
    };
    let mut auxiliary = BTreeMap::new();
    for (name, address) in pool.auxiliary {
        let parsed = address.parse().map_err(|_| {
            Failure::invalid(format!("invalid auxiliary address `{address}` of `{name}`"))
        })?;
        auxiliary.insert(name, parsed);
    }
    Ok(PoolSpec {
        subnet: subnet(&pool.subnet)?,
        range: subnet(&pool.ip_range)?,
        gateway: pool.gateway,
        auxiliary,
    })
}
