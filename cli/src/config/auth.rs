//! Credentials of registries: in `config.json`, or with the helper program that it names.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;

/// The key of Docker Hub.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// The user's name for which helpers keep an identity token instead of a password.
const TOKEN_USER: &str = "<token>";

/// What a registry wants to know of its users. All empty: nothing is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
    /// Stands in for the password when not empty.
    pub(crate) token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Both a name and a password are there.
    pub(crate) fn is_complete(&self) -> bool {
        !self.user.is_empty() && !self.password.is_empty()
    }

    /// The form of the API.
    pub(crate) fn json(&self, server: &str) -> Json {
        let Self { user, password, token } = self;
        match (user.is_empty(), token.is_empty()) {
            (true, true) => json!({}),
            (_, false) => {
                json!({"username": user, "identitytoken": token, "serveraddress": server})
            }
            (false, true) => {
                json!({"username": user, "password": password, "serveraddress": server})
            }
        }
    }
}

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

/// The helper that keeps the credentials of a registry; `None`: the file itself does.
fn helper(context: &Context, key: &str) -> Option<String> {
    let own = context.file().get("credHelpers").and_then(|helpers| helpers.get(key));
    let name = own.and_then(Json::as_str).filter(|name| !name.is_empty());
    name.or_else(|| context.setting("credsStore")).map(|name| format!("docker-credential-{name}"))
}

/// Runs a helper: what it wrote, or `None` when it has no credentials for the registry.
fn ask(helper: &str, verb: &str, input: &str) -> Result<Option<String>> {
    let (ok, output) = sys::filter(helper, verb, input).map_err(|error| {
        let why = crate::error::io_text(&error);
        Failure::new(format!("error getting credentials - running {helper}: {why}"))
    })?;
    if ok {
        return Ok(Some(output));
    }
    if output.trim() == "credentials not found in native keychain" {
        return Ok(None);
    }
    Err(Failure::new(format!("error getting credentials - {helper} {verb}: {}", output.trim())))
}

/// The credentials kept for a registry.
pub(crate) fn stored(context: &Context, registry: &str) -> Result<Credentials> {
    let key = key_of(registry);
    if let Some(helper) = helper(context, key) {
        let Some(output) = ask(&helper, "get", key)? else { return Ok(Credentials::default()) };
        let answer: Json = serde_json::from_str(&output)
            .map_err(|error| Failure::new(format!("reading what {helper} said: {error}")))?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (user, secret) = (text("Username"), text("Secret"));
        return Ok(if user == TOKEN_USER {
            Credentials { token: secret, ..Credentials::default() }
        } else {
            Credentials { user, password: secret, token: String::new() }
        });
    }
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
    Ok(found.map(of_file).unwrap_or_default())
}

/// An entry of `auths`.
fn of_file(entry: &Json) -> Credentials {
    let decoded = entry["auth"].as_str().and_then(|auth| STANDARD.decode(auth).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (user, password) = decoded.split_once(':').unwrap_or_default();
    Credentials {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
        token: entry["identitytoken"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The value of `X-Registry-Auth` for an image.
pub(crate) fn header(context: &Context, image: &str) -> Result<String> {
    let registry = registry_of(image);
    let kept = stored(context, registry)?;
    Ok(URL_SAFE.encode(kept.json(key_of(registry)).to_string()))
}

/// Keeps credentials: with the helper, else in the file (base64, not encrypted, as docker does).
pub(crate) fn store(context: &Context, registry: &str, given: &Credentials) -> Result {
    let key = key_of(registry);
    if let Some(helper) = helper(context, key) {
        let (user, secret) = match given.token.as_str() {
            "" => (given.user.as_str(), given.password.as_str()),
            token => (TOKEN_USER, token),
        };
        let entry = json!({"ServerURL": key, "Username": user, "Secret": secret});
        return ask(&helper, "store", &entry.to_string()).map(|_| ());
    }
    let mut file = context.file().clone();
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    let mut entry = json!({"auth": STANDARD.encode(format!("{}:{}", given.user, given.password))});
    if !given.token.is_empty() {
        entry["identitytoken"] = given.token.as_str().into();
    }
    if auths[key] == entry {
        return Ok(());
    }
    auths[key] = entry;
    context.write_file(&file)?;
    let path = context.directory().join("config.json");
    sys::err_line(format_args!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to \
         remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
        path.display()
    ));
    Ok(())
}

/// Forgets credentials. False: there were none.
pub(crate) fn forget(context: &Context, registry: &str) -> Result<bool> {
    let key = key_of(registry);
    if let Some(helper) = helper(context, key) {
        return ask(&helper, "erase", key).map(|output| output.is_some());
    }
    let mut file = context.file().clone();
    let auths = file.get_mut("auths").and_then(Json::as_object_mut);
    if auths.and_then(|auths| auths.remove(key)).is_none() {
        return Ok(false);
    }
    context.write_file(&file).map(|()| true)
}
