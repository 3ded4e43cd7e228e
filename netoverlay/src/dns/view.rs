//! Who is called what, on which network. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use shoal_model::NetworkId;
use shoal_model::cluster::NetworkView;

use super::cluster::ClusterNames;
use super::message::{Answer, Kind, Query, pointer_address};
use crate::plan::turn::Turn;
use crate::sandbox::SandboxId;

/// A sandbox on one network that has names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The network.
    pub network: NetworkId,
    /// Its name: `<name>.<network name>` is a name too.
    pub network_name: String,
    /// Names of the sandbox there, the main one first.
    pub names: Vec<String>,
    /// Names that only this sandbox may use, each for a name of another.
    pub links: BTreeMap<String, String>,
    /// Address.
    pub ipv4: Option<Ipv4Addr>,
    /// Address.
    pub ipv6: Option<Ipv6Addr>,
}

/// What the view says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The name exists; there may be no answer of the wanted kind.
    Answers(Vec<Answer>),
    /// The view does not know the name: somebody else may.
    Unknown,
}

/// All names of this host.
#[derive(Debug, Default)]
pub struct View {
    sandboxes: BTreeMap<SandboxId, Vec<Membership>>,
    /// By network and lower-case name.
    names: BTreeMap<(NetworkId, String), Vec<SandboxId>>,
    /// Names on networks of the cluster; they come before those of sandboxes of this host.
    cluster: BTreeMap<NetworkId, Shown>,
}

/// A view, and the names in it.
#[derive(Debug)]
struct Shown {
    view: Arc<NetworkView>,
    names: ClusterNames,
}

impl View {
    /// Sets the networks of a sandbox, the one that answers first in front.
    pub fn set(&mut self, sandbox: &SandboxId, memberships: Vec<Membership>) {
        self.remove(sandbox);
        for membership in &memberships {
            for name in &membership.names {
                let key = (membership.network.clone(), name.to_ascii_lowercase());
                let owners = self.names.entry(key).or_default();
                if !owners.contains(sandbox) {
                    owners.push(sandbox.clone());
                }
            }
        }
        self.sandboxes.insert(sandbox.clone(), memberships);
    }

    /// Forgets a sandbox.
    pub fn remove(&mut self, sandbox: &SandboxId) {
        for membership in self.sandboxes.remove(sandbox).into_iter().flatten() {
            for name in &membership.names {
                let key = (membership.network.clone(), name.to_ascii_lowercase());
                if let Some(owners) = self.names.get_mut(&key) {
                    owners.retain(|owner| owner != sandbox);
                    if owners.is_empty() {
                        self.names.remove(&key);
                    }
                }
            }
        }
    }

    /// Shows the names on a network of the cluster as its view says; `None`: it has none any more. Costs what differs
    /// from the view before.
    pub fn show_cluster(&mut self, network: NetworkId, view: Option<Arc<NetworkView>>) {
        let Some(view) = view else {
            self.cluster.remove(&network);
            return;
        };
        match self.cluster.get_mut(&network) {
            Some(shown) => {
                shown.names.take(&Turn::between(&shown.view, &view));
                shown.view = view;
            }
            None => {
                let names = ClusterNames::of(&view);
                self.cluster.insert(network, Shown { view, names });
            }
        }
    }

