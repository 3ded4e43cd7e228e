//! `inspect`, of one kind of object or of all.

use super::format::platform;
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::{Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use shoal_gotemplate::value::{Value, indent};
use shoal_gotemplate::{Missing, Template};

const FORMAT: Flag = short('f', "format", STR, "json, or a template on the object's JSON");
const ANY: &[Flag] = &[
    FORMAT,
    short('s', "size", BOOL, "Show sizes of containers"),
    flag("type", STR, "Look for objects of this kind only"),
];
const CONTAINER: &[Flag] = &[FORMAT, short('s', "size", BOOL, "Show sizes")];
const IMAGE: &[Flag] =
    &[FORMAT, flag("platform", STR, "Show this platform's image: os[/arch[/variant]]")];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["inspect"],
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Show all that is known about objects",
        MANY,
        &[ANY],
        action!(any),
    ),
    Command::new(
        &["container inspect"],
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Show all that is known about containers",
        MANY,
        &[CONTAINER],
        action!(container),
    ),
    Command::new(
        &["image inspect"],
        "[OPTIONS] IMAGE [IMAGE...]",
        "Show all that is known about images",
        MANY,
        &[IMAGE],
        action!(image),
    ),
];

/// The kinds of objects, in the order in which they are looked for, and where the API has them.
const KINDS: &[(&str, &str, &str)] = &[
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
    ("service", "/services/", ""),
    ("task", "/tasks/", ""),
    ("node", "/nodes/", ""),
    ("plugin", "/plugins/", "/json"),
    ("secret", "/secrets/", ""),
    ("config", "/configs/", ""),
];

async fn container(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let get = async |name: &str| {
        let request = request(KINDS[0], name).switch("size", args.on("size"));
        Ok(client.send(request).await?.text().await?)
    };
    inspect(&args.rest, args.text("format"), get).await
}

async fn image(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let platform = platform(args.text("platform"))?;
    let get = async |name: &str| {
        let request = request(KINDS[1], name).maybe("platform", &platform);
        Ok(client.send(request).await?.text().await?)
    };
    inspect(&args.rest, args.text("format"), get).await
}

async fn any(context: &mut Context, args: &Args) -> Result {
    let kind = match args.given("type") {
        true => Some(kind(args.text("type"))?),
        false => None,
    };
    let client = context.client()?;
    let get = async |name: &str| match kind {
        Some(kind) => {
            if args.on("size") && kind.0 != "container" {
                sys::err_line(format_args!("WARNING: --size ignored for {}", kind.0));
            }
            let request = request(kind, name);
            let request = request.switch("size", args.on("size") && kind.0 == "container");
            Ok(client.send(request).await?.text().await?)
        }
        None => search(client, name, args.on("size")).await,
    };
    inspect(&args.rest, args.text("format"), get).await
}

fn kind(wanted: &str) -> Result<(&'static str, &'static str, &'static str)> {
    let known = KINDS.iter().find(|(name, _, _)| *name == wanted);
    known.copied().ok_or_else(|| {
        let mut names: Vec<&str> = KINDS.iter().map(|(name, _, _)| *name).collect();
        names.sort_unstable();
        let what = match wanted {
            "" => "type is empty".to_owned(),
            other => format!("unknown type: {}", crate::args::parse::quote(other)),
        };
        Failure::new(format!("{what}: must be one of \"{}\"", names.join("\", \"")))
    })
}

fn request((_, before, after): (&str, &str, &str), name: &str) -> Request {
    Request::get(format!("{before}{}{after}", segment(name.trim_start_matches('/'))))
}

/// The first object of any kind that has the name.
async fn search(client: &Client, name: &str, size: bool) -> Result<String> {
    for kind in KINDS {
        let sized = size && kind.0 == "container";
        match client.send(request(*kind, name).switch("size", sized)).await {
            Ok(response) => {
                if size && !sized {
                    sys::err_line(format_args!("WARNING: --size ignored for {}", kind.0));
                }
                return Ok(response.text().await?);
            }
            // Not of this kind; or this daemon is in no swarm; or it has no objects of this kind.
            Err(error) if matches!(error.status(), 404 | 501 | 503) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(format!("Error: No such object: {name}").into())
}

/// Shows the JSON of objects, then what went wrong.
pub(super) async fn inspect(
    names: &[String],
    format: &str,
    mut get: impl AsyncFnMut(&str) -> Result<String>,
) -> Result {
    let template =
        match format {
            "" | "json" => None,
            format => Some(Template::parse(format).map_err(|why| {
                Failure::new(format!("template parsing error: {why}")).with_code(64)
            })?),
        };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let shown = match (get(name).await, &template) {
            (Ok(json), Some(template)) => render(template, &json),
            (other, _) => other,
        };
        match shown {
            Ok(text) => found.push(text),
            Err(failure) => errors.push(failure.message),
        }
    }
    sys::out(document(&found, format));
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

fn render(template: &Template, json: &str) -> Result<String> {
    let value: Value = serde_json::from_str(json)
        .map_err(|why| Failure::new(format!("unable to read inspect data: {why}")))?;
    let shown = template.render(&value, Missing::Key);
    shown.map_err(|why| Failure::new(format!("template parsing error: {why}")))
}

/// Objects as a list in JSON, or texts of a template a line each. Pure.
fn document(found: &[String], format: &str) -> String {
    match format {
        "" | "json" if found.is_empty() => "[]\n".to_owned(),
        "" => {
            let all: Vec<&str> = found.iter().map(|json| json.trim_end()).collect();
            indent(&format!("[{}]", all.join(",")), "") + "\n"
        }
        "json" => {
            format!("[{}]\n", found.iter().map(|json| compact(json)).collect::<Vec<_>>().join(","))
        }
        _ if found.is_empty() => "\n".to_owned(),
        _ => found.iter().map(|text| format!("{text}\n")).collect(),
    }
}

/// JSON without the blanks between its tokens.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    json.chars()
        .filter(|letter| {
            let keep = in_text || !letter.is_ascii_whitespace();
            match letter {
                _ if escaped => escaped = false,
                '\\' if in_text => escaped = true,
                '"' => in_text = !in_text,
                _ => {}
            }
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_a_list_and_texts_are_lines() {
        let found = ["{\"a\": \"x \\\" y\"}\n".to_owned(), "{}".to_owned()];
        assert_eq!(
            document(&found, ""),
            "[\n    {\n        \"a\": \"x \\\" y\"\n    },\n    {}\n]\n"
        );
        assert_eq!(document(&found, "json"), "[{\"a\":\"x \\\" y\"},{}]\n");
        assert_eq!(document(&["x".to_owned()], "{{.A}}"), "x\n");
        assert_eq!((document(&[], ""), document(&[], "{{.A}}")), ("[]\n".into(), "\n".into()));
    }

    #[test]
    fn kinds_are_known() {
        assert_eq!(kind("volume").unwrap().1, "/volumes/");
        let refused = |wanted: &str| kind(wanted).unwrap_err().message;
        assert!(refused("foo").starts_with("unknown type: \"foo\": must be one of \"config\", "));
        assert!(refused("").starts_with("type is empty: must be one of \"config\", \"container\""));
    }
}
