//! Credentials of registries: `auths` in `config.json`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::error::Result;

/// The key of Docker Hub.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The registry part of an image name: `docker.io` when it names none.
pub(crate) fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

fn key_of(registry: &str) -> &str {
    if matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        HUB
    } else {
        registry
    }
}

/// The credentials kept for a registry, in the form of the API.
pub(crate) fn stored(context: &Context, registry: &str) -> Json {
    let key = key_of(registry);
    let auths = context.file().get("auths").and_then(Json::as_object);
    let bare = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let found = auths.and_then(|auths| {
        auths.get(key).or_else(|| {
            auths.iter().find(|(name, _)| bare(name) == bare(key)).map(|(_, value)| value)
        })
    });
    let Some(found) = found else { return json!({}) };
    let decoded = found["auth"].as_str().and_then(|auth| STANDARD.decode(auth).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (user, password) = decoded.split_once(':').unwrap_or_default();
    if let Some(token) = found["identitytoken"].as_str() {
        return json!({"username": user, "identitytoken": token, "serveraddress": key});
    }
    json!({"username": user, "password": password.trim_end_matches('\0'), "serveraddress": key})
}

/// The value of `X-Registry-Auth` for an image.
pub(crate) fn header(context: &Context, image: &str) -> String {
    URL_SAFE.encode(stored(context, registry_of(image)).to_string())
}

/// Keeps credentials (base64, not encrypted, as docker does without a helper).
#[allow(dead_code, reason = "for commands on images and registries")]
pub(crate) fn store(
    context: &Context,
    registry: &str,
    user: &str,
    password: &str,
    token: &str,
) -> Result {
    let mut file = context.file().clone();
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    let secret = if token.is_empty() { password } else { "" };
    let mut entry = json!({"auth": STANDARD.encode(format!("{user}:{secret}"))});
    if !token.is_empty() {
        entry["identitytoken"] = token.into();
    }
    auths[key_of(registry)] = entry;
    context.write_file(&file)
}

/// Forgets credentials. False: there were none.
#[allow(dead_code, reason = "for commands on images and registries")]
pub(crate) fn forget(context: &Context, registry: &str) -> Result<bool> {
    let mut file = context.file().clone();
    let auths = file.get_mut("auths").and_then(Json::as_object_mut);
    if auths.and_then(|auths| auths.remove(key_of(registry))).is_none() {
        return Ok(false);
    }
    context.write_file(&file).map(|()| true)
}
