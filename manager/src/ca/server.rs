//! The calls of the authority, on any manager.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_identity::authorize;
use shoal_identity::chain::{self, Trust};
use shoal_identity::{PeerInfo, pem, proof, request};
use shoal_model::cluster::node::{Availability, IssueState};
use shoal_model::cluster::{Cluster, Node, NodeId};
use shoal_model::error::{Chain, Classified, ErrorKind, Failure};
use shoal_proto::ca as pb;
use shoal_proto::ca::ca_server::Ca;
use tonic::{Request, Response, Status};

use super::issue::{self, Admission, Ask};
use super::{CaStore, Change};

/// Bytes of a request or a chain.
const PEM_MAX: usize = 16 << 10;
/// Attempts against other writers.
const ATTEMPTS_MAX: usize = 5;
/// A node asks again after this.
const WAIT_MAX: Duration = Duration::from_secs(50);

/// The authority's calls.
#[derive(Debug, Clone)]
pub struct CaServer {
    store: Arc<dyn CaStore>,
    clock: SharedClock,
    random: SharedRandom,
}

impl CaServer {
    /// Over the store.
    pub fn new(store: Arc<dyn CaStore>, clock: SharedClock, random: SharedRandom) -> Self {
        Self { store, clock, random }
    }

    fn cluster(&self) -> Result<Arc<Cluster>, Status> {
        let absent = || Status::unavailable("this manager does not know the cluster yet");
        self.store.cluster().ok_or_else(absent)
    }

    /// Writes a request down; the answer is the node's id.
    async fn admit(&self, ask: Ask<'_>) -> Result<NodeId, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let mut bytes = [0; 16];
            self.random.fill(&mut bytes);
            let fresh = NodeId::from_bytes(bytes);
            let cluster = self.cluster()?;
            let admission = issue::admit(&cluster, &self.store.nodes(), ask, fresh);
            let node = match admission.map_err(|refusal| status(&refusal))? {
                Admission::Known(id) => return Ok(id),
                Admission::New(node) => node,
            };
            let (id, role) = (node.id, node.role);
            if self.commit(Change::Node(Arc::new(*node))).await? {
                tracing::info!(node = %id, ?role, "a node joins");
                return Ok(id);
            }
        }
        Err(Status::aborted("the node could not be stored: too many other changes"))
    }

    async fn renew(&self, id: NodeId, request: &str) -> Result<NodeId, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let (cluster, node) = (self.cluster()?, self.store.node(id));
            let renewed = issue::renew(&cluster, node.as_deref(), id, request);
            let Some(node) = renewed.map_err(|refusal| status(&refusal))? else { return Ok(id) };
            if self.commit(Change::Node(Arc::new(node))).await? {
                return Ok(id);
            }
        }
        Err(Status::aborted("the request could not be stored: too many other changes"))
    }

    /// `false`: something else has changed the object.
    async fn commit(&self, change: Change) -> Result<bool, Status> {
        match self.store.commit(vec![change]).await {
            Ok(()) => Ok(true),
            Err(failure) if failure.kind() == ErrorKind::Conflict => Ok(false),
            Err(failure) => Err(failed(&failure)),
        }
    }

    /// The node that an expired certificate names, if the caller has its key.
    fn proven(&self, expired: &pb::ExpiredCertificate, request: &[u8]) -> Result<NodeId, Status> {
        if expired.chain.len() > PEM_MAX {
            return Err(Status::invalid_argument("expired certificate is too long"));
        }
        let cluster = self.cluster()?;
        let certificates = pem::certificates(&expired.chain).map_err(|error| status(&error))?;
        let trust = Trust::new(&issue::trust_bundle(&cluster.root))
            .map_err(|error| Status::internal(Chain(&error).to_string()))?;
        let now = self.clock.now();
        let facts = chain::verify_expired(&certificates, &trust.roots, cluster.id, now)
            .map_err(|error| status(&error))?;
        proof::check(&certificates[0], request, &expired.signature)
            .map_err(|error| status(&error))?;
        Ok(facts.identity.node)
    }

    async fn issued(
        &self,
        id: NodeId,
        request: &[u8],
    ) -> Result<(Arc<Cluster>, Arc<Node>), Status> {
        let mut follow = self.store.follow();
        loop {
            follow.borrow_and_update();
            let gone = || Status::not_found(format!("node `{id}` is not in the cluster"));
            let node = self.store.node(id).ok_or_else(gone)?;
            if node.certificate.request != request {
                return Err(Status::aborted(format!("node `{id}` has made another request since")));
            }
            if matches!(
                node.certificate.state,
                IssueState::Issued | IssueState::Failed | IssueState::Rotate
            ) {
                return Ok((self.cluster()?, node));
            }
            follow.changed().await.map_err(|_| Status::unavailable("this manager stops"))?;
        }
    }
}

