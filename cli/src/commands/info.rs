//! `info`.

use super::version::client_version;
use crate::args::{Args, Command, Count, Flag, STR, action, short};
use crate::client::Request;
use crate::config::auth;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::{sys, units};
use shoal_gotemplate::value::Value;
use shoal_gotemplate::{Missing, Template};

const FLAGS: &[Flag] = &[short('f', "format", STR, "json, or a template")];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["system info", "info"],
    "[OPTIONS]",
    "Show what is known about the daemon and its machine",
    Count::None,
    &[FLAGS],
    action!(info),
)];

async fn info(context: &mut Context, args: &Args) -> Result {
    let format = args.text("format");
    let read = async { Ok::<_, Failure>(context.client()?.value(Request::get("/info")).await?) };
    let read = read.await;
    let mut client = client_version(context);
    client.insert("Debug".into(), context.debug().into());
    client.insert("Plugins".into(), serde_json::json!([]));
    if format.is_empty() {
        let name = |key: &str| client.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        sys::out(format!(
            "Client: Shoal\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
            name("Version"),
            name("Context"),
            context.debug()
        ));
        let server = read.map_err(|failure| {
            Failure::new(format!("ERROR: {failure}\nerrors pretty printing info"))
        })?;
        let user = auth::stored(context, "docker.io")?.user;
        sys::out(plain(&server, &user, context.debug()) + "\n");
        for warning in server.at("Warnings").texts() {
            sys::err_line(warning);
        }
        return Ok(());
    }
    let mut failed = Ok(());
    let mut all = match read {
        Ok(server) => server,
        Err(failure) => {
            let errors = Value::List(vec![Value::Text(failure.message.clone())]);
            failed = Err(failure);
            Value::Map(vec![("ServerErrors".into(), errors)])
        }
    };
    let client: Value = serde_json::from_str(&serde_json::Value::Object(client).to_string())
        .map_err(|error| Failure::new(format!("describing this program: {error}")))?;
    if let Value::Map(fields) = &mut all {
        fields.push(("ClientInfo".into(), client));
    }
    if format == "json" {
        sys::line(all.json(false));
        return failed;
    }
    let template = Template::parse(format)
        .map_err(|why| Failure::new(format!("template parsing error: {why}")).with_code(64))?;
    let text = template
        .render(&all, Missing::Key)
        .map_err(|why| failed.clone().err().unwrap_or_else(|| Failure::new(why)))?;
    sys::line(text);
    failed
}

/// Lines of the report, written one after the other.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, label: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!(" {label} {value}\n"));
    }

    fn some(&mut self, label: &str, value: &Value) {
        if !value.text().is_empty() {
            self.put(label, value.text());
        }
    }

    fn line(&mut self, text: impl std::fmt::Display) {
        self.0.push_str(&format!("{text}\n"));
    }
}

fn plain(info: &Value, user: &str, debug: bool) -> String {
    let mut out = Lines::default();
    out.put("Containers:", info.at("Containers").int());
    for (label, key) in [
        (" Running:", "ContainersRunning"),
        (" Paused:", "ContainersPaused"),
        (" Stopped:", "ContainersStopped"),
    ] {
        out.put(label, info.at(key).int());
    }
    out.put("Images:", info.at("Images").int());
    out.some("Server Version:", info.at("ServerVersion"));
    out.some("Storage Driver:", info.at("Driver"));
    for pair in info.at("DriverStatus").list() {
        out.line(format_args!("  {}", pair.texts().join(": ")));
    }
    out.some("Logging Driver:", info.at("LoggingDriver"));
    out.some("Cgroup Driver:", info.at("CgroupDriver"));
    out.some("Cgroup Version:", info.at("CgroupVersion"));
    out.line(" Plugins:");
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names = info.at("Plugins").at(kind).texts();
        if kind != "Authorization" || !names.is_empty() {
            out.line(format_args!("  {kind}: {}", names.join(" ")));
        }
    }
    let folders = info.at("CDISpecDirs").texts();
    if !folders.is_empty() {
        out.line(" CDI spec directories:");
        folders.iter().for_each(|folder| out.line(format_args!("  {folder}")));
    }
    out.put("Swarm:", info.path("Swarm.LocalNodeState").text());
    engine(info, &mut out);
    machine(info, &mut out, debug);
    settings(info, user, &mut out);
    out.0
}

fn engine(info: &Value, out: &mut Lines) {
    let mut runtimes: Vec<&str> =
        info.at("Runtimes").fields().iter().map(|(name, _)| name.as_str()).collect();
    runtimes.sort_unstable();
    if !runtimes.is_empty() {
        out.put("Runtimes:", runtimes.join(" "));
        out.put("Default Runtime:", info.at("DefaultRuntime").text());
    }
    if info.at("OSType").text() != "linux" {
        return;
    }
    out.put("Init Binary:", info.at("InitBinary").text());
    for (label, key) in [
        ("containerd version:", "ContainerdCommit.ID"),
        ("runc version:", "RuncCommit.ID"),
        ("init version:", "InitCommit.ID"),
    ] {
        out.put(label, info.path(key).text());
    }
    let options = info.at("SecurityOptions").texts();
    if options.is_empty() {
        return;
    }
    out.line(" Security Options:");
    for option in options {
        let pairs: Vec<(&str, &str)> =
            option.split(',').map(|pair| pair.split_once('=').unwrap_or(("name", pair))).collect();
        let find =
            |wanted: &str| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, text)| *text);
        out.line(format_args!("  {}", find("name").unwrap_or_default()));
        if let Some(profile) = find("profile") {
            out.line(format_args!("   Profile: {profile}"));
        }
    }
}

