//! The names of a network of the cluster, made from its view. Pure.
//!
//! Source: moby `libnetwork/service_common.go` (names of services, `tasks.` and containers).

use std::collections::BTreeMap;
use std::net::IpAddr;

use shoal_model::cluster::NetworkView;

/// Names on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNames {
    /// Lower-case name to addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Names of addresses.
    pub pointers: BTreeMap<IpAddr, String>,
}

impl ClusterNames {
    /// What a view says. A name leads to the virtual addresses of its service, or to the addresses of its healthy
    /// tasks where it has none, as `tasks.<name>` always does.
    pub fn of(view: &NetworkView) -> Self {
        let mut found = Self::default();
        for service in &view.services {
            let healthy = view.healthy_of(service.id).flat_map(|one| &one.addresses);
            let tasks: Vec<IpAddr> = healthy.map(|prefix| prefix.address).collect();
            let shown = if service.virtual_ips.is_empty() { &tasks } else { &service.virtual_ips };
            for name in service.aliases.iter().chain([&service.name]) {
                found.add(name, shown);
            }
            found.add(&format!("tasks.{}", service.name), &tasks);
            for vip in &service.virtual_ips {
                found.pointers.insert(*vip, service.name.clone());
            }
        }
        for endpoint in view.endpoints.iter().filter(|endpoint| endpoint.healthy) {
            let addresses: Vec<IpAddr> =
                endpoint.addresses.iter().map(|prefix| prefix.address).collect();
            for name in endpoint.aliases.iter().chain([&endpoint.name]) {
                found.add(name, &addresses);
            }
            for address in addresses {
                found.pointers.insert(address, endpoint.name.clone());
            }
        }
        found
    }

    fn add(&mut self, name: &str, addresses: &[IpAddr]) {
        let known = self.names.entry(name.to_ascii_lowercase()).or_default();
        for address in addresses {
            if !known.contains(address) {
                known.push(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::view::{ViewEndpoint, ViewService};
    use shoal_model::cluster::{ClusterNetworkId, NodeId, ServiceId, TaskId};

    use super::*;

    fn endpoint(service: u8, number: u8, healthy: bool) -> ViewEndpoint {
        ViewEndpoint {
            task: TaskId::from_bytes([number; 16]),
            service: Some(ServiceId::from_bytes([service; 16])),
            node: NodeId::from_bytes([1; 16]),
            data_path: None,
            addresses: vec![format!("10.0.1.{number}/24").parse().unwrap()],
            mac: [0; 6],
            name: format!("s{service}.{number}"),
            aliases: Vec::new(),
            healthy,
        }
    }

    fn service(number: u8, name: &str, aliases: &[&str], vips: &[[u8; 4]]) -> ViewService {
        ViewService {
            id: ServiceId::from_bytes([number; 16]),
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            virtual_ips: vips.iter().map(|vip| IpAddr::from(*vip)).collect(),
        }
    }

    #[test]
    fn services_tasks_and_containers_have_names() {
        let view = NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version: 1,
            data_path_port: 4789,
            endpoints: vec![
                endpoint(1, 11, true),
                endpoint(1, 12, true),
                endpoint(1, 13, false),
                endpoint(2, 21, true),
            ],
            services: vec![
                service(1, "Web", &["www"], &[[10, 0, 1, 2]]),
                service(2, "db", &["www"], &[]),
            ],
            mesh: None,
        };
        let found = ClusterNames::of(&view);
        let shown: Vec<String> = found
            .names
            .iter()
            .map(|(name, list)| {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{name} {}", list.join(" "))
            })
            .collect();
        let expected = [
            "db 10.0.1.21",
            "s1.11 10.0.1.11",
            "s1.12 10.0.1.12",
            "s2.21 10.0.1.21",
            "tasks.db 10.0.1.21",
            "tasks.web 10.0.1.11 10.0.1.12",
            "web 10.0.1.2",
            "www 10.0.1.2 10.0.1.21",
        ];
        assert_eq!(shown, expected);
        assert_eq!(found.pointers.get(&[10, 0, 1, 2].into()).map(String::as_str), Some("Web"));
    }
}
