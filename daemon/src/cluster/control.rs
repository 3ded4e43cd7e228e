//! Checks and objects of membership that need no running node.

use shoal_base::random::Random;
use shoal_manager::consensus::Overview;
use shoal_manager::store;
use shoal_manager_core::store::Txn;
use shoal_model::cluster::object::Meta;
use shoal_model::cluster::overview::Quorum;
use shoal_model::cluster::request::Init;
use shoal_model::cluster::{ClusterNetwork, ClusterNetworkId, IpPrefix};
use shoal_model::error::{ErrorKind, Failure};
use shoal_model::network::{Ipam, IpamPool, NetworkSpec};

/// Smallest subnets of networks: 8 addresses.
const SUBNET_SIZE_MAX: u32 = 29;

/// Checks the address pools of a new cluster.
///
/// Source of the texts: moby `daemon/cluster/swarm.go`, `daemon/cluster/utils.go`.
pub(super) fn check_pools(request: &Init) -> Result<(), Failure> {
    if request.subnet_size > SUBNET_SIZE_MAX {
        return Err(Failure::invalid(format!(
            "invalid subnet size {}: it must be at most {SUBNET_SIZE_MAX}",
            request.subnet_size
        )));
    }
    let size = if request.subnet_size == 0 { 24 } else { request.subnet_size };
    let mut seen: Vec<(&str, IpPrefix)> = Vec::new();
    for text in &request.address_pools {
        let pool: IpPrefix = text.parse().map_err(|_| {
            Failure::invalid(format!("invalid base pool {text}: write a CIDR block"))
        })?;
        if !pool.address.is_ipv4() {
            return Err(Failure::invalid(format!("invalid base pool {text}: it must be IPv4")));
        }
        if u32::from(pool.length) > size {
            return Err(Failure::invalid(format!(
                "invalid CIDR: base pool {text} is smaller than a subnet of size {size}"
            )));
        }
        if let Some((other, _)) = seen.iter().find(|(_, other)| overlap(*other, pool)) {
            return Err(Failure::invalid(format!("invalid CIDR: {text} overlaps {other}")));
        }
        seen.push((text, pool));
    }
    Ok(())
}

fn overlap(a: IpPrefix, b: IpPrefix) -> bool {
    let (std::net::IpAddr::V4(x), std::net::IpAddr::V4(y)) = (a.address, b.address) else {
        return false;
    };
    let length = a.length.min(b.length);
    let mask = if length == 0 { 0 } else { u32::MAX << (32 - u32::from(length)) };
    x.to_bits() & mask == y.to_bits() & mask
}

/// The networks that every cluster has: those of each node by their names, and the routing mesh's.
///
/// Source: swarmkit `manager/manager.go` predefined and ingress networks.
pub(super) fn predefined(txn: &mut Txn, random: &dyn Random) -> Result<(), store::Error> {
    let mut put = |spec: NetworkSpec| {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        txn.put_network(ClusterNetwork {
            id: ClusterNetworkId::from_bytes(bytes),
            meta: Meta::default(),
            spec,
            allocation: None,
            error: String::new(),
            predefined: true,
        })
        .map_err(store::Error::Rejected)
    };
    for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
        put(NetworkSpec {
            name: name.to_owned(),
            driver: driver.to_owned(),
            ..NetworkSpec::default()
        })?;
    }
    let pool = IpamPool {
        subnet: "10.0.0.0/24".to_owned(),
        gateway: Some(std::net::Ipv4Addr::new(10, 0, 0, 1).into()),
        ..IpamPool::default()
    };
    put(NetworkSpec {
        name: "ingress".to_owned(),
        driver: "overlay".to_owned(),
        ingress: true,
        // Clients that come by IPv6 are seen, too (ADR 9).
        enable_ipv6: Some(true),
        ipam: Ipam { pools: vec![pool], ..Ipam::default() },
        ..NetworkSpec::default()
    })
}

/// Why a manager does not leave without force; `seen`: consensus, when a leader answers.
///
/// Source of the texts: moby `daemon/cluster/swarm.go Leave`.
pub(super) fn leaving(seen: Option<&Overview>) -> Failure {
    let mut text =
        "You are attempting to leave the swarm on a node that is participating as a manager. "
            .to_owned();
    let refuse = |text: String| Failure::new(ErrorKind::Unavailable, text);
    match seen.map(Overview::quorum) {
        None => text.push_str("Doing so may lose the consensus of your cluster. "),
        Some(Quorum { voters, reachable, .. }) => {
            if voters <= 1 {
                text.push_str(
                    "Removing the last manager erases all current state of the swarm. Use `--force` to \
                     ignore this message. ",
                );
                return refuse(text);
            }
            // The others go on with the same number of members: nobody has removed this one.
            if reachable.saturating_sub(1) < voters / 2 + 1 {
                text.push_str(&format!(
                    "Removing this node leaves {} managers out of {voters}. Without a Raft quorum your swarm \
                     will be inaccessible. ",
                    reachable.saturating_sub(1)
                ));
            }
        }
    }
    text.push_str(
        "The only way to restore a swarm that has lost consensus is to reinitialize it with \
         `--force-new-cluster`. Use `--force` to suppress this message.",
    );
    refuse(text)
}
