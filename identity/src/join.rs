//! How a node gets a certificate: by a join token, by renewal, by proof of an expired one.
//!
//! Source: swarmkit `ca/certificates.go` `GetRemoteCA`, `GetRemoteSignedCertificate`.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_model::cluster::node::{Availability, NodeRole};
use shoal_model::error::{Classified, ErrorKind};
use shoal_proto::ca as pb;
use shoal_proto::ca::ca_client::CaClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::chain::{self, Trust, TrustError};
use crate::connect::{self, Connector};
use crate::credentials::Credentials;
use crate::files::{self, NodeFiles, Stored};
use crate::keeper::{Keeper, Lock, next_data_key};
use crate::request::{self, NodeKey};
use crate::tls::Expected;
use crate::token::{self, JoinToken};
use crate::unlock::UnlockKey;
use crate::{credentials, keeper, pem, proof, root, tls};

/// A manager that has not answered one call by then is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A certificate that is not signed by then is given up; the next attempt asks for the same one.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(60);

/// A node got no certificate.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Token(#[from] token::Invalid),
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    OtherRoot { address: String, expected: String },
    #[error("no address of a manager is known")]
    NoManager,
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("failed to reach manager `{address}`")]
    Unreachable {
        address: String,
        #[source]
        source: Transport,
    },
    /// The words are those that docker shows for a failed call.
    #[error("rpc error: code = {code:?} desc = {message}")]
    Refused { address: String, code: Code, message: String },
    #[error("manager `{address}` did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout { address: String },
    #[error("certificate was refused: {reason}")]
    NotIssued { reason: String },
    #[error("failed to use the root that manager `{address}` gave")]
    Root {
        address: String,
        #[source]
        source: TrustError,
    },
    #[error("failed to read the certificate that manager `{address}` gave")]
    Pem {
        address: String,
        #[source]
        source: pem::Error,
    },
    #[error("failed to use the certificate that manager `{address}` gave")]
    Chain {
        address: String,
        #[source]
        source: chain::Error,
    },
    #[error("certificate that manager `{address}` gave is not for the key of this node")]
    KeyOfAnother { address: String },
    #[error("failed to use the unlock key that manager `{address}` gave")]
    UnlockKey { address: String },
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error(transparent)]
    Request(#[from] request::Error),
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    #[error(transparent)]
    Keeper(#[from] keeper::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token(source) => source.kind(),
            Self::OtherRoot { .. } => ErrorKind::InvalidArgument,
            Self::NoManager | Self::Timeout { .. } | Self::Unreachable { .. } => {
                ErrorKind::Unavailable
            }
            Self::Connect(source) => source.kind(),
            Self::Refused { code, .. } => kind_of(*code),
            Self::NotIssued { .. } => ErrorKind::Forbidden,
            Self::Files(source) => source.kind(),
            Self::Request(source) => source.kind(),
            Self::Credentials(source) => source.kind(),
            Self::Keeper(source) => source.kind(),
            Self::Root { .. }
            | Self::Pem { .. }
            | Self::Chain { .. }
            | Self::KeyOfAnother { .. }
            | Self::UnlockKey { .. } => ErrorKind::DataLoss,
        }
    }
}

impl Error {
    /// Whether another manager, or the same one later, may answer otherwise.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Internal
        )
    }
}

/// Why a call did not get through: what the status carries, without the status's own words around it.
#[derive(Debug)]
pub struct Transport(Box<Status>);

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::error::Error::source(&*self.0) {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => f.write_str(self.0.message()),
        }
    }
}

impl std::error::Error for Transport {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)?.source()
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unauthenticated => ErrorKind::Unauthorized,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => ErrorKind::Conflict,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::DataLoss => ErrorKind::DataLoss,
        _ => ErrorKind::Unavailable,
    }
}

