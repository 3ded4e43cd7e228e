//! The vocabulary of a cluster: ids, specs, objects, task states and their order.
//!
//! Plain types. A *spec* is the user's and never changed by the system; an *object* is a spec with the
//! fields of the system and a [`Version`]. Fields of a spec that the user may leave out are `Option`s, so that
//! what was posted is what is read back; [`crate::cluster::service::ServiceSpec`] says what `None` means.
//!
//! Source: swarmkit `api/specs.proto`, `api/objects.proto`, `api/types.proto`; moby `api/types/swarm`.

pub mod assignment;
pub mod filters;
pub mod ids;
pub mod image;
pub mod logs;
pub mod manager;
pub mod membership;
pub mod mesh;
pub mod network;
pub mod node;
pub mod object;
pub mod overview;
pub mod report;
pub mod request;
pub mod secret;
pub mod service;
pub mod task;
pub mod view;

pub use assignment::AssignedTask;
pub use ids::{
    ClusterId, ClusterNetworkId, ConfigId, NodeId, SecretId, ServiceId, SessionId, TaskId,
};
pub use manager::{Cluster, ClusterSpec};
pub use network::{ClusterNetwork, IpPrefix};
pub use node::{Node, NodeSpec};
pub use object::{Annotations, Meta, Version};
pub use secret::{Config, ConfigSpec, Secret, SecretSpec};
pub use service::{Service, ServiceSpec};
pub use task::{Task, TaskSpec, TaskState};
pub use view::NetworkView;
