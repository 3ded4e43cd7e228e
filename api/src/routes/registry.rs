//! What only a registry knows: login, search, manifests.

use shoal_api_wire::image as wire;
use shoal_model::Reference;
use shoal_model::image::{Credentials, SearchRequest};

use super::images::invalid;
use crate::convert::{filters, image};
use crate::error::ApiError;
use crate::request::{Answer, Context, ok};

/// From `X-Registry-Auth`.
pub(super) fn credentials(ctx: &Context) -> Option<Credentials> {
    image::registry_auth(ctx.headers().get("x-registry-auth")?.to_str().ok()?)
}

pub(super) async fn auth(mut ctx: Context) -> Answer {
    let config: wire::AuthConfig = ctx.json().await?;
    let outcome = ctx.ports.images.login(image::credentials(config)?).await?;
    ok(&wire::AuthResponse {
        status: "Login Succeeded".to_owned(),
        identity_token: outcome.identity_token,
    })
}

pub(super) async fn distribution(ctx: Context) -> Answer {
    let reference: Reference = ctx.name().parse().map_err(invalid)?;
    let details = ctx.ports.images.distribution(reference.or_latest(), credentials(&ctx)).await?;
    ok(&image::distribution(&details))
}

pub(super) async fn search(ctx: Context) -> Answer {
    let (is_automated, is_official, stars) =
        filters::search(&filters::raw(ctx.query.text("filters"))?)?;
    let limit: Option<usize> = ctx.query.number("limit")?;
    if limit.is_some_and(|limit| limit > 100) {
        return Err(ApiError::bad_request(format!(
            "limit {} is outside the range of [1, 100]",
            ctx.query.text("limit")
        )));
    }
    let request = SearchRequest {
        term: ctx.query.text("term").to_owned(),
        limit: limit.filter(|limit| *limit > 0),
        is_automated,
        is_official,
        stars,
        credentials: credentials(&ctx),
    };
    let hits = ctx.ports.images.search(request).await?.into_iter();
    let hits: Vec<_> = hits
        .map(|hit| wire::SearchResult {
            star_count: hit.stars,
            is_official: hit.is_official,
            name: hit.name,
            is_automated: hit.is_automated,
            description: hit.description,
        })
        .collect();
    ok(&hits)
}