    /// Answers a sandbox. Several owners of a name come in turns, by the query's id.
    ///
    /// Source: moby `libnetwork/sandbox.go` ResolveName: the first network that knows the name answers.
    pub fn find(&self, asker: &SandboxId, query: &Query) -> Found {
        let own = self.sandboxes.get(asker).map(Vec::as_slice).unwrap_or_default();
        if query.kind == Kind::Pointer {
            let name = pointer_address(&query.name).and_then(|address| self.pointer(own, address));
            return name.map_or(Found::Unknown, |name| Found::Answers(vec![Answer::Name(name)]));
        }
        for membership in own {
            if let Some(addresses) = self.of_cluster(membership, &query.name) {
                let wanted = addresses.into_iter().filter(|address| match query.kind {
                    Kind::A => address.is_ipv4(),
                    Kind::Aaaa => address.is_ipv6(),
                    Kind::Pointer | Kind::Other(_) => false,
                });
                return Found::Answers(in_turns(query, wanted.map(Answer::Address)));
            }
            let owners = self.owners(membership, &query.name);
            if owners.is_empty() {
                continue;
            }
            let there = owners.iter().filter_map(|owner| {
                let joined = self.sandboxes.get(owner)?;
                joined.iter().find(|other| other.network == membership.network)
            });
            let answers = there
                .filter_map(|member| match query.kind {
                    Kind::A => member.ipv4.map(IpAddr::V4),
                    Kind::Aaaa => member.ipv6.map(IpAddr::V6),
                    Kind::Pointer | Kind::Other(_) => None,
                })
                .map(Answer::Address);
            return Found::Answers(in_turns(query, answers));
        }
        Found::Unknown
    }

    fn of_cluster(&self, membership: &Membership, name: &str) -> Option<Vec<IpAddr>> {
        let known = &self.cluster.get(&membership.network)?.names;
        let name = name.to_ascii_lowercase();
        let suffix = format!(".{}", membership.network_name.to_ascii_lowercase());
        known.addresses(&name).or_else(|| known.addresses(name.strip_suffix(&suffix)?))
    }

