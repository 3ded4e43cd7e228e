//! `run` and `create`.

use super::reach;
use crate::args::{Args, Command, Count, action};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::opts::{create, flags};
use crate::stream::{keys, pump, signals::Signals, terminal};
use crate::sys;
use shoal_gotemplate::value::Value;

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["container run", "run"],
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create and run a new container from an image",
        Count::AtLeast(1),
        &[flags::SHARED, flags::SHARED_AT_FIRST, flags::CREATE, flags::RUN],
        action!(run),
    )
    .passes_the_rest()
    .examples(
        "shoal run --rm -it debian bash              # a shell in a throw-away container\n\
         shoal run -d --name web -p 8080:80 nginx    # a server in the background\n\
         shoal run --rm -v ./data:/data alpine ls /data",
    ),
    Command::new(
        &["container create", "create"],
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a new container",
        Count::AtLeast(1),
        &[flags::SHARED, flags::SHARED_AT_FIRST, flags::CREATE],
        action!(create_only),
    )
    .passes_the_rest(),
];

fn body(args: &Args) -> std::result::Result<serde_json::Value, Failure> {
    let read = |path: &str| std::fs::read_to_string(path);
    create::body(args, &read, &sys::variable).map_err(Failure::new)
}

async fn create_only(context: &mut Context, args: &Args) -> Result {
    let body = body(args).map_err(|failure| failure.with_help("create"))?;
    let id = create_container(context, args, body).await?;
    sys::line(id);
    Ok(())
}

/// Creates the container, pulling its image when it is missing. Gives its id.
async fn create_container(
    context: &Context,
    args: &Args,
    body: serde_json::Value,
) -> Result<String> {
    let pull = args.text("pull");
    if !matches!(pull, "always" | "missing" | "never" | "") {
        let known = "must be one of \"always\", \"missing\" or \"never\"";
        return Err(format!("invalid pull option: '{pull}': {known}").into());
    }
    let cidfile = args.text("cidfile");
    if !cidfile.is_empty() && std::path::Path::new(cidfile).exists() {
        let advice = "make sure the other container isn't running or delete";
        return Err(format!("container ID file found, {advice} {cidfile}").into());
    }
    let client = context.client()?;
    let (image, platform) = (args.arg(0), args.text("platform"));
    if pull == "always" {
        super::transfer::pull_image(context, image, platform, args.on("quiet"), true).await?;
    }
    let request = || {
        let request = Request::post("/containers/create").json(body.clone());
        request.maybe("name", args.text("name")).maybe("platform", platform)
    };
    let created = match client.value(request()).await {
        Err(error)
            if error.status() == 404
                && pull == "missing"
                && error.to_string().contains("image") =>
        {
            if !args.on("quiet") {
                let name = super::format::familiar(image);
                sys::err_line(format!("Unable to find image '{name}' locally"));
            }
            super::transfer::pull_image(context, image, platform, args.on("quiet"), true).await?;
            client.value(request()).await?
        }
        other => other?,
    };
    for warning in created.at("Warnings").texts() {
        sys::err_line(format!("WARNING: {warning}"));
    }
    let id = created.at("Id").text().to_owned();
    if !cidfile.is_empty() {
        std::fs::write(cidfile, &id)
            .map_err(io(format!("failed to create the container ID file {cidfile}")))?;
    }
    Ok(id)
}

async fn run(context: &mut Context, args: &Args) -> Result {
    let help = |failure: Failure| failure.with_help("run");
    let mut body = body(args).map_err(help)?;
    let detach = args.on("detach");
    if detach && !args.all("attach").is_empty() {
        return Err(Failure::new("conflicting options: cannot specify both --attach and --detach")
            .with_code(125));
    }
    let keys = match args.get("detach-keys").or_else(|| context.setting("detachKeys")) {
        Some(text) => keys::parse(text).map_err(|why| help(Failure::new(why)))?,
        None => vec![16, 17],
    };
    let tty = args.on("tty");
    let stdin = body["AttachStdin"] == true;
    if tty && stdin && !detach && !sys::is_terminal(std::io::stdin()) {
        return Err(Failure::new("the input device is not a TTY"));
    }
    if let (true, Some((rows, columns))) = (tty, terminal::size()) {
        body["HostConfig"]["ConsoleSize"] = serde_json::json!([rows, columns]);
    }
    let outputs = [body["AttachStdout"] == true, body["AttachStderr"] == true];
    let id = create_container(context, args, body).await.map_err(help)?;
    let client = context.client()?;
    if detach {
        start(client, &id, "").await.map_err(|error| failed_start(&error))?;
        sys::line(&id);
        return Ok(());
    }
    let base = reach::container(&id);
    let session = Session {
        base: &base,
        tty,
        stdin,
        outputs,
        keys,
        key_text: args.text("detach-keys"),
        proxy: args.on("sig-proxy") && !tty,
        condition: if args.on("rm") { "removed" } else { "next-exit" },
        logs: false,
    };
    match session.run(client, true).await {
        Ok(code) => super::exec::exit(code),
        Err(failure) => Err(failure),
    }
}