fn machine(info: &Value, out: &mut Lines, debug: bool) {
    out.some("Kernel Version:", info.at("KernelVersion"));
    out.some("Operating System:", info.at("OperatingSystem"));
    out.some("OSType:", info.at("OSType"));
    out.some("Architecture:", info.at("Architecture"));
    out.put("CPUs:", info.at("NCPU").int());
    out.put("Total Memory:", units::binary_size(info.at("MemTotal").float()));
    out.some("Name:", info.at("Name"));
    out.some("ID:", info.at("ID"));
    out.put("Docker Root Dir:", info.at("DockerRootDir").text());
    out.put("Debug Mode:", info.at("Debug").is_true());
    if debug || info.at("Debug").is_true() {
        out.put(" File Descriptors:", info.at("NFd").int());
        out.put(" Goroutines:", info.at("NGoroutines").int());
        out.put(" System Time:", info.at("SystemTime").text());
        out.put(" EventsListeners:", info.at("NEventsListener").int());
    }
}

fn settings(info: &Value, user: &str, out: &mut Lines) {
    out.some("HTTP Proxy:", info.at("HttpProxy"));
    out.some("HTTPS Proxy:", info.at("HttpsProxy"));
    out.some("No Proxy:", info.at("NoProxy"));
    if !user.is_empty() {
        out.put("Username:", user);
    }
    let labels = info.at("Labels").texts();
    if !labels.is_empty() {
        out.line(" Labels:");
        labels.iter().for_each(|label| out.line(format_args!("  {label}")));
    }
    out.put("Experimental:", info.at("ExperimentalBuild").is_true());
    let registry = info.at("RegistryConfig");
    let networks = registry.at("InsecureRegistryCIDRs").texts();
    let indexes = registry.at("IndexConfigs").fields();
    if !networks.is_empty() || !indexes.is_empty() {
        out.line(" Insecure Registries:");
        for (_, index) in indexes.iter().filter(|(_, index)| !index.at("Secure").is_true()) {
            out.line(format_args!("  {}", index.at("Name").text()));
        }
        networks.iter().for_each(|network| out.line(format_args!("  {network}")));
    }
    let mirrors = registry.at("Mirrors").texts();
    if !mirrors.is_empty() {
        out.line(" Registry Mirrors:");
        mirrors.iter().for_each(|mirror| out.line(format_args!("  {mirror}")));
    }
    out.put("Live Restore Enabled:", info.at("LiveRestoreEnabled").is_true());
    out.some("Product License:", info.at("ProductLicense"));
    let pools = info.at("DefaultAddressPools").list();
    if !pools.is_empty() {
        out.line(" Default Address Pools:");
        for pool in pools {
            let (base, size) = (pool.at("Base").text(), pool.at("Size").int());
            out.line(format_args!("   Base: {base}, Size: {size}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_dockers() {
        let info: Value = serde_json::from_str(
            r#"{"Containers":1,"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]],
            "Plugins":{"Volume":["local"],"Network":["bridge"],"Log":["none"]},
            "Swarm":{"LocalNodeState":"inactive"},"OSType":"linux","NCPU":2,"MemTotal":2062790656,
            "Runtimes":{"shoal":{}},"DefaultRuntime":"shoal","InitBinary":"docker-init",
            "SecurityOptions":["name=seccomp,profile=builtin"],"DockerRootDir":"/d",
            "RegistryConfig":{"InsecureRegistryCIDRs":["127.0.0.0/8"]}}"#,
        )
        .unwrap();
        expect_test::expect![[r#"
            Server:
             Containers: 1
              Running: 0
              Paused: 0
              Stopped: 0
             Images: 0
             Storage Driver: overlay2
              Backing Filesystem: extfs
             Plugins:
              Volume: local
              Network: bridge
              Log: none
             Swarm: inactive
             Runtimes: shoal
             Default Runtime: shoal
             Init Binary: docker-init
             containerd version: 
             runc version: 
             init version: 
             Security Options:
              seccomp
               Profile: builtin
             OSType: linux
             CPUs: 2
             Total Memory: 1.921GiB
             Docker Root Dir: /d
             Debug Mode: false
             Experimental: false
             Insecure Registries:
              127.0.0.0/8
             Live Restore Enabled: false
        "#]]
        .assert_eq(&format!("Server:\n{}", plain(&info, "", false)));
    }
}