/// What a joining node is given.
#[derive(Debug)]
pub struct Join<'a> {
    /// Addresses of managers, tried in this order.
    pub managers: &'a [String],
    /// The token that the user typed.
    pub token: &'a str,
    /// Whether tasks may run here.
    pub availability: Availability,
    /// Where the identity is to be stored.
    pub files: &'a NodeFiles,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
}

/// Joins a cluster: afterwards the node's identity is stored. One attempt at each manager; a join that was
/// interrupted goes on with the same request, so that the node is the same one.
///
/// # Errors
/// That of the last manager tried; at once when the token is bad or a manager refuses it.
///
/// # Cancel safety
/// Dropping the future leaves nothing that the next attempt does not take up.
pub async fn join(join: &Join<'_>) -> Result<Keeper, Error> {
    let token = JoinToken::parse(join.token)?;
    let mut last = Error::NoManager;
    for address in join.managers {
        match join_at(join, &token, address).await {
            Ok(keeper) => return Ok(keeper),
            Err(error) if error.may_pass() => last = error,
            Err(error) => {
                if matches!(error, Error::Refused { .. } | Error::NotIssued { .. }) {
                    join.files.forget_joining()?;
                }
                return Err(error);
            }
        }
    }
    Err(last)
}

async fn join_at(join: &Join<'_>, token: &JoinToken, address: &str) -> Result<Keeper, Error> {
    let root = fetch_root(address, token, &join.clock).await?;
    let config = tls::anonymous(root, None, join.clock.clone());
    let mut manager = Manager::new(address, Connector::with(config), &join.clock)?;
    let (key, request) = join.files.joining()?;
    let availability = match join.availability {
        Availability::Active => pb::Availability::Active,
        Availability::Pause => pb::Availability::Pause,
        Availability::Drain => pb::Availability::Drain,
    };
    let ask = pb::IssueNodeCertificateRequest {
        request: request.clone().into(),
        token: join.token.to_owned(),
        expired: None,
        availability: availability.into(),
    };
    let issued = manager.issue(ask, &key).await?;
    let data_keys = vec![next_data_key(&[], join.random.as_ref())];
    let Issued { chain, trust } = issued;
    let mut stored = Stored { trust, chain, key, data_keys, unlock_version: 0 };
    let lock = fetch_lock(&stored, address, &join.clock).await?;
    stored.unlock_version = lock.as_ref().map_or(0, |lock| lock.version);
    let unlock = lock.map(|lock| lock.key);
    join.files.save(&stored, unlock.as_ref())?;
    Ok(Keeper::new(join.files.clone(), stored, unlock, join.clock.clone())?)
}

