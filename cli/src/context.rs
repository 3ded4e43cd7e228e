//! What every command has at hand: the client, the configuration, the global options.

use std::cell::OnceCell;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::client::{Client, host::Host};
use crate::error::{Failure, Result};
use crate::sys;

/// State of one run of the program.
pub(crate) struct Context {
    directory: PathBuf,
    host: Option<String>,
    context: Option<String>,
    debug: bool,
    /// TLS was asked for, by a flag or the environment.
    tls: bool,
    file: OnceCell<Map<String, Json>>,
    client: OnceCell<Client>,
}

impl Context {
    /// Reads no file yet.
    pub(crate) fn new(global: &Args) -> Self {
        let directory = global.get("config").map(PathBuf::from);
        let directory = directory.or_else(|| sys::env("DOCKER_CONFIG").map(PathBuf::from));
        let home = || PathBuf::from(sys::env("HOME").unwrap_or_else(|| "/".into())).join(".docker");
        Self {
            directory: directory.unwrap_or_else(home),
            host: global.get("host").map(str::to_owned),
            context: global.get("context").map(str::to_owned),
            debug: global.on("debug"),
            tls: ["tls", "tlsverify"].iter().any(|name| global.on(name))
                || ["tlscacert", "tlscert", "tlskey"].iter().any(|name| global.given(name))
                || (!global.given("tlsverify") && sys::env("DOCKER_TLS_VERIFY").is_some())
                || sys::env("DOCKER_TLS").is_some(),
            file: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Was more said for?
    pub(crate) fn debug(&self) -> bool {
        self.debug
    }

    /// The content of `config.json`; empty when there is none.
    pub(crate) fn file(&self) -> &Map<String, Json> {
        self.file.get_or_init(|| {
            let path = self.directory.join("config.json");
            let Ok(text) = std::fs::read(&path) else { return Map::new() };
            match serde_json::from_slice(&text) {
                Ok(Json::Object(map)) => map,
                _ => {
                    let path = path.display();
                    sys::err_line(format!(
                        "WARNING: Error loading config file: {path}: not a JSON object"
                    ));
                    Map::new()
                }
            }
        })
    }

    /// Writes `config.json`: temporary name, then rename, readable by its owner only.
    pub(crate) fn write_file(&self, content: &Map<String, Json>) -> Result {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.directory.join("config.json");
        let new = self.directory.join(format!("config.json{}", std::process::id()));
        let write = || {
            std::fs::create_dir_all(&self.directory)?;
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
            let text = serde_json::to_string(content).map_err(std::io::Error::other)?;
            file.write_all(shoal_gotemplate::indent(&text, "").replace("    ", "\t").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(crate::error::io(format!("error saving {}", path.display())))
    }

    /// A text of `config.json`.
    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.file().get(key).and_then(Json::as_str).filter(|text| !text.is_empty())
    }

    /// The name of the context in force.
    pub(crate) fn context_name(&self) -> String {
        if let Some(name) = &self.context {
            return name.clone();
        }
        if self.host.is_some() || sys::env("DOCKER_HOST").is_some() {
            return "default".into();
        }
        let env = sys::env("DOCKER_CONTEXT");
        env.or_else(|| self.setting("currentContext").map(str::to_owned))
            .unwrap_or_else(|| "default".into())
    }

    fn choose_host(&self) -> Result<Host> {
        let parse = |text: &str| Host::parse(text).map_err(Failure::from);
        if let Some(host) = &self.host {
            return parse(host);
        }
        let named = self.context_name();
        if named != "default" {
            return parse(&crate::config::contexts::host_of(&self.directory, &named)?);
        }
        match sys::env("DOCKER_HOST") {
            Some(host) if self.context.is_none() => parse(&host),
            _ => Ok(Host::default()),
        }
    }

    /// The host of the context `default`.
    pub(crate) fn default_host(&self) -> Result<Host> {
        match self.host.clone().or_else(|| sys::env("DOCKER_HOST")) {
            Some(host) => Host::parse(&host).map_err(Failure::from),
            None => Ok(Host::default()),
        }
    }

    /// The client. Finding the host reads at most `config.json` and one context.
    pub(crate) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let host = self.choose_host()?;
        // Never in plain text where TLS was asked for.
        let named = self.context_name();
        let kept = named != "default"
            && self.host.is_none()
            && crate::config::contexts::tls(&self.directory, &named).exists();
        if (self.tls || kept) && matches!(host, Host::Tcp(_)) {
            return Err(format!(
                "TLS is not implemented: refusing to talk to {host} in plain text"
            )
            .into());
        }
        let headers = self.file().get("HttpHeaders").and_then(Json::as_object);
        let headers = headers
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let client = Client::new(host, headers.collect());
        Ok(self.client.get_or_init(|| client))
    }
}