#[tonic::async_trait]
impl Ca for CaServer {
    async fn get_root_certificate(
        &self,
        _: Request<pb::GetRootCertificateRequest>,
    ) -> Result<Response<pb::GetRootCertificateResponse>, Status> {
        let certificate = self.cluster()?.root.certificate.clone().into();
        Ok(Response::new(pb::GetRootCertificateResponse { certificate }))
    }

    async fn issue_node_certificate(
        &self,
        call: Request<pb::IssueNodeCertificateRequest>,
    ) -> Result<Response<pb::IssueNodeCertificateResponse>, Status> {
        let caller = call.extensions().get::<PeerInfo>().and_then(|peer| peer.identity);
        let asked = call.into_inner();
        if asked.request.len() > PEM_MAX {
            return Err(Status::invalid_argument("certificate request is too long"));
        }
        let request = request::check(&asked.request).map_err(|error| status(&error))?;
        let availability = match asked.availability() {
            pb::Availability::Active => Availability::Active,
            pb::Availability::Pause => Availability::Pause,
            pb::Availability::Drain => Availability::Drain,
        };
        // A token that was just rotated must not open anything here any more.
        self.store.refresh().await.map_err(|failure| failed(&failure))?;
        let node = match (caller, &asked.expired) {
            (Some(caller), _) => self.renew(caller.node, request).await?,
            (None, Some(expired)) => {
                let node = self.proven(expired, &asked.request)?;
                self.renew(node, request).await?
            }
            (None, None) => self.admit(Ask { request, token: &asked.token, availability }).await?,
        };
        Ok(Response::new(pb::IssueNodeCertificateResponse { node_id: node.to_string() }))
    }

    async fn node_certificate_status(
        &self,
        call: Request<pb::NodeCertificateStatusRequest>,
    ) -> Result<Response<pb::NodeCertificateStatusResponse>, Status> {
        let asked = call.into_inner();
        let id = NodeId::parse(&asked.node_id)
            .ok_or_else(|| Status::invalid_argument("`node_id` is no id of a node"))?;
        let (cluster, node) = tokio::select! {
            issued = self.issued(id, &asked.request) => issued?,
            () = self.clock.sleep(WAIT_MAX) => {
                return Err(Status::deadline_exceeded("the certificate is not signed yet"));
            }
        };
        let certificate = &node.certificate;
        Ok(Response::new(pb::NodeCertificateStatusResponse {
            chain: certificate.chain.clone().into(),
            trust_bundle: issue::trust_bundle(&cluster.root).into(),
            error: certificate.error.clone(),
        }))
    }

    async fn get_unlock_key(
        &self,
        call: Request<pb::GetUnlockKeyRequest>,
    ) -> Result<Response<pb::GetUnlockKeyResponse>, Status> {
        authorize::caller(call.extensions())?;
        self.store.refresh().await.map_err(|failure| failed(&failure))?;
        let cluster = self.cluster()?;
        let (key, version) = (cluster.unlock_key.clone().into(), cluster.unlock_key_version);
        Ok(Response::new(pb::GetUnlockKeyResponse { key, version }))
    }
}

fn status<E: Classified>(error: &E) -> Status {
    of_kind(error.kind(), Chain(error).to_string())
}

fn failed(failure: &Failure) -> Status {
    of_kind(failure.kind(), failure.chain())
}

fn of_kind(kind: ErrorKind, text: String) -> Status {
    match kind {
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::InvalidArgument => Status::invalid_argument(text),
        ErrorKind::Conflict | ErrorKind::NotModified => Status::aborted(text),
        ErrorKind::Unauthorized => Status::unauthenticated(text),
        ErrorKind::Forbidden => Status::permission_denied(text),
        ErrorKind::Unavailable => Status::unavailable(text),
        ErrorKind::NotImplemented => Status::unimplemented(text),
        ErrorKind::Internal => Status::internal(text),
        ErrorKind::DataLoss => Status::data_loss(text),
        ErrorKind::DeadlineExceeded => Status::deadline_exceeded(text),
        ErrorKind::Cancelled => Status::cancelled(text),
    }
}
