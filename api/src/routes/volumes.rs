//! Volumes.

use http::StatusCode;
use shoal_api_wire::volume as wire;

use crate::convert::{filters, volume};
use crate::request::{Answer, Context, empty, json_answer, ok};

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::volumes(&filters::raw(ctx.query.text("filters"))?)?;
    let volumes = ctx.ports.volumes.list(filters).await?;
    let volumes = volumes.iter().map(|item| volume::volume(item, None)).collect();
    ok(&wire::ListResponse { volumes, warnings: None })
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let body: wire::CreateBody = ctx.json().await?;
    let created = ctx.ports.volumes.create(volume::spec(body)?).await?;
    json_answer(StatusCode::CREATED, &volume::volume(&created, None))
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    ok(&volume::volume(&ctx.ports.volumes.inspect(ctx.name()).await?, None))
}

pub(super) async fn remove(ctx: Context) -> Answer {
    ctx.ports.volumes.remove(ctx.name(), ctx.query.flag("force")).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(ctx: Context) -> Answer {
    let raw = filters::raw(ctx.query.text("filters"))?;
    let mut filters = filters::prune(&raw, Some("all"), ctx.ports.clock.now())?;
    // Before 1.42 named volumes went too.
    filters.all |= !ctx.version.at_least(42);
    let pruned = ctx.ports.volumes.prune(filters).await?;
    ok(&wire::VolumesPruned {
        volumes_deleted: (!pruned.removed.is_empty()).then_some(pruned.removed),
        space_reclaimed: pruned.reclaimed,
    })
}
