//! The API's port to the cluster, over this host's membership.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shoal_api::ports::{ByteStream, Cluster, Inside, Session, Stream};
use shoal_base::tasks::TaskKind;
use shoal_manager::ca::configure;
use shoal_manager_core::view;
use shoal_model::cluster::filters::{NodeFilters, ObjectFilters, ServiceFilters, TaskFilters};
use shoal_model::cluster::logs::{LogLine, LogQuery};
use shoal_model::cluster::membership::Membership;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::overview::{Overview, Restore};
use shoal_model::cluster::report::{DrainReport, ServiceReport};
use shoal_model::cluster::request::{
    AuthFrom, Init, Join, NodeView, Rotate, ServiceUpdate, ServiceView,
};
use shoal_model::cluster::view::{NodeViewShown, ViewShown};
use shoal_model::cluster::{
    Cluster as ClusterObject, ClusterNetwork, ClusterNetworkId, ClusterSpec, Config, ConfigId,
    ConfigSpec, NodeId, NodeSpec, Secret, SecretId, SecretSpec, ServiceId, ServiceSpec, Task,
    TaskId, Version,
};
use shoal_model::error::{ErrorKind, Fact, Failure};
use shoal_model::exec::ExecSpec;
use shoal_model::network::NetworkSpec;
use shoal_proto::view::Tallied;
use shoal_worker::attach::{Given, Wish};

use super::{Current, Host};
use crate::attachments::{Managers, no_such_network};
use crate::ports::given_up;
use crate::ports::tasks::{self, TaskContainer};

type Result<T> = std::result::Result<T, Failure>;

#[async_trait]
impl Managers for Host {
    async fn attach(&self, wish: Wish) -> Result<Given> {
        match self.current() {
            Current::Member(member) => member.worker().attach(&wish).await,
            // Nobody but a cluster has such a network.
            Current::Inactive | Current::Pending | Current::Locked | Current::Broken { .. } => {
                Err(no_such_network(&wish.network))
            }
        }
    }

    async fn detach(&self, task: TaskId) -> Result<()> {
        match self.current() {
            Current::Member(member) => member.worker().detach(task).await,
            // What it was part of is gone.
            Current::Inactive | Current::Pending | Current::Locked | Current::Broken { .. } => {
                Ok(())
            }
        }
    }

    fn are_there(&self) -> bool {
        matches!(self.current(), Current::Member(_))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The port.
#[derive(Debug)]
pub(crate) struct HostCluster(pub(crate) Arc<Host>);

impl HostCluster {
    /// A change of membership is not left half-way when the client goes away.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.tasks.detached(TaskKind::Request, change).await.map_err(given_up)?
    }
}

#[async_trait]
impl Cluster for HostCluster {
    fn membership(&self) -> Membership {
        self.0.membership()
    }

    async fn init(&self, request: Init) -> Result<NodeId> {
        let host = Arc::clone(&self.0);
        self.change(Box::pin(async move { host.init(request).await })).await
    }

    async fn join(&self, request: Join) -> Result<()> {
        let host = Arc::clone(&self.0);
        self.change(async move { host.join(request).await }).await
    }

    async fn leave(&self, force: bool) -> Result<()> {
        let host = Arc::clone(&self.0);
        self.change(async move { host.leave(force).await }).await
    }

    async fn unlock(&self, key: &str) -> Result<()> {
        let (host, key) = (Arc::clone(&self.0), key.to_owned());
        self.change(Box::pin(async move { host.unlock(&key).await })).await
    }

    async fn unlock_key(&self) -> Result<String> {
        let cluster = self.inspect().await?;
        let key = shoal_identity::UnlockKey::from_bytes(&cluster.unlock_key);
        Ok(key.map(|key| key.to_string()).unwrap_or_default())
    }

    async fn overview(&self) -> Result<Overview> {
        self.0.overview().await
    }

    async fn backup(&self, passphrase: String) -> Result<ByteStream> {
        self.0.backup(passphrase).await
    }

    async fn restore(&self, request: Restore, backup: ByteStream) -> Result<NodeId> {
        let host = Arc::clone(&self.0);
        self.change(async move { host.restore(request, backup).await }).await
    }

