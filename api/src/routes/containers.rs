//! Containers: everything that is neither a stream nor an archive.

use axum::body::Body;
use futures_util::stream;
use http::StatusCode;
use shoal_api_wire::container as wire;
use shoal_api_wire::host_config::HostConfig;
use shoal_model::container::{
    CommitRequest, ListOptions, PathChangeKind, RemoveOptions, StopOptions, UpdateRequest,
    WaitCondition,
};
use shoal_model::{Failure, Reference};

use crate::convert::{container, filters, host, image, validate};
use crate::error::{ApiError, Verb, during};
use crate::request::{Answer, Context, empty, json_answer, ok, typed};
use crate::stream::sequence;

pub(super) async fn list(ctx: Context) -> Answer {
    let options = ListOptions {
        all: ctx.query.flag("all"),
        limit: ctx
            .query
            .number::<i64>("limit")?
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        size: ctx.query.flag("size"),
        filters: filters::containers(&filters::raw(ctx.query.text("filters"))?)?,
    };
    let now = ctx.ports.clock.now();
    let containers = ctx.ports.containers.list(options).await?;
    let rows: Vec<_> =
        containers.iter().map(|item| container::summary(item, ctx.version, now)).collect();
    ok(&rows)
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let details = ctx.ports.containers.inspect(ctx.name(), ctx.query.flag("size")).await?;
    ok(&container::inspect(&details, ctx.version))
}

pub(super) async fn top(ctx: Context) -> Answer {
    let words: Vec<String> =
        ctx.query.text("ps_args").split_whitespace().map(str::to_owned).collect();
    let args = if words.is_empty() { vec!["-ef".to_owned()] } else { words };
    let top = ctx.ports.containers.top(ctx.name(), &args).await?;
    ok(&wire::TopResponse { processes: top.processes, titles: top.titles })
}

pub(super) async fn changes(ctx: Context) -> Answer {
    let changes = ctx.ports.containers.changes(ctx.name()).await?;
    let kind = |kind| match kind {
        PathChangeKind::Modified => 0,
        PathChangeKind::Added => 1,
        PathChangeKind::Deleted => 2,
    };
    let changes = changes.into_iter();
    let changes: Vec<_> = changes
        .map(|change| wire::FilesystemChange { kind: kind(change.kind), path: change.path })
        .collect();
    // No changes is null, as in docker.
    ok(&Some(changes).filter(|changes| !changes.is_empty()))
}

fn dimension(ctx: &Context, name: &str) -> Result<u32, ApiError> {
    let text = ctx.query.text(name);
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("invalid resize {name}: \"{text}\" is not a number"))
    })
}

/// Rows and columns.
pub(super) fn dimensions(ctx: &Context) -> Result<(u32, u32), ApiError> {
    Ok((dimension(ctx, "h")?, dimension(ctx, "w")?))
}

pub(super) async fn resize(ctx: Context) -> Answer {
    let (rows, columns) = dimensions(&ctx)?;
    ctx.inside().resize(ctx.name(), rows, columns).await?;
    empty(StatusCode::OK)
}

pub(super) async fn start(ctx: Context) -> Answer {
    if !ctx.query.text("checkpoint").is_empty() {
        return Err(ApiError::not_implemented(
            "starting from a checkpoint is not implemented by Shoal",
        ));
    }
    ctx.ports.containers.start(ctx.name()).await.map_err(during(Verb::Start))?;
    empty(StatusCode::NO_CONTENT)
}

fn stop_options(ctx: &Context) -> Result<StopOptions, ApiError> {
    let signal = Some(ctx.query.text("signal").to_owned());
    Ok(StopOptions {
        signal: signal.filter(|signal| !signal.is_empty() && ctx.version.at_least(42)),
        timeout: ctx.query.number("t")?,
    })
}

