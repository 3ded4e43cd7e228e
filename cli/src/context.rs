//! What every command has at hand: the client, the configuration, the global options.

use std::cell::OnceCell;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::client::Client;
use crate::client::host::{Host, certificates};
use crate::config::contexts;
use crate::error::{Failure, Result};
use crate::sys;
use shoal_api_wire::client::TlsOptions;

/// State of one run of the program.
pub(crate) struct Context {
    directory: PathBuf,
    host: Option<String>,
    context: Option<String>,
    debug: bool,
    /// TLS as flags and the environment ask for it.
    tls: Option<TlsOptions>,
    file: OnceCell<Map<String, Json>>,
    client: OnceCell<Client>,
}

impl Context {
    /// Reads no file yet.
    pub(crate) fn new(global: &Args) -> Self {
        let directory = global.get("config").map(PathBuf::from);
        let directory = directory.or_else(|| sys::env("DOCKER_CONFIG").map(PathBuf::from));
        let home = || PathBuf::from(sys::env("HOME").unwrap_or_else(|| "/".into())).join(".docker");
        let directory = directory.unwrap_or_else(home);
        let tls = tls(global, &directory);
        Self {
            directory,
            host: global.get("host").map(str::to_owned),
            context: global.get("context").map(str::to_owned),
            debug: global.on("debug"),
            tls,
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
        let parse = |text: &str| self.parse_host(text);
        if let Some(host) = &self.host {
            return parse(host);
        }
        let named = self.context_name();
        if named != "default" {
            let host = contexts::host_of(&self.directory, &named)?;
            let tls = match &self.tls {
                Some(given) => Some(given.clone()),
                None => contexts::tls_of(&self.directory, &named)?,
            };
            return Host::parse(&host, tls).map_err(Failure::from);
        }
        match sys::env("DOCKER_HOST") {
            Some(host) if self.context.is_none() => parse(&host),
            _ => Ok(Host::default()),
        }
    }

    fn parse_host(&self, text: &str) -> Result<Host> {
        Host::parse(text, self.tls.clone()).map_err(Failure::from)
    }

    /// The host of the context `default`.
    pub(crate) fn default_host(&self) -> Result<Host> {
        match self.host.clone().or_else(|| sys::env("DOCKER_HOST")) {
            Some(host) => self.parse_host(&host),
            None => Ok(Host::default()),
        }
    }

    /// The client. Finding the host reads at most `config.json` and one context.
    pub(crate) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let host = self.choose_host()?;
        let headers = self.file().get("HttpHeaders").and_then(Json::as_object);
        let headers = headers
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let client = Client::new(host, headers.collect());
        Ok(self.client.get_or_init(|| client))
    }
}

/// TLS as docker's client understands flags and environment: `--tls` encrypts, `--tlsverify` also checks the daemon.
fn tls(global: &Args, directory: &std::path::Path) -> Option<TlsOptions> {
    let named = ["tlscacert", "tlscert", "tlskey"];
    let verify = if global.given("tlsverify") {
        global.on("tlsverify")
    } else {
        sys::env("DOCKER_TLS_VERIFY").is_some()
    };
    let encrypt = global.on("tls") || sys::env("DOCKER_TLS").is_some();
    if !verify && !encrypt && !named.iter().any(|name| global.given(name)) {
        return None;
    }
    let kept = sys::env("DOCKER_CERT_PATH").map(PathBuf::from);
    let mut options = certificates(&kept.unwrap_or_else(|| directory.to_owned()), !verify);
    let places = [&mut options.ca, &mut options.certificate, &mut options.key];
    for (name, place) in named.into_iter().zip(places) {
        if let Some(path) = global.get(name) {
            *place = Some(PathBuf::from(path));
        }
    }
    Some(options)
}