    async fn inspect(&self) -> Result<Arc<ClusterObject>> {
        Ok(self.0.manager()?.control.cluster().await?)
    }

    async fn update(&self, version: Version, spec: ClusterSpec, rotate: Rotate) -> Result<()> {
        let manager = self.0.manager()?;
        let (clock, random) = (self.0.around.clock.clone(), self.0.around.random.clone());
        manager.store.read().await?;
        let known = manager.store.view().cluster().cloned();
        if let Some(mut cluster) = known.filter(|cluster| cluster.meta.version == version) {
            Arc::make_mut(&mut cluster).spec = spec.clone();
            let plan = configure::configure(&cluster, clock.now(), &*random)?;
            // A turn to a root whose signers nobody reaches would never end.
            manager.check_signers(&plan.reachable).await?;
        }
        manager
            .store
            .update(|txn| {
                let Some(cluster) = txn.cluster().cloned() else {
                    return Err(Failure::new(ErrorKind::Unavailable, "there is no cluster yet"));
                };
                if cluster.meta.version != version {
                    return Err(Failure::of(ErrorKind::InvalidArgument, Fact::OutOfSequence));
                }
                let mut cluster = (*cluster).clone();
                cluster.spec = spec.clone();
                cluster.root = configure::configure(&cluster, clock.now(), &*random)?.root;
                cluster = configure::lock(&cluster, &*random);
                if rotate.unlock_key && cluster.spec.autolock {
                    cluster = configure::rotate_unlock_key(&cluster, &*random);
                }
                for (asked, role) in [
                    (rotate.worker_token, NodeRole::Worker),
                    (rotate.manager_token, NodeRole::Manager),
                ] {
                    if asked {
                        cluster.root = configure::rotate_token(&cluster.root, role, &*random);
                    }
                }
                Ok(txn.put_cluster(cluster).map_err(shoal_manager::store::Error::Rejected)?)
            })
            .await
            .map(|_| ())
    }

    async fn nodes(&self, filters: NodeFilters) -> Result<Vec<NodeView>> {
        Ok(self.0.manager()?.control.nodes(filters).await?)
    }

    async fn node(&self, name: &str) -> Result<NodeView> {
        let own = self.0.membership().node.map(|id| id.to_string());
        let name = if name == "self" { own.as_deref().unwrap_or(name) } else { name };
        Ok(self.0.manager()?.control.node(name).await?)
    }

    async fn update_node(&self, name: &str, version: Version, spec: NodeSpec) -> Result<()> {
        Ok(self.0.manager()?.control.update_node(name, version, spec).await?)
    }

    async fn remove_node(&self, name: &str, force: bool) -> Result<()> {
        self.0.manager()?.control.remove_node(name, force).await?;
        Ok(())
    }

    async fn services(&self, filters: ServiceFilters, counts: bool) -> Result<Vec<ServiceView>> {
        Ok(self.0.manager()?.control.services(filters, counts).await?)
    }

    async fn service(&self, name: &str) -> Result<ServiceView> {
        Ok(self.0.manager()?.control.service(name).await?)
    }

    async fn create_service(&self, spec: ServiceSpec) -> Result<(ServiceId, Vec<String>)> {
        Ok(self.0.manager()?.control.create_service(spec).await?)
    }

    async fn update_service(
        &self,
        name: &str,
        version: Version,
        mut update: ServiceUpdate,
    ) -> Result<Vec<String>> {
        let control = &self.0.manager()?.control;
        if let Some(from) = update.auth_from.filter(|_| !update.rollback) {
            let present = control.service(name).await?.service;
            let auth = match (from, &present.previous) {
                (AuthFrom::PreviousSpec, Some(previous)) => &previous.spec.task.registry_auth,
                _ => &present.spec.task.registry_auth,
            };
            if *auth != update.spec.task.registry_auth {
                Arc::make_mut(&mut update.spec.task).registry_auth.clone_from(auth);
            }
        }
        Ok(control.update_service(name, version, update).await?)
    }

    async fn remove_service(&self, name: &str) -> Result<()> {
        Ok(self.0.manager()?.control.remove_service(name).await?)
    }

    async fn service_logs(&self, name: &str, query: LogQuery) -> Result<Stream<LogLine>> {
        Ok(self.0.manager()?.logs.of_service(name, query).await?)
    }