/// Starts a container.
pub(super) async fn start(
    client: &Client,
    id: &str,
    keys: &str,
) -> std::result::Result<(), crate::client::Error> {
    let path = format!("{}/start", reach::container(id));
    client.done(Request::post(path).maybe("detachKeys", keys)).await
}

/// The exit code of a container that could not be started: what a shell would give for its reason.
pub(super) fn start_code(message: &str) -> i32 {
    let message = message.to_lowercase();
    let has = |text: &str| message.contains(text);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find")
    {
        127
    } else if has("permission denied") || has("is a directory") || has("not a directory") {
        126
    } else {
        125
    }
}

fn failed_start(error: &crate::client::Error) -> Failure {
    let code = start_code(&error.to_string());
    Failure::new(error.to_string()).with_help("run").with_code(code)
}

/// An attached container, from attaching to its exit.
pub(super) struct Session<'a> {
    /// Its path in the API.
    pub(super) base: &'a str,
    pub(super) tty: bool,
    pub(super) stdin: bool,
    /// Standard output, standard error.
    pub(super) outputs: [bool; 2],
    pub(super) keys: Vec<u8>,
    pub(super) key_text: &'a str,
    /// Pass signals on.
    pub(super) proxy: bool,
    /// What to wait for.
    pub(super) condition: &'static str,
    pub(super) logs: bool,
}

impl Session<'_> {
    /// Attaches, registers the wait, starts the container if asked to, copies streams. Gives the exit code.
    pub(super) async fn run(&self, client: &Client, starts: bool) -> Result<i64> {
        let path = self.base;
        let attach = Request::post(format!("{path}/attach"))
            .query("stream", "1")
            .switch("stdin", self.stdin)
            .switch("stdout", self.outputs[0])
            .switch("stderr", self.outputs[1])
            .switch("logs", self.logs)
            .maybe("detachKeys", self.key_text);
        let wait = Request::post(format!("{path}/wait")).query("condition", self.condition);
        let signals =
            if self.proxy { Some(Signals::catch().map_err(io("catching signals"))?) } else { None };
        let (connection, wait) = tokio::join!(client.hijack(attach), client.send(wait));
        let (connection, wait) = (connection?, wait?);
        if starts {
            let start = Request::post(format!("{path}/start"));
            let started = client.done(start.maybe("detachKeys", self.key_text)).await;
            started.map_err(|error| failed_start(&error))?;
        }
        let raw = if self.tty && self.stdin { terminal::Raw::enter() } else { None };
        let streams = pump::Streams {
            stdin: self.stdin,
            raw: self.tty,
            keys: (self.tty && self.stdin).then(|| self.keys.clone()),
        };
        let copy = pump::run(connection, streams);
        let side = side_effects(client, path, self.tty, signals);
        let ended = tokio::select! {
            ended = copy => ended?,
            () = side => return Err("stream ended".into()),
        };
        drop(raw);
        if ended == pump::Ended::Detached {
            return Ok(0);
        }
        let result: Value = wait.value().await?;
        let message = result.path("Error.Message").text();
        if !message.is_empty() {
            sys::err_line(format!("Error waiting for container: {message}"));
            return Ok(125);
        }
        Ok(result.at("StatusCode").int())
    }
}

/// Keeps the terminal's size and passes signals on, for ever.
pub(super) async fn side_effects(client: &Client, path: &str, tty: bool, signals: Option<Signals>) {
    let resize = async {
        let Ok(mut window) = crate::stream::signals::window() else {
            return std::future::pending().await;
        };
        if !tty {
            return std::future::pending().await;
        }
        loop {
            if let Some((rows, columns)) = terminal::size() {
                let request = Request::post(format!("{path}/resize"));
                let request = request.query("h", rows.to_string()).query("w", columns.to_string());
                // A container that just ended has no size.
                let _ended = client.done(request).await;
            }
            window.recv().await;
        }
    };
    let pass = async {
        let Some(mut signals) = signals else { return std::future::pending().await };
        loop {
            let name = signals.next().await;
            let request = Request::post(format!("{path}/kill")).query("signal", name);
            // A container that just ended takes no signal.
            let _ended = client.done(request).await;
        }
    };
    tokio::select! { () = resize => {}, () = pass => {} }
}
