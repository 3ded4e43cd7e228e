//! Compose files: reading them, and what a stack is made of.

pub(crate) mod convert;
mod interpolate;
mod merge;
mod mounts;
mod normal;
mod schema;
mod service;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

use serde_json::Value as Json;

/// Keys of services that mean nothing in a cluster, or are done otherwise.
const UNSUPPORTED: [&str; 16] = [
    "build",
    "cgroupns_mode",
    "cgroup_parent",
    "devices",
    "domainname",
    "external_links",
    "ipc",
    "links",
    "mac_address",
    "network_mode",
    "pid",
    "privileged",
    "restart",
    "security_opt",
    "shm_size",
    "userns_mode",
];
const DEPRECATED: [(&str, &str); 2] = [
    ("container_name", "Setting the container name is not supported."),
    (
        "expose",
        "Exposing ports is unnecessary - services on the same network can access each other's \
         containers on any port.",
    ),
];
/// Warned about as docker does, and yet honoured.
const HONOURED: &str = "restart";
/// Ignored without a word.
const SILENT: [&str; 2] = ["depends_on", "tmpfs"];
const LIMITS: &str = "Set resource limits using deploy.resources";
const FORBIDDEN: [(&str, &str); 7] = [
    ("cpu_quota", LIMITS),
    ("cpu_shares", LIMITS),
    ("cpuset", LIMITS),
    ("extends", "Support for `extends` is not implemented yet."),
    ("mem_limit", LIMITS),
    ("memswap_limit", LIMITS),
    (
        "volume_driver",
        "Instead of setting the volume driver on the service, define a volume using the top-level \
         `volumes` option and specify the driver there.",
    ),
];
const VOLUMES_FROM: &str = "To share a volume between services, define it using the top-level `volumes` option and \
     reference it from each service that shares it using the service-level `volumes` option.";

/// One file as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    /// The directory that its relative paths begin in.
    pub(crate) directory: String,
}

/// How files are read.
pub(crate) struct Reading<'a> {
    /// Variables of the process, then of `.env`.
    pub(crate) lookup: interpolate::Lookup<'a>,
    pub(crate) read: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// Leave `$NAME` as it is.
    pub(crate) literal: bool,
}

/// A whole project, in long forms, with what is to be said about it.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) content: Json,
    pub(crate) warnings: Vec<String>,
    /// The keys of services that have no effect.
    pub(crate) ignored: Vec<String>,
}

/// The variables of a `.env` file, before those of the process are asked.
pub(crate) fn variables(text: &str) -> Vec<(String, String)> {
    interpolate::env_file(text)
}

/// Reads files, in their order.
///
/// # Errors
/// The first thing that is wrong, in docker's words where it has some.
pub(crate) fn load(sources: &[Source], reading: &Reading<'_>) -> Result<Project, String> {
    let mut content: Option<Json> = None;
    let mut found = Found::default();
    for source in sources {
        let mut file = yaml::parse(&source.text)?;
        if !reading.literal {
            for section in ["services", "networks", "volumes", "secrets", "configs"] {
                if let Some(part) = file.get_mut(section) {
                    interpolate::apply(part, &mut vec![section.to_owned()], reading.lookup)?;
                }
            }
        }
        found.note(&file)?;
        schema::check(&file)?;
        check_version(&mut file)?;
        if let Json::Object(fields) = &mut file {
            fields.retain(|key, _| !key.starts_with("x-"));
        }
        let env_file = |path: &str| {
            let text = (reading.read)(path)
                .map_err(|why| format!("open {path}: {}", crate::error::io_text(&why)))?;
            Ok(interpolate::env_file(&text))
        };
        let around = normal::Surroundings {
            directory: &source.directory,
            lookup: reading.lookup,
            env_file: &env_file,
        };
        normal::file(&mut file, &around)?;
        match &mut content {
            Some(base) => merge::files(base, file)?,
            None => content = Some(file),
        }
    }
    let content = content.ok_or("no compose file specified")?;
    Ok(Project { content, ignored: found.ignored(), warnings: found.warnings() })
}

fn check_version(file: &mut Json) -> Result<(), String> {
    let version = match &file["version"] {
        Json::Null => {
            file.as_object_mut().map(|fields| fields.remove("version"));
            return Ok(());
        }
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let minor = match version.as_str() {
        "3" => Some(0),
        other => other.strip_prefix("3.").and_then(|minor| minor.parse::<u32>().ok()),
    };
    if !minor.is_some_and(|minor| minor <= 13) {
        return Err(format!("unsupported Compose file version: {version}"));
    }
    file["version"] = version.into();
    Ok(())
}

/// Keys that are not honoured.
#[derive(Debug, Default)]
struct Found {
    unsupported: std::collections::BTreeSet<String>,
    deprecated: std::collections::BTreeSet<String>,
    addresses: Vec<String>,
    silent: std::collections::BTreeSet<String>,
}

impl Found {
    fn note(&mut self, file: &Json) -> Result<(), String> {
        let services = file["services"].as_object().into_iter().flatten();
        let mut forbidden = Vec::new();
        for (name, service) in services {
            let has = |key: &str| service.get(key).is_some();
            let keys = UNSUPPORTED.iter().filter(|key| has(key));
            self.unsupported.extend(keys.map(|key| (*key).to_owned()));
            let keys = DEPRECATED.iter().filter(|(key, _)| has(key));
            self.deprecated.extend(keys.map(|(key, why)| format!("{key}: {why}")));
            let keys = SILENT.iter().filter(|key| has(key));
            self.silent.extend(keys.map(|key| (*key).to_owned()));
            let keys = FORBIDDEN.iter().filter(|(key, _)| has(key));
            forbidden.extend(keys.map(|(key, why)| format!("{key}: {why}")));
            if has("volumes_from") {
                forbidden.push(format!("volumes_from: {VOLUMES_FROM}"));
            }
            let ports = service["ports"].as_array().into_iter().flatten();
            for port in ports.filter(|port| normal::names_host(port)) {
                let port = port.as_str().unwrap_or_default();
                self.addresses.push(format!(
                    "ignoring IP-address ({port}) service {name:?} will listen on '0.0.0.0'"
                ));
            }
        }
        forbidden.sort();
        forbidden.dedup();
        if forbidden.is_empty() {
            return Ok(());
        }
        Err(format!("Compose file contains unsupported options:\n\n{}\n", forbidden.join("\n")))
    }

    fn ignored(&self) -> Vec<String> {
        let names = self.deprecated.iter().map(|line| line.split(':').next().unwrap_or(line));
        let names = names.chain(self.unsupported.iter().map(String::as_str));
        let names = names.chain(self.silent.iter().map(String::as_str));
        let mut all: Vec<String> =
            names.filter(|name| *name != HONOURED).map(str::to_owned).collect();
        all.sort();
        all.extend(self.addresses.iter().cloned());
        all
    }

    fn warnings(self) -> Vec<String> {
        let mut all = self.addresses;
        if !self.unsupported.is_empty() {
            let names: Vec<String> = self.unsupported.into_iter().collect();
            all.push(format!("Ignoring unsupported options: {}\n", names.join(", ")));
        }
        if !self.deprecated.is_empty() {
            let lines: Vec<String> = self.deprecated.into_iter().collect();
            all.push(format!("Ignoring deprecated options:\n\n{}\n", lines.join("\n\n")));
        }
        all
    }
}
