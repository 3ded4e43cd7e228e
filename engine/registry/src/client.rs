//! The client: settings, what is shared between calls, and the way to a repository.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use shoal_base::SharedClock;
use shoal_model::Reference;

use crate::credentials::Credentials;
use crate::endpoint::{self, Access, Endpoint, Insecure, Mirror};
use crate::error::Error;
use crate::proxy::Proxy;
use crate::repository::Repository;
use crate::session::Session;
use crate::token::Cache;
use crate::transport::{Timeouts, Transport};

/// What the daemon's settings say about registries.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pull-through mirrors of `docker.io`, in the order in which they are asked.
    pub mirrors: Vec<Mirror>,
    /// Who may do without a valid certificate.
    pub insecure: Insecure,
    /// Directory with one directory of certificates per `host[:port]`.
    pub certs_dir: PathBuf,
    /// Proxies on the way to registries.
    pub proxy: Proxy,
    /// Names the daemon to registries.
    pub user_agent: String,
    /// Deadlines of requests.
    pub timeouts: Timeouts,
    /// Attempts without progress before the transfer of a blob is given up. At least 1.
    pub attempts: u32,
}

/// Talks to registries. Cheap to clone; shares tokens, not credentials.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    user_agent: HeaderValue,
    proxies: Arc<Matcher>,
    cache: Arc<Cache>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. A user agent that is no header value is replaced by `shoal`.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .unwrap_or_else(|_| HeaderValue::from_static("shoal"));
        let cache = Arc::new(Cache::default());
        let proxies = Arc::new(settings.proxy.matcher());
        Self { shared: Arc::new(Shared { settings, clock, user_agent, proxies, cache }) }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The repository of a reference, for one caller and one purpose. Sends nothing yet.
    ///
    /// # Errors
    /// When certificates of the registry's directory cannot be used.
    pub async fn repository(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        access: Access,
    ) -> Result<Repository, Error> {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", reference.path());
        let shared = &self.shared;
        let endpoints = endpoint::lookup(
            reference.domain(),
            access,
            &shared.settings.mirrors,
            &shared.settings.insecure,
        )
        .await;
        let mut sessions = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            sessions.push(self.session(endpoint, credentials, Some(&scope)).await?);
        }
        Ok(Repository::new(reference.repository(), sessions, self.clone()))
    }

    /// A session at one endpoint. Credentials are for the registry: a mirror of another host gets none.
    pub(crate) async fn session(
        &self,
        endpoint: Endpoint,
        credentials: &Credentials,
        scope: Option<&str>,
    ) -> Result<Session, Error> {
        let shared = &self.shared;
        let directory = shared.settings.certs_dir.join(&endpoint.host);
        let transport = Transport::open(
            &endpoint.host,
            directory,
            endpoint.trust,
            shared.clock.clone(),
            shared.settings.timeouts,
            shared.user_agent.clone(),
            Arc::clone(&shared.proxies),
        )
        .await?;
        let credentials = match endpoint.role {
            endpoint::Role::Mirror => Credentials::default(),
            endpoint::Role::Upstream => credentials.clone(),
        };
        let scopes: BTreeSet<String> = scope.map(str::to_owned).into_iter().collect();
        let (cache, clock) = (Arc::clone(&shared.cache), shared.clock.clone());
        Ok(Session::new(endpoint, transport, credentials, cache, clock, scopes))
    }
}
