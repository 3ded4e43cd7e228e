//! Views of networks on the wire: whole, or as a change that leads on from a version. Pure.
//!
//! Both sides keep a digest of the parts as they were sent, so that two releases agree on it although one of them may
//! not know every field or kind.

use shoal_model::cluster::view::{ViewChange, ViewKey, ViewPart};
use shoal_model::cluster::{ClusterNetworkId, NetworkView, ServiceId, TaskId};

use crate::assignment::{Key, SetDigest, Tally};
use crate::codec;
use crate::dispatcher::view_part::Kind;
use crate::dispatcher::{NetworkView as Message, ViewPart as Part};

/// Why a message cannot be taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error(
        "a change of the view of network `{network}` leads on from {base}, but {held} is known"
    )]
    Gap { network: ClusterNetworkId, base: u64, held: u64 },
    #[error(
        "the digest of the view of network `{network}` differs from the manager's at {version}"
    )]
    Digest { network: ClusterNetworkId, version: u64 },
    #[error("failed to read a view of a network")]
    Read {
        #[source]
        source: codec::Error,
    },
}

/// A view with the digest of its parts, as one side knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tallied {
    view: NetworkView,
    tally: Tally,
}

impl Tallied {
    /// Begins with a view of one's own; answers it and the message that says it whole.
    pub fn new(view: NetworkView) -> (Self, Message) {
        let change = ViewChange { put: view.parts().collect(), removed: Vec::new() };
        let mut tally = Tally::default();
        let parts = encode(&change, &mut tally);
        let message = message(&view, 0, parts, tally.digest());
        (Self { view, tally }, message)
    }

    /// The view.
    pub fn view(&self) -> &NetworkView {
        &self.view
    }

    /// The digest of all parts.
    pub fn digest(&self) -> SetDigest {
        self.tally.digest()
    }

    /// The message that says the view whole.
    pub fn whole(&self) -> Message {
        let change = ViewChange { put: self.view.parts().collect(), removed: Vec::new() };
        let mut tally = Tally::default();
        let parts = encode(&change, &mut tally);
        message(&self.view, 0, parts, tally.digest())
    }

    /// Goes on to a newer view; the message that leads there, `None`: it says the same.
    pub fn advance(&mut self, newer: NetworkView) -> Option<Message> {
        let change = newer.change_since(&self.view);
        if change.is_empty() {
            return None;
        }
        let base = self.view.version;
        let parts = encode(&change, &mut self.tally);
        self.view = newer;
        Some(message(&self.view, base, parts, self.tally.digest()))
    }

    /// Takes a message in; `held` is what is known of its network.
    ///
    /// # Errors
    /// When it does not lead on from there, or not to what the manager has: the whole view is needed then.
    pub fn receive(held: Option<Self>, message: &Message) -> Result<Self, Error> {
        let read = |source| Error::Read { source };
        let network =
            codec::id(&message.network).map(ClusterNetworkId::from_bytes).map_err(read)?;
        let mut this = match held {
            Some(held) if message.base != 0 && held.view.version == message.base => held,
            _ if message.base == 0 => Self {
                view: NetworkView {
                    network,
                    version: 0,
                    data_path_port: 0,
                    endpoints: Vec::new(),
                    services: Vec::new(),
                    mesh: None,
                },
                tally: Tally::default(),
            },
            other => {
                let held = other.map_or(0, |held| held.view.version);
                return Err(Error::Gap { network, base: message.base, held });
            }
        };
        let mut change = ViewChange::default();
        for part in &message.parts {
            let id = codec::id(&part.id).map_err(read)?;
            this.tally.put(Key::from_wire(part.kind, id), &part.part);
            decode(part, id, &mut change).map_err(read)?;
        }
        if message.digest[..] != this.tally.digest().to_bytes()[..] {
            return Err(Error::Digest { network, version: message.version });
        }
        this.view.take(change);
        this.view.version = message.version;
        Ok(this)
    }
}

fn message(view: &NetworkView, base: u64, parts: Vec<Part>, digest: SetDigest) -> Message {
    Message {
        network: view.network.to_bytes().to_vec().into(),
        version: view.version,
        base,
        parts,
        digest: digest.to_bytes().to_vec().into(),
    }
}

fn wire_key(key: ViewKey) -> (Kind, [u8; 16]) {
    match key {
        ViewKey::Head => (Kind::Head, [0; 16]),
        ViewKey::Endpoint(task) => (Kind::Endpoint, task.to_bytes()),
        ViewKey::Service(service) => (Kind::Service, service.to_bytes()),
        ViewKey::Mesh => (Kind::Mesh, [0; 16]),
    }
}

fn encode(change: &ViewChange, tally: &mut Tally) -> Vec<Part> {
    let put = change.put.iter().map(|part| {
        let bytes = match part {
            ViewPart::Head(head) => codec::encode(head),
            ViewPart::Endpoint(endpoint) => codec::encode(endpoint),
            ViewPart::Service(service) => codec::encode(service),
            ViewPart::Mesh(mesh) => codec::encode(mesh),
        };
        (part.key(), bytes)
    });
    let removed = change.removed.iter().map(|key| (*key, bytes::Bytes::new()));
    put.chain(removed)
        .map(|(key, part)| {
            let (kind, id) = wire_key(key);
            tally.put(Key::from_wire(kind.into(), id), &part);
            Part { kind: kind.into(), id: id.to_vec().into(), part }
        })
        .collect()
}

