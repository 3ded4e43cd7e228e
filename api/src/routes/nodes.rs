//! Nodes.

use http::StatusCode;
use shoal_api_wire::swarm::node as wire;

use super::swarm::{port, version};
use crate::convert::cluster::{filters, node};
use crate::convert::filters::raw;
use crate::request::{Answer, Context, empty, ok};

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::nodes(&raw(ctx.query.text("filters"))?)?;
    let nodes = port(&ctx)?.nodes(filters).await?;
    ok(&nodes.iter().map(node::node).collect::<Vec<_>>())
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    ok(&node::node(&port(&ctx)?.node(ctx.name()).await?))
}

pub(super) async fn update(mut ctx: Context) -> Answer {
    let body: wire::NodeSpec = ctx.json().await?;
    port(&ctx)?.update_node(ctx.name(), version(&ctx, "node")?, node::spec(body)?).await?;
    empty(StatusCode::OK)
}

pub(super) async fn remove(ctx: Context) -> Answer {
    port(&ctx)?.remove_node(ctx.name(), ctx.query.flag("force")).await?;
    empty(StatusCode::OK)
}
