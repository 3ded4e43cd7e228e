//! Networks.

use std::sync::Arc;

use http::StatusCode;
use shoal_api_wire::network as wire;
use shoal_model::cluster::ClusterNetwork;
use shoal_model::{ErrorKind, Fact, Failure, NetworkRefusal, ObjectKind};

use crate::convert::cluster::network as cluster;
use crate::convert::{addresses, filters, network};
use crate::error::ApiError;
use crate::ports::Cluster;
use crate::request::{Answer, Context, empty, json_answer, ok};

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::networks(&filters::raw(ctx.query.text("filters"))?)?;
    let of_cluster = of_cluster(ctx.ports.cluster.as_ref()).await;
    let local = ctx.ports.networks.list(filters.clone()).await?;
    let mut out: Vec<_> = local.iter().map(network::network).collect();
    out.extend(
        of_cluster
            .iter()
            // The host's own networks of these names are listed already.
            .filter(|network| !network.predefined || network.spec.ingress)
            .filter(|network| cluster::fits(network, &filters))
            .map(|network| cluster::network(network)),
    );
    ok(&out)
}

/// Networks of the cluster; none on a host that is no manager or while there is no leader, so that the
/// networks of the host can always be listed.
async fn of_cluster(port: Option<&Arc<dyn Cluster>>) -> Vec<Arc<ClusterNetwork>> {
    match port {
        Some(port) => port.networks().await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// By id, then name, then id prefix.
fn find<'a>(
    networks: &'a [Arc<ClusterNetwork>],
    name: &str,
) -> Result<Option<&'a Arc<ClusterNetwork>>, Failure> {
    let exact = networks
        .iter()
        .find(|network| network.id.to_string() == name)
        .or_else(|| networks.iter().find(|network| network.spec.name == name));
    if exact.is_some() {
        return Ok(exact);
    }
    let mut prefixed = networks.iter().filter(|network| network.id.to_string().starts_with(name));
    match (prefixed.next(), prefixed.next()) {
        (Some(_), Some(_)) => {
            let prefix = name.to_owned();
            let fact = Fact::Ambiguous { object: ObjectKind::Network, prefix };
            Err(Failure::of(ErrorKind::InvalidArgument, fact))
        }
        (found, _) => Ok(found),
    }
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let body: wire::CreateBody = ctx.json().await?;
    let spec = network::spec(body)?;
    let of_cluster = of_cluster(ctx.ports.cluster.as_ref()).await;
    if of_cluster.iter().any(|network| network.spec.name == spec.name) {
        let refusal = NetworkRefusal::NameTaken { name: spec.name };
        return Err(Failure::of(ErrorKind::Conflict, Fact::Network(refusal)).into());
    }
    let is_for_cluster = spec.scope == "swarm"
        || spec.driver == "overlay"
        || (spec.ingress && spec.driver.is_empty());
    let (id, warnings) = if is_for_cluster {
        (super::swarm::port(&ctx)?.create_network(spec).await?.to_string(), Vec::new())
    } else {
        let (id, warnings) = ctx.ports.networks.create(spec).await?;
        (id.to_string(), warnings)
    };
    let warning = warnings.join("\n");
    json_answer(StatusCode::CREATED, &wire::CreateResponse { id, warning })
}

fn is_missing<T>(result: &Result<T, Failure>) -> bool {
    result.as_ref().is_err_and(|failure| failure.kind() == ErrorKind::NotFound)
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let scope = ctx.query.text("scope").to_owned();
    let in_scope = |found: &str| scope.is_empty() || scope == found;
    let local = ctx.ports.networks.inspect(ctx.name()).await;
    if is_missing(&local) || !in_scope("local") {
        let networks = of_cluster(ctx.ports.cluster.as_ref()).await;
        if let Some(found) = find(&networks, ctx.name())?.filter(|_| in_scope("swarm")) {
            if ctx.query.flag("verbose") {
                let shown = super::swarm::port(&ctx)?.network_view(found.id).await?;
                return ok(&cluster::verbose(found, &shown));
            }
            return ok(&cluster::network(found));
        }
    }
    let wire = network::inspect(&local?);
    if !in_scope(&wire.scope) {
        let fact = Fact::NoSuch { object: ObjectKind::Network, name: ctx.name().to_owned() };
        return Err(Failure::of(ErrorKind::NotFound, fact).into());
    }
    ok(&wire)
}

pub(super) async fn remove(ctx: Context) -> Answer {
    let removed = ctx.ports.networks.remove(ctx.name()).await;
    if is_missing(&removed) {
        let networks = of_cluster(ctx.ports.cluster.as_ref()).await;
        if let Some(found) = find(&networks, ctx.name())? {
            super::swarm::port(&ctx)?.remove_network(found.id).await?;
            return empty(StatusCode::NO_CONTENT);
        }
    }
    removed?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn connect(mut ctx: Context) -> Answer {
    let body: wire::ConnectBody = ctx.json().await?;
    let wish = body.endpoint_config.unwrap_or_default();
    if addresses::is_particular(&wish)
        && let Ok(details) = ctx.ports.networks.inspect(ctx.name()).await
    {
        let network = &details.network;
        addresses::endpoint(&network.spec.name, Some(network), &wish)
            .map_err(ApiError::bad_request)?;
    }
    let endpoint = network::endpoint_spec(wish)?;
    ctx.ports.networks.connect(ctx.name(), &body.container, endpoint).await?;
    empty(StatusCode::OK)
}

pub(super) async fn disconnect(mut ctx: Context) -> Answer {
    let body: wire::DisconnectBody = ctx.json().await?;
    ctx.ports.networks.disconnect(ctx.name(), &body.container, body.force).await?;
    empty(StatusCode::OK)
}

pub(super) async fn prune(ctx: Context) -> Answer {
    let raw = filters::raw(ctx.query.text("filters"))?;
    let filters = filters::prune(&raw, None, ctx.ports.clock.now())?;
    let pruned = ctx.ports.networks.prune(filters).await?;
    let networks_deleted = (!pruned.removed.is_empty()).then_some(pruned.removed);
    ok(&wire::NetworksPruned { networks_deleted })
}