    async fn tasks(&self, filters: TaskFilters) -> Result<Vec<Arc<Task>>> {
        Ok(self.0.manager()?.control.tasks(filters).await?)
    }

    async fn task(&self, name: &str) -> Result<Arc<Task>> {
        Ok(self.0.manager()?.control.task(name).await?)
    }

    async fn task_logs(&self, name: &str, query: LogQuery) -> Result<Stream<LogLine>> {
        Ok(self.0.manager()?.logs.of_task(name, query).await?)
    }

    async fn explain_service(&self, name: &str) -> Result<ServiceReport> {
        Ok(self.0.manager()?.control.explain(name).await?)
    }

    async fn drain(&self, node: &str, follow: bool) -> Result<BoxStream<'static, DrainReport>> {
        Ok(self.0.manager()?.control.drain(node, follow).await?)
    }

    async fn container_of_task(&self, task: &str) -> Result<Arc<dyn Inside>> {
        Ok(Arc::new(TaskContainer(self.0.manager()?.visits.of_task(task).await?)))
    }

    async fn forward(&self, task: &str, port: u16) -> Result<Session> {
        let container = self.0.manager()?.visits.of_task(task).await?;
        Ok(tasks::session(container.forward(port).await?))
    }

    async fn exec_create(&self, task: &str, spec: ExecSpec) -> Result<String> {
        self.0.manager()?.execs.create(task, spec).await
    }

    async fn secrets(&self, filters: ObjectFilters) -> Result<Vec<Arc<Secret>>> {
        Ok(self.0.manager()?.control.secrets(filters).await?)
    }

    async fn secret(&self, name: &str) -> Result<Arc<Secret>> {
        Ok(self.0.manager()?.control.secret(name).await?)
    }

    async fn create_secret(&self, spec: SecretSpec) -> Result<SecretId> {
        Ok(self.0.manager()?.control.create_secret(spec).await?)
    }

    async fn update_secret(&self, name: &str, version: Version, spec: SecretSpec) -> Result<()> {
        Ok(self.0.manager()?.control.update_secret(name, version, spec).await?)
    }

    async fn remove_secret(&self, name: &str) -> Result<()> {
        Ok(self.0.manager()?.control.remove_secret(name).await?)
    }

    async fn configs(&self, filters: ObjectFilters) -> Result<Vec<Arc<Config>>> {
        Ok(self.0.manager()?.control.configs(filters).await?)
    }

    async fn config(&self, name: &str) -> Result<Arc<Config>> {
        Ok(self.0.manager()?.control.config(name).await?)
    }

    async fn create_config(&self, spec: ConfigSpec) -> Result<ConfigId> {
        Ok(self.0.manager()?.control.create_config(spec).await?)
    }

    async fn update_config(&self, name: &str, version: Version, spec: ConfigSpec) -> Result<()> {
        Ok(self.0.manager()?.control.update_config(name, version, spec).await?)
    }

    async fn remove_config(&self, name: &str) -> Result<()> {
        Ok(self.0.manager()?.control.remove_config(name).await?)
    }

    async fn networks(&self) -> Result<Vec<Arc<ClusterNetwork>>> {
        Ok(self.0.manager()?.control.networks().await?)
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<ClusterNetworkId> {
        Ok(self.0.manager()?.control.create_network(spec).await?)
    }

    async fn network_view(&self, id: ClusterNetworkId) -> Result<ViewShown> {
        let manager = self.0.manager()?;
        manager.store.read().await?;
        let state = manager.store.view();
        let (tallied, _) = Tallied::new(view::network_view(&state, id));
        let applied = manager.dispatcher.applied_views(id).await;
        let nodes = applied.into_iter().map(|(node, (version, digest))| NodeViewShown {
            node,
            data_path: state.node(node).and_then(|node| view::data_path(node)),
            version,
            digest: hex(&digest),
        });
        Ok(ViewShown {
            view: tallied.view().clone(),
            digest: hex(&tallied.digest().to_bytes()),
            nodes: nodes.collect(),
        })
    }

    async fn remove_network(&self, id: ClusterNetworkId) -> Result<()> {
        Ok(self.0.manager()?.control.remove_network(id).await?)
    }
}