    fn owners(&self, membership: &Membership, name: &str) -> &[SandboxId] {
        let linked = membership.links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let name = linked.map_or_else(|| name.to_owned(), |(_, name)| name.to_ascii_lowercase());
        let suffix = format!(".{}", membership.network_name.to_ascii_lowercase());
        let short = name.strip_suffix(&suffix).map(str::to_owned);
        [Some(name), short]
            .into_iter()
            .flatten()
            .find_map(|name| self.names.get(&(membership.network.clone(), name)))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn pointer(&self, own: &[Membership], address: IpAddr) -> Option<String> {
        own.iter().find_map(|membership| {
            let of_cluster = self.cluster.get(&membership.network);
            if let Some(name) = of_cluster.and_then(|shown| shown.names.pointer(address)) {
                return Some(format!("{name}.{}", membership.network_name));
            }
            let on_network = self
                .sandboxes
                .values()
                .flatten()
                .filter(|member| member.network == membership.network);
            let mut at_address = on_network.filter(|member| {
                member.ipv4.map(IpAddr::V4) == Some(address)
                    || member.ipv6.map(IpAddr::V6) == Some(address)
            });
            let name = at_address.next()?.names.first()?;
            Some(format!("{name}.{}", membership.network_name))
        })
    }
}

/// The answers, each first in its turn.
fn in_turns(query: &Query, answers: impl Iterator<Item = Answer>) -> Vec<Answer> {
    let mut answers: Vec<Answer> = answers.collect();
    if !answers.is_empty() {
        let turn = usize::from(query.id) % answers.len();
        answers.rotate_left(turn);
    }
    answers
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::view::ViewService;
    use shoal_model::cluster::{ClusterNetworkId, ServiceId};

    use super::*;

    fn id(text: &str) -> SandboxId {
        SandboxId::parse(text).unwrap()
    }

    fn member(network: u8, names: &[&str], host: u8) -> Membership {
        Membership {
            network: NetworkId::from_bytes([network; 32]),
            network_name: format!("Net{network}"),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            links: BTreeMap::new(),
            ipv4: Some([10, network, 0, host].into()),
            ipv6: None,
        }
    }

    fn ask(view: &View, asker: &str, name: &str, kind: u8) -> Found {
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        view.find(&id(asker), &Query::parse(&bytes).unwrap())
    }

    fn addresses(list: &[[u8; 4]]) -> Found {
        Found::Answers(list.iter().map(|one| Answer::Address((*one).into())).collect())
    }

    #[test]
    fn names_are_known_on_shared_networks_only() {
        let mut view = View::default();
        view.set(&id("a"), vec![member(1, &["web", "Alias"], 2)]);
        view.set(&id("b"), vec![member(1, &["db", "alias"], 3), member(2, &["db"], 3)]);
        view.set(&id("c"), vec![member(2, &["other"], 4)]);
        assert_eq!(ask(&view, "a", "DB", 1), addresses(&[[10, 1, 0, 3]]));
        assert_eq!(ask(&view, "c", "db", 1), addresses(&[[10, 2, 0, 3]]));
        assert_eq!(ask(&view, "a", "db.net1", 1), addresses(&[[10, 1, 0, 3]]));
        assert_eq!(ask(&view, "b", "ALIAS", 1), addresses(&[[10, 1, 0, 2], [10, 1, 0, 3]]));
        assert_eq!(ask(&view, "a", "db", 28), addresses(&[]), "it exists, without IPv6");
        assert_eq!(ask(&view, "a", "db", 15), addresses(&[]), "it exists, without mail");
        assert_eq!(ask(&view, "a", "other", 1), Found::Unknown);
        let pointer = Found::Answers(vec![Answer::Name("db.Net1".to_owned())]);
        assert_eq!(ask(&view, "a", "3.0.1.10.in-addr.arpa", 12), pointer);
        assert_eq!(ask(&view, "a", "4.0.2.10.in-addr.arpa", 12), Found::Unknown);
        view.remove(&id("b"));
        assert_eq!(ask(&view, "a", "db", 1), Found::Unknown);
        assert_eq!(ask(&view, "a", "alias", 1), addresses(&[[10, 1, 0, 2]]));
    }

    #[test]
    fn names_of_the_cluster_come_first() {
        let mut view = View::default();
        view.set(&id("a"), vec![member(1, &["web.1", "web"], 11)]);
        let network = NetworkId::from_bytes([1; 32]);
        let told = |version, vips: &[[u8; 4]]| NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version,
            data_path_port: 4789,
            endpoints: Vec::new(),
            services: vec![ViewService {
                id: ServiceId::from_bytes([1; 16]),
                name: "web".to_owned(),
                aliases: Vec::new(),
                virtual_ips: vips.iter().map(|vip| IpAddr::from(*vip)).collect(),
            }],
            mesh: None,
        };
        view.show_cluster(network.clone(), Some(Arc::new(told(1, &[[10, 1, 0, 9]]))));
        assert_eq!(ask(&view, "a", "web", 1), addresses(&[[10, 1, 0, 9]]));
        view.show_cluster(network.clone(), Some(Arc::new(told(2, &[[10, 1, 0, 2]]))));
        assert_eq!(ask(&view, "a", "WEB", 1), addresses(&[[10, 1, 0, 2]]));
        assert_eq!(ask(&view, "a", "web.net1", 1), addresses(&[[10, 1, 0, 2]]));
        assert_eq!(ask(&view, "a", "web", 28), addresses(&[]));
        assert_eq!(ask(&view, "a", "web.1", 1), addresses(&[[10, 1, 0, 11]]));
        let pointer = Found::Answers(vec![Answer::Name("web.Net1".to_owned())]);
        assert_eq!(ask(&view, "a", "2.0.1.10.in-addr.arpa", 12), pointer);
        view.show_cluster(network, None);
        assert_eq!(ask(&view, "a", "web", 1), addresses(&[[10, 1, 0, 11]]));
    }

    #[test]
    fn links_are_names_for_one_sandbox() {
        let mut view = View::default();
        let mut linked = member(1, &["web"], 2);
        linked.links.insert("Store".to_owned(), "db".to_owned());
        view.set(&id("a"), vec![linked]);
        view.set(&id("b"), vec![member(1, &["db"], 3)]);
        assert_eq!(ask(&view, "a", "store", 1), addresses(&[[10, 1, 0, 3]]));
        assert_eq!(ask(&view, "b", "store", 1), Found::Unknown);
    }
}
