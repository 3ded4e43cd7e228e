//! dockerd's words for what the network side refuses.
//!
//! Source: moby `daemon/network.go`, `daemon/container_operations.go`, `daemon/libnetwork/error.go`,
//! `daemon/libnetwork/ipamapi/contract.go`, `daemon/libnetwork/endpoint.go`, `daemon/libnetwork/network.go`,
//! `daemon/libnetwork/portallocator/portallocator.go`.

use shoal_model::{Fact, NetworkRefusal};

/// The words of a refusal.
pub(super) fn words(refusal: &NetworkRefusal) -> String {
    use NetworkRefusal as R;
    match refusal {
        // The blank at the end is dockerd's.
        R::ReservedName { name } => {
            format!("operation is not permitted on predefined {name} network ")
        }
        R::Predefined { name } => format!("{name} is a pre-defined network and cannot be removed"),
        R::NoName => "invalid name: name is empty".to_owned(),
        R::NameTaken { name } => format!("network with name {name} already exists"),
        // Programs know docker's sentence; people need to know which.
        R::Overlap { detail } => format!(
            "invalid pool request: Pool overlaps with other one on this address space: {detail}"
        ),
        R::SeveralSubnets => "bridge driver doesn't support multiple subnets".to_owned(),
        R::NoFamily => "IPv4 or IPv6 must be enabled".to_owned(),
        R::PoolsExhausted => "all predefined address pools have been fully subnetted".to_owned(),
        R::GatewayTaken { gateway } => {
            format!("failed to allocate gateway ({gateway}): Address already in use")
        }
        R::AuxiliaryTaken { name, address } => format!(
            "failed to allocate secondary ip address ({name}:{address}): Address already in use"
        ),
        R::AddressesExhausted { network, id, ipv6 } => {
            let family = if *ipv6 { 6 } else { 4 };
            format!(
                "no available IPv{family} addresses on this network's address pools: {network} ({id})"
            )
        }
        R::AddressTaken { .. } => "Address already in use".to_owned(),
        R::PortTaken { address } => {
            let (ip, port) = (address.ip(), address.port());
            format!("Bind for {ip}:{port} failed: port is already allocated")
        }
        R::PortsTaken { host, first, last } => {
            format!("Bind for {host}:{first}-{last} failed: all ports are allocated")
        }
        R::Joined { container, network } => {
            format!("endpoint with name {container} already exists in network {network}")
        }
        R::NotJoined { container, network, running: true } => {
            format!("container {container} is not connected to network {network}")
        }
        R::NotJoined { container, network, running: false } => {
            format!("container {container} is not connected to the network {network}")
        }
        R::JoinHost => {
            "cannot connect container to host network - container must be created in host \
                        network mode"
                .to_owned()
        }
        R::LeaveHost => {
            "cannot disconnect container from host network - container was created in host \
                         network mode"
                .to_owned()
        }
        R::SharedStack => {
            "container sharing network namespace with another container or host cannot be \
                           connected to any other network"
                .to_owned()
        }
        R::NoneMode => {
            "container cannot be connected to multiple networks with one of the networks in \
                        private (none) mode"
                .to_owned()
        }
        R::JoinMissing { name } => {
            format!("joining network namespace of container: No such container: {name}")
        }
        R::JoinStopped { container, state } => format!(
            "cannot join network namespace of a non running container: container {container} is {state}"
        ),
        R::JoinSelf => "cannot join own network namespace".to_owned(),
        R::BeingRemoved { container } => format!(
            "Container {container} is marked for removal and cannot be connected or disconnected to the \
             network"
        ),
    }
}

/// The words for a start that failed because of the network.
pub(super) fn set_up(container: &str, cause: &Fact, words: &str) -> String {
    let programming = match cause {
        Fact::Network(NetworkRefusal::PortTaken { .. } | NetworkRefusal::PortsTaken { .. }) => {
            format!("driver failed programming external connectivity on endpoint {container}: ")
        }
        _ => String::new(),
    };
    format!("failed to set up container networking: {programming}{words}")
}
