//! Sandboxes: what is asked for, what is in force. Plain types and pure choices.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_model::NetworkId;

use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::Error;
use crate::plan::ports::{Protocol, PublishedPort};

/// Names a sandbox; chosen by the caller, a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxId(String);

impl SandboxId {
    /// Checks the text.
    ///
    /// # Errors
    /// When it is not one to 64 letters, digits and dashes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain && (1..=64).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidSandbox { id: text.to_owned() })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the endpoint.
    pub container_port: u16,
    /// Address of the host; `None`: every address, of each family that the endpoint has.
    pub host_ip: Option<IpAddr>,
    /// First and last port of the host to try; `None`: any free one.
    pub host_ports: Option<(u16, u16)>,
}

/// What is wanted of a new sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRequest {
    /// Its id.
    pub id: SandboxId,
    /// Networks to join, in the order of their interfaces. None: loopback only.
    pub endpoints: Vec<(NetworkId, EndpointRequest)>,
    /// Ports to publish, on the endpoint with the default route.
    pub ports: Vec<PortRequest>,
}

/// A sandbox in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Its namespace.
    pub path: PathBuf,
    /// In the order in which they joined.
    pub endpoints: Vec<Endpoint>,
    /// Published ports in force.
    pub ports: Vec<PublishedPort>,
}

impl Sandbox {
    /// The endpoint that gives the default route of a family.
    pub fn gateway(&self, ipv4: bool) -> Option<&Endpoint> {
        gateway_of(&self.endpoints, ipv4)
    }

    /// Whether a published port leads here: its network may have been left since.
    pub fn is_led_to(&self, port: &PublishedPort) -> bool {
        let leases =
            self.endpoints.iter().flat_map(|endpoint| endpoint.ipv4.iter().chain(&endpoint.ipv6));
        leases.into_iter().any(|lease| lease.address == port.container.ip())
    }

    /// A name for one more interface.
    pub(crate) fn free_interface(&self, prefix: &str) -> String {
        (0..)
            .map(|number| format!("{prefix}{number}"))
            .find(|name| self.endpoints.iter().all(|endpoint| endpoint.interface != *name))
            .expect("a sandbox has finitely many interfaces")
    }
}

/// The endpoint that gives the default route of a family: the highest priority, then the first name.
///
/// Source: moby `libnetwork/sandbox.go` getGatewayEndpoint.
pub fn gateway_of(endpoints: &[Endpoint], ipv4: bool) -> Option<&Endpoint> {
    let has = |endpoint: &&Endpoint| {
        let (gateway, lease) = if ipv4 {
            (endpoint.gateway.is_some(), endpoint.ipv4)
        } else {
            (endpoint.ipv6_gateway.is_some(), endpoint.ipv6)
        };
        gateway || (endpoint.routes_by_link && lease.is_some())
    };
    endpoints.iter().filter(has).min_by_key(|endpoint| {
        (std::cmp::Reverse(endpoint.gateway_priority), endpoint.network_name.clone())
    })
}
