//! Networks.

use http::StatusCode;
use shoal_api_wire::network as wire;
use shoal_model::{ErrorKind, Fact, Failure, ObjectKind};

use crate::convert::{filters, network};
use crate::request::{Answer, Context, empty, json_answer, ok};

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::networks(&filters::raw(ctx.query.text("filters"))?)?;
    let networks = ctx.ports.networks.list(filters).await?;
    ok(&networks.iter().map(network::network).collect::<Vec<_>>())
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let body: wire::CreateBody = ctx.json().await?;
    let (id, warnings) = ctx.ports.networks.create(network::spec(body)?).await?;
    let warning = warnings.join("\n");
    json_answer(StatusCode::CREATED, &wire::CreateResponse { id: id.to_string(), warning })
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let details = ctx.ports.networks.inspect(ctx.name()).await?;
    let wire = network::inspect(&details);
    let scope = ctx.query.text("scope");
    if !scope.is_empty() && scope != wire.scope {
        let fact = Fact::NoSuch { object: ObjectKind::Network, name: ctx.name().to_owned() };
        return Err(Failure::of(ErrorKind::NotFound, fact).into());
    }
    ok(&wire)
}

pub(super) async fn remove(ctx: Context) -> Answer {
    ctx.ports.networks.remove(ctx.name()).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn connect(mut ctx: Context) -> Answer {
    let body: wire::ConnectBody = ctx.json().await?;
    let endpoint = network::endpoint_spec(body.endpoint_config.unwrap_or_default())?;
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
