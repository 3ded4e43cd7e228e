//! Secrets and configs.

use http::StatusCode;
use shoal_api_wire::swarm::{IdResponse, secret as wire};

use super::swarm::{port, version};
use crate::convert::cluster::{filters, secret};
use crate::convert::filters::raw;
use crate::request::{Answer, Context, empty, json_answer, ok};

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::objects(&raw(ctx.query.text("filters"))?)?;
    let secrets = port(&ctx)?.secrets(filters).await?;
    ok(&secrets.iter().map(|one| secret::secret(one)).collect::<Vec<_>>())
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let body: wire::SecretSpec = ctx.json().await?;
    let id = port(&ctx)?.create_secret(secret::secret_spec(body)?).await?;
    json_answer(StatusCode::CREATED, &IdResponse { id: id.to_string() })
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    ok(&secret::secret(&*port(&ctx)?.secret(ctx.name()).await?))
}

pub(super) async fn update(mut ctx: Context) -> Answer {
    let body: wire::SecretSpec = ctx.json().await?;
    let spec = secret::secret_spec(body)?;
    port(&ctx)?.update_secret(ctx.name(), version(&ctx, "secret")?, spec).await?;
    empty(StatusCode::OK)
}

pub(super) async fn remove(ctx: Context) -> Answer {
    port(&ctx)?.remove_secret(ctx.name()).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn list_configs(ctx: Context) -> Answer {
    let filters = filters::objects(&raw(ctx.query.text("filters"))?)?;
    let configs = port(&ctx)?.configs(filters).await?;
    ok(&configs.iter().map(|one| secret::config(one)).collect::<Vec<_>>())
}

pub(super) async fn create_config(mut ctx: Context) -> Answer {
    let body: wire::ConfigSpec = ctx.json().await?;
    let id = port(&ctx)?.create_config(secret::config_spec(body)?).await?;
    json_answer(StatusCode::CREATED, &IdResponse { id: id.to_string() })
}

pub(super) async fn inspect_config(ctx: Context) -> Answer {
    ok(&secret::config(&*port(&ctx)?.config(ctx.name()).await?))
}

pub(super) async fn update_config(mut ctx: Context) -> Answer {
    let body: wire::ConfigSpec = ctx.json().await?;
    let spec = secret::config_spec(body)?;
    port(&ctx)?.update_config(ctx.name(), version(&ctx, "config")?, spec).await?;
    empty(StatusCode::OK)
}

pub(super) async fn remove_config(ctx: Context) -> Answer {
    port(&ctx)?.remove_config(ctx.name()).await?;
    empty(StatusCode::NO_CONTENT)
}
