//! Images.

use http::StatusCode;
use shoal_api_wire::image as wire;
use shoal_model::image::{
    ImageListOptions, ImageRemoveOptions, ImportRequest, PullRequest, PushRequest,
};
use shoal_model::reference::InvalidReference;
use shoal_model::{Failure, Reference};

use super::containers::{changes_of, reference};
use super::logs::archive;
use super::registry::credentials;
use crate::convert::{filters, image, progress};
use crate::error::ApiError;
use crate::request::{Answer, Context, empty, ok};
use crate::stream::sequence;

pub(super) fn invalid(error: InvalidReference) -> ApiError {
    Failure::invalid(error.to_string()).into()
}

pub(super) async fn list(ctx: Context) -> Answer {
    let raw = filters::raw(ctx.query.text("filters"))?;
    let options = ImageListOptions {
        all: ctx.query.flag("all"),
        shared_size: ctx.query.flag("shared-size"),
        filters: filters::images(&raw, ctx.ports.clock.now())?,
    };
    let images = ctx.ports.images.list(options).await?;
    let rows: Vec<_> = images.iter().map(|item| image::summary(item, ctx.version)).collect();
    ok(&rows)
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let details = ctx.ports.images.inspect(ctx.name(), ctx.platform()?).await?;
    ok(&image::inspect(&details, ctx.version))
}

pub(super) async fn history(ctx: Context) -> Answer {
    let entries = ctx.ports.images.history(ctx.name(), ctx.platform()?).await?;
    ok(&entries.iter().map(image::history).collect::<Vec<_>>())
}

pub(super) async fn tag(ctx: Context) -> Answer {
    let target = reference(&ctx)?.ok_or_else(|| invalid(InvalidReference::Format))?;
    ctx.ports.images.tag(ctx.name(), target).await?;
    empty(StatusCode::CREATED)
}

pub(super) async fn remove(ctx: Context) -> Answer {
    if ctx.name().trim().is_empty() {
        return Err(ApiError::bad_request("image name cannot be blank"));
    }
    let options = ImageRemoveOptions {
        force: ctx.query.flag("force"),
        no_prune: ctx.query.flag("noprune"),
        platforms: ctx.platforms("platforms")?,
    };
    let removed = ctx.ports.images.remove(ctx.name(), options).await?;
    ok(&removed.iter().map(image::removal).collect::<Vec<_>>())
}

pub(super) async fn prune(ctx: Context) -> Answer {
    let raw = filters::raw(ctx.query.text("filters"))?;
    let filters = filters::prune(&raw, Some("dangling"), ctx.ports.clock.now())?;
    let pruned = ctx.ports.images.prune(filters).await?;
    let removed: Vec<_> = pruned.removed.iter().map(image::removal).collect();
    ok(&wire::ImagesPruned {
        images_deleted: (!removed.is_empty()).then_some(removed),
        space_reclaimed: pruned.reclaimed,
    })
}

/// Pull (`fromImage`) or import (`fromSrc`).
pub(super) async fn create(mut ctx: Context) -> Answer {
    let from = ctx.query.text("fromImage").to_owned();
    let steps = if from.is_empty() {
        import(&mut ctx).await?
    } else {
        let tag = ctx.query.text("tag");
        let name: Reference = from.trim().parse().map_err(invalid)?;
        let all_tags = tag.is_empty() && name.tag().is_none() && name.digest().is_none();
        let reference = match tag {
            "" => name,
            digest if digest.starts_with("sha256:") => {
                name.with_digest(digest.parse().map_err(|_| invalid(InvalidReference::Format))?)
            }
            tag => name.with_tag(tag).map_err(invalid)?,
        };
        let request = PullRequest {
            reference,
            all_tags,
            platform: ctx.platform()?,
            credentials: credentials(&ctx),
        };
        ctx.ports.images.pull(request).await?
    };
    sequence::progress(steps, progress::messages).await
}

async fn import(
    ctx: &mut Context,
) -> Result<crate::ports::Stream<shoal_model::Progress>, ApiError> {
    match ctx.query.text("fromSrc") {
        "-" => {}
        "" => return Err(ApiError::bad_request("either fromImage or fromSrc must be given")),
        _ => {
            return Err(ApiError::not_implemented(
                "importing from a URL is not implemented by Shoal: download it and import the file",
            ));
        }
    }
    let request = ImportRequest {
        reference: reference(ctx)?,
        message: ctx.query.text("message").to_owned(),
        changes: changes_of(ctx),
        platform: ctx.platform()?,
    };
    let bytes = ctx.stream();
    Ok(ctx.ports.images.import(request, bytes).await?)
}

pub(super) async fn push(ctx: Context) -> Answer {
    let name: Reference = ctx.name().parse().map_err(invalid)?;
    let reference = match ctx.query.text("tag") {
        "" => name,
        tag => name.with_tag(tag).map_err(invalid)?,
    };
    let request =
        PushRequest { reference, platform: ctx.platform()?, credentials: credentials(&ctx) };
    let steps = ctx.ports.images.push(request).await?;
    sequence::progress(steps, progress::messages).await
}

pub(super) async fn load(mut ctx: Context) -> Answer {
    let platforms = ctx.platforms("platform")?;
    let quiet = ctx.query.flag_or("quiet", true);
    let bytes = ctx.stream();
    let steps = ctx.ports.images.load(bytes, platforms).await?;
    let convert = move |step| match step {
        shoal_model::Progress::Layer { .. } if quiet => Vec::new(),
        step => progress::messages(step),
    };
    sequence::progress(steps, convert).await
}

pub(super) async fn save(ctx: Context) -> Answer {
    let names: Vec<String> = match ctx.params.first() {
        Some((_, name)) => vec![name.clone()],
        None => ctx.query.all("names").map(str::to_owned).collect(),
    };
    if names.is_empty() {
        return Err(ApiError::bad_request("no image was named: field names"));
    }
    let platforms = ctx.platforms("platform")?;
    Ok(archive(ctx.ports.images.save(names, platforms).await?))
}
