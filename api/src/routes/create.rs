//! Create.

use http::StatusCode;
use shoal_api_wire::container::CreateResponse;
use shoal_model::container::CreateRequest;

use crate::convert::{spec, validate};
use crate::error::ApiError;
use crate::request::{Answer, Context, json_answer};

pub(super) async fn create(mut ctx: Context) -> Answer {
    let bytes = ctx.bytes().await?;
    let name = ctx.query.text("name").trim_start_matches('/').to_owned();
    if !name.is_empty() {
        validate::name(&name)?;
    }
    let platform = if ctx.version.at_least(41) { ctx.platform()? } else { None };
    ctx.check_content_type()?;
    if bytes.is_empty() {
        return Err(ApiError::bad_request("invalid JSON: got EOF while reading request body"));
    }
    let mut parts = spec::parts(&bytes)?;
    let mut warnings = spec::adapt(&mut parts, ctx.version)?;
    let spec = spec::spec(parts)?;
    if !spec.host.port_bindings.is_empty()
        && matches!(spec.host.network_mode, shoal_model::container::NetworkMode::Host)
    {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let request =
        CreateRequest { name: Some(name).filter(|name| !name.is_empty()), platform, spec };
    let created = ctx.ports.containers.create(request).await?;
    warnings.splice(0..0, created.warnings);
    json_answer(StatusCode::CREATED, &CreateResponse { id: created.id.to_string(), warnings })
}
