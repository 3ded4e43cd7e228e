//! What commands on the cluster's objects share: names of ids, inspection, references, image digests.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::objects;
use crate::client::{Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::opts::service::parts::FileReference;
use crate::opts::service::put;
use crate::reference::Reference;
use crate::sys;
use shoal_gotemplate::value::Value;

/// An object as JSON that can be edited and sent back.
pub(super) async fn json_of(client: &Client, request: Request) -> Result<Json> {
    let text = client.send(request).await?.text().await?;
    serde_json::from_str(&text).map_err(|why| Failure::new(format!("reading the answer: {why}")))
}

/// The number that an update must name: the version it was made from.
pub(super) fn version(object: &Json) -> String {
    object["Version"]["Index"].as_u64().unwrap_or(0).to_string()
}

/// Turns ids of nodes and services into names, asking once for each.
pub(super) struct Names<'a> {
    client: &'a Client,
    resolve: bool,
    known: BTreeMap<(&'static str, String), String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(client: &'a Client, no_resolve: bool) -> Self {
        Self { client, resolve: !no_resolve, known: BTreeMap::new() }
    }

    /// The name of a service; its id when it has gone.
    pub(super) async fn service(&mut self, id: &str) -> String {
        self.name("services", id, &["Spec.Name"]).await
    }

    /// The name of a node; its id when it has gone.
    pub(super) async fn node(&mut self, id: &str) -> String {
        self.name("nodes", id, &["Spec.Name", "Description.Hostname"]).await
    }

    async fn name(&mut self, kind: &'static str, id: &str, fields: &[&str]) -> String {
        if !self.resolve || id.is_empty() {
            return id.to_owned();
        }
        let key = (kind, id.to_owned());
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let object = self.client.value(Request::get(format!("/{kind}/{}", segment(id)))).await;
        let name = object.ok().and_then(|object| {
            let names = fields.iter().map(|field| object.path(field).text());
            names.into_iter().find(|name| !name.is_empty()).map(str::to_owned)
        });
        let name = name.unwrap_or_else(|| id.to_owned());
        self.known.insert(key, name.clone());
        name
    }
}

/// A moment as docker's descriptions show it.
pub(super) fn moment(time: &str) -> String {
    crate::units::go_time(time).unwrap_or_else(|| time.to_owned()).to_lowercase()
}

