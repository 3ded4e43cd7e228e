//! `search`, `login` and `logout`.

use std::io::{BufRead as _, Read as _};

use super::format::{Listing, Row, filters};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, INT, STR, action, flag, short};
use crate::client::Request;
use crate::config::auth::{self, Credentials};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::reference::Reference;
use crate::stream::terminal;
use crate::sys;
use crate::table::ellipsis;
use shoal_gotemplate::value::Value;

const SEARCH: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (key=value)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("limit", INT, "Most results to show"),
    flag("no-trunc", BOOL, "Do not shorten"),
];
const LOGIN: &[Flag] = &[
    short('p', "password", STR, "Password or access token"),
    flag("password-stdin", BOOL, "Read the password or access token from standard input"),
    short('u', "username", STR, "Name of the user"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["search"],
        "[OPTIONS] TERM",
        "Search Docker Hub for images",
        Count::Exactly(1),
        &[SEARCH],
        action!(search),
    ),
    Command::new(
        &["login"],
        "[OPTIONS] [SERVER]",
        "Keep credentials of a registry, Docker Hub by default",
        Count::AtMost(1),
        &[LOGIN],
        action!(login),
    ),
    Command::new(
        &["logout"],
        "[SERVER]",
        "Forget credentials of a registry, Docker Hub by default",
        Count::AtMost(1),
        &[],
        action!(logout),
    ),
];

async fn search(context: &mut Context, args: &Args) -> Result {
    let term = args.arg(0);
    let name = Reference::parse(term)?.full();
    let limit = args.int("limit");
    let request = Request::get("/images/search")
        .query("term", term)
        .maybe("limit", &if limit == 0 { String::new() } else { limit.to_string() })
        .maybe("filters", &filters(args.all("filter")))
        .header("x-registry-auth", auth::header(context, &name)?);
    let found = context.client()?.value(request).await?;
    let full = args.on("no-trunc");
    let rows = found.list().iter().map(|image| search_row(image, full)).collect();
    let listing = Listing {
        table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
        quiet: "{{.Name}}",
        headers: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("StarCount", "STARS"),
            ("IsOfficial", "OFFICIAL"),
            ("IsAutomated", "AUTOMATED"),
        ],
    };
    listing.print(context, "", args.text("format"), false, rows)
}

fn search_row(image: &Value, full: bool) -> Row {
    let mark = |on: bool| if on { "[OK]" } else { "" };
    let about = image.at("description").text().replace(['\n', '\r'], " ");
    Row::default()
        .put("Name", image.at("name").text())
        .put("Description", if full { about } else { ellipsis(&about, 45) })
        .put("StarCount", image.at("star_count").int().to_string())
        .put("IsOfficial", mark(image.at("is_official").is_true()))
        .put("IsAutomated", mark(image.at("is_automated").is_true()))
}

