//! Templates in what a task runs: environment, hostname, mounts, and the data of templated secrets and configs. Pure.
//!
//! Source: swarmkit `template/context.go` (data and functions), `template/expand.go` (what is expanded).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_gotemplate::{Functions, Missing, NoFunctions, Template, Value};
use shoal_model::cluster::node::NodeDescription;
use shoal_model::cluster::secret::DriverSpec;
use shoal_model::cluster::{Config, Secret, Task};
use shoal_model::container::{ContainerSpec, MountKind};
use shoal_model::error::{Classified, ErrorKind};

use crate::executor::Work;

/// The only template driver.
const DRIVER: &str = "golang";

/// A template cannot be expanded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error("failed to expand {what}: {why}")]
    Expand { what: String, why: String },
    #[error("{what} asks for template driver `{driver}`; there is only `{DRIVER}`")]
    Driver { what: String, driver: String },
    #[error("failed to expand {what}: its data are not UTF-8")]
    NotText { what: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Expands all templates of a task's work, on the node that `node` describes.
///
/// # Errors
/// When a template is wrong; the text names what it is in.
pub fn expand(work: Work, node: &NodeDescription) -> Result<Work, Error> {
    let data = data(&work.task, node);
    let container = container(&data, &work.task.spec.container)?;
    let payload = Payload { work: &work, container: &container, reads_secrets: Cell::new(false) };
    let mut secrets = Vec::with_capacity(work.secrets.len());
    for (reference, secret) in &work.secrets {
        let what = format!("secret `{}`", reference.name);
        let spec = &secret.spec;
        let expanded = payload.expand(&data, what, &spec.data, spec.templating.as_ref())?;
        secrets.push((
            reference.clone(),
            match expanded {
                Some(bytes) => {
                    let mut secret = Secret::clone(secret);
                    secret.spec.data = bytes;
                    Arc::new(secret)
                }
                None => Arc::clone(secret),
            },
        ));
    }
    let mut configs = Vec::with_capacity(work.configs.len());
    let mut sensitive = Vec::new();
    for (index, (reference, config)) in work.configs.iter().enumerate() {
        let what = format!("config `{}`", reference.name);
        let spec = &config.spec;
        payload.reads_secrets.set(false);
        let expanded = payload.expand(&data, what, &spec.data, spec.templating.as_ref())?;
        if payload.reads_secrets.get() {
            sensitive.push(index);
        }
        configs.push((
            reference.clone(),
            match expanded {
                Some(bytes) => {
                    let mut config = Config::clone(config);
                    config.spec.data = bytes;
                    Arc::new(config)
                }
                None => Arc::clone(config),
            },
        ));
    }
    let mut task = Task::clone(&work.task);
    Arc::make_mut(&mut task.spec).container = container;
    Ok(Work {
        task: Arc::new(task),
        secrets,
        configs,
        sensitive_configs: sensitive,
        networks: work.networks,
    })
}

/// Name of a task, as its container has it.
pub fn task_name(task: &Task) -> String {
    let slot = slot(task);
    format!("{}.{slot}.{}", task.annotations.name, task.id)
}

fn slot(task: &Task) -> String {
    match (task.shown_slot(), task.node) {
        (0, Some(node)) => node.to_string(),
        (number, _) => number.to_string(),
    }
}

/// What templates can name.
fn data(task: &Task, node: &NodeDescription) -> Value {
    let id = |id: Option<String>| Value::Text(id.unwrap_or_default());
    let platform = map([
        ("Architecture", node.platform.architecture.clone().into()),
        ("OS", node.platform.os.clone().into()),
    ]);
    let labels = task.annotations.labels.iter();
    let labels = labels.map(|(key, value)| (key.clone(), value.clone().into())).collect();
    map([
        (
            "Service",
            map([
                ("ID", id(task.service.map(|id| id.to_string()))),
                ("Name", task.annotations.name.clone().into()),
                ("Labels", Value::Map(labels)),
            ]),
        ),
        (
            "Node",
            map([
                ("ID", id(task.node.map(|id| id.to_string()))),
                ("Hostname", node.hostname.clone().into()),
                ("Platform", platform),
            ]),
        ),
        (
            "Task",
            map([
                ("ID", task.id.to_string().into()),
                ("Name", task_name(task).into()),
                ("Slot", slot(task).into()),
            ]),
        ),
    ])
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn render(
    what: impl FnOnce() -> String,
    text: &str,
    data: &Value,
    functions: &dyn Functions,
) -> Result<String, Error> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    Template::parse_with(text, functions)
        .and_then(|template| template.render_with(data, Missing::Strict, functions))
        .map_err(|why| Error::Expand { what: what(), why })
}

fn container(data: &Value, spec: &ContainerSpec) -> Result<ContainerSpec, Error> {
    let plain = |what: &dyn Fn() -> String, text: &str| render(what, text, data, &NoFunctions);
    let mut spec = spec.clone();
    for entry in &mut spec.env {
        if let Some((name, value)) = entry.split_once('=') {
            let value = plain(&|| format!("environment variable `{name}`"), value)?;
            *entry = format!("{name}={value}");
        }
    }
    spec.hostname = plain(&|| "the hostname".to_owned(), &spec.hostname)?;
    for mount in &mut spec.host.mounts {
        let target = mount.target.clone();
        mount.target = plain(&|| format!("the target of mount `{target}`"), &target)?;
        let source_of = || format!("the source of mount `{target}`");
        match &mut mount.kind {
            MountKind::Bind { source, .. } | MountKind::Image { source, .. } => {
                *source = plain(&source_of, source)?;
            }
            MountKind::Volume { source, options } => {
                *source = plain(&source_of, source)?;
                for (kind, entries) in
                    [("label", &mut options.labels), ("option", &mut options.driver_options)]
                {
                    expand_map(entries, |key, value| {
                        plain(&|| format!("volume {kind} `{key}` of mount `{target}`"), value)
                    })?;
                }
            }
            MountKind::Tmpfs(_) => {}
        }
    }
    Ok(spec)
}

fn expand_map(
    entries: &mut BTreeMap<String, String>,
    expand: impl Fn(&str, &str) -> Result<String, Error>,
) -> Result<(), Error> {
    for (key, value) in entries {
        *value = expand(key, value)?;
    }
    Ok(())
}

/// The functions of templated secrets and configs. They give what the task is given, unexpanded, by the name of its file.
struct Payload<'a> {
    work: &'a Work,
    container: &'a ContainerSpec,
    reads_secrets: Cell<bool>,
}