pub(super) async fn stop(ctx: Context) -> Answer {
    let options = stop_options(&ctx)?;
    ctx.ports.containers.stop(ctx.name(), options).await.map_err(during(Verb::Stop(ctx.name())))?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(ctx: Context) -> Answer {
    let options = stop_options(&ctx)?;
    let verb = Verb::Restart(ctx.name());
    ctx.ports.containers.restart(ctx.name(), options).await.map_err(during(verb))?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn kill(ctx: Context) -> Answer {
    let signal = match ctx.query.text("signal") {
        "" => "SIGKILL",
        signal => signal,
    };
    ctx.inside().kill(ctx.name(), signal).await.map_err(during(Verb::Kill(ctx.name())))?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(ctx: Context) -> Answer {
    ctx.ports.containers.pause(ctx.name()).await.map_err(during(Verb::Pause))?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn unpause(ctx: Context) -> Answer {
    ctx.ports.containers.unpause(ctx.name()).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn rename(ctx: Context) -> Answer {
    let to = ctx.query.text("name").trim_start_matches('/');
    if to.is_empty() {
        return Err(ApiError::bad_request("Neither old nor new names may be empty"));
    }
    validate::name(to)?;
    ctx.ports.containers.rename(ctx.name(), to).await?;
    empty(StatusCode::NO_CONTENT)
}

pub(super) async fn update(mut ctx: Context) -> Answer {
    let mut body: HostConfig = ctx.json().await?;
    if body.pids_limit.is_some_and(|limit| limit <= 0) {
        // Zero and negative both lift the limit.
        body.pids_limit = Some(-1);
    }
    let given = !body.restart_policy.name.is_empty();
    let policy = host::restart_policy(&body)?;
    let request = UpdateRequest {
        resources: host::resources(&body)?,
        restart_policy: given.then_some(policy),
    };
    let verb = Verb::Update(ctx.name());
    let warnings = ctx.ports.containers.update(ctx.name(), request).await.map_err(during(verb))?;
    ok(&wire::UpdateResponse { warnings })
}

pub(super) async fn remove(ctx: Context) -> Answer {
    let options = RemoveOptions {
        volumes: ctx.query.flag("v"),
        force: ctx.query.flag("force"),
        link: ctx.query.flag("link"),
    };
    ctx.ports.containers.remove(ctx.name(), options).await?;
    empty(StatusCode::NO_CONTENT)
}

/// Headers go out as soon as the wait is registered; the body when it ends.
pub(super) async fn wait(ctx: Context) -> Answer {
    let condition = match ctx.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(ApiError::bad_request(format!("invalid condition: \"{other}\""))),
    };
    let exit = ctx.inside().wait(ctx.name(), condition).await?;
    let body = stream::once(async move {
        let response = match exit.await {
            Ok(outcome) => wire::WaitResponse {
                error: outcome.error.map(|message| wire::WaitError { message }),
                status_code: outcome.code,
            },
            Err(failure) => wire::WaitResponse {
                error: Some(wire::WaitError { message: failure.to_string() }),
                status_code: -1,
            },
        };
        Ok::<_, std::convert::Infallible>(sequence::line(&response, "\n"))
    });
    Ok(typed(StatusCode::OK, "application/json", Body::from_stream(body)))
}

/// `repo` and `tag` of the query as a reference.
pub(super) fn reference(ctx: &Context) -> Result<Option<Reference>, ApiError> {
    let (repo, tag) = (ctx.query.text("repo"), ctx.query.text("tag"));
    if repo.is_empty() {
        return Ok(None);
    }
    let invalid =
        |error: shoal_model::reference::InvalidReference| Failure::invalid(error.to_string());
    let name: Reference = repo.parse().map_err(invalid)?;
    if name.digest().is_some() {
        return Err(ApiError::bad_request("cannot import digest reference"));
    }
    let named =
        if tag.is_empty() { name.or_latest() } else { name.with_tag(tag).map_err(invalid)? };
    Ok(Some(named))
}

pub(super) async fn commit(mut ctx: Context) -> Answer {
    let config: wire::ContainerConfig = ctx.json().await?;
    let request = CommitRequest {
        container: ctx.query.text("container").to_owned(),
        reference: reference(&ctx)?,
        comment: ctx.query.text("comment").to_owned(),
        author: ctx.query.text("author").to_owned(),
        pause: ctx.query.flag_or("pause", true),
        changes: changes_of(&ctx),
        overrides: image::defaults(config),
    };
    let id = ctx.ports.containers.commit(request).await?.to_string();
    json_answer(StatusCode::CREATED, &wire::IdResponse { id })
}

/// Instructions of `changes`, one each.
pub(super) fn changes_of(ctx: &Context) -> Vec<String> {
    let lines = ctx.query.all("changes").flat_map(str::lines).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

pub(super) async fn prune(ctx: Context) -> Answer {
    let raw = filters::raw(ctx.query.text("filters"))?;
    let filters = filters::prune(&raw, None, ctx.ports.clock.now())?;
    let pruned = ctx.ports.containers.prune(filters).await?;
    ok(&wire::ContainersPruned {
        containers_deleted: (!pruned.removed.is_empty()).then_some(pruned.removed),
        space_reclaimed: pruned.reclaimed,
    })
}
