//! What the store needs to know of each kind of object.

use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Meta, Node, NodeId, Secret,
    SecretId, Service, ServiceId, Task, TaskId,
};

use super::ObjectRef;

/// An object of the store.
pub trait Object: Clone {
    /// Its id.
    type Id: Copy + Ord;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// How it is referred to.
    fn object_ref(&self) -> ObjectRef;
    /// Its system fields.
    fn meta(&self) -> &Meta;
    /// Its system fields, for the store.
    fn meta_mut(&mut self) -> &mut Meta;
}

macro_rules! objects {
    ($($object:ident, $id:ident, $kind:ident;)*) => {$(
        impl Object for $object {
            type Id = $id;
            fn id(&self) -> $id {
                self.id
            }
            fn object_ref(&self) -> ObjectRef {
                ObjectRef::$kind(self.id)
            }
            fn meta(&self) -> &Meta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.meta
            }
        }
    )*};
}

objects! {
    Node, NodeId, Node;
    Service, ServiceId, Service;
    Task, TaskId, Task;
    ClusterNetwork, ClusterNetworkId, Network;
    Secret, SecretId, Secret;
    Config, ConfigId, Config;
}

impl Object for Cluster {
    type Id = shoal_model::cluster::ClusterId;
    fn id(&self) -> Self::Id {
        self.id
    }
    fn object_ref(&self) -> ObjectRef {
        ObjectRef::Cluster
    }
    fn meta(&self) -> &Meta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }
}
