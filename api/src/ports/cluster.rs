//! The port to the cluster: this host's membership, and the cluster's objects.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shoal_model::Failure;
use shoal_model::cluster::filters::{NodeFilters, ObjectFilters, ServiceFilters, TaskFilters};
use shoal_model::cluster::logs::{LogLine, LogQuery};
use shoal_model::cluster::membership::Membership;
use shoal_model::cluster::overview::{Overview, Restore};
use shoal_model::cluster::report::{DrainReport, ServiceReport};
use shoal_model::cluster::request::{Init, Join, NodeView, Rotate, ServiceUpdate, ServiceView};
use shoal_model::cluster::view::ViewShown;
use shoal_model::cluster::{
    Cluster as ClusterObject, ClusterNetwork, ClusterNetworkId, ClusterSpec, Config, ConfigId,
    ConfigSpec, NodeId, NodeSpec, Secret, SecretId, SecretSpec, ServiceId, ServiceSpec, Task,
    Version,
};
use shoal_model::exec::ExecSpec;
use shoal_model::network::NetworkSpec;

use super::{ByteStream, Inside, Session, Stream};

/// Membership and cluster. Every call but [`Cluster::membership`], [`Cluster::init`], [`Cluster::join`],
/// [`Cluster::leave`], [`Cluster::unlock`] and [`Cluster::restore`] fails with docker's words on a host that is not a manager.
#[async_trait]
#[allow(missing_docs, reason = "the names are docker's verbs; names are id, id prefix or name")]
pub trait Cluster: Send + Sync + 'static {
    /// Membership of this host; cheap, asked on each ping.
    fn membership(&self) -> Membership;

    async fn init(&self, request: Init) -> Result<NodeId, Failure>;
    async fn join(&self, request: Join) -> Result<(), Failure>;
    async fn leave(&self, force: bool) -> Result<(), Failure>;
    async fn unlock(&self, key: &str) -> Result<(), Failure>;
    async fn unlock_key(&self) -> Result<String, Failure>;
    /// How the cluster is; answers without a leader, too.
    async fn overview(&self) -> Result<Overview, Failure>;
    /// All objects, sealed with the passphrase.
    async fn backup(&self, passphrase: String) -> Result<ByteStream, Failure>;
    /// A cluster whose only manager is this host, from a backup.
    async fn restore(&self, request: Restore, backup: ByteStream) -> Result<NodeId, Failure>;
    async fn inspect(&self) -> Result<Arc<ClusterObject>, Failure>;
    async fn update(
        &self,
        version: Version,
        spec: ClusterSpec,
        rotate: Rotate,
    ) -> Result<(), Failure>;

    async fn nodes(&self, filters: NodeFilters) -> Result<Vec<NodeView>, Failure>;
    async fn node(&self, name: &str) -> Result<NodeView, Failure>;
    async fn update_node(
        &self,
        name: &str,
        version: Version,
        spec: NodeSpec,
    ) -> Result<(), Failure>;
    async fn remove_node(&self, name: &str, force: bool) -> Result<(), Failure>;

    async fn services(
        &self,
        filters: ServiceFilters,
        with_counts: bool,
    ) -> Result<Vec<ServiceView>, Failure>;
    async fn service(&self, name: &str) -> Result<ServiceView, Failure>;
    /// Gives the id and warnings.
    async fn create_service(&self, spec: ServiceSpec) -> Result<(ServiceId, Vec<String>), Failure>;
    /// Gives warnings.
    async fn update_service(
        &self,
        name: &str,
        version: Version,
        update: ServiceUpdate,
    ) -> Result<Vec<String>, Failure>;
    async fn remove_service(&self, name: &str) -> Result<(), Failure>;
    async fn service_logs(&self, name: &str, query: LogQuery) -> Result<Stream<LogLine>, Failure>;

    async fn tasks(&self, filters: TaskFilters) -> Result<Vec<Arc<Task>>, Failure>;
    async fn task(&self, name: &str) -> Result<Arc<Task>, Failure>;
    async fn task_logs(&self, name: &str, query: LogQuery) -> Result<Stream<LogLine>, Failure>;

    /// Why the tasks of a service are not where they should be.
    async fn explain_service(&self, name: &str) -> Result<ServiceReport, Failure>;
    /// What a node that is being drained still holds: once, or again with each change until it is empty, gone, or not to
    /// be drained any more.
    async fn drain(
        &self,
        node: &str,
        follow: bool,
    ) -> Result<BoxStream<'static, DrainReport>, Failure>;

    /// The container of a task, wherever it runs.
    async fn container_of_task(&self, task: &str) -> Result<Arc<dyn Inside>, Failure>;
    /// A connection to a port of a task's container, as its own processes reach it.
    async fn forward(&self, task: &str, port: u16) -> Result<Session, Failure>;

    /// Makes an exec in a running task. Gives its name, which [`super::Execs`] takes as it takes ids.
    async fn exec_create(&self, task: &str, spec: ExecSpec) -> Result<String, Failure>;

    async fn secrets(&self, filters: ObjectFilters) -> Result<Vec<Arc<Secret>>, Failure>;
    async fn secret(&self, name: &str) -> Result<Arc<Secret>, Failure>;
    async fn create_secret(&self, spec: SecretSpec) -> Result<SecretId, Failure>;
    async fn update_secret(
        &self,
        name: &str,
        version: Version,
        spec: SecretSpec,
    ) -> Result<(), Failure>;
    async fn remove_secret(&self, name: &str) -> Result<(), Failure>;

    async fn configs(&self, filters: ObjectFilters) -> Result<Vec<Arc<Config>>, Failure>;
    async fn config(&self, name: &str) -> Result<Arc<Config>, Failure>;
    async fn create_config(&self, spec: ConfigSpec) -> Result<ConfigId, Failure>;
    async fn update_config(
        &self,
        name: &str,
        version: Version,
        spec: ConfigSpec,
    ) -> Result<(), Failure>;
    async fn remove_config(&self, name: &str) -> Result<(), Failure>;

    /// Networks of the cluster; empty on a host that is not a manager.
    async fn networks(&self) -> Result<Vec<Arc<ClusterNetwork>>, Failure>;
    async fn create_network(&self, spec: NetworkSpec) -> Result<ClusterNetworkId, Failure>;
    async fn remove_network(&self, id: ClusterNetworkId) -> Result<(), Failure>;
    /// Who is on a network, and what nodes have put into effect of that.
    async fn network_view(&self, id: ClusterNetworkId) -> Result<ViewShown, Failure>;
}
