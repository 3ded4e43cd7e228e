//! What docker's API does with containers, done with the container of a task, wherever it runs: ADR 8.
//!
//! The handlers are those of containers, over another port.

use super::swarm::port;
use super::{archive, attach, containers, logs};
use crate::error::{ApiError, Verb, during};
use crate::request::{Answer, Context};
use crate::stream::hijack;

/// The request, about the container of the task that it names.
async fn of_task(mut ctx: Context) -> Result<Context, ApiError> {
    ctx.inside = Some(port(&ctx)?.container_of_task(ctx.name()).await?);
    Ok(ctx)
}

macro_rules! as_for_containers {
    ($($name:ident $handler:path;)*) => {$(
        pub(super) async fn $name(ctx: Context) -> Answer {
            $handler(of_task(ctx).await?).await
        }
    )*};
}

as_for_containers! {
    attach attach::attach;
    resize containers::resize;
    kill containers::kill;
    wait containers::wait;
    stats logs::stats;
    stat archive::stat;
    get archive::get;
    put archive::put;
}

/// A connection to a port that a task's container listens on, as its own processes reach it.
pub(super) async fn forward(ctx: Context) -> Answer {
    let bad = || ApiError::bad_request("the port must be named: port=1…65535");
    let number: u16 = ctx.query.number("port")?.filter(|port| *port != 0).ok_or_else(bad)?;
    let session = port(&ctx)?.forward(ctx.name(), number).await;
    hijack::answer(ctx, session.map_err(during(Verb::Attach))?, Vec::new()).await
}
