//! Archives out of and into containers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use shoal_model::container::{ArchivePutOptions, PathStat};

use super::logs::archive;
use crate::convert::container;
use crate::error::ApiError;
use crate::request::{Answer, Context, empty};

fn path(ctx: &Context) -> Result<String, ApiError> {
    match ctx.query.text("path") {
        "" => Err(ApiError::bad_request("bad parameter: 'path' cannot be empty")),
        path => Ok(path.to_owned()),
    }
}

fn with_stat(mut answer: axum::response::Response, stat: &PathStat) -> Answer {
    let json = serde_json::to_vec(&container::path_stat(stat)).unwrap_or_default();
    let text = STANDARD.encode(json);
    if let Ok(value) = HeaderValue::from_str(&text) {
        answer.headers_mut().insert("x-docker-container-path-stat", value);
    }
    Ok(answer)
}

pub(super) async fn stat(ctx: Context) -> Answer {
    let stat = ctx.inside().path_stat(ctx.name(), &path(&ctx)?).await?;
    with_stat(empty(StatusCode::OK)?, &stat)
}

pub(super) async fn get(ctx: Context) -> Answer {
    let (stat, bytes) = ctx.inside().archive(ctx.name(), &path(&ctx)?).await?;
    with_stat(archive(bytes), &stat)
}

pub(super) async fn put(mut ctx: Context) -> Answer {
    let path = path(&ctx)?;
    let options = ArchivePutOptions {
        no_overwrite_dir_non_dir: ctx.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: ctx.query.flag("copyUIDGID"),
    };
    let bytes = ctx.stream();
    ctx.inside().unarchive(ctx.name(), &path, options, bytes).await?;
    empty(StatusCode::OK)
}

pub(super) async fn export(ctx: Context) -> Answer {
    Ok(archive(ctx.ports.containers.export(ctx.name()).await?))
}