impl Payload<'_> {
    /// The expanded data; `None`: they are no template.
    fn expand(
        &self,
        data: &Value,
        what: String,
        bytes: &[u8],
        templating: Option<&DriverSpec>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(driver) = templating else { return Ok(None) };
        if driver.name != DRIVER {
            return Err(Error::Driver { what, driver: driver.name.clone() });
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Err(Error::NotText { what }) };
        render(|| what, text, data, self).map(|text| Some(text.into_bytes()))
    }
}

impl Functions for Payload<'_> {
    fn names(&self) -> &[&str] {
        &["secret", "config", "env"]
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let [Value::Text(wanted)] = arguments else {
            return Err(format!("wrong number of args for {name}: want 1 text"));
        };
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| format!("{name} target {wanted} is not UTF-8"))?;
            Ok(Value::Text(text.to_owned()))
        };
        let none = || format!("{name} target {wanted} not found");
        match name {
            "secret" => {
                self.reads_secrets.set(true);
                let mut all = self.work.secrets.iter();
                let found = all.find(|(of, _)| of.file.as_ref().is_some_and(|f| f.name == *wanted));
                text(&found.ok_or_else(none)?.1.spec.data)
            }
            "config" => {
                let mut all = self.work.configs.iter();
                let found = all.find(|(of, _)| of.file.as_ref().is_some_and(|f| f.name == *wanted));
                text(&found.ok_or_else(none)?.1.spec.data)
            }
            _ => {
                let mut all = self.container.env.iter().filter_map(|entry| entry.split_once('='));
                let value = all.find(|(of, _)| of == wanted).map(|(_, value)| value);
                Ok(Value::Text(value.unwrap_or_default().to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
