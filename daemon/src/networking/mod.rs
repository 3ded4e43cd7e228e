//! The engine's port to networks, over `netoverlay`.
//!
//! `netoverlay` knows sandboxes, the engine knows containers: a container's id is the id of its sandbox. What the
//! engine asked for is kept here by container, because settings name wishes (aliases, exposed ports) that
//! `netoverlay` does not know.

mod attach;
mod convert;
mod names;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use shoal_base::SharedClock;
use shoal_engine::networking::{
    AttachRequest, Attached, Disconnected, DnsSettings, EndpointRequest, KeptDescriptor,
    NetworkReference, NetworkSettings, Networking, RestoreSandbox, SandboxKind,
};
use shoal_model::{ContainerId, ErrorKind, Failure, NetworkId};
use shoal_netoverlay::Networks;
use shoal_netoverlay::dns::{Dns, Service};
use shoal_netoverlay::endpoint;
use shoal_netoverlay::network::{Network, NetworkSpec};
use shoal_netoverlay::sandbox::{Sandbox, SandboxId, SandboxRequest};

use self::attach::Given;
use crate::attachments::Attachments;

/// Name of the network that a plain container joins.
const DEFAULT_NETWORK: &str = "bridge";
/// Docker's name of the bridge that leads members of overlay networks outside.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";
const INTER_CONTAINER: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

#[derive(Debug, Clone)]
struct Wish {
    request: AttachRequest,
    settings: NetworkSettings,
}

/// The networks of this host, as the engine sees them.
#[derive(Debug)]
pub(crate) struct HostNetworking {
    networks: Networks,
    /// Answers the names of user-defined networks.
    names: Dns,
    /// Resolver settings of containers that have none.
    dns: DnsSettings,
    /// What each living container asked for, and its published ports.
    wishes: Mutex<BTreeMap<ContainerId, Wish>>,
    attachments: Attachments,
    clock: SharedClock,
}

impl HostNetworking {
    /// Over these networks, with the daemon's resolver settings.
    pub(crate) fn new(
        networks: Networks,
        names: Dns,
        dns: DnsSettings,
        attachments: Attachments,
        clock: SharedClock,
    ) -> Self {
        Self { networks, names, dns, wishes: Mutex::default(), attachments, clock }
    }

    fn wishes(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Wish>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, container: &ContainerId) -> Result<Wish, Failure> {
        let missing =
            || Failure::new(ErrorKind::NotFound, format!("container `{container}` has no network"));
        self.wishes().get(container).cloned().ok_or_else(missing)
    }

    fn remember(&self, request: AttachRequest, settings: &NetworkSettings) {
        let settings = settings.clone();
        self.wishes().insert(request.container.clone(), Wish { request, settings });
    }

    /// A container of the default network gets no network where that is disabled, as with docker.
    fn without_disabled(&self, mut request: AttachRequest) -> AttachRequest {
        if self.networks.resolve(DEFAULT_NETWORK).is_err() {
            request.endpoints.retain(|wish| wish.network != DEFAULT_NETWORK);
        }
        request
    }

    fn sandbox_request(
        &self,
        request: &AttachRequest,
        given: &Given,
        gateway: Option<NetworkId>,
    ) -> Result<SandboxRequest, Failure> {
        let mut endpoints = Vec::new();
        for endpoint in &request.endpoints {
            let network = self.networks.resolve(&endpoint.network)?;
            if network.spec.driver.has_endpoints() {
                let wanted = convert::endpoint_request(&endpoint.spec)?;
                endpoints.push((network.id.clone(), given.of(&network.id, wanted)));
            }
        }
        if let Some(gateway) = gateway {
            endpoints.push((gateway, endpoint::EndpointRequest::default()));
        }
        Ok(SandboxRequest {
            id: SandboxId::parse(request.container.as_str())?,
            endpoints,
            ports: convert::port_requests(&request.ports, request.publish_all, &request.exposed)?,
        })
    }

    /// Whether a container's way out is a bridge beside its networks: overlay networks have none of their own.
    fn needs_gateway(&self, request: &AttachRequest) -> bool {
        let networks =
            request.endpoints.iter().filter_map(|wish| self.networks.resolve(&wish.network).ok());
        let networks: Vec<_> =
            networks.filter(|network| network.spec.driver.has_endpoints()).collect();
        // The routing mesh's is a bridge of this host, too.
        let leads_out = |network: &Network| network.overlay.is_none() && !network.spec.internal;
        let is_open = |network: &Network| network.overlay.is_some() && !network.spec.internal;
        networks.iter().any(|network| is_open(network))
            && !networks.iter().any(|network| leads_out(network))
    }

