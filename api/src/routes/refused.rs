//! What Shoal does not do (yet), said honestly.

use shoal_model::error::Unfit;
use shoal_model::{ErrorKind, Fact, Failure, ObjectKind};

use crate::error::ApiError;
use crate::request::{Answer, Context, ok};

/// Dockerd's answer on a host that is in no cluster.
pub(super) fn no_manager() -> ApiError {
    Failure::of(ErrorKind::Unavailable, Fact::Membership(Unfit::NotAMember)).into()
}

pub(super) async fn not_a_manager(_: Context) -> Answer {
    Err(no_manager())
}

fn no(what: &str) -> Answer {
    Err(ApiError::not_implemented(format!("{what} is not implemented by Shoal")))
}

pub(super) async fn checkpoints(_: Context) -> Answer {
    no("checkpointing of containers")
}

pub(super) async fn attestations(_: Context) -> Answer {
    no("reading attestations of images")
}

pub(super) async fn build(_: Context) -> Answer {
    no("building images")
}

pub(super) async fn buildkit(_: Context) -> Answer {
    no("the BuildKit protocol")
}

/// There is no build cache: nothing to prune.
pub(super) async fn build_prune(_: Context) -> Answer {
    ok(&serde_json::json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))
}

pub(super) async fn plugins(_: Context) -> Answer {
    ok(&serde_json::json!([]))
}

pub(super) async fn plugin(_: Context) -> Answer {
    no("management of plugins")
}

pub(super) async fn no_plugin(ctx: Context) -> Answer {
    let fact = Fact::NoSuch { object: ObjectKind::Plugin, name: ctx.name().to_owned() };
    Err(Failure::of(ErrorKind::NotFound, fact).into())
}