/// Gets the root of the cluster behind `address` and compares it with the token.
///
/// # Errors
/// When it is not the token's root, or no manager answers.
pub async fn fetch_root(
    address: &str,
    token: &JoinToken,
    clock: &SharedClock,
) -> Result<Trust, Error> {
    let connector = Connector::with(tls::unverified(clock.clone()));
    let mut manager = Manager::new(address, connector, clock)?;
    let answer = manager
        .call(|mut client| async move {
            client.get_root_certificate(pb::GetRootCertificateRequest {}).await
        })
        .await?;
    let other = || Error::OtherRoot {
        address: address.to_owned(),
        expected: token.digest().iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if root::digest(&answer.certificate) != *token.digest() {
        return Err(other());
    }
    let text = std::str::from_utf8(&answer.certificate).map_err(|_| other())?;
    Trust::new(text).map_err(|source| Error::Root { address: address.to_owned(), source })
}

/// Renews the certificate of a member at one of `managers`.
///
/// # Errors
/// That of the last manager tried; the old certificate then stays.
///
/// # Cancel safety
/// Dropping the future changes nothing on this node.
pub async fn renew(keeper: &Keeper, managers: &[String]) -> Result<(), Error> {
    let clock = keeper.credentials().clock();
    let mut last = Error::NoManager;
    for address in managers {
        let connector = Connector::new(keeper.credentials(), Expected::Manager);
        match renew_at(keeper, address, connector, None, &clock).await {
            Ok(()) => return Ok(()),
            Err(error) if error.may_pass() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Renews a certificate that expired while the node runs: mutual TLS does not take it any more.
///
/// # Errors
/// As [`renew`].
///
/// # Cancel safety
/// As [`renew`].
pub async fn renew_running_expired(keeper: &Keeper, managers: &[String]) -> Result<(), Error> {
    let clock = keeper.credentials().clock();
    let current = keeper.credentials().current();
    let mut last = Error::NoManager;
    for address in managers {
        let config =
            tls::anonymous(current.trust.clone(), Some(current.identity.cluster), clock.clone());
        let chain = Some(current.chain.clone());
        match renew_at(keeper, address, Connector::with(config), chain, &clock).await {
            Ok(()) => return Ok(()),
            Err(error) if error.may_pass() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn renew_at(
    keeper: &Keeper,
    address: &str,
    connector: Connector,
    expired: Option<String>,
    clock: &SharedClock,
) -> Result<(), Error> {
    let mut manager = Manager::new(address, connector, clock)?;
    let key = NodeKey::generate()?;
    let request = key.request()?;
    let expired = match expired {
        Some(chain) => {
            let signature = keeper.prove(request.as_bytes())?.into();
            Some(pb::ExpiredCertificate { chain: chain.into(), signature })
        }
        None => None,
    };
    let Issued { chain, trust } = manager.issue(renewal(request, expired), &key).await?;
    let stored = Stored { trust, chain, key, data_keys: Vec::new(), unlock_version: 0 };
    let lock = fetch_lock(&stored, address, clock).await?;
    Ok(keeper.renewed(stored.chain, stored.key, stored.trust, lock)?)
}

/// Renews what is stored by proof of its key: for a node that starts with an expired certificate. Stores the
/// result.
///
/// # Errors
/// As [`renew`].
///
/// # Cancel safety
/// Dropping the future changes nothing on this node.
pub async fn renew_expired(
    files: &NodeFiles,
    stored: &Stored,
    managers: &[String],
    clock: &SharedClock,
) -> Result<Keeper, Error> {
    let trust = Trust::new(&stored.trust).map_err(credentials::Error::from)?;
    let certificates =
        pem::certificates(stored.chain.as_bytes()).map_err(credentials::Error::Pem)?;
    let cluster = crate::peer::facts(&certificates[0])
        .map_err(|source| credentials::Error::Chain(source.into()))?
        .identity
        .cluster;
    let mut last = Error::NoManager;
    for address in managers {
        let config = tls::anonymous(trust.clone(), Some(cluster), clock.clone());
        match renew_expired_at(files, stored, address, Connector::with(config), clock).await {
            Ok(keeper) => return Ok(keeper),
            Err(error) if error.may_pass() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn renew_expired_at(
    files: &NodeFiles,
    stored: &Stored,
    address: &str,
    connector: Connector,
    clock: &SharedClock,
) -> Result<Keeper, Error> {
    let mut manager = Manager::new(address, connector, clock)?;
    let key = NodeKey::generate()?;
    let request = key.request()?;
    let signature = proof::make(&stored.key, request.as_bytes())?.into();
    let expired = pb::ExpiredCertificate { chain: stored.chain.clone().into(), signature };
    let Issued { chain, trust } = manager.issue(renewal(request, Some(expired)), &key).await?;
    let data_keys = stored.data_keys.clone();
    let mut renewed = Stored { trust, chain, key, data_keys, unlock_version: 0 };
    let lock = fetch_lock(&renewed, address, clock).await?;
    renewed.unlock_version = lock.as_ref().map_or(0, |lock| lock.version);
    let unlock = lock.map(|lock| lock.key);
    files.save(&renewed, unlock.as_ref())?;
    Ok(Keeper::new(files.clone(), renewed, unlock, clock.clone())?)
}

fn renewal(
    request: String,
    expired: Option<pb::ExpiredCertificate>,
) -> pb::IssueNodeCertificateRequest {
    pb::IssueNodeCertificateRequest {
        request: request.into(),
        token: String::new(),
        expired,
        availability: pb::Availability::Active.into(),
    }
}

/// The lock that managers have, fetched with the certificate that was just issued; workers are never locked.
async fn fetch_lock(
    stored: &Stored,
    address: &str,
    clock: &SharedClock,
) -> Result<Option<Lock>, Error> {
    let credentials = Credentials::new(stored, clock.clone())?;
    if credentials.identity().role == NodeRole::Worker {
        return Ok(None);
    }
    let connector = Connector::new(&credentials, Expected::Manager);
    let mut manager = Manager::new(address, connector, clock)?;
    let answer = manager
        .call(|mut client| async move { client.get_unlock_key(pb::GetUnlockKeyRequest {}).await })
        .await?;
    if answer.key.is_empty() {
        return Ok(None);
    }
    let key = UnlockKey::from_bytes(&answer.key)
        .ok_or_else(|| Error::UnlockKey { address: address.to_owned() })?;
    Ok(Some(Lock { key, version: answer.version }))
}

struct Issued {
    chain: String,
    trust: String,
}

/// One manager's CA, with deadlines.
struct Manager {
    address: String,
    client: CaClient<Channel>,
    clock: SharedClock,
}

impl Manager {
    fn new(address: &str, connector: Connector, clock: &SharedClock) -> Result<Self, Error> {
        let channel = connect::endpoint(address)?.connect_with_connector_lazy(connector);
        let client = CaClient::new(channel);
        Ok(Self { address: address.to_owned(), client, clock: clock.clone() })
    }

    async fn call<F, T>(&mut self, make: impl FnOnce(CaClient<Channel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.call_within(CALL_TIMEOUT, make).await
    }

    async fn call_within<F, T>(
        &mut self,
        limit: Duration,
        make: impl FnOnce(CaClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let address = self.address.clone();
        tokio::select! {
            answer = make(self.client.clone()) => match answer {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) => Err(refused(address, status)),
            },
            () = self.clock.sleep(limit) => Err(Error::Timeout { address }),
        }
    }

    /// Asks, waits, and checks what comes.
    async fn issue(
        &mut self,
        ask: pb::IssueNodeCertificateRequest,
        key: &NodeKey,
    ) -> Result<Issued, Error> {
        let request = ask.request.clone();
        let node =
            self.call(|mut client| async move { client.issue_node_certificate(ask).await }).await?;
        let wait = pb::NodeCertificateStatusRequest { node_id: node.node_id, request };
        let answer = self
            .call_within(ISSUE_TIMEOUT, |mut client| async move {
                client.node_certificate_status(wait).await
            })
            .await?;
        if !answer.error.is_empty() {
            return Err(Error::NotIssued { reason: answer.error });
        }
        self.check(answer, key)
    }

    /// A manager is believed, but what it gives is checked before it replaces what the node has.
    fn check(
        &self,
        answer: pb::NodeCertificateStatusResponse,
        key: &NodeKey,
    ) -> Result<Issued, Error> {
        let address = || self.address.clone();
        let certificates = pem::certificates(&answer.chain)
            .map_err(|source| Error::Pem { address: address(), source })?;
        let trust = String::from_utf8_lossy(&answer.trust_bundle).into_owned();
        let roots =
            Trust::new(&trust).map_err(|source| Error::Root { address: address(), source })?.roots;
        let facts = chain::verify(&certificates, &roots, None, self.clock.now())
            .map_err(|source| Error::Chain { address: address(), source })?;
        if facts.public_key != key.public() {
            return Err(Error::KeyOfAnother { address: address() });
        }
        Ok(Issued { chain: pem::encode(&certificates), trust })
    }
}

fn refused(address: String, status: Status) -> Error {
    if std::error::Error::source(&status).is_some() {
        return Error::Unreachable { address, source: Transport(Box::new(status)) };
    }
    let (code, message) = (status.code(), status.message().to_owned());
    Error::Refused { address, code, message }
}
