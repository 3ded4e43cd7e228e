//! The cluster and this host's membership.

use http::StatusCode;
use shoal_api_wire::swarm::cluster as wire;
use shoal_model::cluster::Version;
use shoal_model::cluster::request::Rotate;
use std::sync::Arc;

use crate::convert::cluster::swarm as convert;
use crate::error::ApiError;
use crate::ports::Cluster;
use crate::request::{Answer, Context, empty, ok};

/// The port, or what dockerd answers on a host that cannot be in a cluster.
pub(super) fn port(ctx: &Context) -> Result<Arc<dyn Cluster>, ApiError> {
    ctx.ports.cluster.clone().ok_or_else(super::refused::no_manager)
}

/// The port for what a host outside a cluster can be asked.
pub(super) fn membership(ctx: &Context) -> Result<Arc<dyn Cluster>, ApiError> {
    let missing = || ApiError::not_implemented("swarm mode is not available in this daemon");
    ctx.ports.cluster.clone().ok_or_else(missing)
}

/// The `version` parameter, which updates of `what` must have.
///
/// Source of the texts: moby `daemon/server/router/swarm/cluster_routes.go`.
pub(super) fn version(ctx: &Context, what: &str) -> Result<Version, ApiError> {
    let text = ctx.query.text("version");
    text.parse().map(Version).map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        ApiError::bad_request(match what {
            "secret" | "config" => format!("invalid {what} version"),
            _ => format!(
                "invalid {what} version '{text}': strconv.ParseUint: parsing {text:?}: {why}"
            ),
        })
    })
}

pub(super) async fn init(mut ctx: Context) -> Answer {
    let body: wire::InitRequest = ctx.json().await?;
    let id = membership(&ctx)?.init(convert::init(body)?).await?;
    ok(&id.to_string())
}

pub(super) async fn join(mut ctx: Context) -> Answer {
    let body: wire::JoinRequest = ctx.json().await?;
    membership(&ctx)?.join(convert::join(body)?).await?;
    empty(StatusCode::OK)
}

pub(super) async fn leave(ctx: Context) -> Answer {
    membership(&ctx)?.leave(ctx.query.flag("force")).await?;
    empty(StatusCode::OK)
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    ok(&convert::swarm(&*port(&ctx)?.inspect().await?))
}

pub(super) async fn update(mut ctx: Context) -> Answer {
    let body: wire::Spec = ctx.json().await?;
    let rotate = Rotate {
        worker_token: ctx.query.flag("rotateWorkerToken"),
        manager_token: ctx.query.flag("rotateManagerToken"),
        unlock_key: ctx.query.flag("rotateManagerUnlockKey"),
    };
    port(&ctx)?.update(version(&ctx, "swarm")?, convert::spec(body)?, rotate).await?;
    empty(StatusCode::OK)
}

pub(super) async fn unlock_key(ctx: Context) -> Answer {
    let unlock_key = port(&ctx)?.unlock_key().await?;
    ok(&wire::UnlockKeyResponse { unlock_key })
}

pub(super) async fn unlock(mut ctx: Context) -> Answer {
    let body: wire::UnlockRequest = ctx.json().await?;
    membership(&ctx)?.unlock(&body.unlock_key).await?;
    empty(StatusCode::OK)
}

/// For `GET /info`: membership, and of a manager the cluster with its counts.
pub(super) async fn info(port: Option<Arc<dyn Cluster>>) -> wire::SwarmInfo {
    let Some(port) = port else {
        return wire::SwarmInfo { local_node_state: "inactive".to_owned(), ..Default::default() };
    };
    let membership = port.membership();
    if !membership.is_manager {
        return convert::swarm_info(&membership, None, 0, 0);
    }
    // Without a leader `info` still answers, without the part that needs one.
    let (Ok(cluster), Ok(nodes)) = (port.inspect().await, port.nodes(Default::default()).await)
    else {
        return convert::swarm_info(&membership, None, 0, 0);
    };
    let managers = nodes.iter().filter(|node| node.manager.is_some()).count();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    convert::swarm_info(&membership, Some(&cluster), count(nodes.len()), count(managers))
}

/// Said in `info` of a cluster that bears no failure of a manager although it has two.
const TWO_MANAGERS: &str = "WARNING: Running the cluster with two managers: when either is gone, nothing can be changed. \
                            Add a third one, or demote one.";

/// Warnings of `info` about the cluster.
pub(super) fn warnings(info: &wire::SwarmInfo) -> Vec<String> {
    let mut warnings = Vec::new();
    if info.control_available && info.managers == 2 {
        warnings.push(TWO_MANAGERS.to_owned());
    }
    if info.local_node_state == "error" && !info.error.is_empty() {
        warnings.push(format!("WARNING: {}", info.error));
    }
    warnings
}

/// For `/_ping`: `inactive`, `active/manager`, ….
pub(super) fn ping_state(ctx: &Context) -> &'static str {
    use shoal_model::cluster::membership::LocalState;
    let Some(port) = &ctx.ports.cluster else { return "inactive" };
    let membership = port.membership();
    match (membership.state, membership.is_manager) {
        (LocalState::Active, true) => "active/manager",
        (LocalState::Active, false) => "active/worker",
        (state, _) => state.as_str(),
    }
}
