//! Failures to HTTP: kind to status, and dockerd's exact words where clients depend on them.
//!
//! The only place that chooses statuses, and the only place that holds those words.
//!
//! Source: moby `daemon/errors.go`, `daemon/delete.go`, `volume/service/errors.go`,
//! `daemon/server/httpstatus/status.go`; pinned by the tests below.

mod network;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use shoal_model::error::Unfit;
use shoal_model::{ErrorKind, Fact, Failure, ObjectKind, Reference};

/// What was being done, where dockerd's words depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb<'a> {
    Other,
    Start,
    Pause,
    Attach,
    ExecCreate,
    ExecStart,
    Kill(&'a str),
    Restart(&'a str),
    Stop(&'a str),
    Update(&'a str),
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn of(failure: &Failure, verb: Verb<'_>) -> Self {
        Self { status: status(failure), message: message(failure, verb) }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::of(&failure, Verb::Other)
    }
}

/// For `map_err`: the failure happened during `verb`.
pub(crate) fn during(verb: Verb<'_>) -> impl Fn(Failure) -> ApiError {
    move |failure| ApiError::of(&failure, verb)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        if self.status != StatusCode::NOT_MODIFIED {
            let body = serde_json::json!({ "message": self.message }).to_string();
            *response.body_mut() = Body::from(body + "\n");
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure.fact() {
        Some(Fact::AlreadyInState) => return StatusCode::NOT_MODIFIED,
        // The program cannot be run: docker blames the caller.
        Some(Fact::StartFailed { exit_code: 126 | 127, .. }) => return StatusCode::BAD_REQUEST,
        _ => {}
    }
    match failure.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Internal
        | ErrorKind::DataLoss
        | ErrorKind::DeadlineExceeded
        | ErrorKind::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The message as dockerd words it.
pub(crate) fn message(failure: &Failure, verb: Verb<'_>) -> String {
    let words = failure.fact().map_or_else(|| failure.chain(), |fact| words(fact, verb));
    match verb {
        Verb::Kill(name) => format!("cannot kill container: {name}: {words}"),
        Verb::Stop(name) if !is_missing(failure) => {
            format!("cannot stop container: {name}: {words}")
        }
        Verb::Restart(name) if !is_missing(failure) => {
            format!("Cannot restart container {name}: {words}")
        }
        Verb::Update(name) if !is_missing(failure) => {
            format!("Cannot update container {name}: {words}")
        }
        _ => words,
    }
}

fn is_missing(failure: &Failure) -> bool {
    matches!(failure.fact(), Some(Fact::NoSuch { .. } | Fact::Ambiguous { .. }))
}

fn words(fact: &Fact, verb: Verb<'_>) -> String {
    match fact {
        Fact::NoSuch { object, name } => no_such(*object, name),
        Fact::Ambiguous { object: ObjectKind::Network, prefix } => {
            format!("network {prefix} is ambiguous (several matches found on ID prefix)")
        }
        Fact::Ambiguous { prefix, .. } => {
            format!("multiple IDs found with provided prefix: {prefix}")
        }
        Fact::ContainerNameTaken { name, by } => format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You have \
             to remove (or rename) that container to be able to reuse that name."
        ),
        Fact::SameName => "Renaming a container with the same name as its current name".to_owned(),
        Fact::NoSuchPath { path, container } => {
            format!("Could not find the file {path} in container {container}")
        }
        Fact::NotRunning { container } => format!("container {container} is not running"),
        Fact::Paused { container } => paused(container, verb),
        Fact::NotPaused { container } => format!("Container {container} is not paused"),
        Fact::Restarting { container } => {
            format!("Container {container} is restarting, wait until the container is running")
        }
        Fact::RemoveRunning { container, state } if state == "paused" => format!(
            "cannot remove container \"/{container}\": container is paused and must be unpaused first"
        ),
        Fact::RemoveRunning { container, state } => format!(
            "cannot remove container \"/{container}\": container is {state}: stop the container before \
             removing or force remove"
        ),
        Fact::AlreadyInState => String::new(),
        Fact::StartFailed { reason, .. } if verb == Verb::ExecStart => format!(
            "OCI runtime exec failed: exec failed: unable to start container process: {reason}: unknown"
        ),
        Fact::StartFailed { reason, .. } => format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: \
             runc create failed: unable to start container process: error during container init: \
             {reason}: unknown"
        ),
        Fact::ImageInUse { image, why, must_force } => image_in_use(image, why, *must_force),
        Fact::VolumeInUse { volume, containers } => {
            format!("remove {volume}: volume is in use - [{}]", containers.join(", "))
        }
        Fact::NetworkInUse { network, endpoints } => format!(
            "error while removing network: network {network} has active endpoints ({})",
            endpoints.join(", ")
        ),
        Fact::Network(refusal) => network::words(refusal),
        Fact::SetUpNetworking { container, cause } => {
            network::set_up(container, cause, &words(cause, verb))
        }
        Fact::PullDenied { .. }
        | Fact::ManifestUnknown { .. }
        | Fact::RepositoryUnknown { .. }
        | Fact::RegistryRefused { .. }
        | Fact::NoRegistryCredentials { .. }
        | Fact::SearchStatus { .. }
        | Fact::NoMatchingPlatform { .. }
        | Fact::NoSuchTag { .. }
        | Fact::NoLocalTags { .. } => registry(fact),
        Fact::Membership(unfit) => membership(*unfit).to_owned(),
        Fact::Several { object, name, count } => {
            format!("{} {name} is ambiguous ({count} matches found)", cluster_object(*object))
        }
        Fact::OutOfSequence => "rpc error: code = Unknown desc = update out of sequence".to_owned(),
        Fact::Refused { code, text } => {
            format!("rpc error: code = {} desc = {text}", code.as_str())
        }
        Fact::InvalidFilter { key, value: None } => format!("invalid filter '{key}'"),
        Fact::InvalidFilter { key, value: Some(value) } => {
            format!("invalid filter '{key}=[{value}]'")
        }
    }
}

/// Source: moby `distribution/errors.go`, `distribution/push.go`, `daemon/pkg/registry/search_session.go`.
fn registry(fact: &Fact) -> String {
    match fact {
        Fact::PullDenied { repository, cause } => format!(
            "pull access denied for {repository}, repository does not exist or may require 'docker login': \
             {cause}"
        ),
        Fact::ManifestUnknown { reference, cause } => {
            format!("manifest for {reference} not found: {cause}")
        }
        Fact::RepositoryUnknown { repository, cause } => {
            format!("repository {repository} not found: {cause}")
        }
        Fact::RegistryRefused { cause } => cause.clone(),
        Fact::NoRegistryCredentials { request } => format!("{request}: no basic auth credentials"),
        Fact::SearchStatus { status } => format!("Unexpected status code {status}"),
        Fact::NoMatchingPlatform { platform } => {
            format!("no matching manifest for {platform} in the manifest list entries")
        }
        Fact::NoSuchTag { reference } => format!("tag does not exist: {reference}"),
        Fact::NoLocalTags { repository } => {
            format!("An image does not exist locally with the tag: {repository}")
        }
        _ => String::new(),
    }
}

fn no_such(object: ObjectKind, name: &str) -> String {
    match object {
        ObjectKind::Container => format!("No such container: {name}"),
        ObjectKind::Image => {
            let full = name.parse::<Reference>().map(|reference| reference.or_latest().familiar());
            format!("No such image: {}", full.unwrap_or_else(|_| name.to_owned()))
        }
        ObjectKind::Volume => format!("get {name}: no such volume"),
        ObjectKind::Network => format!("network {name} not found"),
        ObjectKind::Exec => format!("No such exec instance: {name}"),
        ObjectKind::Plugin => format!("plugin \"{name}\" not found"),
        ObjectKind::Node
        | ObjectKind::Service
        | ObjectKind::Task
        | ObjectKind::Secret
        | ObjectKind::Config => format!("{} {name} not found", cluster_object(object)),
    }
}

const fn cluster_object(object: ObjectKind) -> &'static str {
    match object {
        ObjectKind::Node => "node",
        ObjectKind::Service => "service",
        ObjectKind::Task => "task",
        ObjectKind::Secret => "secret",
        ObjectKind::Config => "config",
        ObjectKind::Network => "network",
        ObjectKind::Container => "container",
        ObjectKind::Image => "image",
        ObjectKind::Volume => "volume",
        ObjectKind::Exec => "exec",
        ObjectKind::Plugin => "plugin",
    }
}

/// Source: moby `daemon/cluster/errors.go`, `daemon/cluster/cluster.go errNoManager`.
const fn membership(unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::NotAMember => {
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
             connect this node to swarm and try again."
        }
        Unfit::AlreadyAMember => {
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and \
             join another one."
        }
        Unfit::Worker => {
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. \
             Please run this command on a manager node or promote the current node to a manager."
        }
        Unfit::ManagerNotReady => {
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the \
             cluster."
        }
        Unfit::Locked => {
            "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm \
             unlock\" to unlock it."
        }
        Unfit::NotLocked => "swarm is not locked",
        Unfit::WrongKey => "swarm could not be unlocked: invalid key provided",
        Unfit::Expired => {
            "Swarm certificates have expired. To replace them, leave the swarm and join again."
        }
        Unfit::JoinTimedOut => {
            "Timeout was reached before node joined. The attempt to join the swarm will continue in the \
             background. Use the \"docker info\" command to see the current swarm status of your node."
        }
        Unfit::NoLeader => {
            "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few \
             managers are online. Make sure more than half of the managers are online."
        }
    }
}

fn paused(container: &str, verb: Verb<'_>) -> String {
    match verb {
        Verb::ExecCreate | Verb::ExecStart => {
            format!("container {container} is paused, unpause the container before exec")
        }
        Verb::Attach => {
            format!("container {container} is paused, unpause the container before attach")
        }
        Verb::Pause => format!("container {container} is already paused"),
        Verb::Start => "cannot start a paused container, try unpause instead".to_owned(),
        _ => format!("container {container} is paused"),
    }
}

fn image_in_use(image: &str, why: &str, must_force: bool) -> String {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    let is_id = hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let force = if must_force { "must be forced" } else { "cannot be forced" };
    if is_id {
        format!("conflict: unable to delete {} ({force}) - {why}", &hex[..12])
    } else {
        format!("conflict: unable to remove repository reference \"{image}\" (must force) - {why}")
    }
}

#[cfg(test)]
mod tests;