/// Shows objects as JSON or by a template; absent services are named in docker's words.
pub(super) async fn inspect(
    client: &Client,
    format: &str,
    names: &[String],
    kind: &str,
    request: impl Fn(&str) -> Request,
) -> Result {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let read = async { client.send(request(name)).await?.text().await };
        match read.await {
            Ok(text) => found.push(text.trim().to_owned()),
            Err(error) if error.status() == 404 && kind == "service" => {
                errors.push(format!("Error: no such {kind}: {name}"));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    objects::show_as(kind, format, &found, &errors)
}

/// The id of this node in the cluster.
pub(super) async fn own_node(client: &Client) -> Result<String> {
    let info = client.value(Request::get("/info")).await?;
    Ok(info.path("Swarm.NodeID").text().to_owned())
}

/// Filters in the API's form; nodes are given by their ids, `self` is this one.
pub(super) async fn task_filters(client: &Client, given: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for filter in given {
        match filter.split_once('=') {
            Some(("node", name)) => {
                let id = node_id(client, name).await?;
                all.push(format!("node={id}"));
            }
            _ => all.push(filter.clone()),
        }
    }
    Ok(all)
}

/// The id of a node that is given by id, name or `self`.
pub(super) async fn node_id(client: &Client, name: &str) -> Result<String> {
    if name == "self" {
        let id = own_node(client).await?;
        if id.is_empty() {
            // The daemon's own error says why this node is in no cluster.
            client.value(Request::get("/nodes")).await?;
        }
        return Ok(id);
    }
    let node = client.value(Request::get(format!("/nodes/{}", segment(name)))).await?;
    Ok(node.at("ID").text().to_owned())
}

/// Turns wanted secrets or configs into references with ids.
pub(super) async fn references(
    client: &Client,
    kind: &str,
    wanted: &[FileReference],
) -> Result<Vec<Json>> {
    let lower = kind.to_lowercase();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    for (index, reference) in wanted.iter().enumerate() {
        if wanted[..index].iter().any(|other| other.target == reference.target) {
            let source = &reference.source;
            return Err(format!("duplicate {lower} target for {source} not allowed").into());
        }
    }
    let names: BTreeMap<&str, bool> =
        wanted.iter().map(|reference| (reference.source.as_str(), true)).collect();
    let request =
        Request::get(format!("/{lower}s")).query("filters", json!({"name": names}).to_string());
    let known = client.value(request).await?;
    let id = |name: &str| {
        let found = known.list().iter().find(|object| object.path("Spec.Name").text() == name);
        found.map(|object| object.at("ID").text().to_owned())
    };
    let resolve = |reference: &FileReference| {
        let source = &reference.source;
        let id = id(source).ok_or_else(|| Failure::new(format!("{lower} not found: {source}")))?;
        Ok(reference.json(kind, &id))
    };
    wanted.iter().map(resolve).collect()
}

/// What is said of an image that its registry tells nothing of.
#[derive(Debug, Default)]
#[must_use = "it is printed, or left out as docker does"]
pub(super) struct Unpinned(Option<String>);

impl Unpinned {
    /// Prints it where there is something to say.
    pub(super) fn print(self) {
        if let Some(image) = self.0 {
            sys::err(unpinned(&image));
        }
    }

    /// Docker's client creates the services of a stack without a word of it, and tells it when it updates them.
    pub(super) fn pass_over(self) {}
}

fn unpinned(image: &str) -> String {
    format!(
        "image {image} could not be accessed on a registry to record\nits digest. Each node \
         will access {image} independently,\npossibly leading to different nodes running \
         different\nversions of the image.\n\n"
    )
}

/// Gives a service's image its digest and its platforms as the registry knows them, or its default tag.
pub(super) async fn pin_image(
    client: &Client,
    task: &mut Json,
    auth: &str,
    ask: bool,
) -> Result<Unpinned> {
    let image = task["ContainerSpec"]["Image"].as_str().unwrap_or_default().to_owned();
    // Digests of images are not names of repositories: the daemon judges them.
    let Ok(reference) = Reference::parse(&image) else { return Ok(Unpinned::default()) };
    let mut reference = reference.tagged();
    task["ContainerSpec"]["Image"] = familiar(&reference).into();
    if !ask {
        return Ok(Unpinned::default());
    }
    let request = Request::get(format!("/distribution/{}/json", segment(&image)))
        .header("x-registry-auth", auth.to_owned());
    let Ok(answer) = client.value(request).await else {
        return Ok(Unpinned(Some(familiar(&reference))));
    };
    let digest = answer.path("Descriptor.digest").text();
    if reference.digest.is_none() && !digest.is_empty() {
        reference.digest = Some(digest.to_owned());
        task["ContainerSpec"]["Image"] = familiar(&reference).into();
    }
    put_platforms(task, &answer);
    Ok(Unpinned::default())
}

fn put_platforms(task: &mut Json, answer: &Value) {
    let platforms: Vec<Json> = answer
        .at("Platforms")
        .list()
        .iter()
        .map(|platform| {
            let mut wanted = json!({});
            // Nodes name the variants of ARM differently than images do.
            let architecture = platform.at("architecture").text();
            let architecture =
                if architecture.eq_ignore_ascii_case("arm") { "" } else { architecture };
            put(&mut wanted, "Architecture", architecture);
            put(&mut wanted, "OS", platform.at("os").text());
            crate::opts::service::tidy(&mut wanted);
            wanted
        })
        .collect();
    if !platforms.is_empty() {
        task["Placement"]["Platforms"] = platforms.into();
    }
}

/// A name as people write it, with its tag and digest.
pub(super) fn familiar(reference: &Reference) -> String {
    let mut text = reference.familiar();
    if let Some(tag) = &reference.tag {
        text.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = &reference.digest {
        text.push_str(&format!("@{digest}"));
    }
    text
}

/// An image as tables show it: without the digest behind a tag.
pub(super) fn shown_image(image: &str) -> String {
    match Reference::parse(image) {
        Ok(mut reference) if reference.tag.is_some() => {
            reference.digest = None;
            familiar(&reference)
        }
        _ => image.to_owned(),
    }
}

/// The warnings of an answer, a line each.
pub(super) fn warn(answer: &Value) {
    for warning in answer.at("Warnings").texts() {
        sys::err_line(warning);
    }
}

/// Credentials for an image when they are to be sent along.
pub(super) fn auth(context: &Context, send: bool, image: &str) -> Result<String> {
    if send { crate::config::auth::header(context, image) } else { Ok(String::new()) }
}

/// A text with a capital letter in front and no other, as tables show states.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_shown_without_the_digest_behind_a_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(shown_image(&format!("docker.io/library/x:1@{digest}")), "x:1");
        assert_eq!(shown_image("h:5000/x:1"), "h:5000/x:1");
        assert_eq!(shown_image("x"), "x");
        assert_eq!(capital("running OK"), "Running ok");
    }

    #[test]
    fn platforms_of_the_registry_become_those_of_the_task() {
        let answer = r#"{"Platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"arm","os":"linux"}]}"#;
        let mut task = json!({});
        put_platforms(&mut task, &serde_json::from_str(answer).unwrap());
        assert_eq!(
            task["Placement"]["Platforms"],
            json!([{"Architecture": "amd64", "OS": "linux"}, {"OS": "linux"}])
        );
    }
}