    async fn attach_private(&self, request: AttachRequest) -> Result<Attached, Failure> {
        let given = self.ask_for_addresses(&request, &request.endpoints).await?;
        let gateway =
            if self.needs_gateway(&request) { Some(self.gateway_bridge().await?) } else { None };
        let wanted = self.sandbox_request(&request, &given, gateway)?;
        let sandbox = self.networks.attach(wanted).await?;
        let attached = self.finish(request, &sandbox).await;
        if attached.is_err() {
            self.names.remove(&sandbox.id);
            if let Err(error) = self.networks.detach(sandbox.id).await {
                let error = shoal_model::error::Chain(&error).to_string();
                tracing::warn!(error, "sandbox left behind by a failed start");
            }
        }
        attached
    }

    /// The bridge by which members of overlay networks reach outside, and nobody each other.
    async fn gateway_bridge(&self) -> Result<NetworkId, Failure> {
        if let Ok(network) = self.networks.resolve(GATEWAY_BRIDGE) {
            return Ok(network.id.clone());
        }
        let options = [(INTER_CONTAINER, "false"), (MASQUERADE, "true")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let spec = NetworkSpec { options, ..NetworkSpec::bridge(GATEWAY_BRIDGE) };
        match self.networks.create_network(spec).await {
            Ok(network) => Ok(network.id.clone()),
            // Two tasks came at once.
            Err(shoal_netoverlay::Error::NetworkExists { .. }) => {
                Ok(self.networks.resolve(GATEWAY_BRIDGE)?.id.clone())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Settings of a container whose sandbox is `sandbox`; `None`: it has none of its own.
    fn settings(
        &self,
        request: &AttachRequest,
        sandbox: Option<&Sandbox>,
    ) -> Result<NetworkSettings, Failure> {
        let mut settings = NetworkSettings {
            sandbox: sandbox.map(|sandbox| sandbox.path.clone()),
            sandbox_id: request.container.as_str().to_owned(),
            resolver: convert::or_default(&request.dns, &self.dns),
            host_gateway: self.host_gateway(),
            ..NetworkSettings::default()
        };
        for wish in &request.endpoints {
            let network = self.networks.resolve(&wish.network)?;
            let joined = sandbox.and_then(|s| s.endpoints.iter().find(|e| e.network == network.id));
            let plain =
                network.spec.name == DEFAULT_NETWORK || !network.spec.driver.has_endpoints();
            settings.endpoints.insert(
                network.spec.name.clone(),
                convert::endpoint_settings(request, wish, &network.id, joined, plain),
            );
        }
        settings.ports = convert::ports(&request.exposed, sandbox);
        if names::is_named(&settings) {
            settings.resolver = names::resolver(&settings.resolver)?.0;
        }
        Ok(settings)
    }

    /// Makes the sandbox's names known and, when it is on a network with names, answers it. `kept`: the
    /// name server's sockets of an earlier daemon. Answers sockets that the shim shall keep.
    async fn name(
        &self,
        request: &AttachRequest,
        settings: &NetworkSettings,
        kept: Option<(OwnedFd, OwnedFd)>,
    ) -> Result<Vec<KeptDescriptor>, Failure> {
        let Some(path) = settings.sandbox.clone() else { return Ok(Vec::new()) };
        let sandbox = SandboxId::parse(request.container.as_str())?;
        self.names.set(&sandbox, names::memberships(settings));
        if !names::is_named(settings) {
            return Ok(Vec::new());
        }
        let mut upstreams = Vec::new();
        if names::leads_outside(settings) || self.needs_gateway(request) {
            let wanted = convert::or_default(&request.dns, &self.dns);
            upstreams = names::resolver(&wanted)?.1;
        }
        let service = Service { sandbox, path, upstreams, kept };
        let made = self.names.serve(service).await?;
        let named = made.into_iter().flatten().zip(names::DESCRIPTORS);
        Ok(named
            .map(|(descriptor, name)| KeptDescriptor { name: name.to_owned(), descriptor })
            .collect())
    }

    async fn finish(&self, request: AttachRequest, sandbox: &Sandbox) -> Result<Attached, Failure> {
        let settings = self.settings(&request, Some(sandbox))?;
        let mut descriptors = self.kept(sandbox).await?;
        descriptors.extend(self.name(&request, &settings, None).await?);
        self.remember(request, &settings);
        Ok(Attached { settings, descriptors })
    }

    /// Makes a sandbox that was taken over join what the engine remembers, and nothing else: a daemon may have
    /// been killed between the two records of a connection. What fails is reported; the rest works.
    async fn agree(&self, request: &AttachRequest, mut sandbox: Sandbox) -> Sandbox {
        let mut wanted = BTreeMap::new();
        for wish in &request.endpoints {
            if let Ok(network) = self.networks.resolve(&wish.network)
                && network.spec.driver.has_endpoints()
            {
                wanted.insert(network.id.clone(), wish);
            }
        }
        let joined: Vec<NetworkId> =
            sandbox.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect();
        let id = &sandbox.id.clone();
        let mut report = |result: Result<Sandbox, Failure>, network: &NetworkId| match result {
            Ok(changed) => sandbox = changed,
            Err(failure) => {
                let error = failure.chain();
                tracing::warn!(sandbox = %id, %network, error, "half-made connection not mended");
            }
        };
        let gateway = self.networks.resolve(GATEWAY_BRIDGE).ok().map(|network| network.id.clone());
        let gateway = gateway.filter(|_| self.needs_gateway(request));
        let superfluous = |network: &&NetworkId| {
            !wanted.contains_key(*network) && gateway.as_ref() != Some(*network)
        };
        for network in joined.iter().filter(superfluous) {
            let left = self.networks.disconnect(id.clone(), network.clone()).await;
            report(left.map_err(Failure::from), network);
        }
        for (network, wish) in wanted.iter().filter(|(network, _)| !joined.contains(network)) {
            let made = match convert::endpoint_request(&wish.spec) {
                Ok(request) => self.networks.connect(id.clone(), network.clone(), request).await,
                Err(failure) => {
                    report(Err(failure), network);
                    continue;
                }
            };
            report(made.map_err(Failure::from), network);
        }
        sandbox
    }

    fn host_gateway(&self) -> Option<IpAddr> {
        self.networks.resolve(DEFAULT_NETWORK).ok()?.pool(true).map(|pool| pool.gateway)
    }

    /// Duplicates of the sockets that reserve a sandbox's ports, named for the shim's store.
    async fn kept(&self, sandbox: &Sandbox) -> Result<Vec<KeptDescriptor>, Failure> {
        if sandbox.ports.is_empty() {
            return Ok(Vec::new());
        }
        let descriptors = self.networks.reserved(sandbox.id.clone()).await?;
        let named = sandbox.ports.iter().zip(descriptors);
        Ok(named
            .map(|(port, descriptor)| KeptDescriptor {
                name: format!("port/{}/{}", port.protocol, port.host),
                descriptor,
            })
            .collect())
    }
}

#[async_trait]
impl Networking for HostNetworking {
    async fn resolve(&self, name: &str) -> Result<NetworkReference, Failure> {
        let network = self.networks.resolve(name)?;
        Ok(NetworkReference {
            id: network.id.clone(),
            name: network.spec.name.clone(),
            driver: network.spec.driver.as_str().to_owned(),
        })
    }

    fn knows_all(&self) -> bool {
        !self.attachments.are_possible()
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, Failure> {
        let request = self.without_disabled(request);
        if request.kind == SandboxKind::Host {
            let settings = self.settings(&request, None)?;
            self.remember(request, &settings);
            return Ok(Attached { settings, descriptors: Vec::new() });
        }
        let container = request.container.clone();
        let attached = self.attach_private(request).await;
        if attached.is_err() {
            self.attachments.release(&container, None);
        }
        attached
    }

    async fn detach(&self, container: &ContainerId) -> Result<(), Failure> {
        self.wishes().remove(container);
        let id = SandboxId::parse(container.as_str())?;
        // Its sockets hold the namespace: they must go first.
        self.names.remove(&id);
        self.networks.detach(id).await?;
        // Not before: the addresses may be another's from then on.
        self.attachments.release(container, None);
        Ok(())
    }

    async fn restore(
        &self,
        sandboxes: Vec<RestoreSandbox>,
    ) -> Result<BTreeMap<ContainerId, Result<NetworkSettings, Failure>>, Failure> {
        let containers = sandboxes.iter().map(|one| one.request.container.clone()).collect();
        self.attachments.keep(&containers);
        let mut live = BTreeMap::<SandboxId, Vec<OwnedFd>>::new();
        let mut requests = Vec::new();
        for sandbox in sandboxes {
            let mut dns = BTreeMap::new();
            if sandbox.request.kind == SandboxKind::Private {
                let id = SandboxId::parse(sandbox.request.container.as_str())?;
                let ports = live.entry(id).or_default();
                for KeptDescriptor { name, descriptor } in sandbox.descriptors {
                    if name.starts_with("port/") {
                        ports.push(descriptor);
                    } else {
                        dns.insert(name, descriptor);
                    }
                }
            }
            let kept = names::DESCRIPTORS.map(|name| dns.remove(name));
            let kept = if let [Some(udp), Some(tcp)] = kept { Some((udp, tcp)) } else { None };
            requests.push((self.without_disabled(sandbox.request), kept));
        }
        let mut restored = self.networks.restore(live).await?;
        let mut results = BTreeMap::new();
        for (request, kept) in requests {
            let id = SandboxId::parse(request.container.as_str())?;
            let result = match restored.remove(&id) {
                Some(Ok(sandbox)) => {
                    let sandbox = self.agree(&request, sandbox).await;
                    self.settings(&request, Some(&sandbox))
                }
                Some(Err(error)) => Err(error.into()),
                None => self.settings(&request, None),
            };
            if let Ok(settings) = &result
                && let Err(failure) = self.name(&request, settings, kept).await
            {
                let error = failure.chain();
                tracing::warn!(container = %request.container, error, "names are not answered");
            }
            let container = request.container.clone();
            match &result {
                Ok(settings) => self.remember(request, settings),
                Err(_) => self.remember(request, &NetworkSettings::default()),
            }
            results.insert(container, result);
        }
        Ok(results)
    }

    async fn connect(
        &self,
        container: &ContainerId,
        endpoint: EndpointRequest,
    ) -> Result<Attached, Failure> {
        let Wish { mut request, .. } = self.wish(container)?;
        let given = self.ask_for_addresses(&request, std::slice::from_ref(&endpoint)).await?;
        let network = self.networks.resolve(&endpoint.network)?;
        if request.kind == SandboxKind::Host || !network.spec.driver.has_endpoints() {
            let message = "container cannot be connected to host network - container must be created in host network mode";
            return Err(Failure::invalid(message));
        }
        let wanted = given.of(&network.id, convert::endpoint_request(&endpoint.spec)?);
        let id = SandboxId::parse(container.as_str())?;
        let sandbox = match self.networks.connect(id, network.id.clone(), wanted).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                given.give_back(&self.attachments, container);
                return Err(error.into());
            }
        };
        request.endpoints.push(endpoint);
        self.finish(request, &sandbox).await
    }

    async fn disconnect(
        &self,
        container: &ContainerId,
        network: &NetworkId,
    ) -> Result<Disconnected, Failure> {
        let Wish { mut request, settings: before } = self.wish(container)?;
        let id = SandboxId::parse(container.as_str())?;
        let sandbox = self.networks.disconnect(id, network.clone()).await?;
        self.attachments.release(container, Some(network));
        let name = self.networks.resolve(network.as_str())?.spec.name.clone();
        request.endpoints.retain(|wish| {
            wish.network != name
                && self.networks.resolve(&wish.network).is_ok_and(|found| found.id != *network)
        });
        let settings = self.settings(&request, Some(&sandbox))?;
        // The name server runs on, as with docker: a program may have read the files already.
        self.names.set(&sandbox.id, names::memberships(&settings));
        self.remember(request, &settings);
        let drop = convert::closed(&before.ports, &settings.ports);
        Ok(Disconnected { settings, drop })
    }

    async fn rename(&self, container: &ContainerId, name: &str) -> Result<(), Failure> {
        let id = SandboxId::parse(container.as_str())?;
        if let Some(Wish { request, settings }) = self.wishes().get_mut(container) {
            name.clone_into(&mut request.name);
            for wish in &request.endpoints {
                let network = self.networks.resolve(&wish.network)?;
                let endpoint = settings.endpoints.get_mut(&network.spec.name);
                if let Some(endpoint) = endpoint.filter(|one| !one.dns_names.is_empty()) {
                    endpoint.dns_names = convert::names(request, wish);
                }
            }
            self.names.set(&id, names::memberships(settings));
        }
        Ok(())
    }
}
