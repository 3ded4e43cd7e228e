//! New ids for new objects. The randomness is injected.

use shoal_model::cluster::{
    ClusterId, ClusterNetworkId, ConfigId, NodeId, SecretId, ServiceId, SessionId, TaskId,
};

/// A source of ids that never repeat.
pub trait Ids {
    /// Sixteen bytes that were not given before.
    fn bytes(&mut self) -> [u8; 16];

    /// For a cluster.
    fn cluster(&mut self) -> ClusterId {
        ClusterId::from_bytes(self.bytes())
    }

    /// For a node.
    fn node(&mut self) -> NodeId {
        NodeId::from_bytes(self.bytes())
    }

    /// For a service.
    fn service(&mut self) -> ServiceId {
        ServiceId::from_bytes(self.bytes())
    }

    /// For a task.
    fn task(&mut self) -> TaskId {
        TaskId::from_bytes(self.bytes())
    }

    /// For a network.
    fn network(&mut self) -> ClusterNetworkId {
        ClusterNetworkId::from_bytes(self.bytes())
    }

    /// For a secret.
    fn secret(&mut self) -> SecretId {
        SecretId::from_bytes(self.bytes())
    }

    /// For a config.
    fn config(&mut self) -> ConfigId {
        ConfigId::from_bytes(self.bytes())
    }

    /// For a session.
    fn session(&mut self) -> SessionId {
        SessionId::from_bytes(self.bytes())
    }
}

/// Ids that follow from a seed: for tests and the simulator.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
#[derive(Debug, Clone)]
pub struct SeededIds(u64);

impl SeededIds {
    /// The same seed gives the same ids.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Ids for SeededIds {
    fn bytes(&mut self) -> [u8; 16] {
        let value = (u128::from(self.next()) << 64) | u128::from(self.next());
        value.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all_ids() {
        let (mut one, mut two) = (SeededIds::new(7), SeededIds::new(7));
        let ids: Vec<_> = (0..100).map(|_| one.task()).collect();
        assert_eq!(ids, (0..100).map(|_| two.task()).collect::<Vec<_>>());
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
        assert_ne!(SeededIds::new(8).task(), ids[0]);
    }
}
