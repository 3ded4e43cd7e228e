//! Create.

use http::StatusCode;
use shoal_api_wire::container::{CreateResponse, NetworkingConfig};
use shoal_model::container::CreateRequest;

use crate::convert::{addresses, spec, validate};
use crate::error::ApiError;
use crate::ports::Networks;
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
    check_endpoints(ctx.ports.networks.as_ref(), &parts.networking).await?;
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

/// Refuses addresses and aliases that a network does not allow. A network that does not exist yet is no fault:
/// the start will look for it.
async fn check_endpoints(
    networks: &dyn Networks,
    networking: &NetworkingConfig,
) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    for (name, wish) in networking.endpoints_config.iter().flatten() {
        if !addresses::is_particular(wish) {
            continue;
        }
        let known = if name == "default" { "bridge" } else { name };
        let network = networks.inspect(known).await.ok();
        let network = network.as_ref().map(|details| &details.network);
        if let Err(fault) = addresses::endpoint(name, network, wish) {
            faults.push(format!("invalid config for network {name}: {fault}"));
        }
    }
    addresses::joined(&faults).map_or(Ok(()), |text| Err(ApiError::bad_request(text)))
}