/// Kinds of a newer release are part of the digest only.
fn decode(part: &Part, id: [u8; 16], change: &mut ViewChange) -> Result<(), codec::Error> {
    let Ok(kind) = Kind::try_from(part.kind) else { return Ok(()) };
    if part.part.is_empty() {
        change.removed.push(match kind {
            Kind::Head => ViewKey::Head,
            Kind::Endpoint => ViewKey::Endpoint(TaskId::from_bytes(id)),
            Kind::Service => ViewKey::Service(ServiceId::from_bytes(id)),
            Kind::Mesh => ViewKey::Mesh,
        });
        return Ok(());
    }
    change.put.push(match kind {
        Kind::Head => ViewPart::Head(codec::decode("head of a view", &part.part)?),
        Kind::Endpoint => ViewPart::Endpoint(codec::decode("endpoint of a view", &part.part)?),
        Kind::Service => ViewPart::Service(codec::decode("service of a view", &part.part)?),
        Kind::Mesh => ViewPart::Mesh(codec::decode("mesh of a view", &part.part)?),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::NodeId;
    use shoal_model::cluster::view::{ViewEndpoint, ViewService};

    use super::*;

    fn view(version: u64, endpoints: &[u8]) -> NetworkView {
        let endpoint = |number: &u8| ViewEndpoint {
            task: TaskId::from_bytes([*number; 16]),
            service: Some(ServiceId::from_bytes([1; 16])),
            node: NodeId::from_bytes([1; 16]),
            data_path: Some([192, 0, 2, 1].into()),
            addresses: vec![format!("10.0.0.{number}/24").parse().unwrap()],
            mac: [2, 0, 0, 0, 0, *number],
            name: format!("web.{number}"),
            aliases: Vec::new(),
            healthy: true,
        };
        NetworkView {
            network: ClusterNetworkId::from_bytes([9; 16]),
            version,
            data_path_port: 4789,
            endpoints: endpoints.iter().map(endpoint).collect(),
            services: vec![ViewService {
                id: ServiceId::from_bytes([1; 16]),
                name: "web".to_owned(),
                aliases: Vec::new(),
                virtual_ips: vec![[10, 0, 0, 250].into()],
            }],
            mesh: None,
        }
    }

    #[test]
    fn changes_lead_to_the_same_view_and_digest_on_both_sides() {
        let (mut own, whole) = Tallied::new(view(3, &[1, 2, 3]));
        assert_eq!((whole.base, whole.version, whole.parts.len()), (0, 3, 5));
        let mut other = Tallied::receive(None, &whole).unwrap();
        for (version, endpoints) in [(5, vec![1, 3]), (6, vec![]), (9, vec![4, 5])] {
            let change = own.advance(view(version, &endpoints)).unwrap();
            other = Tallied::receive(Some(other), &change).unwrap();
            assert_eq!(other, own);
        }
        assert_eq!(own.advance(view(11, &[4, 5])), None, "it says the same");
        assert_eq!(own.view().version, 9);
        assert_eq!(Tallied::receive(None, &own.whole()).unwrap(), own);
    }

    #[test]
    fn a_change_of_one_endpoint_has_one_part() {
        let (mut own, _) = Tallied::new(view(1, &[1, 2, 3]));
        let change = own.advance(view(2, &[1, 3])).unwrap();
        let part =
            Part { kind: Kind::Endpoint.into(), id: vec![2; 16].into(), part: bytes::Bytes::new() };
        assert_eq!((change.base, change.parts), (1, vec![part]));
    }

    #[test]
    fn lost_doubled_and_damaged_changes_are_refused() {
        let (mut own, whole) = Tallied::new(view(1, &[1]));
        let other = Tallied::receive(None, &whole).unwrap();
        let second = own.advance(view(2, &[1, 2])).unwrap();
        let third = own.advance(view(3, &[2])).unwrap();
        let refused = |held: Option<&Tallied>, message: &Message| {
            Tallied::receive(held.cloned(), message).unwrap_err()
        };
        assert!(matches!(refused(None, &second), Error::Gap { base: 1, held: 0, .. }));
        assert!(matches!(refused(Some(&other), &third), Error::Gap { base: 2, held: 1, .. }));
        let now = Tallied::receive(Some(other.clone()), &second).unwrap();
        assert!(matches!(refused(Some(&now), &second), Error::Gap { base: 1, held: 2, .. }));
        let mut damaged = second;
        damaged.parts.clear();
        assert!(matches!(refused(Some(&other), &damaged), Error::Digest { version: 2, .. }));
    }

    #[test]
    fn what_a_newer_release_adds_is_carried_in_the_digest() {
        let (_, mut whole) = Tallied::new(view(1, &[1]));
        let mut tally = Tally::default();
        whole.parts.push(Part { kind: 77, id: vec![1; 16].into(), part: vec![1].into() });
        for part in &whole.parts {
            tally.put(Key::from_wire(part.kind, codec::id(&part.id).unwrap()), &part.part);
        }
        whole.digest = tally.digest().to_bytes().to_vec().into();
        assert_eq!(*Tallied::receive(None, &whole).unwrap().view(), view(1, &[1]));
    }
}