/// The server that was meant, as credentials are filed under it.
fn server(given: &str) -> String {
    match given {
        "" | "docker.io" => auth::HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// The host of an address that may have a scheme and a path.
fn hostname(server: &str) -> &str {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    bare.split('/').next().unwrap_or_default()
}

async fn login(context: &mut Context, args: &Args) -> Result {
    if args.given("password") && args.on("password-stdin") {
        let why = "conflicting options: cannot specify both --password and --password-stdin";
        return Err(why.into());
    }
    let (user, password) = (args.text("username").trim(), args.text("password"));
    let empty = |name: &str, text: &str| args.given(name) && text.is_empty();
    if empty("username", user) || empty("password", password) {
        let what = if empty("username", user) { "username" } else { "password" };
        return Err(format!("{what} is empty").into());
    }
    if args.on("password-stdin") && user.is_empty() {
        return Err("the --password-stdin option requires --username to be set".into());
    }
    if args.given("password") {
        sys::err_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let password = match args.on("password-stdin") {
        true => from_stdin()?,
        false => password.to_owned(),
    };
    let server = server(args.arg(0));
    let server = if server == auth::HUB { server } else { hostname(&server).to_owned() };
    let mut default = String::new();
    if user.is_empty() && password.is_empty() {
        let kept = auth::stored(context, &server)?;
        if kept.is_complete() {
            if let Some(status) = again(context, &server, &kept).await? {
                sys::line(status);
                return Ok(());
            }
            default = kept.user;
        }
    }
    if (user.is_empty() || password.is_empty()) && !sys::is_terminal(std::io::stdin()) {
        return Err("Error: Cannot perform an interactive login from a non TTY device".into());
    }
    let user = if user.is_empty() { ask_user(&default)? } else { user.to_owned() };
    let password = if password.is_empty() { ask_password()? } else { password };
    let given = Credentials { user, password, token: String::new() };
    let (status, given) = check(context, &server, given).await?;
    auth::store(context, &server, &given)?;
    sys::line(status);
    Ok(())
}

/// Tries the credentials that are kept. `None`: they are good no more.
async fn again(context: &Context, server: &str, kept: &Credentials) -> Result<Option<String>> {
    sys::err(format!(
        "Authenticating with existing credentials... [Username: {}]\n\n\
         \x20Info -> To login with a different account, run 'shoal logout' followed by 'shoal login'\n\n",
        kept.user
    ));
    match check(context, server, kept.clone()).await {
        Ok((status, given)) => {
            auth::store(context, server, &given)?;
            Ok(Some(status))
        }
        Err(failure) => {
            sys::err_line(format_args!("Login did not succeed, error: {failure}"));
            Ok(None)
        }
    }
}

/// Lets the daemon try credentials at the registry; gives its words and what to keep.
async fn check(
    context: &Context,
    server: &str,
    given: Credentials,
) -> Result<(String, Credentials)> {
    let request = Request::post("/auth").json(given.json(server));
    let answer = context.client()?.value(request).await?;
    let token = answer.at("IdentityToken").text().to_owned();
    let kept = if token.is_empty() {
        given
    } else {
        Credentials { user: given.user, password: String::new(), token }
    };
    Ok((answer.at("Status").text().to_owned(), kept))
}

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(io("reading the password"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn line_of_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).map_err(io("reading standard input"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_user(default: &str) -> Result<String> {
    let hint = if default.is_empty() { String::new() } else { format!(" ({default})") };
    sys::out(format!("Username{hint}: "));
    let text = line_of_stdin()?;
    match (text.trim(), default) {
        ("", "") => Err("error: username is required".into()),
        ("", default) => Ok(default.to_owned()),
        (user, _) => Ok(user.to_owned()),
    }
}

fn ask_password() -> Result<String> {
    sys::out("Password: ");
    let silent = terminal::Silent::enter();
    let text = line_of_stdin();
    drop(silent);
    sys::out("\n");
    match text?.as_str() {
        "" => Err("error: password is required".into()),
        password => Ok(password.to_owned()),
    }
}

async fn logout(context: &mut Context, args: &Args) -> Result {
    let server = server(args.arg(0));
    let mut names = vec![server.clone()];
    if server != auth::HUB {
        let host = hostname(&server).to_owned();
        names.extend([format!("http://{host}"), format!("https://{host}"), host]);
        names.dedup();
    }
    sys::line(format_args!("Removing login credentials for {}", names.last().unwrap_or(&server)));
    let mut errors = Vec::new();
    for name in &names {
        if let Err(failure) = auth::forget(context, name) {
            errors.push(failure.message);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("could not erase credentials:\n{}", errors.join("\n"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_filed_under_their_host() {
        assert_eq!(server(""), auth::HUB);
        assert_eq!(server("docker.io"), auth::HUB);
        assert_eq!(hostname("https://h:5000/v2/"), "h:5000");
        let given = Credentials { user: "u".into(), password: "p".into(), token: String::new() };
        let expected = json!({"username": "u", "password": "p", "serveraddress": "h"});
        assert_eq!(given.json("h"), expected);
    }
}
