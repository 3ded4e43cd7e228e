//! `version`.

use serde_json::json;

use crate::args::{Args, Command, Count, Flag, STR, action, short};
use crate::client::{NEWEST, Request};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::table::align_with;
use shoal_gotemplate::value::Value;
use shoal_gotemplate::{Missing, Template};

const FLAGS: &[Flag] = &[short('f', "format", STR, "json, or a template")];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["version"],
    "[OPTIONS]",
    "Show the versions of this program and of the daemon",
    Count::None,
    &[FLAGS],
    action!(version),
)];

/// What is known about this program.
pub(super) fn client_version(context: &Context) -> serde_json::Map<String, serde_json::Value> {
    let fields = json!({
        "Platform": {"Name": "Shoal"},
        "Version": env!("CARGO_PKG_VERSION"),
        "DefaultAPIVersion": NEWEST,
        "Os": std::env::consts::OS,
        "Arch": go_arch(),
        "Context": context.context_name(),
    });
    match fields {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

/// The name that Go has for this architecture.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn version(context: &mut Context, args: &Args) -> Result {
    let format = args.text("format");
    let template =
        match format {
            "" | "json" => None,
            text => Some(Template::parse(text).map_err(|why| {
                Failure::new(format!("template parsing error: {why}")).with_code(64)
            })?),
        };
    let answer = async {
        let client = context.client()?;
        client.negotiate().await?;
        Ok::<_, Failure>(client.value(Request::get("/version")).await?)
    };
    let (server, failed) = match answer.await {
        Ok(server) => (server, None),
        Err(failure) => (Value::Null, Some(failure)),
    };
    let mut fields = client_version(context);
    let agreed = context.client().map_or_else(|_| NEWEST.to_owned(), |client| client.version());
    fields.insert("ApiVersion".into(), agreed.clone().into());
    let client = serde_json::Value::Object(fields).to_string();
    let mut client: Value = serde_json::from_str(&client)
        .map_err(|error| Failure::new(format!("describing this program: {error}")))?;
    let text = match &template {
        None if format == "json" => {
            let all = Value::Map(vec![("Client".into(), client), ("Server".into(), server)]);
            all.json(false)
        }
        None => plain(&client, &server),
        Some(template) => {
            let server = aliased(server);
            if let Value::Map(fields) = &mut client {
                fields.push(("APIVersion".into(), agreed.into()));
            }
            let all = Value::Map(vec![("Client".into(), client), ("Server".into(), server)]);
            template
                .render(&all, Missing::Key)
                .map_err(|why| failed.clone().unwrap_or_else(|| Failure::new(why)))?
        }
    };
    sys::line(text);
    failed.map_or(Ok(()), Err)
}

/// Adds the names that fields have in templates where they differ from those in JSON.
fn aliased(mut server: Value) -> Value {
    let names = [("ApiVersion", "APIVersion"), ("MinAPIVersion", "MinAPIVersion")];
    for (json, go) in names {
        let value = server.at(json).clone();
        if let (Value::Map(fields), Value::Text(_)) = (&mut server, &value)
            && json != go
        {
            fields.push((go.into(), value));
        }
    }
    server
}

fn plain(client: &Value, server: &Value) -> String {
    let agreed = client.at("ApiVersion").text();
    let lowered =
        if agreed == NEWEST { String::new() } else { format!(" (downgraded from {NEWEST})") };
    let mut text = format!(
        "Client: Shoal\n Version:\t{}\n API version:\t{agreed}{lowered}\n OS/Arch:\t{}/{}\n Context:\t{}\n",
        client.at("Version").text(),
        client.at("Os").text(),
        client.at("Arch").text(),
        client.at("Context").text(),
    );
    if *server == Value::Null {
        return align_with(&text, 20, 1).trim_end_matches('\n').to_owned();
    }
    let platform = server.path("Platform.Name").text();
    let space = if platform.is_empty() { "" } else { " " };
    text.push_str(&format!("\nServer:{space}{platform}\n"));
    for component in server.at("Components").list() {
        let name = component.at("Name").text();
        let details = component.at("Details");
        text.push_str(&format!(" {name}:\n  Version:\t{}\n", component.at("Version").text()));
        let detail = |key: &str| details.at(key).text();
        if name == "Engine" {
            text.push_str(&format!(
                "  API version:\t{} (minimum version {})\n",
                detail("ApiVersion"),
                detail("MinAPIVersion")
            ));
            for (label, key) in
                [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")]
            {
                text.push_str(&format!("  {label}:\t{}\n", detail(key)));
            }
            text.push_str(&format!("  OS/Arch:\t{}/{}\n", detail("Os"), detail("Arch")));
            text.push_str(&format!("  Experimental:\t{}\n", detail("Experimental")));
            continue;
        }
        let mut sorted: Vec<_> = details.fields().iter().collect();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        for (key, value) in sorted {
            text.push_str(&format!("  {key}:\t{}\n", value.text()));
        }
    }
    align_with(&text, 20, 1).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_shown_in_two_columns() {
        let client: Value = serde_json::from_str(
            r#"{"Version":"0.1","ApiVersion":"1.50","Os":"linux","Arch":"amd64","Context":"default"}"#,
        )
        .unwrap();
        let server: Value = serde_json::from_str(
            r#"{"Platform":{"Name":"Shoal"},"Components":[{"Name":"Shim","Version":"1","Details":{"GitCommit":"x"}}]}"#,
        )
        .unwrap();
        expect_test::expect![[r#"
            Client: Shoal
             Version:           0.1
             API version:       1.50 (downgraded from 1.55)
             OS/Arch:           linux/amd64
             Context:           default

            Server: Shoal
             Shim:
              Version:          1
              GitCommit:        x
        "#]]
        .assert_eq(&(plain(&client, &server) + "\n"));
    }
}
